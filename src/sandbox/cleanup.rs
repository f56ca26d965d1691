//! Ending a container and removing what it left: cgroups and the throw-away layer.
//!
//! Never goes through a mount point: removing one in another mount namespace would detach it there, and
//! behind it may lie somebody's data. The container's own mounts die with its mount namespace.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::cgroup;
use super::error::{Error, Result};
use super::process;
use super::spec::Spec;

/// Kills everything in the container at once: by its cgroup, or by its pid 1, with which the pid namespace
/// dies.
///
/// # Errors
/// [`Error::Gone`] if pid 1 ended and there is no cgroup to kill either.
pub fn kill_all(spec: &Spec, pid: i32, started: u64) -> Result<()> {
    let killed = cgroup::kill(&spec.id);
    if cgroup::is_frozen(&spec.id) {
        // One that a v1 freezer holds does not die; one that v2 holds does, and needs no more.
        let _ = cgroup::freeze(&spec.id, false, &Vec::new);
    }
    match process::signal(pid, started, libc::SIGKILL) {
        Err(Error::Gone { .. }) if killed => Ok(()),
        other => other,
    }
}

/// Removes what a container that ended left behind. May be repeated.
///
/// # Errors
/// If a cgroup is still in use, or the layer cannot be removed whole; what could be removed is.
pub fn cleanup(spec: &Spec) -> Result<()> {
    let groups = cgroup::remove(&spec.id, Duration::from_secs(2));
    // Mounted only in the container's own namespace, unless somebody looked in by hand.
    let _ = umount2(
        &spec.layer.join("root"),
        MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW,
    );
    let layer = remove_tree(&spec.layer).map_err(|source| Error::path("removing", &spec.layer, source));
    groups.and(layer)
}

/// Ends what runs in the cgroups of a container that no record knows, and removes them.
///
/// # Errors
/// If a process would not end or a cgroup not go.
pub fn destroy(id: &str) -> Result<()> {
    cgroup::kill(id);
    cgroup::remove(id, Duration::from_secs(2))
}

/// Removes empty cgroups that a container left which `keep` does not know and whose world is gone. How many
/// containers had some.
pub fn remove_deserted_groups(keep: &dyn Fn(&str) -> bool) -> usize {
    cgroup::remove_deserted(keep)
}

/// Removes a directory and all below it that is on the same mount.
///
/// # Errors
/// What could not be removed first.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent = match nix::fcntl::open(parent, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    let name = super::payload::c_path(Path::new(name))?;
    remove_entry(parent.as_fd(), &name, true, 0)
}

/// Deeper trees than this are left, with an error: one process made them to exhaust us.
const MAX_DEPTH: usize = 1024;

fn remove_entry(parent: BorrowedFd<'_>, name: &CStr, is_dir: bool, depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::from_raw_os_error(libc::ELOOP));
    }
    if is_dir {
        match open_below(parent, name) {
            Ok(dir) => empty(dir, depth)?,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    let flag = if is_dir {
        UnlinkatFlags::RemoveDir
    } else {
        UnlinkatFlags::NoRemoveDir
    };
    match unlinkat(parent, name, flag) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a directory that is neither a link nor a mount point: the kernel answers EXDEV to the latter.
fn open_below(parent: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_BENEATH);
    openat2(parent, name, how)
}

fn empty(dir: OwnedFd, depth: usize) -> io::Result<()> {
    let mut dir = Dir::from_fd(dir)?;
    let names: Vec<_> = dir
        .iter()
        .filter_map(std::result::Result::ok)
        .map(|entry| (entry.file_name().to_owned(), entry.file_type()))
        .filter(|(name, _)| !matches!(name.to_bytes(), b"." | b".."))
        .collect();
    let mut outcome = Ok(());
    for (name, kind) in names {
        let is_dir = match kind {
            Some(kind) => kind == Type::Directory,
            None => nix::sys::stat::fstatat(dir.as_fd(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR),
        };
        // Goes on after an error, so that as little as possible is left.
        outcome = remove_entry(dir.as_fd(), &name, is_dir, depth + 1).and(outcome);
    }
    outcome
}
