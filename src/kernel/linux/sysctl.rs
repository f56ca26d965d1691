//! Values of `/proc/sys/net`, read and written inside a namespace.
//!
//! Relies on `proc_sys(5)`: the entries under `/proc/sys/net` are those of the namespace of
//! the thread that opens them, and on `user_namespaces(7)`: ids that are not mapped can be neither
//! written nor read.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::namespace::Namespace;

/// Writes values in order and returns how many were written, with the error that stopped it.
pub(super) fn write(
    namespace: Option<&Namespace>,
    values: &[(&str, &str)],
) -> io::Result<(usize, io::Result<()>)> {
    within(namespace, || {
        for (done, (key, value)) in values.iter().enumerate() {
            if let Err(e) = path(key).and_then(|p| overwrite(&p, value)) {
                return (done, Err(e));
            }
        }
        (values.len(), Ok(()))
    })
}

/// Reads values; `None` for a key that does not exist.
pub(super) fn read(namespace: Option<&Namespace>, keys: &[&str]) -> io::Result<Vec<Option<String>>> {
    within(namespace, || {
        keys.iter()
            .map(|key| match path(key).and_then(fs::read_to_string) {
                Ok(text) => Ok(Some(as_written(key, text.trim()).to_owned())),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(e),
            })
            .collect()
    })?
}

fn within<T: Send>(namespace: Option<&Namespace>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    match namespace {
        Some(ns) => ns.within(work),
        None => Ok(work()),
    }
}

/// Unlike `fs::write`, asks for no new file where a key does not exist. What is there already is
/// not written: for some keys the kernel tries again and again for a lock that everybody wants.
fn overwrite(path: &Path, value: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    let put = |value: &str| {
        File::options()
            .write(true)
            .open(path)?
            .write_all(value.as_bytes())
    };
    match put(value) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) && path.ends_with(PING) && value == EVERY_GROUP => {
            put(&groups_here())
        }
        done => done,
    }
}

const PING: &str = "ping_group_range";
const EVERY_GROUP: &str = "0\t2147483647";

/// Every group, as far as this user namespace has it.
fn groups_here() -> String {
    let map = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    format!("0\t{}", last_of_first_range(&map))
}

/// The map's first range begins with group 0 wherever somebody is root.
fn last_of_first_range(map: &str) -> u32 {
    let fields = map.lines().next().map(str::split_ascii_whitespace);
    let [first, count] = [0, 2].map(|n| fields.clone()?.nth(n)?.parse::<u32>().ok());
    first
        .zip(count)
        .map_or(0, |(first, count)| first.saturating_add(count).saturating_sub(1))
}

/// What was asked for, where the kernel took as much of it as there is.
fn as_written<'a>(key: &str, value: &'a str) -> &'a str {
    if key.ends_with(PING) && value != EVERY_GROUP && value == groups_here() {
        return EVERY_GROUP;
    }
    value
}

/// `net/ipv4/ip_forward` or `net.ipv4.ip_forward`; an interface name may hold dots only in
/// the first form.
fn path(key: &str) -> io::Result<PathBuf> {
    let key = if key.contains('/') {
        key.to_owned()
    } else {
        key.replace('.', "/")
    };
    if !key.starts_with("net/") || key.split('/').any(|p| p == "..") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a key under /proc/sys/net",
        ));
    }
    Ok(PathBuf::from("/proc/sys").join(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_groups() {
        for (map, last) in [
            ("         0      65534          1\n", 0),
            ("0 1000 1\n1 100000 65536\n", 0),
            ("0 0 4294967295\n", 4_294_967_294),
            ("0 100000 65536\n", 65_535),
            ("", 0),
        ] {
            assert_eq!(last_of_first_range(map), last, "{map}");
        }
    }
}
