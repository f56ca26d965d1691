//! Processes by pid and start time, so that a reused pid is never mistaken for the container.
//!
//! Waits by polling a pidfd (readable once the process ended, `pidfd_open(2)`); never on SIGCHLD, which can be
//! missed, and never by sleeping.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{Error, Result};
use super::syscall;

/// Fields 3 and 22 of `/proc/PID/stat`: the state, and when the process started, in clock ticks after boot.
///
/// With a buffer of its own, since a listing asks this of every container: the file cannot tell its size, and
/// is read in one piece or not at all.
fn stat(pid: i32) -> Result<(u8, u64)> {
    let mut buffer = [0; 1024];
    let path = format!("/proc/{pid}/stat");
    let read = std::fs::File::open(&path).and_then(|mut file| file.read(&mut buffer));
    let length = read.map_err(|source| match source.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => Error::Gone { pid },
        _ => Error::system(format!("reading {path}"), source),
    })?;
    fields(&buffer[..length]).ok_or(Error::Gone { pid })
}

fn fields(text: &[u8]) -> Option<(u8, u64)> {
    // The name in field 2 may hold blanks and parentheses: count from the last one.
    let end = text.iter().rposition(|b| *b == b')')?;
    let mut fields = std::str::from_utf8(&text[end + 1..])
        .ok()?
        .split_ascii_whitespace();
    let state = fields.next()?.bytes().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// When the process started, in clock ticks after boot.
///
/// # Errors
/// [`Error::Gone`], or it cannot be read, which says nothing about the process.
pub fn start_time(pid: i32) -> Result<u64> {
    stat(pid).map(|(_, started)| started)
}

/// Whether this very process still runs; a zombie does not. One that cannot be looked at, for want
/// of descriptors or memory, counts as alive: nothing may be taken away because of that.
#[must_use]
pub fn is_alive(pid: i32, started: u64) -> bool {
    match stat(pid) {
        Ok((state, since)) => since == started && !matches!(state, b'Z' | b'X' | b'x'),
        Err(e) => !matches!(e, Error::Gone { .. }),
    }
}

/// A pidfd of this very process.
pub(super) fn open(pid: i32, started: u64) -> Result<OwnedFd> {
    let pidfd = syscall::pidfd_open(pid).map_err(|source| match source.raw_os_error() {
        Some(libc::ESRCH | libc::EINVAL) => Error::Gone { pid },
        _ => Error::system(format!("opening process {pid}"), source),
    })?;
    // Checked after opening: from here on the descriptor names this process whatever becomes of the pid. One
    // that ended and was not reaped yet still has its pid, but is as good as gone.
    let gone = start_time(pid)? != started || wait_gone(pidfd.as_fd(), Duration::ZERO)?;
    if gone { Err(Error::Gone { pid }) } else { Ok(pidfd) }
}

/// Sends a signal to this very process.
///
/// # Errors
/// [`Error::Gone`] if it ended.
pub fn signal(pid: i32, started: u64, signal: i32) -> Result<()> {
    let pidfd = open(pid, started)?;
    syscall::pidfd_send_signal(pidfd.as_fd(), signal).map_err(|source| match source.raw_os_error() {
        Some(libc::ESRCH) => Error::Gone { pid },
        _ => Error::system(format!("sending signal {signal} to process {pid}"), source),
    })
}

/// Waits until this very process ended; `false` if it still runs after `timeout`.
///
/// # Errors
/// If the process cannot be opened for another reason than being gone.
pub fn wait_end(pid: i32, started: u64, timeout: Duration) -> Result<bool> {
    match open(pid, started) {
        Ok(pidfd) => wait_gone(pidfd.as_fd(), timeout),
        Err(Error::Gone { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Waits until the process of `pidfd` ended; `false` if it still runs after `timeout`.
///
/// # Errors
/// If poll(2) fails.
pub fn wait_gone(pidfd: BorrowedFd<'_>, timeout: Duration) -> Result<bool> {
    readable(pidfd, timeout).map_err(|source| Error::system("waiting for a process", source))
}

/// Whether `fd` has something to read, or has hung up, within `timeout`.
pub(super) fn readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let end = Instant::now().checked_add(timeout);
    loop {
        let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        // Rounded up, so that the last fraction of a millisecond is not spent spinning.
        let ms = i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        let pid = i32::try_from(std::process::id()).expect("fits");
        let started = start_time(pid).expect("has a start time");
        assert!(is_alive(pid, started));
        assert!(!is_alive(pid, started + 1));
        assert!(matches!(signal(pid, started + 1, 0), Err(Error::Gone { .. })));
        assert!(!wait_end(pid, started, Duration::from_millis(2)).expect("polls"));
    }
}
