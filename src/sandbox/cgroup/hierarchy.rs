//! Which cgroup hierarchies are mounted here: read from `/proc/self/mountinfo`, never assumed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The controllers we use.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "freezer"];

/// Mount points of the cgroup hierarchies.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    pub v2: Option<PathBuf>,
    /// By controller.
    pub v1: BTreeMap<&'static str, PathBuf>,
}

impl Hierarchies {
    pub fn of_this_machine() -> Self {
        std::fs::read_to_string("/proc/self/mountinfo")
            .map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    /// The first mount of each kind whose root is the top of the hierarchy as we may see it.
    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = left.split(' ').nth(4) else {
                continue;
            };
            let mut fields = right.split(' ');
            let (kind, options) = (fields.next(), fields.nth(1).unwrap_or(""));
            match kind {
                Some("cgroup2") => drop(found.v2.get_or_insert_with(|| unescape(point))),
                Some("cgroup") => {
                    for name in CONTROLLERS {
                        if options.split(',').any(|option| option == name) {
                            found.v1.entry(name).or_insert_with(|| unescape(point));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// Controllers a v2 hierarchy can hand out at its top.
pub fn controllers_of(root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Undoes the `\040` style of mountinfo.
pub fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\').then(|| tail.get(..3)).flatten();
        let code = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(code) = code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(code);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_machines_are_understood() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct\n\
                    35 31 0:32 / /sys/fs/cgroup/me\\040mory rw - cgroup cgroup rw,memory\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                    garbage";
        let found = Hierarchies::parse(text);
        assert_eq!(found.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(
            found.v1.get("cpu").map(PathBuf::as_path),
            Some(Path::new("/sys/fs/cgroup/cpu,cpuacct"))
        );
        assert_eq!(
            found.v1.get("memory").map(PathBuf::as_path),
            Some(Path::new("/sys/fs/cgroup/me mory"))
        );
        assert_eq!(found.v1.get("pids"), None);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape(r"/a\134b\0"), Path::new(r"/a\b\0"));
    }
}
