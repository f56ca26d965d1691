//! Worlds whose network namespace or boot is no more.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use super::context::{Where, netns_cookie, state};
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
    let mut removed = 0;
    for entry in std::fs::read_dir(&place.root).into_iter().flatten().flatten() {
        let path = entry.path();
        let read = |file| std::fs::read_to_string(path.join(file)).ok();
        let Some(inode) = read("netns").and_then(|t| t.trim().parse::<u64>().ok()) else {
            continue;
        };
        let other_boot = read("boot").is_some_and(|b| b != boot);
        let gone = living.as_ref().is_some_and(|l| !l.contains(&inode));
        if entry.file_name().to_str() != Some(&netns_cookie()) && (other_boot || gone) {
            sandbox::remove_tree(&path).map_err(|e| state(&path, e))?;
            removed += 1;
        }
    }
    for entry in std::fs::read_dir(&place.data).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((when, cookie)) = name.to_str().and_then(|n| n.split_once('-')) else {
            continue;
        };
        let world = place.root.join(cookie);
        if when.len() == 8 && (when != &boot[..8] || !world.exists()) {
            sandbox::remove_tree(&entry.path()).map_err(|e| state(&entry.path(), e))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The inodes of the network namespaces of all processes; `None` where not every process can
/// be seen, because then nothing may be concluded.
fn living_namespaces() -> Option<BTreeSet<u64>> {
    // The first process of a pid namespace that is not the initial one hides the others.
    let initial = std::fs::read_link("/proc/self/ns/pid").ok()? == std::path::Path::new("pid:[4026531836]");
    if !initial {
        return None;
    }
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")
        .map_err(|e| state("/proc".as_ref(), e))
        .ok()?
        .flatten()
    {
        if let Ok(m) = std::fs::metadata(entry.path().join("ns/net")) {
            found.insert(m.ino());
        }
    }
    Some(found)
}
