//! Which sysctls may be changed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crate::ops::context::state;
use crate::ops::error::{Error, Result};

/// Regular expressions, one a line; where the file is, a sysctl must match one of them.
const ALLOWED: &str = "/etc/cni/tuning/allowlist.conf";

/// The keys below `/proc/sys`, with slashes, and their values.
///
/// # Errors
/// A key that is not of the network, which alone is the namespace's own.
pub(super) fn paths(sysctls: &BTreeMap<String, String>, ifname: &str) -> Result<Vec<(String, String)>> {
    let path = |(key, value): (&String, &String)| {
        let path = below_proc_sys(key).replacen("IFNAME", ifname, 1);
        if path.starts_with("net/") && !path.split('/').any(|p| p == "..") {
            return Ok((path, value.clone()));
        }
        Err(Error::Input {
            value: key.clone(),
            reason: "not a sysctl of the network".into(),
            hint: Some("keys start with `net.`".into()),
        })
    };
    sysctls.iter().map(path).collect()
}

/// The first separator is the separator; the other one is part of a name (`sysctl(8)`).
fn below_proc_sys(key: &str) -> String {
    if key.find(['.', '/']).is_some_and(|at| key[at..].starts_with('/')) {
        return key.to_owned();
    }
    let other = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    key.chars().map(other).collect()
}

/// Whether the machine's owner allows all of them.
///
/// # Errors
/// The first that is not, or a file that cannot be read.
pub(super) fn allow<'a>(keys: impl Iterator<Item = &'a String>) -> Result<()> {
    allowed(keys, allow_list()?.as_deref())
}

/// `None` without the file: all are allowed.
fn allow_list() -> Result<Option<String>> {
    match fs::read_to_string(ALLOWED) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(state(Path::new(ALLOWED), e)),
    }
}

fn allowed<'a>(keys: impl Iterator<Item = &'a String>, list: Option<&str>) -> Result<()> {
    let Some(list) = list else {
        return Ok(());
    };
    let lines = list.lines().map(str::trim).filter(|l| !l.is_empty());
    let bad = |e: regex_lite::Error| Error::Input {
        value: e.to_string(),
        reason: format!("{ALLOWED} has a line that is no regular expression"),
        hint: None,
    };
    let patterns = lines.map(|l| regex_lite::Regex::new(l).map_err(bad));
    let patterns: Vec<regex_lite::Regex> = patterns.collect::<Result<_>>()?;
    for key in keys {
        if !patterns.iter().any(|p| p.is_match(key)) {
            return Err(Error::Input {
                value: key.clone(),
                reason: "the sysctl is not allowed".into(),
                hint: Some(format!("{ALLOWED} lists what is")),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allow_list_is_one_of_patterns() {
        let allowed = |key: &str, list: Option<&str>| allowed([key.to_owned()].iter(), list).is_ok();
        let list = Some("^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$\n\n net.core \n");
        for (key, fine) in [
            ("net.ipv4.conf.IFNAME.log_martians", true),
            ("net.ipv4.conf.all.log_martians", false),
            ("x.net.core.somaxconn", true),
        ] {
            assert_eq!(allowed(key, list), fine, "{key}");
        }
        assert!(allowed("a", None) && !allowed("a", Some("")) && !allowed("a", Some("(")));
    }

    #[test]
    fn sysctls_stay_inside_the_network() {
        let path = |key: &str| {
            let all = paths(&[(key.to_owned(), "1".to_owned())].into(), "eth0.5");
            all.ok().map(|mut l| l.remove(0).0)
        };
        let eth = "net/ipv4/conf/eth0.5/log_martians".to_owned();
        assert_eq!(path("net.ipv4.conf.IFNAME.log_martians"), Some(eth));
        let slashes = "net/ipv4/conf/eth0.5/log_martians";
        assert_eq!(path(slashes), Some(slashes.to_owned()));
        for bad in ["kernel.pid_max", "net/../kernel/pid_max", "/net/x", "netx.y"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
