//! What this kernel and this machine offer the launcher, for `moat doctor`.
//!
//! Asks without changing anything: a file, a system call with arguments that cannot succeed, or a namespace that
//! goes with the question.

use std::fs;
use std::io;
use std::path::Path;

use super::cgroup::{Hierarchies, controllers_of};
use super::{root, syscall, users};

/// Each feature with what was found, or with what is missing.
#[must_use]
pub fn probe(layers: &Path) -> Vec<(String, Result<String, String>)> {
    let found = Hierarchies::of_this_machine();
    let mut list = vec![
        ("overlay".to_owned(), overlay()),
        ("cgroup v2 leaf".to_owned(), leaf(&found)),
        ("seccomp filter".to_owned(), seccomp()),
        ("namespaces".to_owned(), namespaces()),
        ("pidfd".to_owned(), pidfd()),
        ("user ids".to_owned(), user_ids(layers)),
        ("host view".to_owned(), host_view()),
    ];
    for controller in ["memory", "pids", "cpu"] {
        list.push((format!("{controller} limit"), limit(&found, controller)));
    }
    list
}

fn overlay() -> Result<String, String> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known
        .lines()
        .any(|line| line.trim_start_matches("nodev").trim() == "overlay")
    {
        return Ok("built in or loaded".to_owned());
    }
    Err("not loaded: try `modprobe overlay`".to_owned())
}

fn leaf(found: &Hierarchies) -> Result<String, String> {
    let root = found.v2.as_deref().ok_or("no cgroup v2 hierarchy is mounted")?;
    let kill = fs::read_dir(root)
        .is_ok_and(|mut dirs| dirs.any(|dir| dir.is_ok_and(|dir| dir.path().join("cgroup.kill").exists())));
    let text = if kill {
        "with cgroup.kill"
    } else {
        "cgroup.kill not seen"
    };
    Ok(format!("`{}`, {text}", root.display()))
}

fn limit(found: &Hierarchies, controller: &str) -> Result<String, String> {
    if let Some(root) = &found.v2
        && controllers_of(root).iter().any(|name| name == controller)
    {
        return Ok("cgroup v2".to_owned());
    }
    match found.v1.get(controller) {
        Some(root) => Ok(format!("cgroup v1 at `{}`", root.display())),
        None => Err("neither cgroup v2 nor v1 offers the controller".to_owned()),
    }
}

fn seccomp() -> Result<String, String> {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail")
        .map_err(|error| format!("the kernel has no system call filters: {error}"))?;
    if actions.contains("kill_process") && actions.contains("errno") {
        return Ok("available".to_owned());
    }
    Err(format!("actions missing: only {}", actions.trim()))
}

fn namespaces() -> Result<String, String> {
    let missing: Vec<&str> = ["mnt", "pid", "net", "ipc", "uts", "cgroup"]
        .into_iter()
        .filter(|name| !fs::exists(format!("/proc/self/ns/{name}")).unwrap_or(false))
        .collect();
    if missing.is_empty() {
        Ok("all".to_owned())
    } else {
        Err(format!("missing: {}", missing.join(", ")))
    }
}

fn pidfd() -> Result<String, String> {
    let pid = i32::try_from(std::process::id()).unwrap_or(0);
    syscall::pidfd_open(pid)
        .map(|_| "available".to_owned())
        .map_err(|error: io::Error| error.to_string())
}

/// What of the host's tree containers do not see because it is mounted from elsewhere.
fn host_view() -> Result<String, String> {
    let unseen = root::unseen();
    if unseen.is_empty() {
        return Ok("whole, but for what is hidden".to_owned());
    }
    let list: Vec<String> = unseen
        .iter()
        .take(8)
        .map(|(path, kind)| format!("`{}` ({kind})", path.display()))
        .collect();
    let more = if unseen.len() > list.len() { ", …" } else { "" };
    Err(format!(
        "empty in containers, unless given with `-v`: {}{more}",
        list.join(", ")
    ))
}

/// Whether containers get ids of their own; the directories are tried, which changes nothing.
fn user_ids(layers: &Path) -> Result<String, String> {
    let without = |why: String| format!("containers run with the host's: {why}");
    if !users::may_map() {
        return Err(without(
            "moat is itself in a user namespace without enough ids".to_owned(),
        ));
    }
    let layers = layers.ancestors().find(|path| path.is_dir());
    match users::probe(&[Path::new("/"), layers.unwrap_or(Path::new("/"))]) {
        Ok(()) => Ok("containers have their own".to_owned()),
        Err(error) => Err(without(error.to_string())),
    }
}
