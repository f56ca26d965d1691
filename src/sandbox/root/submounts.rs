//! Other file systems of the host below `/`, which an overlay of `/` does not show.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::cgroup::unescape;
use super::super::spec::Spec;
use super::mask;

/// Directories that programs cannot do without, whatever kind of file system they are on.
pub const PARTS: [&str; 9] = [
    "/usr", "/etc", "/var", "/opt", "/srv", "/lib", "/lib64", "/bin", "/sbin",
];

/// Fresh in every container, or the kernel's own.
const FRESH: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];

/// File systems on disks that bear no device number of one.
const DISKS: [&str; 3] = ["btrfs", "zfs", "bcachefs"];

/// A file system mounted below `/`.
#[derive(Debug, PartialEq, Eq)]
pub struct Submount {
    pub path: PathBuf,
    pub read_only: bool,
    kind: String,
    on_disk: bool,
}

/// Those that the host view shows, outer ones first. Network file systems are not among them: one whose
/// server is gone would hold up every start.
pub fn shown(spec: &Spec) -> Vec<Submount> {
    let list = all().into_iter();
    list.filter(|sub| (sub.on_disk || is_part(&sub.path)) && !mask::is_hidden(&spec.hide, &sub.path))
        .collect()
}

/// What is mounted on the host and is an empty directory in a container, with its kind.
pub fn unseen() -> Vec<(PathBuf, String)> {
    let list = all().into_iter();
    list.filter(|sub| !sub.on_disk && !is_part(&sub.path) && !mask::is_hidden(&[], &sub.path))
        .map(|sub| (sub.path, sub.kind))
        .collect()
}

/// Whether the host view is whole without `path` being shifted: a file system of its own that is no part
/// every program needs.
pub fn is_optional(path: &Path) -> bool {
    path != Path::new("/") && !is_part(path) && all().iter().any(|sub| sub.path == path)
}

fn is_part(path: &Path) -> bool {
    PARTS.iter().any(|part| path == Path::new(part))
}

fn all() -> Vec<Submount> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut list = read(&text);
    list.retain(|sub| sub.path.is_dir());
    list
}

/// By path, the topmost mount on each.
fn read(mountinfo: &str) -> Vec<Submount> {
    let subs = mountinfo.lines().filter_map(line);
    let by_path: BTreeMap<PathBuf, Submount> = subs.map(|sub| (sub.path.clone(), sub)).collect();
    by_path.into_values().collect()
}

/// One line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
fn line(text: &str) -> Option<Submount> {
    let (mount, system) = text.split_once(" - ")?;
    let fields: Vec<&str> = mount.split(' ').collect();
    let path = unescape(fields.get(4)?);
    let kind = system.split(' ').next()?;
    let fresh = FRESH.iter().any(|dir| path.starts_with(dir));
    if path == Path::new("/") || fresh {
        return None;
    }
    let device = fields.get(2)?;
    Some(Submount {
        read_only: fields.get(5)?.split(',').any(|option| option == "ro"),
        on_disk: !device.starts_with("0:") || DISKS.contains(&kind),
        kind: kind.to_owned(),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 27 0:21 / /proc rw,relatime - proc proc rw
30 27 8:1 / /nix rw,relatime shared:5 - xfs /dev/sda1 rw
31 27 7:3 / /snap/core/1 ro,nodev - squashfs /dev/loop3 ro
32 27 0:40 / /data\\040one rw - nfs4 server:/x rw
33 27 0:41 /@opt /opt rw - btrfs /dev/sdb rw
34 30 0:42 / /nix ro - tmpfs none rw
35 27 0:43 / /run/user/0 rw - tmpfs none rw
";

    #[test]
    fn the_topmost_mount_counts_and_fresh_directories_do_not() {
        let list = read(MOUNTS);
        let seen: Vec<(&str, bool, bool)> = list
            .iter()
            .map(|sub| (sub.path.to_str().expect("text"), sub.on_disk, sub.read_only))
            .collect();
        assert_eq!(
            seen,
            [
                ("/data one", false, false),
                ("/nix", false, true),
                ("/opt", true, false),
                ("/snap/core/1", true, true),
            ]
        );
    }
}
