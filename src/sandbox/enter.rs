//! A further process in a running container (`moat exec`).
//!
//! Enters all namespaces at once through the pidfd of pid 1, hidden from ptrace before it does
//! (CVE-2016-9962). The helper that enters stays outside the pid namespace; what it starts inside is a
//! sibling of it (`CLONE_PARENT`), so that the launcher itself is the parent and gets the exit status.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sched::{CloneFlags, setns};

use super::account::Files;
use super::cgroup;
use super::channel;
use super::error::{Error, Result};
use super::foreground::Relay;
use super::payload::{Payload, Stdio};
use super::report::{self, Reporter};
use super::spec::{ExecRequest, Spec};
use super::syscall::{self, Cloned};
use super::{check, launch, process, signals, terminal, users};

/// Runs a command in the container whose pid 1 is `pid` and started at `started`; returns its exit status.
///
/// # Errors
/// [`Error::Gone`] if the container does not run, the classes of a command that cannot start, and failing
/// system calls.
pub fn exec(pid: i32, started: u64, spec: &Spec, request: &ExecRequest) -> Result<i32> {
    if request.tty && request.interactive {
        check::terminal_on_stdin()?;
    }
    let payload = Payload::further(spec, request)?;
    let target = process::open(pid, started)?;
    let (report, report_child) = channel::pipe()?;
    let (ours, theirs) = channel::pair()?;
    let helper = Helper {
        payload,
        target,
        groups: cgroup::open_procs(&spec.id),
        users: users::id_range(pid).is_some(),
        report: Reporter::new(report_child),
        launcher: theirs,
    };
    signals::hold()?;
    let cloned = syscall::clone3(0, None).map_err(|source| Error::system("starting a helper", source))?;
    let helper_fd = match cloned {
        Cloned::Child => helper.main(),
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    drop(helper);
    let (process, master) = receive(&ours, request.tty);
    let _ = syscall::wait_child(&syscall::Child::Pidfd(helper_fd.as_fd()), true);
    let ready = report::read(report);
    let (Some(process), Ok(true)) = (&process, &ready) else {
        if let Some(process) = &process {
            // Never left to others: a zombie in it keeps the whole pid namespace from ending.
            launch::kill(process);
        }
        return Err(ready.err().unwrap_or_else(|| Error::DiedEarly {
            status: "killed".to_owned(),
        }));
    };
    let terminal = master.as_ref().map(AsFd::as_fd);
    Relay {
        process: process.as_fd(),
        terminal,
        interactive: request.interactive,
    }
    .until_end()?;
    match syscall::wait_child(&syscall::Child::Pidfd(process.as_fd()), true) {
        Ok(ended) => Ok(ended.map_or(125, |ended| ended.code)),
        Err(source) => Err(Error::system("waiting for the command", source)),
    }
}

/// The pidfd from the helper and the terminal from the command, which come in any order.
fn receive(socket: &OwnedFd, tty: bool) -> (Option<OwnedFd>, Option<OwnedFd>) {
    let (mut process, mut master) = (None, None);
    while process.is_none() || (tty && master.is_none()) {
        match channel::receive_fd(socket) {
            Ok((tag, Some(fd))) if tag == PROCESS => process = Some(fd),
            Ok((tag, Some(fd))) if tag == TERMINAL => master = Some(fd),
            // End of file: whoever should have sent it is dead, and the report says why.
            _ => break,
        }
    }
    (process, master)
}

const PROCESS: &[u8] = b"p";
const TERMINAL: &[u8] = b"t";

struct Helper {
    payload: Payload,
    target: OwnedFd,
    groups: Vec<File>,
    /// Whether the container has a user namespace of its own.
    users: bool,
    report: Reporter,
    launcher: OwnedFd,
}

impl Helper {
    fn main(mut self) -> ! {
        if let Err(error) = self.enter() {
            self.report.failed(&error);
            syscall::exit(error.exit_code());
        }
        match syscall::clone3(libc::CLONE_PARENT, None) {
            Ok(Cloned::Child) => self.inside(),
            Ok(Cloned::Parent { pidfd, .. }) => {
                let _ = channel::send_fd(&self.launcher, PROCESS, pidfd.as_raw_fd());
                syscall::exit(0)
            }
            Err(source) => {
                self.report.failed(&Error::system("starting the command", source));
                syscall::exit(125)
            }
        }
    }

    fn enter(&mut self) -> Result<()> {
        signals::die_with_parent(true)?;
        syscall::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0)
            .map_err(|source| Error::system("hiding the helper's memory", source))?;
        let mut keep = vec![
            self.report.raw(),
            self.target.as_raw_fd(),
            self.launcher.as_raw_fd(),
        ];
        keep.extend(self.groups.iter().map(AsRawFd::as_raw_fd));
        syscall::close_all_but(&keep).map_err(|source| Error::system("closing descriptors", source))?;
        for procs in &mut self.groups {
            procs
                .write_all(b"0")
                .map_err(|source| Error::system("joining the container's cgroup", source))?;
        }
        self.groups.clear();
        self.payload.provide();
        syscall::new_session_keyring();
        let mut all = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP;
        all.set(CloneFlags::CLONE_NEWUSER, self.users);
        #[allow(clippy::disallowed_methods)] // this process enters for good
        setns(&self.target, all).map_err(|errno| Error::system("entering the container", errno))?;
        if self.users {
            users::become_root()?;
        }
        Ok(())
    }

    /// In the container, in its pid namespace, still with the launcher's rights.
    fn inside(mut self) -> ! {
        let arranged = self.arrange();
        match arranged {
            Ok((account, stdio)) => self.payload.run(&account, stdio, &mut self.report),
            Err(error) => {
                self.report.failed(&error);
                syscall::exit(error.exit_code())
            }
        }
    }

    fn arrange(&mut self) -> Result<(super::account::Account, Stdio)> {
        signals::die_with_parent(true)?;
        nix::unistd::setsid().map_err(|errno| Error::system("starting a session", errno))?;
        let accounts = Files::of_this_root()?;
        let mut account = accounts.resolve(self.payload.user.as_deref())?;
        if self.users {
            users::check(&mut account)?;
        }
        if !self.payload.tty {
            return Ok((
                account,
                Stdio::Inherit {
                    interactive: self.payload.interactive,
                },
            ));
        }
        let pty = terminal::allocate(account.uid)?;
        channel::send_fd(&self.launcher, TERMINAL, pty.master.as_raw_fd())
            .map_err(|errno| Error::system("handing over the terminal", errno))?;
        Ok((account, Stdio::Terminal(pty.slave)))
    }
}
