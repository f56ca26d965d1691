//! The last steps of a process before it becomes the container's command.
//!
//! Runs in a child that never returns. The order matters: limits and terminal while we may, then the
//! bounding set, the user, the capabilities, and the system call filter last, since it forbids the rest.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, umask};

use super::account::Account;
use super::capabilities::{self, SYS_ADMIN, Set};
use super::error::{Error, Result};
use super::program::{self, Identity};
use super::report::Reporter;
use super::rlimits::{self, Rlimit};
use super::seccomp;
use super::spec::{ExecRequest, Health, Spec};
use super::terminal;
use super::{signals, syscall};

pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run and with which rights: worked out before anything is created.
#[allow(clippy::struct_excessive_bools)] // independent of one another
pub(super) struct Payload {
    command: Vec<String>,
    env: Vec<(String, String)>,
    workdir: Option<PathBuf>,
    pub user: Option<String>,
    hostname: String,
    pub caps: Set,
    filter: Vec<libc::sock_filter>,
    rlimits: Vec<Rlimit>,
    pub tty: bool,
    pub interactive: bool,
    own: Option<Identity>,
    /// Whether others already run in the container, who may exchange files under our hands.
    pub watched: bool,
    /// Whether this very process must end with its launcher (pid 1 does that for its children).
    pub tied: bool,
}

impl Payload {
    pub fn of(spec: &Spec) -> Result<Self> {
        let caps = Set::chosen(&spec.cap_add, &spec.cap_drop)?;
        Ok(Self {
            command: checked(&spec.command)?,
            env: checked_env(&spec.env)?,
            workdir: spec.workdir.clone(),
            user: spec.user.clone(),
            hostname: spec.hostname.clone(),
            caps,
            filter: seccomp::filter(&spec.isolation.seccomp, caps)?,
            rlimits: rlimits::parse(&spec.ulimits)?,
            tty: spec.tty,
            interactive: spec.interactive,
            own: Identity::of_this_program(),
            watched: false,
            tied: false,
        })
    }

    /// A further process: as the first one, except for what the request says.
    pub fn further(spec: &Spec, request: &ExecRequest) -> Result<Self> {
        let mut env = spec.env.clone();
        for (name, value) in &request.env {
            env.retain(|(known, _)| known != name);
            env.push((name.clone(), value.clone()));
        }
        Ok(Self {
            command: checked(&request.command)?,
            env: checked_env(&env)?,
            workdir: request.workdir.clone().or_else(|| spec.workdir.clone()),
            user: request.user.clone().or_else(|| spec.user.clone()),
            tty: request.tty,
            interactive: request.interactive,
            watched: true,
            tied: true,
            ..Self::of(spec)?
        })
    }

    /// A health check: with the rights of the command, on its own.
    pub fn check(spec: &Spec, health: &Health) -> Result<Self> {
        Ok(Self {
            command: checked(&health.command)?,
            tty: false,
            interactive: false,
            watched: true,
            ..Self::of(spec)?
        })
    }

    /// What only the host's rights can do for the command: before they are given up.
    pub fn provide(&self) {
        open_pipes();
        rlimits::raise(&self.rlimits);
    }

    /// Whether the command has the right to mount.
    pub fn may_mount(&self) -> bool {
        self.caps.has(SYS_ADMIN)
    }

    /// Becomes the command, or reports why not and ends.
    pub fn run(&mut self, account: &Account, stdio: Stdio, reporter: &mut Reporter) -> ! {
        let error = match self.become_command(account, stdio, reporter) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        reporter.failed(&error);
        syscall::exit(error.exit_code())
    }

    fn become_command(
        &mut self,
        account: &Account,
        stdio: Stdio,
        reporter: &mut Reporter,
    ) -> Result<std::convert::Infallible> {
        stdio.install()?;
        signals::reset()?;
        umask(Mode::from_bits_truncate(0o022));
        rlimits::apply(&self.rlimits);
        let workdir = self.workdir.clone().unwrap_or_else(|| PathBuf::from("/"));
        // Root may enter what the user may not, and the other way round on a network file system.
        let entered = nix::unistd::chdir(&workdir);
        capabilities::bound(self.caps)?;
        syscall::set_ids(account.uid, account.gid, &account.groups)
            .map_err(|source| Error::system(format!("becoming user {}", account.uid), source))?;
        if entered.is_err() {
            nix::unistd::chdir(&workdir).map_err(|errno| Error::path("entering", &workdir, errno))?;
        }
        capabilities::keep_only(self.caps)?;
        if self.tied {
            // A change of user ends the tie (prctl(2)), and the launcher may have died in between.
            signals::die_with_parent(true)?;
            if reporter.is_orphan() {
                syscall::exit(125);
            }
        }
        syscall::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0)
            .map_err(|source| Error::system("forbidding new privileges", source))?;
        let env = self.environment(account);
        let path = env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map_or(DEFAULT_PATH, |(_, value)| value);
        let found = program::find(&self.command, OsStr::new(path), self.own)?;
        let env: Vec<CString> = env
            .iter()
            .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
            .collect();
        syscall::cloexec_from_3().map_err(|source| Error::system("closing descriptors", source))?;
        reporter.ready();
        seccomp::install(&mut self.filter)?;
        let source = found.exec(&env, self.watched);
        Err(Error::NotExecutable {
            command: self.command.first().cloned().unwrap_or_default(),
            source,
        })
    }

    fn environment(&self, account: &Account) -> Vec<(String, String)> {
        let mut env = self.env.clone();
        let mut default = |name: &str, value: &str| {
            if !env.iter().any(|(known, _)| known == name) {
                env.push((name.to_owned(), value.to_owned()));
            }
        };
        default("PATH", DEFAULT_PATH);
        default("HOME", &account.home);
        default("HOSTNAME", &self.hostname);
        if self.tty {
            default("TERM", "xterm");
        }
        env
    }
}

fn checked(command: &[String]) -> Result<Vec<String>> {
    match command.first() {
        None => Err(Error::NoCommand),
        Some(name) if name.is_empty() => Err(Error::CommandNotFound {
            command: String::new(),
        }),
        Some(_) => match command.iter().find(|word| word.contains('\0')) {
            Some(word) => Err(Error::invalid("argument", word.escape_debug().to_string())),
            None => Ok(command.to_vec()),
        },
    }
}

fn checked_env(env: &[(String, String)]) -> Result<Vec<(String, String)>> {
    let bad = |(name, value): &&(String, String)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    };
    match env.iter().find(bad) {
        Some((name, _)) => Err(Error::invalid(
            "environment variable",
            name.escape_debug().to_string(),
        )),
        None => Ok(env.to_vec()),
    }
}

/// What becomes descriptors 0, 1 and 2.
pub(super) enum Stdio {
    /// The launcher's own, standard input only if `interactive`.
    Inherit {
        interactive: bool,
    },
    /// The same, kept aside meanwhile.
    Given {
        fds: [OwnedFd; 3],
        interactive: bool,
    },
    /// Standard input from nowhere, the others into the log.
    Pipes {
        out: OwnedFd,
        err: OwnedFd,
    },
    Terminal(OwnedFd),
}

impl Stdio {
    fn install(self) -> Result<()> {
        let failed = |errno| Error::system("arranging standard input and output", errno);
        match self {
            Self::Inherit { interactive: true } => Ok(()),
            Self::Inherit { interactive: false } => null().and_then(|null| onto(&null, 0)).map_err(failed),
            Self::Given { fds, interactive } => (0..3)
                .zip(&fds)
                .try_for_each(|(number, fd)| onto(fd, number))
                .and_then(|()| if interactive { Ok(()) } else { onto(&null()?, 0) })
                .map_err(failed),
            Self::Pipes { out, err } => null()
                .and_then(|null| onto(&null, 0))
                .and_then(|()| onto(&out, 1))
                .and_then(|()| onto(&err, 2))
                .map_err(failed),
            Self::Terminal(slave) => {
                terminal::control(&slave)?;
                (0..3).try_for_each(|fd| onto(&slave, fd)).map_err(failed)
            }
        }
    }
}

/// Lets whoever has one of descriptors 0-2 open it again by name, as daemons do that log to `/dev/stdout`: a
/// pipe of the caller's belongs to somebody who does not exist in the container. Only processes that hold a
/// pipe get as far as asking for its mode.
fn open_pipes() {
    const PIPEFS: libc::c_long = 0x5049_5045;
    for number in 0..3 {
        // SAFETY: 0-2 are not closed by anybody while this function runs.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        let is_pipe = nix::sys::statfs::fstatfs(fd).is_ok_and(|fs| fs.filesystem_type().0 == PIPEFS);
        if is_pipe {
            // One that cannot be changed stays as it was.
            let _ = nix::sys::stat::fchmod(fd, Mode::from_bits_truncate(0o666));
        }
    }
}

/// The container's own `/dev/null`: through an open one of the host its mode could be changed.
pub(super) fn null() -> nix::Result<OwnedFd> {
    nix::fcntl::open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
}

pub(super) fn onto(fd: &OwnedFd, number: i32) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    if fd.as_raw_fd() == number {
        return Ok(());
    }
    // SAFETY: replaces one of 0-2, which no owner in this process closes.
    nix::errno::Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// A path as the kernel takes it.
pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
