//! Directories daemons expect below `/run`, as their packages declare them in tmpfiles.d(5).
//!
//! `/run` of a container is fresh; without this, postgres and haproxy find no place for their sockets.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{Gid, Uid, fchownat};

use super::super::account::Files;
use super::tree::Tree;

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    path: PathBuf,
    mode: u32,
    user: String,
    group: String,
}

/// Creates them all, `base` being the host's id of the container's root. One that cannot be made is left out: nobody may need it.
pub fn create(tree: &Tree, accounts: &Files, base: u32) {
    // A file in /etc replaces the one of the same name in /usr/lib.
    let mut files: BTreeMap<_, PathBuf> = BTreeMap::new();
    for dir in ["/usr/lib/tmpfiles.d", "/etc/tmpfiles.d"] {
        for path in tree.names(Path::new(dir)) {
            if path.extension().is_some_and(|ext| ext == "conf") {
                files.insert(path.file_name().map(std::ffi::OsStr::to_owned), path);
            }
        }
    }
    for path in files.values() {
        for wanted in tree.text(path).lines().filter_map(parse) {
            let _ = make(tree, accounts, &wanted, base);
        }
    }
}

fn make(tree: &Tree, accounts: &Files, wanted: &Wanted, base: u32) -> std::io::Result<()> {
    let dir = tree.dir(&wanted.path)?;
    let parent = tree.dir(wanted.path.parent().unwrap_or(Path::new("/")))?;
    let name = wanted.path.file_name().unwrap_or_default();
    let (uid, gid) = (accounts.uid_of(&wanted.user), accounts.gid_of(&wanted.group));
    drop(dir);
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(
        parent.as_fd(),
        name,
        uid.map(|uid| Uid::from_raw(base.saturating_add(uid))),
        gid.map(|gid| Gid::from_raw(base.saturating_add(gid))),
        flags,
    )?;
    let mode = Mode::from_bits_truncate(wanted.mode);
    // After the owner, since chown clears the set-group-id bit.
    fchmodat(parent.as_fd(), name, mode, FchmodatFlags::FollowSymlink)?;
    Ok(())
}

fn parse(line: &str) -> Option<Wanted> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let kind = fields.first()?;
    if !kind.starts_with(['d', 'D']) || kind[1..].contains(|c: char| c.is_alphanumeric()) {
        return None;
    }
    let path = PathBuf::from(fields.get(1)?);
    let inside = path
        .strip_prefix("/run")
        .or_else(|_| path.strip_prefix("/var/run"))
        .ok()?;
    let plain = inside
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    // `%` starts a specifier, which we do not expand.
    if !plain || inside.as_os_str().is_empty() || path.to_string_lossy().contains('%') {
        return None;
    }
    let field = |at: usize, default: &str| {
        let text = fields
            .get(at)
            .copied()
            .filter(|text| *text != "-")
            .unwrap_or(default);
        text.trim_start_matches([':', '~']).to_owned()
    };
    let mode = u32::from_str_radix(&field(2, "0755"), 8).ok()? & 0o7777;
    Some(Wanted {
        path: Path::new("/run").join(inside),
        mode,
        user: field(3, "root"),
        group: field(4, "root"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_below_run_are_taken() {
        let wanted = parse("d /run/postgresql 2775 postgres pg - -").expect("a directory");
        assert_eq!(wanted.path, Path::new("/run/postgresql"));
        assert_eq!(
            (wanted.mode, wanted.user.as_str(), wanted.group.as_str()),
            (0o2775, "postgres", "pg")
        );
        assert_eq!(parse("D! /var/run/x - - -").expect("default mode").mode, 0o755);
        for line in [
            "",
            "# d /run/x",
            "f /run/x",
            "d /tmp/x 1777 root root",
            "d /run/../etc 0777 root root",
            "d /run",
            "d /run/%u",
            "d /run/x 9999",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
