//! A program that works for a lab from outside, and ends with it.
//!
//! `PR_SET_PDEATHSIG` is lost when a process enters another user namespace, as these programs do. So a guard,
//! a process of ours, waits for the end of the lab's first process, which is tied to the launcher, and ends the
//! program then, whoever of them was killed.

use std::ffi::{CString, OsStr};
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sandbox::error::{Error, Result};
use crate::sandbox::payload::{DEFAULT_PATH, null, onto};
use crate::sandbox::syscall::{self, Child, Cloned};
use crate::sandbox::{channel, process, program, signals};

/// The launcher's hold on it. Dropping it ends nothing.
pub struct Beside {
    guard: OwnedFd,
    said: OwnedFd,
}

impl Beside {
    /// Starts a program for the lab whose first process is `first`.
    ///
    /// # Errors
    /// It cannot be found or started.
    pub fn start(first: BorrowedFd<'_>, command: &[String]) -> Result<Self> {
        let found = program::find(command, OsStr::new(DEFAULT_PATH), None)?;
        let (said, said_child) = channel::pipe()?;
        let started = |source| Error::system("starting a guard", source);
        match syscall::clone3(0, None).map_err(started)? {
            Cloned::Parent { pidfd, .. } => Ok(Self { guard: pidfd, said }),
            Cloned::Child => guard(first, &found, &said_child),
        }
    }

    /// What it said before it ended, if it has.
    #[must_use]
    pub fn last_words(&mut self) -> Option<String> {
        if !process::wait_gone(self.guard.as_fd(), std::time::Duration::ZERO).unwrap_or(true) {
            return None;
        }
        let mut text = String::new();
        let copy = self.said.try_clone().ok()?;
        let _ = std::fs::File::from(copy).take(1 << 16).read_to_string(&mut text);
        Some(text)
    }

    /// Waits until it has ended, after the lab has.
    pub fn wait(self) {
        let _ = syscall::wait_child(&Child::Pidfd(self.guard.as_fd()), true);
    }
}

fn guard(first: BorrowedFd<'_>, found: &program::Found, said: &OwnedFd) -> ! {
    // Not in the terminal's group: ^C is for the lab's command.
    let _ = nix::unistd::setsid();
    let _ = signals::block_all();
    syscall::rename_process("moat-lab");
    let started = syscall::clone3(0, None);
    let Ok(Cloned::Parent { pidfd, .. }) = started else {
        if started.is_ok() {
            become_program(found, said);
        }
        syscall::exit(125)
    };
    // Neither the reader of what it says nor a terminal is to wait for the guard.
    let _ = null().map(|null| (0..3).try_for_each(|fd| onto(&null, fd)));
    let keep = [first.as_raw_fd(), pidfd.as_raw_fd()];
    let _ = syscall::close_all_but(&keep);
    let mut fds = [
        PollFd::new(first, PollFlags::POLLIN),
        PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
    ];
    while let Err(nix::errno::Errno::EINTR) = poll(&mut fds, PollTimeout::NONE) {}
    let _ = syscall::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
    let _ = syscall::wait_child(&Child::Pidfd(pidfd.as_fd()), true);
    syscall::exit(0)
}

fn become_program(found: &program::Found, said: &OwnedFd) {
    let _ = signals::reset();
    let arranged = null().and_then(|null| onto(&null, 0).and_then(|()| onto(&null, 1)));
    if arranged.and_then(|()| onto(said, 2)).is_ok() {
        let path = CString::new(format!("PATH={DEFAULT_PATH}")).unwrap_or_default();
        let _ = found.exec(&[path], false);
    }
}

/// Where a program is, if it is installed.
#[must_use]
pub fn installed(name: &str) -> bool {
    program::locate(name, OsStr::new(DEFAULT_PATH)).is_ok_and(|path| Path::new(&path).is_file())
}
