//! Pseudo-terminals: allocated in the container's own devpts, relayed by the launcher in raw mode.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::error::{Error, Result};

/// Both ends of a new terminal.
pub(super) struct Pty {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

impl Pty {
    pub fn fds(&self) -> [RawFd; 2] {
        [self.master.as_raw_fd(), self.slave.as_raw_fd()]
    }
}

/// Allocates a terminal; called inside the container's tree.
///
/// The other end is opened through the master (TIOCGPTPEER), never by a name the container could exchange.
pub(super) fn allocate(uid: u32) -> Result<Pty> {
    let failed = |source: io::Error| Error::system("allocating a terminal", source);
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master =
        nix::fcntl::open("/dev/pts/ptmx", flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    if fstatfs(&master)
        .map_err(|errno| failed(errno.into()))?
        .filesystem_type()
        != DEVPTS_SUPER_MAGIC
    {
        return Err(failed(io::Error::from_raw_os_error(libc::ENODEV)));
    }
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int, which outlives the call.
    if unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) } < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    let slave = peer(master.as_fd()).map_err(failed)?;
    // An unmapped id in a user namespace leaves it with root, which then is the user.
    let _ = nix::unistd::fchown(&slave, Some(uid.into()), None);
    Ok(Pty { master, slave })
}

/// The other end of `master`, which may be opened again after it was hung up.
pub(super) fn peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags by value and returns a descriptor.
    let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    if slave < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: new, and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(slave) })
}

/// Puts the terminal at `/dev/console`. What does not need it does not miss it.
pub(super) fn as_console(slave: &OwnedFd) {
    let path = "/dev/console";
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    if nix::fcntl::open(path, flags, Mode::from_bits_truncate(0o600)).is_ok() {
        let source = format!("/proc/self/fd/{}", slave.as_raw_fd());
        let _ = mount(
            Some(source.as_str()),
            path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        );
    }
}

/// Makes `slave` the controlling terminal of this session leader.
pub(super) fn control(slave: &OwnedFd) -> Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    if unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) } < 0 {
        return Err(Error::system("taking the terminal", io::Error::last_os_error()));
    }
    Ok(())
}

/// Gives `to` the window size of `from`, if that is a terminal.
pub(super) fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one `winsize`, which outlives the call.
    if unsafe { libc::ioctl(from.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } == 0 {
        // SAFETY: TIOCSWINSZ reads one `winsize`, which outlives the call.
        unsafe { libc::ioctl(to.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }
}

/// A terminal in raw mode until dropped.
pub(super) struct Raw<'fd> {
    fd: BorrowedFd<'fd>,
    before: Termios,
}

impl<'fd> Raw<'fd> {
    /// `None` if `fd` is no terminal.
    pub fn enter(fd: BorrowedFd<'fd>) -> Option<Self> {
        let before = tcgetattr(fd).ok()?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(fd, SetArg::TCSANOW, &raw).ok()?;
        Some(Self { fd, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.fd, SetArg::TCSADRAIN, &self.before);
    }
}
