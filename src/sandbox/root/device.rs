//! `/dev` of a container: the standard nodes and nothing else.
//!
//! Nodes are made afresh where we may (a bind mount would let the container's root change the mode of the
//! host's own node) and bind-mounted in a user namespace, after a check that each is the device it should be
//! (CVE-2025-31133).

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag};
use nix::mount::MsFlags;
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, makedev, mknodat, stat};
use nix::unistd::{fchownat, symlinkat};

use super::super::error::{Error, Result};
use super::super::spec::Device;
use super::super::syscall::MOUNT_ATTR_RDONLY;
use super::super::users::COUNT;
use super::tree::{Fresh, Tree, bind, restrict};

const NODES: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Fills `/dev`.
pub fn fill(tree: &Tree, base: u32) -> Result<()> {
    let dev = Path::new("/dev");
    let no = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    fresh(
        tree,
        dev,
        &Fresh {
            kind: "tmpfs",
            flags: MsFlags::MS_NOSUID,
            data: "mode=755,size=64k",
        },
    )?;
    let dir = tree
        .dir(dev)
        .map_err(|source| Error::path("opening", dev, source))?;
    for node in NODES {
        make_node(tree, &dir, node)?;
    }
    for (name, to) in LINKS {
        symlinkat(to, &dir, name).map_err(|errno| Error::path("linking", dev.join(name), errno))?;
    }
    let pts = dev.join("pts");
    let options = format!("newinstance,ptmxmode=0666,mode=0620,gid={}", base + 5);
    let with_group = Fresh {
        kind: "devpts",
        flags: no,
        data: &options,
    };
    // Group 5 is not mapped in every user namespace.
    if fresh(tree, &pts, &with_group).is_err() {
        fresh(
            tree,
            &pts,
            &Fresh {
                data: "newinstance,ptmxmode=0666,mode=0620",
                ..with_group
            },
        )?;
    }
    let shm = Fresh {
        kind: "tmpfs",
        flags: no | MsFlags::MS_NODEV,
        data: "mode=1777,size=65536k",
    };
    fresh(tree, &dev.join("shm"), &shm)?;
    let mqueue = Fresh {
        kind: "mqueue",
        flags: no | MsFlags::MS_NODEV,
        data: "",
    };
    // Kernels without POSIX queues do without.
    let _ = fresh(tree, &dev.join("mqueue"), &mqueue);
    Ok(())
}

/// Puts a device of the host where the container wants it. No cgroup is needed to keep others away: without
/// the host's right to make nodes there are only these.
///
/// To whom it gives less than reading and writing, it stays the host's: no right of the container's root
/// counts for what does not belong to an id of its own (`capable_wrt_inode_uidgid`).
pub fn extra(tree: &Tree, wanted: &Device, base: u32) -> Result<()> {
    let failed = |source: io::Error| Error::path("providing device", &wanted.src, source);
    let host = stat(&wanted.src).map_err(|errno| failed(errno.into()))?;
    let kind = SFlag::from_bits_truncate(host.st_mode & libc::S_IFMT);
    if !matches!(kind, SFlag::S_IFCHR | SFlag::S_IFBLK) {
        return Err(failed(io::Error::from_raw_os_error(libc::ENODEV)));
    }
    let whole = wanted.read && wanted.write;
    if !whole && base == 0 {
        return Err(Error::PartOfDevice {
            path: wanted.src.clone(),
        });
    }
    let bits = if wanted.read { 0o444 } else { 0 } | if wanted.write { 0o222 } else { 0 };
    let (mode, uid, gid) = match whole {
        true if host.st_gid < COUNT => (host.st_mode & 0o777, base, base + host.st_gid),
        true => (host.st_mode & 0o700, base, base),
        false => (bits, 0, 0),
    };
    let mode = Mode::from_bits_truncate(mode);
    let make = || -> io::Result<()> {
        let name = wanted.dst.file_name().unwrap_or_default();
        let dir = tree.dir(wanted.dst.parent().unwrap_or(Path::new("/dev")))?;
        mknodat(&dir, name, kind, mode, host.st_rdev)?;
        let (uid, gid) = (Some(uid.into()), Some(gid.into()));
        fchownat(&dir, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        fchmodat(dir.as_fd(), name, mode, FchmodatFlags::FollowSymlink)?;
        Ok(())
    };
    make().map_err(failed)
}

pub fn fresh(tree: &Tree, path: &Path, what: &Fresh<'_>) -> Result<()> {
    let target = tree.dir(path).map_err(|source| Error::MountTarget {
        path: path.to_owned(),
        source,
    })?;
    what.on(&target, path)
}

fn make_node(tree: &Tree, dev: &OwnedFd, (name, major, minor): (&str, u64, u64)) -> Result<()> {
    let path = Path::new("/dev").join(name);
    let number = makedev(major, minor);
    let mode = Mode::from_bits_truncate(0o666);
    let created = mknodat(dev, name, SFlag::S_IFCHR, mode, number)
        // The umask of our caller took part in it.
        .and_then(|()| fchmodat(dev.as_fd(), name, mode, FchmodatFlags::FollowSymlink))
        // A kernel of a user namespace may make the node and refuse to open it.
        .and_then(|()| {
            nix::fcntl::openat(
                dev,
                name,
                OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY,
                Mode::empty(),
            )
        });
    match created {
        Ok(_) | Err(nix::errno::Errno::ENXIO) => return Ok(()),
        Err(_) => {}
    }
    let failed = |source: io::Error| Error::path("providing", &path, source);
    let _ = nix::unistd::unlinkat(dev, name, nix::unistd::UnlinkatFlags::NoRemoveDir);
    let host = host_device(&path, number).map_err(failed)?;
    let target = tree.file(&path).map_err(failed)?;
    bind(&host, &target, false).map_err(|errno| failed(errno.into()))?;
    // Devices can be written on a read-only mount; their owner and mode cannot.
    restrict(tree, &path, MOUNT_ATTR_RDONLY).map_err(failed)
}

/// Opens a character device of the host, only if it is the one expected.
pub fn host_device(path: &PathBuf, number: u64) -> io::Result<OwnedFd> {
    let fd = nix::fcntl::open(
        path,
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let stat = fstat(&fd)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFCHR || stat.st_rdev != number {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    Ok(fd)
}
