//! Signal masks: all blocked and read as descriptors by those who wait, all default for those who run.

use std::os::fd::BorrowedFd;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::error::{Error, Result};
use super::syscall;

/// Everything pid 1 passes on to the command: all that a person or a program sends on purpose.
#[rustfmt::skip]
const FORWARDED: [i32; 13] = [
    libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGTERM,
    libc::SIGCONT, libc::SIGALRM, libc::SIGWINCH, libc::SIGURG, libc::SIGIO, libc::SIGPWR,
    libc::SIGTSTP,
];

/// What a launcher in the foreground passes on; stopping it with ^Z stays its own affair.
#[rustfmt::skip]
const RELAYED: [i32; 7] = [
    libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGTERM,
    libc::SIGWINCH,
];

/// A signal by its number, or its name with or without `SIG`.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") {
        name
    } else {
        format!("SIG{name}")
    };
    let number = text.parse().ok().filter(|n| (1..=64).contains(n));
    number.or_else(|| name.parse::<nix::sys::signal::Signal>().ok().map(|s| s as i32))
}

/// All signals blocked, for a process that must not die of one.
pub(super) fn block_all() -> Result<()> {
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None)
        .map_err(|errno| Error::system("blocking signals", errno))
}

/// Keeps what the launcher will pass on until it looks ([`Incoming::of_launcher`]).
pub(super) fn hold() -> Result<()> {
    Incoming::of_launcher().map(drop)
}

/// Signals with their number on reading; blocks them as signalfd(2) needs.
pub(super) struct Incoming(SignalFd);

impl Incoming {
    /// For pid 1: what is forwarded, and the end of children.
    pub fn of_init() -> Result<Self> {
        let mut list = FORWARDED.to_vec();
        list.push(libc::SIGCHLD);
        list.extend(libc::SIGRTMIN()..=libc::SIGRTMAX());
        Self::open(&list)
    }

    pub fn of_launcher() -> Result<Self> {
        Self::open(&RELAYED)
    }

    fn open(list: &[i32]) -> Result<Self> {
        let failed = |errno| Error::system("watching signals", errno);
        // SAFETY: an all-zero `sigset_t` is the empty set on Linux.
        let mut raw: libc::sigset_t = unsafe { std::mem::zeroed() };
        for signal in list {
            // SAFETY: `raw` is ours; an unknown number is refused.
            unsafe { libc::sigaddset(&raw mut raw, *signal) };
        }
        // SAFETY: `raw` was built above.
        let set = unsafe { SigSet::from_sigset_t_unchecked(raw) };
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).map_err(failed)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.0.as_fd()
    }

    /// The next signal that a process sent. What a terminal sends goes to all who belong to it, and needs
    /// nobody to pass it on.
    pub fn next_sent(&self) -> Option<i32> {
        const SI_KERNEL: i32 = 0x80;
        loop {
            let info = self.0.read_signal().ok().flatten()?;
            if info.ssi_code != SI_KERNEL {
                return i32::try_from(info.ssi_signo).ok();
            }
        }
    }

    /// The next signal that waits, if any.
    pub fn next(&self) -> Option<Signal> {
        let info = self.0.read_signal().ok().flatten()?;
        Some(Signal {
            number: i32::try_from(info.ssi_signo).ok()?,
            outside: info.ssi_pid == 0,
        })
    }
}

/// One signal that came.
#[derive(Clone, Copy)]
pub(super) struct Signal {
    pub number: i32,
    /// Whether its sender is in a pid namespace around this one, where it has no number (signal(7)).
    outside: bool,
}

impl Signal {
    /// Whether it means that a container is to end for good, and not to be started again: somebody outside
    /// sent what programs commonly end at, or what this one was said to end at.
    pub fn ends(self, stop_signal: Option<i32>) -> bool {
        let common = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];
        self.outside && (common.contains(&self.number) || stop_signal == Some(self.number))
    }
}

/// Default dispositions and an empty mask, for the command.
pub(super) fn reset() -> Result<()> {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL installs no code of ours; numbers that cannot be set are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(|errno| Error::system("unblocking signals", errno))
}

/// Ends this process together with the one that launched it.
pub(super) fn die_with_parent(yes: bool) -> Result<()> {
    let signal = if yes { libc::SIGKILL } else { 0 };
    syscall::prctl(libc::PR_SET_PDEATHSIG, u64::try_from(signal).unwrap_or(0), 0, 0)
        .map(drop)
        .map_err(|source| Error::system("tying the child to its launcher", source))
}
