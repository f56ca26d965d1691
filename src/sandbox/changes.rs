//! What a container changed: its layer compared with what lies below.
//!
//! Reads layers by open directories and never through a link: whoever owns the container names what is in them.
//! Overlayfs says the rest (overlayfs.rst): a device 0:0 hides a name, an opaque directory all that is below.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, fstatat};

use super::error::{Error, Result};
use super::root::{lowers, uppers};
use super::spec::Spec;

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Changed,
    Added,
    Deleted,
}

/// Deeper trees are not looked through: one process made them to exhaust us.
const DEEPEST: usize = 256;

/// Where moat itself mounts something, or makes what it mounts on.
#[rustfmt::skip]
const OURS: [&str; 10] = [
    "/proc", "/sys", "/dev", "/run", "/tmp", "/etc/hosts", "/etc/hostname", "/etc/machine-id",
    "/etc/resolv.conf", "/var/lib/dbus/machine-id",
];

/// Every path that differs, in order.
///
/// # Errors
/// A layer cannot be read.
pub fn changes(spec: &Spec) -> Result<Vec<(ChangeKind, PathBuf)>> {
    let volumes = spec.volumes.iter().map(|volume| volume.dst.clone());
    let own = OURS
        .iter()
        .map(PathBuf::from)
        .chain(volumes)
        .chain(spec.tmpfs.iter().map(|tmpfs| tmpfs.dst.clone()))
        .collect();
    let mut found = BTreeSet::new();
    for (part, upper) in uppers(spec) {
        let below = if part == Path::new("/") {
            lowers(spec).0
        } else {
            vec![part.as_path()]
        };
        let open = |path: &Path| open(path).map_err(|errno| Error::path("opening", path, errno));
        let Ok(upper) = open(&upper) else { continue };
        let below: Vec<OwnedFd> = below.iter().map(|path| open(path)).collect::<Result<_>>()?;
        let mut walk = Walk {
            own: &own,
            found: &mut found,
        };
        walk.compare(&part, &upper, &below, 0)
            .map_err(|errno| Error::path("reading the layer of", &part, errno))?;
    }
    Ok(found.into_iter().map(|(path, kind)| (kind, path)).collect())
}

struct Walk<'a> {
    own: &'a BTreeSet<PathBuf>,
    found: &'a mut BTreeSet<(PathBuf, ChangeKind)>,
}

impl Walk<'_> {
    /// Compares a directory of the layer with those it is merged with. Whether anything in it differs.
    fn compare(&mut self, at: &Path, upper: &OwnedFd, below: &[OwnedFd], depth: usize) -> nix::Result<bool> {
        if depth > DEEPEST {
            return Err(Errno::ELOOP);
        }
        let mut differs = false;
        let mut seen = BTreeSet::new();
        for name in names(upper)? {
            let path = at.join(&name);
            let Some(stat) = look(upper, &name)? else { continue };
            seen.insert(name.clone());
            if self.own.contains(&path) {
                continue;
            }
            let hidden = first(below, &name)?;
            differs |= self.entry(&path, upper, &name, &stat, below, hidden.as_ref(), depth)?;
        }
        if is_opaque(upper) {
            for dir in below {
                for name in names(dir)? {
                    if !seen.contains(&name) && first(below, &name)?.is_some() {
                        self.found.insert((at.join(&name), ChangeKind::Deleted));
                        differs = true;
                    }
                }
            }
        }
        Ok(differs)
    }

    #[allow(clippy::too_many_arguments)] // one entry, from both sides
    fn entry(
        &mut self,
        path: &Path,
        upper: &OwnedFd,
        name: &OsStr,
        stat: &FileStat,
        below: &[OwnedFd],
        hidden: Option<&FileStat>,
        depth: usize,
    ) -> nix::Result<bool> {
        if is_whiteout(stat) {
            if hidden.is_some() {
                self.found.insert((path.to_owned(), ChangeKind::Deleted));
            }
            return Ok(hidden.is_some());
        }
        let kind = if hidden.is_some() {
            ChangeKind::Changed
        } else {
            ChangeKind::Added
        };
        if !is_dir(stat) {
            self.found.insert((path.to_owned(), kind));
            return Ok(true);
        }
        let inner = enter(upper, name)?;
        let merged = if hidden.is_some_and(is_dir) {
            merge(below, name)?
        } else {
            Vec::new()
        };
        let inside = self.compare(path, &inner, &merged, depth + 1)?;
        // A directory is copied up for what is in it; itself it differs only by what it is.
        let same = hidden
            .is_some_and(|h| (h.st_mode, h.st_uid, h.st_gid) == (stat.st_mode, stat.st_uid, stat.st_gid));
        if inside || !same {
            self.found.insert((path.to_owned(), kind));
        }
        Ok(inside || !same)
    }
}

/// What the layers below show under a name; `None` if nothing.
fn first(below: &[OwnedFd], name: &OsStr) -> nix::Result<Option<FileStat>> {
    for dir in below {
        if let Some(stat) = look(dir, name)? {
            return Ok((!is_whiteout(&stat)).then_some(stat));
        }
        if is_opaque(dir) {
            return Ok(None);
        }
    }
    Ok(None)
}

/// The directories below that are merged under a name, the topmost first.
fn merge(below: &[OwnedFd], name: &OsStr) -> nix::Result<Vec<OwnedFd>> {
    let mut merged = Vec::new();
    for dir in below {
        if let Some(stat) = look(dir, name)? {
            if !is_dir(&stat) {
                break;
            }
            let inner = enter(dir, name)?;
            let last = is_opaque(&inner);
            merged.push(inner);
            if last {
                break;
            }
        }
        if is_opaque(dir) {
            break;
        }
    }
    Ok(merged)
}

fn open(path: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

fn enter(dir: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(dir, name, flags, Mode::empty())
}

fn look(dir: &OwnedFd, name: &OsStr) -> nix::Result<Option<FileStat>> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn names(dir: &OwnedFd) -> nix::Result<Vec<OsString>> {
    let again = open_again(dir)?;
    let mut listing = Dir::from_fd(again)?;
    let names = listing
        .iter()
        .map(|entry| entry.map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned()));
    let mut names: Vec<OsString> = names.collect::<nix::Result<_>>()?;
    names.retain(|name| name != "." && name != "..");
    names.sort();
    Ok(names)
}

fn open_again(dir: &OwnedFd) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::openat(dir, ".", flags, Mode::empty())
}

fn is_dir(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

fn is_whiteout(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == 0
}

fn is_opaque(dir: &OwnedFd) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| {
            let mut value = [0; 2];
            rustix::fs::fgetxattr(dir.as_fd(), *name, &mut value).is_ok_and(|length| value[..length] == *b"y")
        })
}
