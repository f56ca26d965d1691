//! What the caller mounts into the container: volumes, tmpfs, and the three files of name service.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::stat::Mode;

use super::super::error::{Error, Result};
use super::super::spec::{Root, Spec, Tmpfs, Volume};
use super::super::syscall::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::device::fresh;
use super::mapped::Mapped;
use super::tree::{Fresh, Tree, bind, by_fd, is_dir, restrict};

/// Written by the caller into the run-time directory; `hosts` is rewritten in place while the container runs.
const NAME_SERVICE: [&str; 3] = ["hosts", "hostname", "resolv.conf"];
/// Written beside them: the host's own is not to be known in untrusted places (machine-id(5)).
const MACHINE_ID: &str = "machine-id";
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Binds `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, read-only; over the host's machine id one of
/// the container's own.
pub fn name_service(spec: &Spec, tree: &Tree, mapped: Option<&Mapped>) -> Result<()> {
    let dir = mapped.and_then(|mapped| mapped.dir(&spec.dir));
    let dir = dir.map_or_else(|| spec.dir.clone(), by_fd);
    for name in NAME_SERVICE {
        put(tree, &dir.join(name), &Path::new("/etc").join(name))?;
    }
    let Root::Host { share } = &spec.root else {
        return Ok(());
    };
    for path in MACHINE_IDS.map(Path::new) {
        let is_own = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
        if is_own && !share.iter().any(|open| path.starts_with(open)) {
            put(tree, &dir.join(MACHINE_ID), path)?;
        }
    }
    Ok(())
}

/// Binds a small file, read-only, over what is at `path`.
fn put(tree: &Tree, file: &Path, path: &Path) -> Result<()> {
    let Ok(file) = File::open(file) else {
        return Ok(());
    };
    let mount = || -> io::Result<()> {
        let target = match tree.file(path) {
            // Often a link to a file below /run, which is not there: the link must go.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let dir = tree.dir(path.parent().unwrap_or(Path::new("/")))?;
                let name = path.file_name().unwrap_or_default();
                nix::unistd::unlinkat(&dir, name, nix::unistd::UnlinkatFlags::NoRemoveDir)?;
                tree.file(path)?
            }
            other => other?,
        };
        bind(&file, &target, false)?;
        restrict(
            tree,
            path,
            MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        )
    };
    mount().map_err(|source| Error::path("mounting", path, source))
}

pub fn tmpfs(tree: &Tree, wanted: &Tmpfs) -> Result<()> {
    let size = wanted
        .size
        .map_or_else(String::new, |bytes| format!(",size={bytes}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    fresh(
        tree,
        &wanted.dst,
        &Fresh {
            kind: "tmpfs",
            flags,
            data: &format!("mode=1777{size}"),
        },
    )
}

/// Binds a volume with everything below it, never set-uid, never with devices.
pub fn volume(tree: &Tree, volume: &Volume, mapped: Option<&OwnedFd>) -> Result<()> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let source = nix::fcntl::open(&volume.src, flags, Mode::empty())
        .map_err(|errno| Error::path("opening volume", &volume.src, errno))?;
    let target = if is_dir(&source) {
        tree.dir(&volume.dst)
    } else {
        tree.file(&volume.dst)
    };
    let target = target.map_err(|source| Error::MountTarget {
        path: volume.dst.clone(),
        source,
    })?;
    match mapped {
        Some(mapped) => syscall::move_mount(mapped.as_fd(), target.as_fd()),
        None => bind(&source, &target, true).map_err(io::Error::from),
    }
    .map_err(|source| Error::path("mounting volume", &volume.src, source))?;
    let read_only = if volume.read_only { MOUNT_ATTR_RDONLY } else { 0 };
    restrict(
        tree,
        &volume.dst,
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | read_only,
    )
    .map_err(|source| Error::path("restricting volume", &volume.dst, source))
}
