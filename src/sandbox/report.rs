//! How the child tells its launcher what became of it: one pipe, closed by a successful exec.
//!
//! The child writes [`READY`] just before exec and an [`Error`] as JSON if anything fails. End of file after
//! `READY` is success, before it a sudden death; the two cannot be confused however short the command runs.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::error::{Error, Result};

const READY: &[u8] = b"ready\n";

/// The child's end.
#[derive(Debug)]
pub(super) struct Reporter(File);

impl Reporter {
    pub fn new(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }

    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Whether nobody is left to read: the launcher died.
    pub fn is_orphan(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        polled.is_ok()
            && fds[0]
                .revents()
                .is_some_and(|seen| seen.contains(PollFlags::POLLERR))
    }

    pub fn ready(&mut self) {
        // If nobody reads any more, there is nobody to tell.
        let _ = self.0.write_all(READY);
    }

    /// Says no more: a child that holds another copy goes on.
    pub fn close(&mut self) {
        if let Ok(null) = File::open("/dev/null") {
            self.0 = null;
        }
    }

    pub fn failed(&mut self, error: &Error) {
        let text = serde_json::to_vec(error).unwrap_or_default();
        let _ = self.0.write_all(&text);
    }
}

/// Reads the child's report to its end. `Ok(false)` is a death without a word.
pub(super) fn read(fd: OwnedFd) -> Result<bool> {
    let mut bytes = Vec::new();
    File::from(fd)
        .read_to_end(&mut bytes)
        .map_err(|source| Error::system("reading the child's report", source))?;
    parse(&bytes)
}

/// What a whole report says.
pub(super) fn parse(bytes: &[u8]) -> Result<bool> {
    let (ready, rest) = match bytes.strip_prefix(READY) {
        Some(rest) => (true, rest),
        None => (false, bytes),
    };
    match serde_json::from_slice(rest) {
        Ok(error) => Err(error),
        Err(_) => Ok(ready),
    }
}
