//! The copy-on-write root: the host's `/` or a directory below, the container's throw-away layer on top.
//!
//! An overlay shows one file system: other mounts of the host are empty directories in it, so each gets an
//! overlay of its own (`submounts`). Paths are given to the kernel as `/proc/self/fd/N`, since its option parser
//! splits at commas and colons. Mounts are made in the child's own mount namespace only.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::super::error::{Error, Result, VIEW};
use super::super::spec::{Root, Spec};
use super::super::syscall::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use super::emptied;
use super::mapped::Mapped;
use super::submounts::{self, PARTS, Submount};
use super::tree::{Tree, bind, by_fd, restrict};

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

/// The directories of the host that make up the tree, and their layers, which are made ready.
pub fn sources(spec: &Spec) -> Result<Vec<PathBuf>> {
    let (lowers, _) = lowers(spec);
    let mut list: Vec<PathBuf> = lowers.iter().map(|&path| path.to_owned()).collect();
    list.push(spec.layer.clone());
    make_layer(&spec.layer, topmost(&lowers))?;
    make_dir(&place(spec))?;
    if let Root::Host { share } = &spec.root {
        let parts = submounts::shown(spec).into_iter().filter(|sub| !sub.read_only);
        for part in parts.map(|sub| sub.path).chain(shared_parts(spec, share)) {
            let layer = layer_of(spec, &part);
            make_layer(&layer, &part)?;
            list.extend([part, layer]);
        }
        emptied::outline(spec)?;
    }
    list.sort();
    list.dedup();
    Ok(list)
}

/// The directories below the layer, the topmost first, and whether they are the host.
pub fn lowers(spec: &Spec) -> (Vec<&Path>, bool) {
    match &spec.root {
        Root::Host { .. } => (vec![Path::new("/")], true),
        Root::Dir(dir) => (vec![dir.as_path()], false),
        Root::Layers { layers, .. } => (layers.iter().rev().map(PathBuf::as_path).collect(), false),
    }
}

fn topmost<'a>(lowers: &[&'a Path]) -> &'a Path {
    lowers.first().copied().unwrap_or(Path::new("/"))
}

/// Where the root is mounted while it is being built.
fn place(spec: &Spec) -> PathBuf {
    spec.layer.join("root")
}

/// Mounts the root on `layer/root` and opens it.
pub fn mount_root(spec: &Spec, mapped: Option<&Mapped>) -> Result<Tree> {
    let target = place(spec);
    make_dir(&target)?;
    if let Some(mapped) = mapped {
        mapped.attach(&target)?;
    }
    let (lowers, host) = lowers(spec);
    let whole = overlay(&lowers, &spec.layer, &target, mapped);
    let open = || Tree::open(&target).map_err(|source| Error::path("opening", &target, source));
    let tree = match whole {
        Ok(()) => {
            let tree = open()?;
            if host {
                for sub in submounts::shown(spec) {
                    submount(spec, &tree, &sub, mapped)?;
                }
            }
            tree
        }
        // In a user namespace `/` has locked mounts below it, and the kernel refuses to clone it.
        Err(error) if host && mapped.is_none() => {
            bind_upper(&spec.layer, &target).map_err(|_| error)?;
            let tree = open()?;
            parts_one_by_one(spec, &tree)?;
            tree
        }
        Err(error) => return Err(error),
    };
    emptied::cover(spec, &tree, mapped)?;
    Ok(tree)
}

/// Where the layer of a part of the tree is.
pub fn layer_of(spec: &Spec, part: &Path) -> PathBuf {
    let name = part.to_string_lossy().replace('%', "%25").replace('/', "%2f");
    spec.layer.join("parts").join(name)
}

/// Shared directories on other file systems that the host view would not show.
pub fn shared_parts(spec: &Spec, share: &[PathBuf]) -> Vec<PathBuf> {
    let shown = submounts::shown(spec);
    let missing =
        |path: &&PathBuf| on_other_file_system(path) && !shown.iter().any(|sub| path.starts_with(&sub.path));
    share.iter().filter(missing).cloned().collect()
}

/// Whether a directory is on another file system than `/`: the overlay of `/` shows an empty one there.
fn on_other_file_system(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.is_dir()));
    match (device(Path::new("/")), device(path)) {
        (Ok((root, _)), Ok((other, is_dir))) => is_dir && root != other,
        _ => false,
    }
}

/// Overlays one directory of the host in place.
pub fn overlay_part(spec: &Spec, tree: &Tree, part: &Path, mapped: Option<&Mapped>) -> Result<()> {
    let target = tree.dir(part).map_err(|source| Error::MountTarget {
        path: part.to_owned(),
        source,
    })?;
    overlay(&[part], &layer_of(spec, part), &by_fd(&target), mapped)
}

/// Shows another file system of the host where it is: copy-on-write, or as it is if it cannot be written to
/// anyway, or cannot show owners shifted.
fn submount(spec: &Spec, tree: &Tree, sub: &Submount, mapped: Option<&Mapped>) -> Result<()> {
    let unshifted = mapped.is_some_and(|mapped| mapped.dir(&sub.path).is_none());
    if !sub.read_only && !unshifted {
        return overlay_part(spec, tree, &sub.path, mapped);
    }
    let show = || -> io::Result<()> {
        let source = open_dir(&sub.path)?;
        let target = tree.dir(&sub.path)?;
        bind(&source, &target, false)?;
        let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
        restrict(tree, &sub.path, attributes)
    };
    show().map_err(|source| Error::path("showing", &sub.path, source))
}

fn parts_one_by_one(spec: &Spec, tree: &Tree) -> Result<()> {
    for part in PARTS.map(Path::new) {
        let Ok(kind) = fs::symlink_metadata(part) else {
            continue;
        };
        if kind.is_dir() {
            overlay_part(spec, tree, part, None)?;
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

/// Makes the directories of a layer over `lower`.
fn make_layer(layer: &Path, lower: &Path) -> Result<()> {
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
    make_dir(&work)
}

/// One overlay: `lowers` below, the topmost first, and `layer/upper` on top.
fn overlay(lowers: &[&Path], layer: &Path, target: &Path, mapped: Option<&Mapped>) -> Result<()> {
    let lower = topmost(lowers);
    if mapped.is_none() {
        make_layer(layer, lower)?;
    }
    let open = |path: &Path| match mapped.map(|mapped| mapped.dir(path)) {
        // Never the host's own: its owners do not exist inside.
        Some(None) => Err(Error::path(VIEW, path, nix::errno::Errno::ENOENT)),
        Some(Some(fd)) => fd
            .try_clone()
            .map_err(|source| Error::path("opening", path, source)),
        None => open_dir(path).map_err(|source| Error::path("opening", path, source)),
    };
    let lower_fds: Vec<OwnedFd> = lowers.iter().map(|path| open(path)).collect::<Result<_>>()?;
    let layer_fd = open(layer)?;
    let below: Vec<String> = lower_fds
        .iter()
        .map(|fd| by_fd(fd).display().to_string())
        .collect();
    let dirs = format!(
        "lowerdir={},upperdir={layer}/upper,workdir={layer}/work",
        below.join(":"),
        layer = by_fd(&layer_fd).display(),
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
pub fn like(upper: &Path, lower: &Path) -> io::Result<()> {
    let meta = fs::metadata(lower)?;
    // An owner that is not mapped into our user namespace cannot be given.
    let _ = std::os::unix::fs::chown(upper, Some(meta.uid()), Some(meta.gid()));
    fs::set_permissions(upper, meta.permissions())
}

pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| Error::path("creating", path, source))
}
