//! What of the host goes into a container's tree, as the container's user namespace sees it.
//!
//! Made by the launcher, as detached mounts that only descriptors lead to, because only there a file system
//! that cannot show owners shifted (`mount_setattr(2)`) can still be answered by doing without. The child puts
//! them where it wants them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::super::error::{Error, Result};
use super::super::spec::{Spec, Users, Volume};
use super::super::syscall;
use super::super::users::UserSpace;
use super::{overlay, submounts};

/// The sources of a tree, if the container has a user namespace of its own.
pub struct Mapped {
    /// Lower directories and layers, by their path on the host.
    dirs: Vec<(PathBuf, OwnedFd)>,
    /// In the order of the volumes; `None` is shown as it is.
    volumes: Vec<Option<OwnedFd>>,
    /// What the person should know.
    pub notes: Vec<String>,
}

impl Mapped {
    /// Maps everything `spec` names.
    pub fn of(spec: &Spec, space: &UserSpace) -> Result<Self> {
        let mut dirs = Vec::new();
        for path in overlay::sources(spec)? {
            match map(&path, space.fd(), false) {
                Ok(fd) => dirs.push((path, fd)),
                // Shown as it is.
                Err(_) if submounts::is_optional(&path) => {}
                Err(error) => return Err(error),
            }
        }
        // Without, the files of name service are nobody's, which only looks odd.
        if let Ok(fd) = map(&spec.dir, space.fd(), false) {
            dirs.push((spec.dir.clone(), fd));
        }
        let mut notes = Vec::new();
        let volumes = spec.volumes.iter().map(|wanted| {
            let path = &wanted.src;
            // What is mounted below may be of another kind than the volume itself.
            let mapped = map(path, space.fd(), true).or_else(|_| map(path, space.fd(), false));
            if mapped.is_err() && may_be_unshifted(spec, wanted) {
                let path = path.display();
                notes.push(format!(
                    "the owners below `{path}` are `nobody` in the container, which reads what everybody \
                     may: its file system cannot show owners shifted; `--userns own` refuses instead"
                ));
                return Ok(None);
            }
            mapped.map(Some)
        });
        let volumes = volumes.collect::<Result<_>>()?;
        Ok(Self { dirs, volumes, notes })
    }

    /// Whether what is at `path` can be mapped.
    pub fn try_on(path: &Path, space: &UserSpace) -> Result<()> {
        map(path, space.fd(), false).map(drop)
    }

    pub fn fds(&self) -> Vec<i32> {
        let dirs = self.dirs.iter().map(|(_, fd)| fd);
        dirs.chain(self.volumes.iter().flatten())
            .map(AsRawFd::as_raw_fd)
            .collect()
    }

    /// The mapped view of a directory of the host.
    pub fn dir(&self, path: &Path) -> Option<&OwnedFd> {
        self.dirs
            .iter()
            .find(|(known, _)| known == path)
            .map(|(_, fd)| fd)
    }

    pub fn volume(&self, number: usize) -> Option<&OwnedFd> {
        self.volumes.get(number).and_then(Option::as_ref)
    }

    /// Attaches the directories on `place`, on top of one another: before Linux 6.15 neither an overlay nor a
    /// bind mount takes what hangs nowhere. What is on top does not hide the others from who has them open.
    pub fn attach(&self, place: &Path) -> Result<()> {
        for (path, fd) in &self.dirs {
            let attach = || -> io::Result<()> {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let place = nix::fcntl::open(place, flags, Mode::empty())?;
                syscall::move_mount(fd.as_fd(), place.as_fd())
            };
            attach().map_err(|source| Error::path("attaching the view of", path, source))?;
        }
        Ok(())
    }
}

/// Whether a volume that cannot be shifted can be shown as it is: to be read, by whoever it is. What is to be
/// written needs its owner, whom the container's root would not be.
fn may_be_unshifted(spec: &Spec, volume: &Volume) -> bool {
    let readable = |meta: fs::Metadata| {
        let others = if meta.is_dir() { 0o005 } else { 0o004 };
        meta.mode() & others == others
    };
    volume.read_only && spec.isolation.users == Users::Auto && fs::metadata(&volume.src).is_ok_and(readable)
}

fn map(path: &Path, userns: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    let clone = || -> io::Result<OwnedFd> {
        let fd = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        let tree = syscall::open_tree_clone(fd.as_fd(), recursive)?;
        syscall::mount_setattr_idmap(tree.as_fd(), userns)?;
        Ok(tree)
    };
    clone().map_err(|source| Error::path("shifting the owners below", path, source))
}
