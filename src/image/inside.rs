//! A directory that nothing leads out of.
//!
//! Every path is resolved by `beneath` below one open directory: `..`, absolute paths and symbolic links end
//! there, whoever made them and whenever. The last part of a path is never followed by what writes.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::beneath;

/// Longer or deeper paths are no paths of a root file system.
const LONGEST: usize = 4000;
const DEEPEST: usize = 256;

pub struct Inside {
    root: OwnedFd,
}

impl Inside {
    /// # Errors
    /// It is no directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self {
            root: nix::fcntl::open(path, flags, Mode::empty())?,
        })
    }

    #[must_use]
    pub fn of(root: OwnedFd) -> Self {
        Self { root }
    }

    /// What is there; symbolic links are followed inside.
    ///
    /// # Errors
    /// Nothing is there, or it cannot be opened so.
    pub fn resolve(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        beneath::resolve(self.root.as_fd(), path, flags)
    }

    /// # Errors
    /// It is no directory.
    pub fn dir(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    }

    /// The directory, made with its parents where they are missing.
    ///
    /// # Errors
    /// A file or a symbolic link that leads nowhere is in the way.
    pub fn make_dir(&self, path: &Path) -> nix::Result<OwnedFd> {
        beneath::make_dir(self.root.as_fd(), path, OFlag::O_RDONLY)
    }
}

/// A path of an archive as one below the root; `None` if it leads out of it or is no path.
///
/// Absolute paths count from the root, as they would after changing into it.
#[must_use]
pub fn clean(bytes: &[u8]) -> Option<PathBuf> {
    if bytes.len() > LONGEST || bytes.contains(&0) {
        return None;
    }
    let mut path = PathBuf::new();
    let mut depth = 0_usize;
    for part in Path::new(OsStr::from_bytes(bytes)).components() {
        match part {
            Component::Normal(name) => {
                depth += 1;
                path.push(name);
            }
            Component::ParentDir => {
                depth = depth.checked_sub(1)?;
                path.pop();
            }
            _ => {}
        }
        if depth > DEEPEST {
            return None;
        }
    }
    Some(path)
}

/// What is at `name`, itself; `None` if nothing is.
///
/// # Errors
/// It cannot be looked at.
pub fn look(dir: &impl AsFd, name: &OsStr) -> nix::Result<Option<FileStat>> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[must_use]
pub fn is(stat: &FileStat, kind: libc::mode_t) -> bool {
    stat.st_mode & libc::S_IFMT == kind
}

/// Opens a directory by name, never through a link.
///
/// # Errors
/// It is none.
pub fn enter(dir: &impl AsFd, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(dir, name, flags, Mode::empty())
}

/// Removes what is at `name`, with all below it; never through a link.
///
/// # Errors
/// Something would not go.
pub fn clear(dir: &impl AsFd, name: &OsStr) -> nix::Result<()> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR) => {
            let inner = enter(dir, name)?;
            for (name, _) in names(&inner)? {
                clear(&inner, &name)?;
            }
            unlinkat(dir, name, UnlinkatFlags::RemoveDir)
        }
        Err(errno) => Err(errno),
    }
}

/// The names in a directory, in order, with what each is.
///
/// # Errors
/// It cannot be read.
pub fn names(dir: &impl AsFd) -> nix::Result<Vec<(std::ffi::OsString, FileStat)>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let again = nix::fcntl::openat(dir, ".", flags, Mode::empty())?;
    let mut listing = nix::dir::Dir::from_fd(again)?;
    let mut found = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let name = OsStr::from_bytes(name).to_owned();
        if let Some(stat) = look(dir, &name)? {
            found.push((name, stat));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// A regular file for reading; never blocks on a pipe that somebody put there.
///
/// # Errors
/// It is none.
pub fn read_file(dir: &impl AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(nix::fcntl::openat(dir, name, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root_or_are_refused() {
        for (from, to) in [
            ("a/b", Some("a/b")),
            ("./a/", Some("a")),
            ("/etc/passwd", Some("etc/passwd")),
            ("a/../b", Some("b")),
            ("./", Some("")),
            ("../a", None),
            ("a/../../b", None),
            ("/..", None),
            ("a\0b", None),
        ] {
            assert_eq!(clean(from.as_bytes()), to.map(PathBuf::from), "{from:?}");
        }
        assert_eq!(clean("a/".repeat(300).as_bytes()), None);
    }
}
