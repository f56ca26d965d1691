//! How the container ended, in `dir/status`: written once, by whoever waits for the command.
//!
//! The file is opened before the root changes and is empty while the container runs.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::clock;
use super::error::{Error, Result};

#[derive(Serialize, Deserialize)]
struct Record {
    code: i32,
    finished_at: String,
}

/// The status file, open for the one write it gets.
#[derive(Debug)]
pub(super) struct Status(File);

impl Status {
    pub fn create(dir: &Path) -> Result<Self> {
        let path = dir.join("status");
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        options
            .open(&path)
            .map(Self)
            .map_err(|source| Error::path("creating", path, source))
    }

    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn write(&mut self, code: i32) {
        let record = Record {
            code,
            finished_at: clock::now(),
        };
        let text = serde_json::to_vec(&record).unwrap_or_default();
        // Nobody is left to tell of a failure; the reader takes an empty file for a violent end.
        let _ = self
            .0
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.0.write_all(&text));
    }
}

fn read(dir: &Path) -> Option<Record> {
    serde_json::from_slice(&std::fs::read(dir.join("status")).ok()?).ok()
}

/// The exit status of the container with run-time directory `dir`: 128 + n for signal n. `None` while it
/// runs, and for ever if it was killed as a whole.
#[must_use]
pub fn exit_code(dir: &Path) -> Option<i32> {
    read(dir).map(|record| record.code)
}

/// When it ended, RFC 3339.
#[must_use]
pub fn finished_at(dir: &Path) -> Option<String> {
    read(dir).map(|record| record.finished_at)
}
