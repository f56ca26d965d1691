//! Noticing that somebody else changed the router's rules, at constant cost.
//!
//! The kernel counts the nftables transactions of a namespace (`NFT_MSG_GETGEN`). Each
//! command adds the number of its own to a file under a lock; if the kernel's count is
//! ahead while nobody is at work, somebody else changed or flushed something.

use std::fs::OpenOptions;
use std::io::{Read, Seek, Write};

use nix::fcntl::{Flock, FlockArg};

use super::context::Moat;
use super::error::Result;
use crate::plan::Place;

impl Moat {
    /// Whether the kernel's count differs from ours; only certain under the exclusive lock.
    pub(super) fn generation_moved(&mut self) -> Result<bool> {
        self.count_own()?;
        let kernel = self.kernel.generation(&Place::Router)?;
        Ok(self.recorded(|_| None)? != Some(kernel))
    }

    /// Takes the kernel's count as it is.
    pub(super) fn reset_generation(&mut self) -> Result<()> {
        if !self.has(&crate::plan::Object::Namespace) {
            return Ok(());
        }
        let _ = self.kernel.take_transactions(&Place::Router);
        let now = self.kernel.generation(&Place::Router)?;
        self.recorded(|_| Some(now)).map(drop)
    }

    /// Adds the transactions this process has made since the last call.
    pub fn count_own(&mut self) -> Result<()> {
        let own = self.kernel.take_transactions(&Place::Router);
        if own > 0 {
            self.recorded(|before| Some(before?.wrapping_add(own)))?;
        }
        Ok(())
    }

    /// Adds one that a program of ours made.
    pub(super) fn count_another(&self) -> Result<()> {
        self.recorded(|before| Some(before?.wrapping_add(1))).map(drop)
    }

    /// Reads the file, and writes what `f` makes of it, under its lock.
    fn recorded(&self, f: impl FnOnce(Option<u32>) -> Option<u32>) -> Result<Option<u32>> {
        let path = self.dir.join("generation");
        let fail = |e| super::context::state(&path, e);
        let options = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let mut file =
            Flock::lock(options.map_err(fail)?, FlockArg::LockExclusive).map_err(|(_, e)| fail(e.into()))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(fail)?;
        let before = text.trim().parse().ok();
        let Some(after) = f(before) else { return Ok(before) };
        file.rewind()
            .and_then(|()| write!(file, "{after:<12}"))
            .map_err(fail)?;
        Ok(Some(after))
    }
}

impl Drop for Moat {
    fn drop(&mut self) {
        // A count that is missing only costs the next command a comparison.
        let _ = self.count_own();
        self.write_audit();
    }
}
