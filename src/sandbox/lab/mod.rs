//! A world to throw away: a command in namespaces of its own, in which its user is root.
//!
//! The first process is ours. It makes the mounts, waits until the caller has led a way out into the network
//! namespace, starts the command, reaps, and ends with it; with it end all processes of the pid namespace, all
//! mounts and the network (`namespaces(7)`). It is tied to the launcher: nothing outlives that either. The
//! launcher must have a single thread.

mod beside;
mod maps;
mod mounts;

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use beside::{Beside, installed};

use super::error::{Error, Result};
use super::report::{self, Reporter};
use super::signals::{self, Incoming};
use super::syscall::{self, Child, Cloned};
use super::{channel, launch, program, root};

const NAMESPACES: libc::c_int =
    libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// Words on the line between launcher and first process.
const MAPPED: u8 = b'm';
const BUILT: u8 = b'b';
const GO: u8 = b'g';

/// What to run in it.
pub struct Lab {
    pub command: Vec<String>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Run when the command has ended, where what it leaves would outlive the namespaces.
    pub tidy: Vec<String>,
    /// A name for a program, made as a symbolic link: its place, and what it leads to.
    pub link: (PathBuf, PathBuf),
    /// Brings up the loopback interface of the namespace that it is called in.
    pub loopback: fn() -> io::Result<()>,
}

/// A lab whose command is not started yet.
pub struct Built {
    pid: i32,
    pidfd: OwnedFd,
    line: OwnedFd,
    report: OwnedFd,
}

impl Lab {
    /// Makes the namespaces, and all in them but a way out.
    ///
    /// # Errors
    /// What this kernel or its administrator does not allow; nothing is left then.
    pub fn build(self) -> Result<Built> {
        let (report, report_child) = channel::pipe()?;
        let (line, line_child) = channel::pair()?;
        let mut mapped = nix::unistd::geteuid().is_root();
        let mut cloned = if mapped {
            syscall::clone3(NAMESPACES, None)
        } else {
            syscall::clone3(NAMESPACES | libc::CLONE_NEWUSER, None)
        };
        if mapped && matches!(&cloned, Err(e) if e.raw_os_error() == Some(libc::EPERM)) {
            // Root of a container that may not make namespaces may still make one of users.
            mapped = false;
            cloned = syscall::clone3(NAMESPACES | libc::CLONE_NEWUSER, None);
        }
        let (pid, pidfd) = match cloned {
            Ok(Cloned::Child) => First {
                lab: self,
                line: line_child,
                report: Reporter::new(report_child),
                has_users: !mapped,
            }
            .main(),
            Ok(Cloned::Parent { pid, pidfd }) => (pid, pidfd),
            Err(source) => return Err(Error::Namespaces { source }),
        };
        drop((report_child, line_child));
        let built = Built {
            pid,
            pidfd,
            line,
            report,
        };
        if !mapped {
            maps::write(pid)?;
        }
        let _ = channel::tell(&built.line, MAPPED);
        if channel::hear(built.line.as_fd()) != Some(BUILT) {
            return Err(built.why());
        }
        Ok(built)
    }
}

impl Built {
    /// The first process, in our pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Starts a program that works for the lab from outside, and ends with it.
    ///
    /// # Errors
    /// It cannot be found or started.
    pub fn beside(&self, command: &[String]) -> Result<Beside> {
        Beside::start(self.pidfd.as_fd(), command)
    }

    /// Starts the command and waits for its end; its exit status, 128 + n for signal n.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(mut self) -> Result<i32> {
        let signals = Incoming::of_launcher()?;
        let _ = channel::tell(&self.line, GO);
        if !report::read(self.report_end()?)? {
            return Err(Error::DiedEarly {
                status: "killed".to_owned(),
            });
        }
        attend(self.pidfd.as_fd(), &signals, || {})?;
        let ended = syscall::wait_child(&Child::Pidfd(self.pidfd.as_fd()), true)
            .map_err(|source| Error::system("waiting for the lab", source))?;
        Ok(ended.map_or(125, |ended| ended.code))
    }

    fn report_end(&mut self) -> Result<OwnedFd> {
        self.report
            .try_clone()
            .map_err(|source| Error::system("reading the report", source))
    }

    /// What a first process that gave up had to say.
    fn why(mut self) -> Error {
        let told = self.report_end().and_then(report::read);
        told.err().unwrap_or_else(|| Error::DiedEarly {
            status: "killed".to_owned(),
        })
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        launch::kill(&self.pidfd);
    }
}

/// The first process.
struct First {
    lab: Lab,
    line: OwnedFd,
    report: Reporter,
    has_users: bool,
}

impl First {
    fn main(mut self) -> ! {
        match self.live() {
            Ok(code) => syscall::exit(code),
            Err(error) => {
                self.report.failed(&error);
                syscall::exit(error.exit_code())
            }
        }
    }

    fn live(&mut self) -> Result<i32> {
        signals::die_with_parent(true)?;
        // Without a word the launcher died.
        if channel::hear(self.line.as_fd()) != Some(MAPPED) {
            return Ok(125);
        }
        root::isolate()?;
        mounts::make(&self.lab.link.0, &self.lab.link.1)?;
        (self.lab.loopback)()
            .map_err(|source| Error::system("bringing up the loopback interface", source))?;
        let _ = channel::tell(&self.line, BUILT);
        if channel::hear(self.line.as_fd()) != Some(GO) {
            return Ok(125);
        }
        let signals = Incoming::of_init()?;
        let (pid, pidfd) = self.start(&self.lab.command.clone())?;
        // Its end of file is news to the launcher.
        self.report.close();
        syscall::rename_process("moat-lab");
        let code = reap_until_end(pid, &pidfd, &signals)?;
        if !self.has_users
            && let Ok((pid, pidfd)) = self.start(&self.lab.tidy.clone())
        {
            let _ = reap_until_end(pid, &pidfd, &signals);
        }
        Ok(code)
    }

    fn start(&mut self, command: &[String]) -> Result<(i32, OwnedFd)> {
        match syscall::clone3(0, None) {
            Ok(Cloned::Parent { pid, pidfd }) => Ok((pid, pidfd)),
            Ok(Cloned::Child) => {
                let error = match self.become_command(command) {
                    Ok(never) => match never {},
                    Err(error) => error,
                };
                self.report.failed(&error);
                syscall::exit(error.exit_code())
            }
            Err(source) => Err(Error::system("starting the command", source)),
        }
    }

    fn become_command(&mut self, command: &[String]) -> Result<std::convert::Infallible> {
        signals::reset()?;
        let path = self.lab.env.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(OsStr::new(super::payload::DEFAULT_PATH), |(_, value)| value);
        let found = program::find(command, path, None).map_err(|error| match error {
            Error::CommandNotFound { command } => Error::ProgramNotFound { command },
            other => other,
        })?;
        let word = |(name, value): &(OsString, OsString)| {
            CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
        };
        let env: Vec<CString> = self.lab.env.iter().filter_map(word).collect();
        self.report.ready();
        Err(Error::NotExecutable {
            command: command.first().cloned().unwrap_or_default(),
            source: found.exec(&env, false),
        })
    }
}

/// Reaps whoever ends, until the command does.
fn reap_until_end(pid: i32, pidfd: &OwnedFd, signals: &Incoming) -> Result<i32> {
    let mut code = None;
    let mut reap = || {
        while let Ok(Some(ended)) = syscall::wait_child(&Child::Any, false) {
            if ended.pid == pid {
                code = Some(ended.code);
            }
        }
    };
    attend(pidfd.as_fd(), signals, &mut reap)?;
    reap();
    Ok(code.unwrap_or(125))
}

/// Passes signals on until a process ends; calls `each` whenever anything happened.
fn attend(process: BorrowedFd<'_>, signals: &Incoming, mut each: impl FnMut()) -> Result<()> {
    loop {
        let mut fds = [
            PollFd::new(process, PollFlags::POLLIN),
            PollFd::new(signals.fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Error::system("waiting for the lab", errno)),
        }
        let ended = fds[0].revents().is_some_and(|seen| !seen.is_empty());
        while let Some(signal) = signals.next_sent() {
            if signal != libc::SIGCHLD {
                // Gone is the only error, and the pidfd says so too.
                let _ = syscall::pidfd_send_signal(process, signal);
            }
        }
        each();
        if ended {
            return Ok(());
        }
    }
}
