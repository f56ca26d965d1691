//! How much may be unpacked: what a header claims is checked before it is believed.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

use super::error::{Error, Result};

/// More files than any image that is not an attack.
const ENTRIES: u64 = 1_000_000;
/// The same, in bytes.
const BYTES: u64 = 256 << 30;

/// What may still come.
#[derive(Clone, Debug)]
pub struct Limits {
    entries: u64,
    bytes: u64,
    most_entries: u64,
    most_bytes: u64,
}

impl Limits {
    /// What fits on the file system of a directory, with a twentieth left free.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let stat = statvfs(dir)?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        // Some file systems have no fixed number of inodes, and say 0.
        let files = if stat.files() == 0 {
            u64::MAX
        } else {
            stat.files_available()
        };
        Ok(Self::new(
            ENTRIES.min(files - files / 20),
            BYTES.min(free - free / 20),
        ))
    }

    #[must_use]
    pub fn new(entries: u64, bytes: u64) -> Self {
        Self {
            entries,
            bytes,
            most_entries: entries,
            most_bytes: bytes,
        }
    }

    pub(super) fn take_entry(&mut self) -> Result<()> {
        self.entries = self.entries.checked_sub(1).ok_or(Error::TooMuch {
            what: "entries",
            limit: self.most_entries,
        })?;
        Ok(())
    }

    pub(super) fn take_bytes(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Error::TooMuch {
            what: "bytes",
            limit: self.most_bytes,
        })?;
        Ok(())
    }

    /// How many bytes may still come.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}
