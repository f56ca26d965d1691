//! Making, entering and removing network namespaces.
//!
//! A namespace is entered by a short thread of its own that ends there: `setns(2)` and
//! `unshare(2)` change the calling thread, and one that failed to come back would do
//! everybody's later work in the wrong place. The router's namespace lives by a bind mount
//! of its nsfs file (`network_namespaces(7)`), as `ip netns` does it.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

/// A namespace that can be entered: an open file, and what tells it from others.
pub(super) struct Namespace {
    pub file: File,
    /// Device and inode of the nsfs file: equal numbers are the same namespace.
    pub id: (u64, u64),
}

impl Namespace {
    pub fn open(path: &Path) -> io::Result<Self> {
        if !is_namespace(path)? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "not a namespace"));
        }
        let file = File::open(path)?;
        let meta = file.metadata()?;
        Ok(Self {
            file,
            id: (meta.dev(), meta.ino()),
        })
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
            id: self.id,
        })
    }

    /// Makes a namespace and leaves the calling thread in it.
    pub fn unshared() -> io::Result<Self> {
        #[allow(clippy::disallowed_methods)] // the caller's thread is for nothing else
        unshare(CloneFlags::CLONE_NEWNET)?;
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Takes the calling thread into it, for good.
    pub fn enter(&self) -> io::Result<()> {
        #[allow(clippy::disallowed_methods)] // the caller's thread is for nothing else
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
        Ok(())
    }

    /// Whether the path still leads to this namespace.
    pub fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == self.id)
    }

    /// Does `work` inside, on a thread that ends with it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_thread(|| {
            #[allow(clippy::disallowed_methods)] // on a thread of its own
            setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
    }
}

/// Whether `path` is a file of nsfs. A missing file is not.
///
/// # Errors
/// When it cannot be looked at.
pub fn is_namespace(path: &Path) -> io::Result<bool> {
    match statfs(path) {
        Ok(fs) => Ok(fs.filesystem_type() == NSFS_MAGIC),
        // The last two: `/proc/PID/ns/net` of a process that is ending and has left its namespaces.
        Err(nix::Error::ENOENT | nix::Error::ENOTDIR | nix::Error::EACCES | nix::Error::ESRCH) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Makes a namespace and binds it to `path`. `lo` is still down.
pub(super) fn make(path: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    File::options().create(true).append(true).open(path)?;
    on_thread(|| {
        #[allow(clippy::disallowed_methods)] // on a thread of its own
        unshare(CloneFlags::CLONE_NEWNET)?;
        let none: Option<&str> = None;
        mount(
            Some("/proc/thread-self/ns/net"),
            path,
            none,
            MsFlags::MS_BIND,
            none,
        )?;
        Ok(())
    })
}

/// Unbinds and removes `path`. The kernel takes the namespace down on its own time,
/// once no process, socket or mount holds it.
///
/// # Errors
/// When it cannot be unmounted or the file not be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    // More than one mount may lie there after an interrupted start.
    for _ in 0..8 {
        if !is_namespace(path)? {
            break;
        }
        umount2(path, MntFlags::MNT_DETACH)?;
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)?
            .join()
            .map_err(|_| io::Error::other("the thread in the namespace panicked"))?
    })
}
