//! The child's way from clone3 to its command: root, go, cgroup namespace, then pid 1's loop or exec.
//!
//! Never returns, and never runs a destructor. It is tied to its launcher (`PR_SET_PDEATHSIG`, end of file on
//! the go line) until the launcher commits, so that a launcher killed at any step leaves nothing behind.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::sched::{CloneFlags, unshare};

use super::account::Account;
use super::capabilities::{self, KILL, Set};
use super::channel;
use super::error::{Error, Result};
use super::log::Log;
use super::payload::{Payload, Stdio, null, onto};
use super::report::Reporter;
use super::root;
use super::signals::{self, Incoming};
use super::spec::Spec;
use super::status::Status;
use super::syscall::{self, Cloned};
use super::terminal;
use super::watch::{Source, Watch};

/// What the child was born with; everything else is closed.
pub(super) struct Child<'a> {
    pub spec: &'a Spec,
    pub payload: Payload,
    pub report: Reporter,
    /// One byte on it lets the command start; end of file ends the child.
    pub go: OwnedFd,
    /// Only for pid 1 of ours.
    pub keeper: Option<Keeper>,
    /// Writing ends for standard output and error, if they go into the log.
    pub output: Option<(OwnedFd, OwnedFd)>,
    /// Where the terminal's master goes, if somebody outside keeps it.
    pub terminal: Option<OwnedFd>,
}

/// What pid 1, or the supervisor, needs to watch the command.
pub(super) struct Keeper {
    pub status: Status,
    pub log: Option<Log>,
    /// Reading ends of the command's output.
    pub output: Option<(OwnedFd, OwnedFd)>,
    pub life: Option<OwnedFd>,
}

impl Keeper {
    pub fn fds(&self) -> Vec<RawFd> {
        let mut list = vec![self.status.raw()];
        list.extend(self.log.iter().flat_map(Log::fds));
        list.extend(
            self.output
                .iter()
                .flat_map(|(out, err)| [out.as_raw_fd(), err.as_raw_fd()]),
        );
        list.extend(self.life.as_ref().map(AsRawFd::as_raw_fd));
        list
    }

    /// Splits into what is watched and what is written at the end.
    pub fn watch(self, pid: i32, pidfd: OwnedFd, terminal: Option<OwnedFd>) -> (Watch, Status) {
        let mut sources = Vec::new();
        if let Some((out, err)) = self.output {
            sources.extend([Source::new(out, "stdout"), Source::new(err, "stderr")]);
        }
        if self.log.is_some() {
            sources.extend(terminal.map(|master| Source::new(master, "stdout")));
        }
        let watch = Watch {
            pid,
            pidfd,
            sources,
            log: self.log,
            life: self.life,
            signals: None,
            reaper: false,
        };
        (watch, self.status)
    }
}

impl Child<'_> {
    fn fds(&self) -> Vec<RawFd> {
        let mut list = vec![self.report.raw(), self.go.as_raw_fd()];
        list.extend(self.keeper.iter().flat_map(Keeper::fds));
        list.extend(
            self.output
                .iter()
                .flat_map(|(out, err)| [out.as_raw_fd(), err.as_raw_fd()]),
        );
        list.extend(self.terminal.as_ref().map(AsRawFd::as_raw_fd));
        list
    }

    /// The child's whole life.
    pub fn main(mut self) -> ! {
        match self.prepare() {
            Err(error) => {
                self.report.failed(&error);
                syscall::exit(error.exit_code())
            }
            Ok((account, pty)) => {
                if let Some(keeper) = self.keeper.take() {
                    self.serve(keeper, &account, pty)
                } else {
                    let stdio = self.stdio(pty);
                    self.payload.run(&account, stdio, self.report)
                }
            }
        }
    }

    fn prepare(&mut self) -> Result<(Account, Option<terminal::Pty>)> {
        signals::die_with_parent(true)?;
        syscall::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0)
            .map_err(|source| Error::system("hiding the child's memory", source))?;
        syscall::close_all_but(&self.fds()).map_err(|source| Error::system("closing descriptors", source))?;
        nix::unistd::setsid().map_err(|errno| Error::system("starting a session", errno))?;
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        root::isolate()?;
        nix::unistd::sethostname(&self.spec.hostname)
            .map_err(|errno| Error::system("setting the host name", errno))?;
        let built = root::build(self.spec)?;
        let account = built.accounts.resolve(self.spec.user.as_deref())?;
        built.enter(self.spec)?;
        let pty = if self.payload.tty {
            Some(self.open_terminal(&account)?)
        } else {
            None
        };
        if let Some((out, err)) = &self.output {
            // So that /dev/stdout can be opened by the user the command runs as.
            for fd in [out, err] {
                let _ = nix::unistd::fchown(fd, Some(account.uid.into()), None);
            }
        }
        // Without a word the launcher died, or gave up: nobody is to be told.
        if channel::hear(self.go.as_fd()).is_none() {
            syscall::exit(125);
        }
        // Only now are we in our cgroups, and see them as the top.
        #[allow(clippy::disallowed_methods)] // in the container's own first process
        match unshare(CloneFlags::CLONE_NEWCGROUP) {
            Ok(()) | Err(nix::errno::Errno::EINVAL) => Ok((account, pty)),
            Err(errno) => Err(Error::system("unsharing the cgroup namespace", errno)),
        }
    }

    fn open_terminal(&mut self, account: &Account) -> Result<terminal::Pty> {
        let pty = terminal::allocate(account.uid)?;
        terminal::as_console(&pty.slave);
        if let Some(socket) = self.terminal.take() {
            channel::send_fd(&socket, b"t", pty.master.as_raw_fd())
                .map_err(|errno| Error::system("handing over the terminal", errno))?;
        }
        Ok(pty)
    }

    fn stdio(&mut self, pty: Option<terminal::Pty>) -> Stdio {
        match (pty, self.output.take()) {
            (Some(pty), _) => Stdio::Terminal(pty.slave),
            (None, Some((out, err))) => Stdio::Pipes { out, err },
            (None, None) => Stdio::Inherit {
                interactive: self.payload.interactive,
            },
        }
    }

    /// pid 1: starts the command and stays until it ends.
    fn serve(mut self, keeper: Keeper, account: &Account, pty: Option<terminal::Pty>) -> ! {
        // Blocked before the command exists, so that no signal is missed, or kills us.
        let cloned = signals::block_all().and_then(|()| {
            syscall::clone3(0, None).map_err(|source| Error::system("starting the command", source))
        });
        let (pid, pidfd) = match cloned {
            Ok(Cloned::Parent { pid, pidfd }) => (pid, pidfd),
            Ok(Cloned::Child) => {
                let stdio = self.stdio(pty);
                let _ = nix::unistd::setsid();
                self.payload.run(account, stdio, self.report)
            }
            Err(error) => {
                self.report.failed(&error);
                syscall::exit(error.exit_code())
            }
        };
        // Closes our copies of the report, the output and the terminal's other end: their end of file is
        // news to others.
        drop(self);
        let (mut watch, mut status) = keeper.watch(pid, pidfd, pty.map(|pty| pty.master));
        watch.signals = lower_rights().and_then(|()| Incoming::of_init()).ok();
        watch.reaper = true;
        let code = watch.until_end();
        status.write(code);
        syscall::exit(code)
    }
}

/// pid 1 keeps only the right to signal its command, and no descriptor of the launcher's.
fn lower_rights() -> Result<()> {
    if let Ok(null) = null() {
        for number in 0..3 {
            let _ = onto(&null, number);
        }
    }
    // The bounding set stays: it matters to exec only, which no_new_privs and this code rule out.
    capabilities::keep_only(Set::only(KILL))?;
    let _ = syscall::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0);
    syscall::rename_process("moat-init");
    Ok(())
}
