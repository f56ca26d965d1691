//! Ctrl-C while a topology comes up, or while somebody listens: what is half done is done whole, and then it stops.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::error::{Error, Result};

/// Keeps the signals that ask to stop until somebody looks. Containers start with an empty mask of their own.
pub struct Stop(SignalFd);

impl Stop {
    /// # Errors
    /// When signals cannot be watched.
    pub fn watch() -> Result<Self> {
        let fail = |errno: nix::errno::Errno| Error::State {
            path: "signals".into(),
            source: errno.into(),
        };
        let set: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
            .into_iter()
            .collect();
        set.thread_block().map_err(fail)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).map_err(fail)
    }

    /// Whether somebody asked to stop.
    #[must_use]
    pub fn asked(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }

    /// Goes on unless somebody asked to stop.
    ///
    /// # Errors
    /// Somebody did.
    pub fn look(&self) -> Result<()> {
        if self.asked() {
            return Err(Error::Refused {
                what: "somebody asked to stop".into(),
                hint: "`moat up` goes on from here, `moat down` removes what runs".into(),
            });
        }
        Ok(())
    }
}

/// Readable when somebody did.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
