//! How the container fares, in `dir/status`: written by whoever waits for the command.
//!
//! The file is opened before the root changes. It stays empty until there is something to say: a health
//! check, a restart, the end. It is written over in place, padded with blanks to the length it had, in one
//! write(2): a reader that meets half of it looks again.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock;
use super::error::{Error, Result};
use super::syscall::{self, Ended};

/// What is known of a container beside its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The final exit status: 128 + n for signal n. `None` while the container runs.
    pub code: Option<i32>,
    pub finished_at: Option<String>,
    /// How often the command was started again.
    pub restarts: u32,
    /// Whether the command ended and waits for its next start.
    pub waiting: bool,
    /// How it ended the last time.
    pub last_exit: Option<LastExit>,
    pub health: Option<HealthState>,
    /// What all that ended in the container used.
    pub usage: Usage,
}

/// One end of the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    pub code: i32,
    pub signal: Option<i32>,
    /// Whether the kernel killed something of the container for want of memory during this run.
    pub oom_killed: bool,
    pub at: String,
}

/// What the checks say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthState {
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing: u32,
    /// Exit status of the last check; 128 + 9 if it took too long. `None` before the first.
    pub code: Option<i32>,
    /// The start of what it printed.
    pub output: String,
    pub checked_at: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Processor time in microseconds; the largest resident set of one process in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub user_us: u64,
    pub system_us: u64,
    pub max_rss_kib: u64,
}

impl From<syscall::Usage> for Usage {
    fn from(used: syscall::Usage) -> Self {
        Self {
            user_us: used.user_us,
            system_us: used.system_us,
            max_rss_kib: used.max_rss_kib,
        }
    }
}

/// The status file, open for writing.
#[derive(Debug)]
pub(super) struct Status {
    file: File,
    written: usize,
    now: Progress,
}

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
            .map(|file| Self {
                file,
                written: 0,
                now: Progress::default(),
            })
            .map_err(|source| Error::path("creating", path, source))
    }

    pub fn raw(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Changes what is known, and writes it.
    pub fn update(&mut self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.now);
        let mut text = serde_json::to_vec(&self.now).unwrap_or_default();
        text.resize(text.len().max(self.written), b' ');
        self.written = text.len();
        // Nobody is left to tell of a failure; the reader takes an empty file for a violent end.
        let _ = self.file.write_all_at(&text, 0);
    }

    /// The command ended, though maybe not for good.
    pub fn ended(&mut self, ended: &Ended, oom_killed: bool, usage: syscall::Usage) {
        let last = LastExit {
            code: ended.code,
            signal: ended.signal,
            oom_killed,
            at: clock::now(),
        };
        self.now.last_exit = Some(last);
        self.now.usage = usage.into();
    }

    /// The last thing ever written.
    pub fn finish(&mut self, code: i32) {
        self.update(|now| {
            now.code = Some(code);
            now.waiting = false;
            now.finished_at = Some(clock::now());
        });
    }
}

/// What is known of the container with run-time directory `dir`; `None` as long as nothing is.
#[must_use]
pub fn progress(dir: &Path) -> Option<Progress> {
    let path = dir.join("status");
    // Of most that run there is nothing to say, which a listing of many should learn at once.
    if std::fs::metadata(&path).is_ok_and(|status| status.len() == 0) {
        return None;
    }
    for _ in 0..20 {
        let text = std::fs::read(&path).ok().filter(|text| !text.is_empty())?;
        if let Ok(progress) = serde_json::from_slice(&text) {
            return Some(progress);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// The exit status of the container with run-time directory `dir`: 128 + n for signal n. `None` while it
/// runs, and for ever if it was killed as a whole.
#[must_use]
pub fn exit_code(dir: &Path) -> Option<i32> {
    progress(dir)?.code
}

/// When it ended, RFC 3339.
#[must_use]
pub fn finished_at(dir: &Path) -> Option<String> {
    progress(dir)?.finished_at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_over_something_longer_is_read_back() {
        let dir = std::env::temp_dir().join(format!("moat-status-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("creates");
        let mut status = Status::create(&dir).expect("creates");
        assert_eq!(progress(&dir), None);
        let health = |output: &str| HealthState {
            status: HealthStatus::Healthy,
            failing: 0,
            code: Some(0),
            output: output.into(),
            checked_at: None,
        };
        status.update(|now| now.health = Some(health("a long text \n \u{0}")));
        status.update(|now| now.health = Some(health("")));
        let read = progress(&dir).expect("reads");
        assert_eq!((read.code, read.health), (None, Some(health(""))));
        status.finish(3);
        assert_eq!(exit_code(&dir), Some(3));
        assert!(finished_at(&dir).is_some());
        std::fs::remove_dir_all(&dir).expect("removes");
    }
}
