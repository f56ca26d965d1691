//! Worlds whose network namespace or boot is no more.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use super::context::{Where, names_of, netns_cookie, state};
use super::error::Result;
use crate::sandbox;
use crate::store;

/// Removes the directories of worlds that nothing can enter any more. How many.
///
/// # Errors
/// When a directory cannot be removed.
pub fn old_worlds(place: &Where) -> Result<usize> {
    let boot = store::boot_id()?;
    let living = living_namespaces();
    let cookie = netns_cookie()?;
    let mut removed = 0;
    for entry in std::fs::read_dir(&place.root).into_iter().flatten().flatten() {
        let path = entry.path();
        let read = |file| std::fs::read_to_string(path.join(file)).ok();
        let Some(inode) = read("netns").and_then(|t| t.trim().parse::<u64>().ok()) else {
            continue;
        };
        let other_boot = read("boot").is_some_and(|b| b != boot);
        let gone = living.as_ref().is_some_and(|l| !l.contains(&inode));
        if entry.file_name().to_str() != Some(&cookie) && (other_boot || gone) {
            end_containers(&path);
            let router = path.join("router");
            crate::kernel::linux::release_namespace(&router).map_err(|e| state(&router, e))?;
            sandbox::remove_tree(&path).map_err(|e| state(&path, e))?;
            removed += 1;
        }
    }
    let root = place.root.canonicalize().map_err(|e| state(&place.root, e))?;
    let own = names_of(&root).owner;
    for entry in std::fs::read_dir(&place.data).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let mut words = name.to_str().unwrap_or_default().splitn(3, '-');
        let (Some(when), Some(owner), Some(cookie)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        // Other roots look after their own worlds.
        let gone = owner == own && !root.join(cookie).exists();
        if when.len() == 8 && (when != &boot[..8] || gone) {
            sandbox::remove_tree(&entry.path()).map_err(|e| state(&entry.path(), e))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// A dead world's containers cannot be reached by anybody any more.
fn end_containers(world: &std::path::Path) {
    let ids = std::fs::read_dir(world.join("containers")).into_iter().flatten();
    for id in ids.flatten().filter_map(|e| e.file_name().into_string().ok()) {
        let _ = sandbox::destroy(&id);
    }
}

/// The inodes of the network namespaces of all processes, and of those that are mounted
/// anywhere; `None` where not every process can be seen, because then nothing may be concluded.
fn living_namespaces() -> Option<BTreeSet<u64>> {
    // The first process of a pid namespace that is not the initial one hides the others.
    let initial = std::fs::read_link("/proc/self/ns/pid").ok()? == std::path::Path::new("pid:[4026531836]");
    if !initial {
        return None;
    }
    let (mut found, mut looked) = (BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir("/proc")
        .map_err(|e| state("/proc".as_ref(), e))
        .ok()?
        .flatten()
    {
        let read = |name: &str| entry.path().join(name).metadata().map(|m| m.ino());
        if let Some(net) = unless_gone(read("ns/net"))? {
            found.insert(net);
        }
        if unless_gone(read("ns/mnt"))?.is_some_and(|mnt| looked.insert(mnt)) {
            let text = std::fs::read_to_string(entry.path().join("mountinfo"));
            found.extend(mounted(&unless_gone(text)?.unwrap_or_default()));
        }
    }
    Some(found)
}

/// What was read of a process, if it is still there. `None` when it cannot be told: then nothing may be
/// called gone.
#[allow(clippy::option_option)] // three answers: there, gone, unknown
fn unless_gone<T>(read: std::io::Result<T>) -> Option<Option<T>> {
    match read {
        Ok(found) => Some(Some(found)),
        Err(e) => matches!(
            e.raw_os_error(),
            Some(libc::ENOENT | libc::ESRCH | libc::EINVAL | libc::EACCES | libc::ENOTDIR)
        )
        .then_some(None),
    }
}

/// The network namespaces in a mountinfo: the root of such a mount is `net:[INODE]`.
fn mounted(mountinfo: &str) -> impl Iterator<Item = u64> {
    let roots = mountinfo.lines().filter_map(|l| l.split(' ').nth(3));
    roots.filter_map(|r| r.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok())
}
