//! Waiting for a container in the foreground: signals go in, a terminal goes both ways, the status comes out.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{Error, Result};
use super::process;
use super::signals::Incoming;
use super::status::Status;
use super::syscall::{self, Child};
use super::terminal::{self, Raw};

/// A command that runs. Detached: may be dropped at any time. In the foreground: wait for it.
#[derive(Debug)]
pub struct Running {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    /// Master of the terminal, if it is ours to relay.
    pub(super) terminal: Option<OwnedFd>,
    pub(super) interactive: bool,
    /// To be written here if no pid 1 of ours does.
    pub(super) status: Option<Status>,
    /// Closed by our death, which ends a container in the foreground.
    pub(super) _tie: (OwnedFd, Option<OwnedFd>),
}

impl Running {
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits for the end, passing on signals and relaying the terminal. Returns the exit status, 128 + n for
    /// signal n.
    ///
    /// # Errors
    /// If waiting itself fails; the container then ends with this process.
    pub fn wait_foreground(mut self) -> Result<i32> {
        let relay = Relay {
            process: self.pidfd.as_fd(),
            terminal: self.terminal.as_ref().map(AsFd::as_fd),
            interactive: self.interactive,
        };
        relay.until_end()?;
        let ended = syscall::wait_child(&Child::Pidfd(self.pidfd.as_fd()), true)
            .map_err(|source| Error::system("waiting for the container", source))?;
        let code = ended.map_or(125, |ended| ended.code);
        if let (Some(status), Some(ended)) = (&mut self.status, &ended) {
            status.ended(ended, false, ended.usage);
            status.finish(code);
        }
        Ok(code)
    }
}

/// What stands between the person and a process.
pub(super) struct Relay<'a> {
    pub process: BorrowedFd<'a>,
    pub terminal: Option<BorrowedFd<'a>>,
    pub interactive: bool,
}

impl Relay<'_> {
    /// Returns when the process ended, with the terminal as it was before.
    pub fn until_end(&self) -> Result<()> {
        let signals = Incoming::of_launcher()?;
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let raw = match (self.terminal, self.interactive) {
            (Some(_), true) => Raw::enter(stdin.as_fd()),
            _ => None,
        };
        self.resize();
        let mut input = (self.terminal.is_some() && self.interactive).then(|| stdin.as_fd());
        let mut output = self.terminal;
        let mut buffer = vec![0; 16 << 10];
        loop {
            let seen = wait([Some(self.process), Some(signals.fd()), output, input])?;
            if seen[2] && !copy(output, stdout.as_fd(), &mut buffer) {
                output = None;
            }
            if seen[3]
                && let Some(master) = self.terminal
                && !copy(input, master, &mut buffer)
            {
                // End of input is ^D to what runs there; without a reader there is nothing to relay.
                let _ = nix::unistd::write(master, b"\x04");
                input = None;
            }
            while let Some(signal) = signals.next() {
                self.pass_on(signal.number);
            }
            if seen[0] {
                break;
            }
        }
        // All writers are dead, so this ends with an end of file; the bound is for a terminal somebody else
        // got hold of.
        while output.is_some_and(|fd| process::readable(fd, Duration::from_millis(200)).unwrap_or(false))
            && copy(output, stdout.as_fd(), &mut buffer)
        {}
        drop(raw);
        Ok(())
    }

    fn pass_on(&self, signal: i32) {
        if signal == libc::SIGWINCH && self.terminal.is_some() {
            self.resize();
        } else {
            // Gone is the only error, and the pidfd says so too.
            let _ = syscall::pidfd_send_signal(self.process, signal);
        }
    }

    fn resize(&self) {
        if let Some(master) = self.terminal {
            terminal::copy_size(io::stdout().as_fd(), master);
            terminal::copy_size(io::stdin().as_fd(), master);
        }
    }
}

/// Which of the descriptors have something to say.
fn wait<const N: usize>(fds: [Option<BorrowedFd<'_>>; N]) -> Result<[bool; N]> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .flatten()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::system("waiting for the container", errno)),
    }
    let mut results = polled
        .iter()
        .map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
    Ok(fds.map(|fd| fd.is_some() && results.next().unwrap_or(false)))
}

/// Moves what is there; `false` at the end, or if the other side is gone.
fn copy(from: Option<BorrowedFd<'_>>, to: BorrowedFd<'_>, buffer: &mut [u8]) -> bool {
    let Some(from) = from else { return false };
    let count = match nix::unistd::read(from, buffer) {
        Ok(0) => return false,
        Ok(count) => count,
        Err(Errno::EINTR | Errno::EAGAIN) => return true,
        Err(_) => return false,
    };
    let mut rest = &buffer[..count];
    while !rest.is_empty() {
        match nix::unistd::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait_writable(to),
            Err(_) => return false,
        }
    }
    true
}

fn wait_writable(fd: BorrowedFd<'_>) {
    let _ = poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::NONE);
}
