//! The child's way from clone3 to its command: root, go, cgroup namespace, then pid 1's loop or exec.
//!
//! Never returns, and never runs a destructor. It is tied to its launcher (`PR_SET_PDEATHSIG`, end of file on
//! the go line) until the launcher commits, so that a launcher killed at any step leaves nothing behind.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sched::{CloneFlags, unshare};

use super::account::Account;
use super::capabilities::{self, KILL, Set};
use super::cgroup::OomCount;
use super::channel;
use super::error::{Error, Result};
use super::health::Checker;
use super::init::{self, Starter, Streams};
use super::log::Log;
use super::payload::{Payload, Stdio, null, onto};
use super::report::Reporter;
use super::root::{self, Mapped};
use super::signals::{self, Incoming};
use super::spec::{Health, Restart, Spec};
use super::status::Status;
use super::syscall;
use super::terminal;
use super::users::{self, UserSpace};
use super::watch::{Source, Watch};

/// What the child says on the go line once it has its namespaces.
const JOINED: u8 = b'j';

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
    /// The user namespace to enter, and the host's files as seen from it. Borrowed: the launcher's own.
    pub users: Option<(&'a UserSpace, &'a Mapped)>,
}

/// What pid 1, or the supervisor, needs to watch the command.
pub(super) struct Keeper {
    pub status: Status,
    pub log: Option<Log>,
    /// Reading ends of the command's output.
    pub output: Option<(OwnedFd, OwnedFd)>,
    pub life: Option<OwnedFd>,
    pub oom: Option<OomCount>,
    /// The checks to run beside the command.
    pub health: Option<(Health, Payload)>,
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
        list.extend(self.oom.as_ref().map(OomCount::raw));
        list
    }

    /// What is watched.
    pub fn watch(self, pid: i32, pidfd: OwnedFd, terminal: Option<OwnedFd>) -> Watch {
        let mut sources = Vec::new();
        if let Some((out, err)) = self.output {
            sources.extend([Source::new(out, "stdout"), Source::new(err, "stderr")]);
        }
        if self.log.is_some() {
            sources.extend(terminal.map(|master| Source::new(master, "stdout")));
        }
        Watch {
            command: Some((pid, pidfd)),
            sources,
            log: self.log,
            status: self.status,
            life: self.life,
            signals: None,
            stop_signal: None,
            reaper: false,
            checker: None,
            oom: self.oom,
            stopping: false,
            usage: syscall::Usage::default(),
            buffer: vec![0; 64 << 10],
        }
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
                    self.serve(keeper, account, pty)
                } else {
                    let stdio = self.stdio(pty);
                    self.payload.run(&account, stdio, &mut self.report)
                }
            }
        }
    }

    fn prepare(&mut self) -> Result<(Account, Option<terminal::Pty>)> {
        signals::die_with_parent(true)?;
        syscall::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0)
            .map_err(|source| Error::system("hiding the child's memory", source))?;
        let close = |keep: &[RawFd]| {
            syscall::close_all_but(keep).map_err(|source| Error::system("closing descriptors", source))
        };
        let mut keep = self.fds();
        if let Some((space, mapped)) = self.users {
            keep.extend(space.fds());
            keep.extend(mapped.fds());
        }
        close(&keep)?;
        self.join()?;
        nix::unistd::setsid().map_err(|errno| Error::system("starting a session", errno))?;
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        root::isolate()?;
        nix::unistd::sethostname(&self.spec.hostname)
            .map_err(|errno| Error::system("setting the host name", errno))?;
        let base = self.users.map_or(0, |(space, _)| space.base);
        let built = root::build(self.spec, self.users.map(|(_, mapped)| mapped), base)?;
        let mut account = built.accounts.resolve(self.spec.user.as_deref())?;
        if self.users.is_some() {
            users::check(&mut account)?;
        }
        built.enter(self.spec)?;
        let owner = base + account.uid;
        self.payload.provide();
        let pty = if self.payload.tty {
            Some(self.open_terminal(owner)?)
        } else {
            None
        };
        if let Some((out, err)) = &self.output {
            // So that /dev/stdout can be opened by the user the command runs as.
            for fd in [out, err] {
                let _ = nix::unistd::fchown(fd, Some(owner.into()), None);
            }
        }
        if let Some((space, _)) = self.users {
            space.enter(self.payload.may_mount())?;
            let mut keep = self.fds();
            keep.extend(pty.iter().flat_map(terminal::Pty::fds));
            close(&keep)?;
        }
        syscall::new_session_keyring();
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

    /// Enters the namespaces made for this container, and says so: only then the launcher may give them a
    /// network.
    fn join(&self) -> Result<()> {
        let Some((space, _)) = self.users else {
            return Ok(());
        };
        space.join_owned()?;
        // Without a launcher the go line ends, which is seen later.
        let _ = channel::tell(&self.go, JOINED);
        space.make_files()
    }

    /// `owner` is an id of the host.
    fn open_terminal(&mut self, owner: u32) -> Result<terminal::Pty> {
        let pty = terminal::allocate(owner)?;
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
    fn serve(self, mut keeper: Keeper, account: Account, pty: Option<terminal::Pty>) -> ! {
        let spec = self.spec;
        let caps = self.payload.caps;
        let checker = keeper
            .health
            .take()
            .map(|(health, payload)| Checker::new(health, payload, account.clone()));
        let (master, slave) = pty.map(|pty| (pty.master, pty.slave)).unzip();
        let Self {
            payload,
            mut report,
            output,
            ..
        } = self;
        // Blocked before the command exists, so that no signal is missed, or kills us.
        let started = signals::block_all().and_then(|()| {
            let streams = streams(spec, output, master.as_ref())?;
            let mut starter = Starter::new(payload, account, streams);
            starter
                .first(&mut report)
                .map(|(pid, pidfd)| (starter, pid, pidfd))
        });
        let (starter, pid, pidfd) = match started {
            Ok(started) => started,
            Err(error) => {
                report.failed(&error);
                syscall::exit(error.exit_code())
            }
        };
        // Our copies of the report, and unless it is started again the output and the terminal's other end:
        // their end of file is news to others.
        drop((report, slave));
        let starter = Some(starter).filter(|_| spec.restart != Restart::No);
        let mut watch = keeper.watch(pid, pidfd, master);
        let rights = if starter.is_some() || checker.is_some() {
            init::rights(caps)
        } else {
            Set::only(KILL)
        };
        watch.signals = lower_rights(rights).and_then(|()| Incoming::of_init()).ok();
        watch.stop_signal = spec.stop_signal;
        watch.reaper = true;
        watch.checker = checker;
        if let Some(checker) = &mut watch.checker {
            checker.begin(&mut watch.status);
        }
        let code = init::keep(watch, spec, starter);
        syscall::exit(code)
    }
}

/// What the command's standard input and output are, kept for another start.
fn streams(spec: &Spec, output: Option<(OwnedFd, OwnedFd)>, master: Option<&OwnedFd>) -> Result<Streams> {
    let failed = |source: std::io::Error| Error::system("keeping standard input and output", source);
    if let Some(master) = master {
        let master = master.try_clone().map_err(failed)?;
        return Ok(Streams::Terminal { master });
    }
    if let Some((out, err)) = output {
        return Ok(Streams::Pipes { out, err });
    }
    let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map_err(failed);
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    Ok(Streams::Given {
        fds: [copy(stdin.as_fd())?, copy(stdout.as_fd())?, copy(stderr.as_fd())?],
        interactive: spec.interactive,
    })
}

/// pid 1 keeps few rights, mostly the one to signal its command, and no descriptor of the launcher's.
fn lower_rights(rights: Set) -> Result<()> {
    if let Ok(null) = null() {
        for number in 0..3 {
            let _ = onto(&null, number);
        }
    }
    // The bounding set stays: it matters to exec only, before which every process of ours lowers it.
    capabilities::keep_only(rights)?;
    let _ = syscall::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0);
    syscall::rename_process("moat-init");
    Ok(())
}
