//! The container's tree while it is being built, seen from outside.
//!
//! Every path is resolved beneath the root (`beneath`), so that no symbolic link of an image leads out of it,
//! and mounts are made on the open descriptor, so that nothing can be exchanged in between (CVE-2021-30465,
//! CVE-2025-31133).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fstat};

use super::super::error::{Error, Result};
use super::super::syscall;
use crate::beneath;

/// Larger account or configuration files are not read.
const MAX_TEXT: u64 = 4 << 20;

pub struct Tree {
    root: OwnedFd,
}

/// The name under which mount(2) takes an open descriptor. Needs the host's `/proc`, so before `pivot_root`.
pub fn by_fd(fd: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

impl Tree {
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            root: nix::fcntl::open(path, flags, Mode::empty())?,
        })
    }

    pub fn into_fd(self) -> OwnedFd {
        self.root
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whatever is there, links followed inside the tree.
    pub fn find(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(beneath::resolve(self.fd(), path, OFlag::O_PATH)?)
    }

    /// The directory, created with its parents if missing.
    pub fn dir(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(beneath::make_dir(self.fd(), path, OFlag::O_PATH)?)
    }

    /// The file, created empty, with its parents, if missing.
    pub fn file(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let parent = self.dir(path.parent().unwrap_or(Path::new("/")))?;
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        // A dangling link is in the way of O_EXCL, which is right: we would not know where it leads.
        let made = nix::fcntl::openat(&parent, name, flags, Mode::from_bits_truncate(0o644))?;
        drop(made);
        self.find(path)
    }

    /// A regular file as text; empty if there is none. Never blocks on a pipe or a device.
    pub fn text(&self, path: &Path) -> String {
        let read = || -> io::Result<String> {
            let file = File::from(beneath::resolve(
                self.fd(),
                path,
                OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
            )?);
            if !file.metadata()?.is_file() {
                return Ok(String::new());
            }
            let mut bytes = Vec::new();
            file.take(MAX_TEXT).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }

    /// Names in a directory; empty if there is none.
    pub fn names(&self, path: &Path) -> Vec<PathBuf> {
        let Ok(dir) = self.find(path) else {
            return Vec::new();
        };
        let Ok(entries) = std::fs::read_dir(by_fd(&dir)) else {
            return Vec::new();
        };
        entries
            .flatten()
            .map(|entry| path.join(entry.file_name()))
            .collect()
    }
}

pub fn is_dir(fd: &OwnedFd) -> bool {
    fstat(fd).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// A file system to mount freshly.
pub struct Fresh<'a> {
    pub kind: &'a str,
    pub flags: MsFlags,
    pub data: &'a str,
}

impl Fresh<'_> {
    pub fn on(&self, target: &OwnedFd, name: &Path) -> Result<()> {
        mount(
            Some(self.kind),
            &by_fd(target),
            Some(self.kind),
            self.flags,
            Some(self.data),
        )
        .map_err(|errno| Error::path(format!("mounting {} on", self.kind), name, errno))
    }
}

/// Binds `source` on `target`, with everything mounted below it if `recursive`.
pub fn bind(source: &impl AsRawFd, target: &OwnedFd, recursive: bool) -> nix::Result<()> {
    let flags = if recursive {
        MsFlags::MS_BIND | MsFlags::MS_REC
    } else {
        MsFlags::MS_BIND
    };
    mount(
        Some(&by_fd(source)),
        &by_fd(target),
        None::<&str>,
        flags,
        None::<&str>,
    )
}

/// Sets attributes on the mount at `path` and below, by `mount_setattr(2)` or, before Linux 5.12, by remounting
/// the topmost one.
pub fn restrict(tree: &Tree, path: &Path, attributes: u64) -> io::Result<()> {
    let fd = tree.find(path)?;
    match syscall::mount_setattr_recursive(fd.as_fd(), attributes) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
        other => return other,
    }
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    for (attribute, flag) in [
        (syscall::MOUNT_ATTR_RDONLY, MsFlags::MS_RDONLY),
        (syscall::MOUNT_ATTR_NOSUID, MsFlags::MS_NOSUID),
        (syscall::MOUNT_ATTR_NODEV, MsFlags::MS_NODEV),
    ] {
        flags.set(flag, attributes & attribute != 0);
    }
    mount(None::<&str>, &by_fd(&fd), None::<&str>, flags, None::<&str>).map_err(io::Error::from)
}
