//! Directories of the host that a container sees without what is in them: logs, mail, what databases hold.
//!
//! Programs find their directories, with owner and mode, and write into the container's own layer: each is an
//! outline of the host's directory, kept where the layers of other parts are, and bound in place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::super::error::{Error, Result};
use super::super::spec::{Root, Spec};
use super::super::syscall::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID};
use super::mapped::Mapped;
use super::mask::{keep, put_back};
use super::overlay::{layer_of, like, open_dir};
use super::tree::{Tree, bind, restrict};

#[rustfmt::skip]
pub const EMPTIED: [&str; 10] = [
    "/var/lib/docker-registry", "/var/lib/jenkins", "/var/lib/ldap", "/var/lib/mongodb", "/var/lib/mysql",
    "/var/lib/postgresql", "/var/lib/redis", "/var/log", "/var/mail", "/var/spool",
];

/// How far below one its directories are shown, and how many of them.
const DEEPEST: usize = 2;
const MOST: usize = 256;

/// Those of this host that are not shared.
fn list(spec: &Spec) -> impl Iterator<Item = &'static Path> {
    let share: &[PathBuf] = match &spec.root {
        Root::Host { share } => share,
        _ => &[],
    };
    let host = matches!(spec.root, Root::Host { .. });
    let closed = move |path: &&Path| host && !share.iter().any(|open| path.starts_with(open));
    // Not a link: what it leads to may be another one of these.
    let is_dir = |path: &&Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    EMPTIED.map(Path::new).into_iter().filter(closed).filter(is_dir)
}

/// Makes the outlines that a container does not have yet.
pub fn outline(spec: &Spec) -> Result<()> {
    for path in list(spec) {
        let upper = layer_of(spec, path).join("upper");
        if !upper.exists() {
            fs::create_dir_all(layer_of(spec, path))
                .and_then(|()| copy(path, &upper, DEEPEST, &mut { MOST }))
                .map_err(|source| Error::path("outlining", path, source))?;
        }
    }
    Ok(())
}

/// A directory with the directories in it, and nothing else.
fn copy(from: &Path, to: &Path, depth: usize, left: &mut usize) -> io::Result<()> {
    fs::create_dir(to)?;
    like(to, from)?;
    let mut inner: Vec<_> = match fs::read_dir(from) {
        Ok(entries) if depth > 0 => entries.flatten().map(|entry| entry.file_name()).collect(),
        _ => return Ok(()),
    };
    inner.sort();
    for name in inner {
        let below = from.join(&name);
        if *left == 0 || !fs::symlink_metadata(&below).is_ok_and(|meta| meta.is_dir()) {
            continue;
        }
        *left -= 1;
        match copy(&below, &to.join(&name), depth - 1, left) {
            // Gone meanwhile: the host goes on living.
            Err(error) if !below.exists() && error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// Puts the outlines in place, with what is shared of the directories they cover.
pub fn cover(spec: &Spec, tree: &Tree, mapped: Option<&Mapped>) -> Result<()> {
    let Root::Host { share } = &spec.root else {
        return Ok(());
    };
    if mapped.is_none() {
        outline(spec)?;
    }
    for path in list(spec) {
        let Ok(target) = tree.find(path) else { continue };
        let inner = share.iter().filter(|open| open.starts_with(path));
        // On another file system it is shown later.
        let there: Vec<&PathBuf> = inner.filter(|open| tree.find(open).is_ok()).collect();
        let kept = keep(tree, &there)?;
        let bind = || -> io::Result<()> {
            let upper = layer_of(spec, path).join("upper");
            let from = match (
                mapped.and_then(|m| m.dir(&spec.layer)),
                upper.strip_prefix(&spec.layer),
            ) {
                (Some(layer), Ok(inside)) => {
                    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                    nix::fcntl::openat(layer, inside, flags, Mode::empty())?
                }
                _ => open_dir(&upper)?,
            };
            bind(&from, &target, false)?;
            restrict(tree, path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
        };
        bind().map_err(|source| Error::path("covering", path, source))?;
        for (path, fd) in kept {
            put_back(tree, path, &fd).map_err(|source| Error::path("sharing", path, source))?;
        }
    }
    Ok(())
}
