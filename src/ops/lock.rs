//! Who may change the world now. Changes of single containers and links go side by side
//! (shared); making, healing and removing the router excludes everything else.
//!
//! `flock(2)` locks die with their holder. A waiter for the exclusive lock holds the gate,
//! so a stream of shared holders cannot starve it.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::{Error, Result};

/// A held lock; dropping it releases it.
pub struct Lock {
    _file: Flock<File>,
    pub exclusive: bool,
}

/// The lock of a world.
pub struct Locks {
    /// How long to wait for others; a minute if not set.
    pub patience: Duration,
    lock: PathBuf,
    gate: PathBuf,
    links: PathBuf,
}

impl Locks {
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            patience: Duration::from_mins(1),
            lock: dir.join("lock"),
            gate: dir.join("gate"),
            links: dir.join("links"),
        }
    }

    /// # Errors
    /// When the files cannot be made, or after a minute.
    pub fn shared(&self) -> Result<Lock> {
        let _gate = self.take(&self.gate, FlockArg::LockSharedNonblock)?;
        Ok(Lock {
            _file: self.take(&self.lock, FlockArg::LockSharedNonblock)?,
            exclusive: false,
        })
    }

    /// Taken beside the shared lock, from reading links until they are in the kernel: ports of
    /// several links between two ends are one range there, which one command at a time changes.
    ///
    /// # Errors
    /// When the file cannot be made, or after a minute.
    pub fn links(&self) -> Result<Lock> {
        Ok(Lock {
            _file: self.take(&self.links, FlockArg::LockExclusiveNonblock)?,
            exclusive: true,
        })
    }

    /// # Errors
    /// When the files cannot be made, or after a minute.
    pub fn exclusive(&self) -> Result<Lock> {
        let _gate = self.take(&self.gate, FlockArg::LockExclusiveNonblock)?;
        Ok(Lock {
            _file: self.take(&self.lock, FlockArg::LockExclusiveNonblock)?,
            exclusive: true,
        })
    }

    fn take(&self, path: &Path, how: FlockArg) -> Result<Flock<File>> {
        take(path, how, self.patience)
    }
}

/// An exclusive hold on any lock file, made if it is missing.
///
/// # Errors
/// When the file cannot be made, or after that time.
pub fn exclusive(path: &Path, patience: Duration) -> Result<Lock> {
    Ok(Lock {
        _file: take(path, FlockArg::LockExclusiveNonblock, patience)?,
        exclusive: true,
    })
}

fn take(path: &Path, how: FlockArg, patience: Duration) -> Result<Flock<File>> {
    let fail = |source| Error::State {
        path: path.display().to_string(),
        source,
    };
    let open = || {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
    };
    let mut file = open().map_err(fail)?;
    let start = Instant::now();
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if start.elapsed() < patience => {
                file = back;
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(Error::Busy {
                    path: path.display().to_string(),
                    seconds: patience.as_secs(),
                });
            }
            Err((_, e)) => return Err(fail(e.into())),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
