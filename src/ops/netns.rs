//! Which network namespace a path leads to.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Whether `path` leads to the calling thread's network namespace. `false` when either cannot be
/// looked at: whoever opens the path then says why.
///
/// Equal device and inode of the nsfs files are the same namespace (`namespaces(7)`).
#[must_use]
pub fn is_own(path: &Path) -> bool {
    let id = |p: &Path| fs::metadata(p).map(|m| (m.dev(), m.ino())).ok();
    let own = id(Path::new("/proc/thread-self/ns/net"));
    own.is_some() && id(path) == own
}
