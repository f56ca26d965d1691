//! The copy-on-write root: the host's `/` or a directory below, the container's throw-away layer on top.
//!
//! An overlay shows one file system: other mounts of the host are empty directories in it, so the usual ones
//! get an overlay of their own. Paths are given to the kernel as `/proc/self/fd/N`, since its option parser
//! splits at commas and colons. Mounts are made in the child's own mount namespace only.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::super::cgroup::unescape;
use super::super::error::{Error, Result, VIEW};
use super::super::spec::{Root, Spec};
use super::tree::{Tree, by_fd};

/// Directories that often are file systems of their own and that programs cannot do without.
const PARTS: [&str; 9] = [
    "/usr", "/etc", "/var", "/opt", "/srv", "/lib", "/lib64", "/bin", "/sbin",
];

/// What lies over each part of the tree: `(path in the container, upper directory on the host)`.
///
/// The first is the root; the others exist only if the host has separate file systems there.
#[must_use]
pub fn uppers(spec: &Spec) -> Vec<(PathBuf, PathBuf)> {
    let mut list = vec![(PathBuf::from("/"), spec.layer.join("upper"))];
    let Ok(parts) = fs::read_dir(spec.layer.join("parts")) else {
        return list;
    };
    for part in parts.flatten() {
        let name = part
            .file_name()
            .to_string_lossy()
            .replace("%2f", "/")
            .replace("%25", "%");
        list.push((PathBuf::from(name), part.path().join("upper")));
    }
    list.sort();
    list
}

/// Mounts the root on `layer/root` and opens it.
pub fn mount_root(spec: &Spec) -> Result<Tree> {
    let target = spec.layer.join("root");
    make_dir(&target)?;
    let (lower, host) = match &spec.root {
        Root::Host { .. } => (vec![Path::new("/")], true),
        Root::Dir(dir) => (vec![dir.as_path()], false),
        Root::Layers { layers, .. } => (layers.iter().rev().map(PathBuf::as_path).collect(), false),
    };
    let whole = overlay(&lower, &spec.layer, &target);
    let open = || Tree::open(&target).map_err(|source| Error::path("opening", &target, source));
    match whole {
        Ok(()) => {
            let tree = open()?;
            if host {
                for part in separate_mounts() {
                    overlay_part(spec, &tree, &part)?;
                }
            }
            Ok(tree)
        }
        // In a user namespace `/` has locked mounts below it, and the kernel refuses to clone it.
        Err(error) if host => {
            bind_upper(&spec.layer, &target).map_err(|_| error)?;
            let tree = open()?;
            parts_one_by_one(spec, &tree)?;
            Ok(tree)
        }
        Err(error) => Err(error),
    }
}

/// Overlays one directory of the host in place.
pub fn overlay_part(spec: &Spec, tree: &Tree, part: &Path) -> Result<()> {
    let name = part.to_string_lossy().replace('%', "%25").replace('/', "%2f");
    let layer = spec.layer.join("parts").join(name);
    let target = tree.dir(part).map_err(|source| Error::MountTarget {
        path: part.to_owned(),
        source,
    })?;
    overlay(&[part], &layer, &by_fd(&target))
}

fn parts_one_by_one(spec: &Spec, tree: &Tree) -> Result<()> {
    for part in PARTS.map(Path::new) {
        let Ok(kind) = fs::symlink_metadata(part) else {
            continue;
        };
        if kind.is_dir() {
            overlay_part(spec, tree, part)?;
        } else if let Ok(to) = fs::read_link(part) {
            let name = part.strip_prefix("/").unwrap_or(part);
            let link = by_fd(&tree.fd()).join(name);
            symlink(to, &link).map_err(|source| Error::path("linking", part, source))?;
        }
    }
    for dir in ["/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/home"] {
        tree.dir(Path::new(dir))
            .map_err(|source| Error::path("creating", dir, source))?;
    }
    Ok(())
}

fn bind_upper(layer: &Path, target: &Path) -> io::Result<()> {
    mount(
        Some(&layer.join("upper")),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    Ok(())
}

/// One overlay: `lowers` below, the topmost first, and `layer/upper` on top.
fn overlay(lowers: &[&Path], layer: &Path, target: &Path) -> Result<()> {
    let lower = lowers.first().copied().unwrap_or(Path::new("/"));
    let (upper, work) = (layer.join("upper"), layer.join("work"));
    // What an earlier mount left in `work` marks a volatile layer as unsafe after a crash; that is about
    // unwritten data, which this kernel still has.
    if work.is_dir() {
        let _ = fs::remove_dir_all(&work);
    }
    if !upper.is_dir() {
        make_dir(&upper)?;
        like(&upper, lower).map_err(|source| Error::path("creating", &upper, source))?;
    }
    make_dir(&work)?;
    let open = |path: &Path| open_dir(path).map_err(|source| Error::path("opening", path, source));
    let lower_fds: Vec<OwnedFd> = lowers.iter().map(|path| open(path)).collect::<Result<_>>()?;
    let (upper_fd, work_fd) = (open(&upper)?, open(&work)?);
    let below: Vec<String> = lower_fds
        .iter()
        .map(|fd| by_fd(fd).display().to_string())
        .collect();
    let dirs = format!(
        "lowerdir={},upperdir={},workdir={}",
        below.join(":"),
        by_fd(&upper_fd).display(),
        by_fd(&work_fd).display()
    );
    let mut last = nix::errno::Errno::EINVAL;
    // Volatile skips syncing what is thrown away anyway; user namespaces need `userxattr`.
    for extra in [",volatile", ",volatile,userxattr", "", ",userxattr"] {
        let data = format!("{dirs}{extra}");
        // No set-uid bits and no file capabilities: with `no_new_privs` a program with
        // capabilities that the container lacks would not even start (ping).
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        match mount(
            Some("overlay"),
            target,
            Some("overlay"),
            flags,
            Some(data.as_str()),
        ) {
            Ok(()) => return Ok(()),
            Err(errno) => last = errno,
        }
    }
    Err(Error::path(VIEW, lower, last))
}

/// Owner and mode of a merged directory are those of its upper one.
fn like(upper: &Path, lower: &Path) -> io::Result<()> {
    let meta = fs::metadata(lower)?;
    // An owner that is not mapped into our user namespace cannot be given.
    let _ = std::os::unix::fs::chown(upper, Some(meta.uid()), Some(meta.gid()));
    fs::set_permissions(upper, meta.permissions())
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| Error::path("creating", path, source))
}

/// Which of [`PARTS`] are mount points here.
fn separate_mounts() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(unescape))
        .collect();
    PARTS
        .iter()
        .map(PathBuf::from)
        .filter(|part| points.contains(part))
        .collect()
}
