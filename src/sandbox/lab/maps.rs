//! Which users exist in a lab: its caller as root, and those that `/etc/subuid` lends to the caller.
//!
//! An ordinary user may map the own id alone, and only after giving up setgroups(2); more is written by the
//! set-uid programs newuidmap(1) and newgidmap(1) (`user_namespaces(7)`).

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sandbox::error::{Error, Result};
use crate::sandbox::payload::DEFAULT_PATH;
use crate::sandbox::program;

/// First id lent, and how many.
type Range = (u32, u32);

/// Writes the maps of the user namespace of `pid`.
pub fn write(pid: i32) -> Result<()> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let lent = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        lent_to(uid, name_of(uid, &passwd), &text)
    };
    if !lent("/etc/subuid").is_some_and(|range| by_tool("newuidmap", pid, uid, range)) {
        one(pid, "uid_map", uid)?;
    }
    if !lent("/etc/subgid").is_some_and(|range| by_tool("newgidmap", pid, gid, range)) {
        put(pid, "setgroups", "deny")?;
        one(pid, "gid_map", gid)?;
    }
    Ok(())
}

fn one(pid: i32, file: &str, own: u32) -> Result<()> {
    put(pid, file, &format!("0 {own} 1"))
}

fn put(pid: i32, file: &str, text: &str) -> Result<()> {
    let path = Path::new("/proc").join(pid.to_string()).join(file);
    fs::write(&path, text).map_err(|source| Error::path("writing", path, source))
}

/// Whether the tool is there and did it: it does all or nothing.
fn by_tool(tool: &str, pid: i32, own: u32, (first, count): Range) -> bool {
    let Ok(tool) = program::locate(tool, OsStr::new(DEFAULT_PATH)) else {
        return false;
    };
    let numbers = [0, own, 1, 1, first, count].map(|n| n.to_string());
    #[allow(clippy::disallowed_methods)] // nobody else may write such a map
    let mut command = Command::new(tool);
    command.arg(pid.to_string()).args(numbers);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn name_of(uid: u32, passwd: &str) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

/// The first range that a file like `/etc/subuid` lends to a user, by name or number.
fn lent_to(uid: u32, name: Option<&str>, text: &str) -> Option<Range> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let user = fields.next()?;
        let is_own = Some(user) == name || user.parse() == Ok(uid);
        let range = (
            fields.next()?.trim().parse().ok()?,
            fields.next()?.trim().parse().ok()?,
        );
        (is_own && range.1 > 0).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_lent_by_name_or_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!((name_of(1000, passwd), name_of(7, passwd)), (Some("ann"), None));
        let text = "bob:100000:65536\nann:165536:65536\n1001:300000:10\n# no:1:x\n7:0:0\n";
        assert_eq!(lent_to(1000, Some("ann"), text), Some((165_536, 65_536)));
        assert_eq!(lent_to(1001, None, text), Some((300_000, 10)));
        assert_eq!(
            (lent_to(7, None, text), lent_to(8, Some("eve"), text)),
            (None, None)
        );
    }
}
