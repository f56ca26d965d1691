//! The container's cgroups: a leaf `moat/<id>` in the v2 hierarchy always, v1 controllers only for a limit.
//!
//! Must not fail a launch for want of cgroups unless a limit was asked for. Relies on cgroups(7): a v2 leaf
//! gives `cgroup.kill` and `cgroup.freeze` without any controller, and a controller belongs to v1 or v2, per
//! controller. A cold write to a v1 `cgroup.procs` waits for an RCU grace period (7-27 ms), which is why v1
//! is not joined without need.

mod freeze;
mod hierarchy;
mod measure;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use freeze::{Freezers, freeze, is_frozen};
pub(super) use hierarchy::{Hierarchies, controllers_of, unescape};
pub use measure::{LimitSet, Measure, Pressure, limits_of, measure, oom_kills};

use super::error::{Error, Result};
use super::spec::Limits;

/// The directory all our leaves live in, below each hierarchy's mount point.
const PARENT: &str = "moat";
const PERIOD_US: f64 = 100_000.0;

/// The cgroups of one container that is being launched.
pub(super) struct Joining {
    /// The v2 leaf, for `CLONE_INTO_CGROUP`.
    leaf: Option<(PathBuf, File)>,
    v1: Vec<PathBuf>,
}

impl Joining {
    /// Creates the leaf and sets the limits.
    pub fn create(id: &str, limits: &Limits) -> Result<Self> {
        let found = Hierarchies::of_this_machine();
        let leaf = found
            .v2
            .as_deref()
            .and_then(|root| open_leaf(&root.join(PARENT).join(id)));
        let mut joining = Self { leaf, v1: Vec::new() };
        for limit in wanted(limits) {
            joining.set(&found, id, &limit)?;
        }
        Ok(joining)
    }

    pub fn leaf(&self) -> Option<BorrowedFd<'_>> {
        self.leaf.as_ref().map(|(_, dir)| dir.as_fd())
    }

    /// Moves `pid` into the v1 groups, and into the v2 leaf if clone3 could not place it there.
    pub fn join(&self, pid: i32, in_leaf: bool) -> Result<()> {
        if let (false, Some((path, _))) = (in_leaf, &self.leaf) {
            // Going on without is right: nothing but kill and freeze would need it.
            let _ = write(&path.join("cgroup.procs"), &pid.to_string());
        }
        for dir in &self.v1 {
            let procs = dir.join("cgroup.procs");
            write(&procs, &pid.to_string()).map_err(|source| Error::path("joining", procs, source))?;
        }
        Ok(())
    }

    /// Where the kernel counts what it killed for want of memory, if it is asked to keep a limit.
    pub fn oom_count(&self) -> Option<OomCount> {
        let leaf = self.leaf.iter().map(|(path, _)| path.join("memory.events"));
        let v1 = self.v1.iter().map(|path| path.join("memory.oom_control"));
        leaf.chain(v1).find_map(|path| OomCount::open(&path))
    }

    fn set(&mut self, found: &Hierarchies, id: &str, limit: &Limit) -> Result<()> {
        let refused = |source| Error::Limit {
            limit: limit.name.to_owned(),
            source,
        };
        if let (Some(root), Some((leaf, _))) = (&found.v2, &self.leaf)
            && controllers_of(root).iter().any(|name| name == limit.controller)
        {
            for dir in [root.clone(), root.join(PARENT)] {
                let enable = format!("+{}", limit.controller);
                write(&dir.join("cgroup.subtree_control"), &enable).map_err(refused)?;
            }
            return limit.v2.write(leaf).map_err(refused);
        }
        let Some(root) = found.v1.get(limit.controller) else {
            return Err(refused(io::Error::from_raw_os_error(libc::EOPNOTSUPP)));
        };
        let dir = root.join(PARENT).join(id);
        make(&dir).map_err(refused)?;
        limit.v1.write(&dir).map_err(refused)?;
        self.v1.push(dir);
        Ok(())
    }
}

/// The count of processes killed for want of memory: `oom_kill N` in `memory.events` (v2) or
/// `memory.oom_control` (v1, since 4.13). Stays readable after the root changed.
#[derive(Debug)]
pub(super) struct OomCount {
    file: File,
    known: u64,
}

impl OomCount {
    fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        Some(Self { file, known: 0 })
    }

    pub fn raw(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    pub fn read(&self) -> u64 {
        let mut text = [0; 512];
        let length = self.file.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..length]);
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Whether it rose since the last time it was asked.
    pub fn rose(&mut self) -> bool {
        let now = self.read();
        now > std::mem::replace(&mut self.known, now)
    }
}

struct Limit {
    name: &'static str,
    controller: &'static str,
    v1: Files,
    v2: Files,
}

/// Files to write, and those whose absence does not matter.
#[derive(Default)]
struct Files {
    must: Vec<(&'static str, String)>,
    may: Vec<(&'static str, String)>,
}

impl Files {
    fn write(&self, dir: &Path) -> io::Result<()> {
        for (file, value) in &self.must {
            write(&dir.join(file), value)?;
        }
        for (file, value) in &self.may {
            let _ = write(&dir.join(file), value);
        }
        Ok(())
    }
}

fn wanted(limits: &Limits) -> Vec<Limit> {
    let mut list = Vec::new();
    if let Some(bytes) = limits.memory {
        let bytes = bytes.to_string();
        list.push(Limit {
            name: "memory",
            controller: "memory",
            v1: Files {
                must: vec![("memory.limit_in_bytes", bytes.clone())],
                may: vec![("memory.memsw.limit_in_bytes", bytes.clone())],
            },
            v2: Files {
                must: vec![("memory.max", bytes)],
                may: vec![("memory.swap.max", "0".to_owned())],
            },
        });
    }
    if let Some(cpus) = limits.cpus {
        #[allow(clippy::cast_possible_truncation)] // a float cast saturates, and `prepare` bounds the value
        let quota = ((cpus * PERIOD_US) as i64).max(1000);
        list.push(Limit {
            name: "cpus",
            controller: "cpu",
            v1: Files {
                must: vec![
                    ("cpu.cfs_period_us", PERIOD_US.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ],
                ..Files::default()
            },
            v2: Files {
                must: vec![("cpu.max", format!("{quota} {PERIOD_US}"))],
                ..Files::default()
            },
        });
    }
    if let Some(pids) = limits.pids {
        let file = || Files {
            must: vec![("pids.max", pids.to_string())],
            ..Files::default()
        };
        list.push(Limit {
            name: "pids",
            controller: "pids",
            v1: file(),
            v2: file(),
        });
    }
    list
}

fn open_leaf(path: &Path) -> Option<(PathBuf, File)> {
    make(path).ok()?;
    let dir = File::open(path).ok()?;
    Some((path.to_owned(), dir))
}

/// Makes a group and our parent directory. Whoever removes the last group removes the parent,
/// maybe between the two: then both are made again.
fn make(path: &Path) -> io::Result<()> {
    let mut outcome = Ok(());
    for _ in 0..16 {
        outcome = fs::create_dir_all(path);
        if !matches!(&outcome, Err(e) if e.kind() == io::ErrorKind::NotFound) {
            break;
        }
    }
    outcome
}

/// A cgroup file takes one value a write(2), so never a buffered writer.
fn write(path: &Path, value: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
}

/// Where this container's leaf is, if it exists.
pub(super) fn leaf_of(id: &str) -> Option<PathBuf> {
    Some(Hierarchies::of_this_machine().v2?.join(PARENT).join(id)).filter(|path| path.is_dir())
}

/// The open `cgroup.procs` of every group of `id`: a process writes `0` there to join.
pub(super) fn open_procs(id: &str) -> Vec<File> {
    existing(id)
        .iter()
        .filter_map(|dir| {
            fs::OpenOptions::new()
                .write(true)
                .open(dir.join("cgroup.procs"))
                .ok()
        })
        .collect()
}

/// Kills everything in the v2 leaf at once; `false` if there is no leaf or no `cgroup.kill` (Linux 5.14).
pub(super) fn kill(id: &str) -> bool {
    leaf_of(id).is_some_and(|leaf| write(&leaf.join("cgroup.kill"), "1").is_ok())
}

/// Removes all groups of `id`, waiting at most `patience` for the last process to be gone from them.
pub(super) fn remove(id: &str, patience: Duration) -> Result<()> {
    let end = Instant::now() + patience;
    for dir in existing(id) {
        loop {
            match fs::remove_dir(&dir) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                // The group of a process that was just reaped stays busy until the kernel's own clean-up.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(source) => return Err(Error::path("removing cgroup", dir, source)),
            }
        }
        // The last one takes our own directory along; it is not empty otherwise.
        let _ = dir.parent().map(fs::remove_dir);
    }
    Ok(())
}

fn existing(id: &str) -> Vec<PathBuf> {
    let of = parents().into_iter().map(|parent| parent.join(id));
    of.filter(|dir| dir.is_dir()).collect()
}

/// Where our groups are, in each hierarchy.
fn parents() -> Vec<PathBuf> {
    let found = Hierarchies::of_this_machine();
    let roots = found.v2.iter().chain(found.v1.values());
    let mut list: Vec<PathBuf> = roots.map(|root| root.join(PARENT)).collect();
    list.dedup();
    list
}

/// An empty group may be one that somebody is about to start a container in.
const STARTING: Duration = Duration::from_mins(1);

/// Removes empty groups of containers that `keep` does not know, of whatever world: whose processes ended
/// with their namespaces has nobody to tidy up after it. How many containers had some.
pub(super) fn remove_deserted(keep: &dyn Fn(&str) -> bool) -> usize {
    let mut removed = BTreeSet::new();
    for parent in parents() {
        for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit());
            let age = entry.metadata().and_then(|meta| meta.modified());
            let is_old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STARTING));
            // The kernel refuses while a process or a group is in it.
            if ours && is_old && !keep(&name) && fs::remove_dir(entry.path()).is_ok() {
                removed.insert(name);
            }
        }
        let _ = fs::remove_dir(&parent);
    }
    removed.len()
}
