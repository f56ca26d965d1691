//! Waiting for a command: pumps its output, passes signals on, reaps, until its pidfd says it ended.
//!
//! The same loop serves pid 1 and the supervisor outside. The end is learned from the pidfd, never from
//! SIGCHLD, so the shortest command cannot be missed; SIGCHLD only says when orphans may be reaped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::channel;
use super::error::Result;
use super::log::{Log, Stream};
use super::signals::{self, Incoming};
use super::syscall::{self, Child};

/// The byte on the life line that unties the container from its launcher.
pub(super) const COMMIT: u8 = b'c';

/// One source of output.
pub(super) struct Source {
    fd: OwnedFd,
    stream: Stream,
    open: bool,
}

impl Source {
    pub fn new(fd: OwnedFd, name: &'static str) -> Self {
        // Reading must never block: others may hold the writing end after the command is gone.
        let _ = fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        Self {
            fd,
            stream: Stream::new(name),
            open: true,
        }
    }
}

/// What to watch.
pub(super) struct Watch {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub sources: Vec<Source>,
    pub log: Option<Log>,
    /// Closed by the launcher's death; a [`COMMIT`] on it makes that harmless.
    pub life: Option<OwnedFd>,
    /// Signals to pass on to the command.
    pub signals: Option<Incoming>,
    /// Whether this is pid 1, to which orphans come.
    pub reaper: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Event {
    Ended,
    Signal,
    Life,
    Output(usize),
}

impl Watch {
    /// The command's exit status, 128 + n for signal n.
    pub fn until_end(mut self) -> i32 {
        let mut buffer = vec![0; 64 << 10];
        let code = loop {
            let events = self.wait();
            // Output first, so that what a command said before it ended is in the log.
            for event in &events {
                if let Event::Output(at) = event {
                    self.pump(*at, &mut buffer);
                }
            }
            if events.contains(&Event::Life) {
                self.hear_life();
            }
            if events.contains(&Event::Signal)
                && let Some(code) = self.take_signals()
            {
                break code;
            }
            if events.contains(&Event::Ended) {
                break self.reap_command();
            }
        };
        self.drain(&mut buffer);
        code
    }

    fn wait(&self) -> Vec<Event> {
        let mut list: Vec<(Event, BorrowedFd<'_>)> = vec![(Event::Ended, self.pidfd.as_fd())];
        list.extend(self.signals.as_ref().map(|signals| (Event::Signal, signals.fd())));
        list.extend(self.life.as_ref().map(|life| (Event::Life, life.as_fd())));
        let open = self.sources.iter().enumerate().filter(|(_, source)| source.open);
        list.extend(open.map(|(at, source)| (Event::Output(at), source.fd.as_fd())));
        let mut fds: Vec<PollFd<'_>> = list
            .iter()
            .map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        if poll(&mut fds, PollTimeout::NONE).is_err() {
            return Vec::new();
        }
        let seen = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        list.iter()
            .zip(&fds)
            .filter(|(_, fd)| seen(fd))
            .map(|((event, _), _)| *event)
            .collect()
    }

    /// Reads once; a source at its end is no longer polled.
    fn pump(&mut self, at: usize, buffer: &mut [u8]) -> bool {
        let (Some(source), Some(log)) = (self.sources.get_mut(at), self.log.as_mut()) else {
            return false;
        };
        match nix::unistd::read(&source.fd, buffer) {
            Ok(count) if count > 0 => {
                source.stream.push(&buffer[..count], log);
                true
            }
            Err(Errno::EINTR) => true,
            Err(Errno::EAGAIN) => false,
            // End of file, which for a terminal is EIO.
            _ => {
                source.stream.finish(log);
                source.open = false;
                false
            }
        }
    }

    /// What is left in the pipes, up to a bound: somebody outside may still hold and fill them.
    fn drain(&mut self, buffer: &mut [u8]) {
        for at in 0..self.sources.len() {
            for _ in 0..1024 {
                if !self.pump(at, buffer) {
                    break;
                }
            }
        }
        if let Some(log) = &mut self.log {
            for source in &mut self.sources {
                source.stream.finish(log);
            }
        }
    }

    fn hear_life(&mut self) {
        let Some(life) = self.life.take() else { return };
        if channel::hear(life.as_fd()) == Some(COMMIT) {
            // Before `life` is closed, which is the answer.
            let _: Result<()> = signals::die_with_parent(false);
            return;
        }
        // The launcher died before it could tell anybody of this container.
        let _ = syscall::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        syscall::exit(125);
    }

    /// Passes signals on; the exit status if the command was among the children that ended.
    fn take_signals(&mut self) -> Option<i32> {
        let mut code = None;
        while let Some(signal) = self.signals.as_ref().and_then(Incoming::next) {
            if signal != libc::SIGCHLD {
                // The only error is that it is gone, which the pidfd will say.
                let _ = syscall::pidfd_send_signal(self.pidfd.as_fd(), signal);
                continue;
            }
            while self.reaper
                && let Ok(Some(ended)) = syscall::wait_child(&Child::Any, false)
            {
                if ended.pid == self.pid {
                    code = Some(ended.code);
                }
            }
        }
        code
    }

    fn reap_command(&self) -> i32 {
        match syscall::wait_child(&Child::Pidfd(self.pidfd.as_fd()), true) {
            Ok(Some(ended)) => ended.code,
            _ => 125,
        }
    }
}
