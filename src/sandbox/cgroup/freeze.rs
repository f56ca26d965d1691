//! Stopping and continuing all of a container at once.
//!
//! By `cgroup.freeze` of the v2 leaf (Linux 5.2), which has no need of a controller; on a machine without v2
//! by the v1 freezer, which the container joins only then. A frozen process of v1 does not even die.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Hierarchies, PARENT, leaf_of, make, write};
use crate::sandbox::error::{Error, Result};

/// How long the kernel may take; it waits for calls that cannot be interrupted.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where freezers are on this machine, for whoever asks about many containers.
pub struct Freezers {
    v2: Option<PathBuf>,
    v1: Option<PathBuf>,
}

impl Freezers {
    #[must_use]
    pub fn of_this_machine() -> Self {
        let found = Hierarchies::of_this_machine();
        Self {
            v2: found.v2.map(|root| root.join(PARENT)),
            v1: found.v1.get("freezer").map(|root| root.join(PARENT)),
        }
    }

    /// Whether the container is stopped.
    #[must_use]
    pub fn hold(&self, id: &str) -> bool {
        let says = |dir: &Option<PathBuf>, file: &str, words: &[&str]| {
            let path = dir.as_ref().map(|dir| dir.join(id).join(file));
            let text = path.and_then(|path| fs::read_to_string(path).ok());
            text.is_some_and(|text| words.contains(&text.trim()))
        };
        says(&self.v2, "cgroup.freeze", &["1"]) || says(&self.v1, "freezer.state", &["FROZEN", "FREEZING"])
    }
}

/// Whether the container is stopped.
#[must_use]
pub fn is_frozen(id: &str) -> bool {
    Freezers::of_this_machine().hold(id)
}

/// Stops or continues every process of the container; `pids` are those that a v1 freezer is to take in.
///
/// # Errors
/// If this kernel offers neither way, or the processes would not stop; they go on then.
pub fn freeze(id: &str, frozen: bool, pids: &dyn Fn() -> Vec<i32>) -> Result<()> {
    let leaf = leaf_of(id).filter(|leaf| leaf.join("cgroup.freeze").exists());
    if let Some(leaf) = leaf {
        let file = leaf.join("cgroup.freeze");
        let set = |value: &str| write(&file, value).map_err(|source| Error::path("writing", &file, source));
        set(if frozen { "1" } else { "0" })?;
        let state = if frozen { "frozen 1" } else { "frozen 0" };
        if comes(&leaf.join("cgroup.events"), state) {
            return Ok(());
        }
        let _ = set("0");
        return Err(late());
    }
    by_v1(id, frozen, pids)
}

fn by_v1(id: &str, frozen: bool, pids: &dyn Fn() -> Vec<i32>) -> Result<()> {
    let dir = Freezers::of_this_machine()
        .v1
        .map(|root| root.join(id))
        .ok_or_else(|| {
            let source = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
            Error::system("pausing by cgroup v2 or the freezer of v1", source)
        })?;
    let file = dir.join("freezer.state");
    let set = |value: &str| write(&file, value).map_err(|source| Error::path("writing", &file, source));
    if !frozen {
        return if dir.is_dir() { set("THAWED") } else { Ok(()) };
    }
    make(&dir).map_err(|source| Error::path("making", &dir, source))?;
    // Those that are made meanwhile by one that is in are in as well, so this comes to an end.
    for _ in 0..64 {
        let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        let members: Vec<i32> = members.lines().filter_map(|line| line.parse().ok()).collect();
        let missing: Vec<i32> = pids().into_iter().filter(|pid| !members.contains(pid)).collect();
        if missing.is_empty() {
            break;
        }
        for pid in missing {
            // Gone is the only error that is likely, and the next round tells.
            let _ = write(&dir.join("cgroup.procs"), &pid.to_string());
        }
    }
    set("FROZEN")?;
    if comes(&file, "FROZEN") {
        return Ok(());
    }
    let _ = set("THAWED");
    Err(late())
}

fn late() -> Error {
    Error::system(
        "waiting for the processes to stop",
        io::Error::from_raw_os_error(libc::ETIMEDOUT),
    )
}

/// Whether a line comes to be in a file of the kernel's.
fn comes(file: &Path, wanted: &str) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.lines().any(|line| line.trim() == wanted) {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v1_freezer_stops_and_continues() {
        let Some(root) = Hierarchies::of_this_machine().v1.get("freezer").cloned() else {
            eprintln!("skipped: no v1 freezer is mounted");
            return;
        };
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let id = format!("t-freeze-{}", std::process::id());
        let mut sleeper = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .expect("starts");
        let pid = i32::try_from(sleeper.id()).expect("fits");
        by_v1(&id, true, &|| vec![pid]).expect("stops");
        assert!(is_frozen(&id));
        by_v1(&id, false, &|| vec![pid]).expect("continues");
        assert!(!is_frozen(&id));
        sleeper.kill().expect("ends");
        sleeper.wait().expect("ended");
        let dir = root.join(PARENT).join(&id);
        for _ in 0..500 {
            if fs::remove_dir(&dir).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = fs::remove_dir(root.join(PARENT));
        assert!(!dir.exists());
    }
}
