//! Values of `/proc/sys/net`, read and written inside a namespace.
//!
//! Relies on `proc_sys(5)`: the entries under `/proc/sys/net` are those of the namespace of
//! the thread that opens them.

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
                Ok(text) => Ok(Some(text.trim().to_owned())),
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
    File::options()
        .write(true)
        .open(path)?
        .write_all(value.as_bytes())
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
