//! Paths that stay beneath an open directory, whoever made what they lead through and whenever.
//!
//! Resolved by openat2(2) with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`: `..`, absolute paths and symbolic
//! links end at that directory. The one piece by which containers' trees and images are walked; it must know
//! neither.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};

/// How often the kernel is asked again when a rename elsewhere made `..` ambiguous (EAGAIN).
const TRIES: usize = 16;

/// Whatever is there, links followed beneath `root`.
///
/// # Errors
/// Nothing is there, or it cannot be opened so.
pub fn resolve(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let inside = if inside.as_os_str().is_empty() {
        Path::new(".")
    } else {
        inside
    };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    for _ in 0..TRIES {
        match openat2(root, inside, how) {
            Err(Errno::EAGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// The directory, opened with `flags`, made with its parents where they are missing.
///
/// # Errors
/// A file or a symbolic link that leads nowhere is in the way.
pub fn make_dir(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let flags = flags | OFlag::O_DIRECTORY;
    match resolve(root, path, flags) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let mut reached = PathBuf::new();
    let mut parent = resolve(root, &reached, flags)?;
    for part in path.components() {
        let Component::Normal(name) = part else {
            if part == Component::ParentDir {
                reached.push("..");
                parent = resolve(root, &reached, flags)?;
            }
            continue;
        };
        reached.push(name);
        parent = match resolve(root, &reached, flags) {
            Err(Errno::ENOENT) => {
                mkdirat(&parent, name, Mode::from_bits_truncate(0o755))?;
                resolve(root, &reached, flags)?
            }
            other => other?,
        };
    }
    Ok(parent)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out() {
        let dir = std::env::temp_dir().join(format!("moat-beneath-{}", std::process::id()));
        let root = dir.join("root");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(dir.join("secret"), "x").unwrap();
        for (name, to) in [
            ("up", "../secret"),
            ("abs", "/secret"),
            ("gone", "nowhere/at/all"),
        ] {
            symlink(to, root.join(name)).unwrap();
        }
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let open = std::fs::File::open(&root).unwrap();
        let fd = open.as_fd();
        for path in ["up", "abs", "/up", "../secret", "a/../../secret", "magic/etc"] {
            assert!(resolve(fd, Path::new(path), OFlag::O_PATH).is_err(), "{path}");
        }
        make_dir(fd, Path::new("/a/b/../c"), OFlag::O_PATH).unwrap();
        make_dir(fd, Path::new("../../d"), OFlag::O_RDONLY).unwrap();
        assert!(root.join("a/c").is_dir() && root.join("d").is_dir() && !dir.join("d").exists());
        // A link that leads nowhere is in the way, and nothing is made at its end.
        assert!(make_dir(fd, Path::new("gone"), OFlag::O_PATH).is_err());
        assert!(!root.join("nowhere").exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
