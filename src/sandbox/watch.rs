//! Waiting for a command: pumps its output, passes signals on, reaps, until its pidfd says it ended.
//!
//! The same loop serves pid 1 and the supervisor outside. The end is learned from the pidfd, never from
//! SIGCHLD, so the shortest command cannot be missed; SIGCHLD only says when orphans may be reaped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::cgroup::OomCount;
use super::channel;
use super::error::Result;
use super::health::Checker;
use super::log::{Log, Stream};
use super::signals::{self, Incoming};
use super::status::Status;
use super::syscall::{self, Child, Ended, Usage};

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
    /// Its pid as the watcher sees it, and its pidfd; `None` between two runs.
    pub command: Option<(i32, OwnedFd)>,
    pub sources: Vec<Source>,
    pub log: Option<Log>,
    pub status: Status,
    /// Closed by the launcher's death; a [`COMMIT`] on it makes that harmless.
    pub life: Option<OwnedFd>,
    /// Signals to pass on to the command.
    pub signals: Option<Incoming>,
    /// Which signal from outside means that the container is to end for good, beside the usual ones.
    pub stop_signal: Option<i32>,
    /// Whether this is pid 1, to which orphans come.
    pub reaper: bool,
    pub checker: Option<Checker>,
    pub oom: Option<OomCount>,
    /// Whether such a signal came.
    pub stopping: bool,
    pub usage: Usage,
    pub buffer: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Event {
    Ended,
    Signal,
    Life,
    Check,
    Output(usize),
}

impl Watch {
    /// Waits until the command ended, and writes what it left.
    pub fn until_end(&mut self) -> Ended {
        let ended = loop {
            if let Some(ended) = self.turn(None) {
                break ended;
            }
        };
        self.command = None;
        self.drain();
        let oom_killed = self.oom.as_mut().is_some_and(OomCount::rose);
        self.status.ended(&ended, oom_killed, self.usage);
        ended
    }

    /// Serves everything else for a while; `false` as soon as the container is to end for good.
    pub fn rest(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.stopping && Instant::now() < end {
            let _ = self.turn(Some(end));
        }
        !self.stopping
    }

    /// Another run of the command.
    pub fn begin(&mut self, pid: i32, pidfd: OwnedFd) {
        self.command = Some((pid, pidfd));
        for source in &mut self.sources {
            source.open = true;
        }
        if let Some(checker) = &mut self.checker {
            checker.begin(&mut self.status);
        }
    }

    /// One line of our own in the container's log.
    pub fn remark(&mut self, text: &str) {
        if let Some(log) = &mut self.log {
            Stream::new("stderr").push(format!("moat: {text}\n").as_bytes(), log);
        }
    }

    /// Waits for something to happen, and deals with it; how the command ended, if it did.
    fn turn(&mut self, end: Option<Instant>) -> Option<Ended> {
        let events = self.wait(end);
        // Output first, so that what a command said before it ended is in the log.
        for event in &events {
            if let Event::Output(at) = event {
                self.pump(*at);
            }
        }
        if events.contains(&Event::Life) {
            self.hear_life();
        }
        let mut ended = None;
        if events.contains(&Event::Signal) {
            ended = self.take_signals();
        }
        if ended.is_none() && events.contains(&Event::Ended) {
            ended = Some(self.reap_command());
        }
        if let Some(checker) = &mut self.checker
            && self.command.is_some()
            && ended.is_none()
        {
            checker.turn(&mut self.status);
        }
        ended
    }

    fn wait(&self, end: Option<Instant>) -> Vec<Event> {
        let mut list: Vec<(Event, BorrowedFd<'_>)> = Vec::new();
        list.extend(
            self.command
                .iter()
                .map(|(_, pidfd)| (Event::Ended, pidfd.as_fd())),
        );
        list.extend(self.signals.as_ref().map(|signals| (Event::Signal, signals.fd())));
        list.extend(self.life.as_ref().map(|life| (Event::Life, life.as_fd())));
        let open = self.sources.iter().enumerate().filter(|(_, source)| source.open);
        list.extend(open.map(|(at, source)| (Event::Output(at), source.fd.as_fd())));
        let checker = self.checker.as_ref().filter(|_| self.command.is_some());
        list.extend(checker.and_then(Checker::output).map(|fd| (Event::Check, fd)));
        let due = [end, checker.map(Checker::due)].into_iter().flatten().min();
        let mut fds: Vec<PollFd<'_>> = list
            .iter()
            .map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        if poll(&mut fds, until(due)).is_err() {
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
    fn pump(&mut self, at: usize) -> bool {
        let (Some(source), Some(log)) = (self.sources.get_mut(at), self.log.as_mut()) else {
            return false;
        };
        match nix::unistd::read(&source.fd, &mut self.buffer) {
            Ok(count) if count > 0 => {
                source.stream.push(&self.buffer[..count], log);
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
    fn drain(&mut self) {
        for at in 0..self.sources.len() {
            for _ in 0..1024 {
                if !self.pump(at) {
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
        if let Some((_, pidfd)) = &self.command {
            let _ = syscall::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        }
        syscall::exit(125);
    }

    /// Passes signals on; how the command ended if it was among the children that did.
    fn take_signals(&mut self) -> Option<Ended> {
        let mut command = None;
        while let Some(signal) = self.signals.as_ref().and_then(Incoming::next) {
            if signal.number != libc::SIGCHLD {
                self.stopping |= signal.ends(self.stop_signal);
                // The only error is that it is gone, which the pidfd will say.
                if let Some((_, pidfd)) = &self.command {
                    let _ = syscall::pidfd_send_signal(pidfd.as_fd(), signal.number);
                }
                continue;
            }
            while self.reaper
                && let Ok(Some(ended)) = syscall::wait_child(&Child::Any, false)
            {
                self.usage.add(ended.usage);
                if self.command.as_ref().is_some_and(|(pid, _)| *pid == ended.pid) {
                    command = Some(ended);
                } else if let Some(checker) = &mut self.checker {
                    checker.reaped(&ended, &mut self.status);
                }
            }
        }
        command
    }

    fn reap_command(&mut self) -> Ended {
        let waited = match &self.command {
            Some((_, pidfd)) => syscall::wait_child(&Child::Pidfd(pidfd.as_fd()), true),
            None => Ok(None),
        };
        let ended = waited.ok().flatten().unwrap_or(Ended {
            pid: 0,
            code: 125,
            signal: None,
            usage: Usage::default(),
        });
        self.usage.add(ended.usage);
        ended
    }
}

/// How long poll(2) may take, rounded up so that it does not spin through the last millisecond.
fn until(due: Option<Instant>) -> PollTimeout {
    let Some(due) = due else {
        return PollTimeout::NONE;
    };
    let left = due.saturating_duration_since(Instant::now());
    let ms = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
}
