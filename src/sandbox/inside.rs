//! The processes of a container, seen from the host: who they are inside, what they use.
//!
//! Command lines and names are the container's own words: control characters in them do not reach a terminal.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::account::Files;
use super::cgroup;
use super::root::Tree;

/// One process of a container.
#[derive(Clone, Debug, Serialize)]
pub struct Inside {
    /// As the container sees it.
    pub pid: i32,
    pub parent: i32,
    /// As the host sees it.
    pub host_pid: i32,
    /// By the container's own `/etc/passwd`, or a number.
    pub user: String,
    /// As in ps(1): `R`, `S`, `D`, `Z`, …
    pub state: char,
    pub cpu_ms: u64,
    /// Bytes in memory, what it shares with others included.
    pub memory: u64,
    pub command: String,
}

/// The processes of the container `id` whose pid 1 is `first`, in the order of their pids.
#[must_use]
pub fn processes(id: &str, first: i32) -> Vec<Inside> {
    let root = format!("/proc/{first}/root");
    let accounts = Tree::open(Path::new(&root))
        .map(|tree| Files::of(&tree))
        .unwrap_or_default();
    let ids = fs::read_to_string(format!("/proc/{first}/uid_map")).unwrap_or_default();
    let host: Vec<i32> = pids(id, first);
    let mut list: Vec<Inside> = host
        .iter()
        .filter_map(|pid| one(*pid, first, &accounts, &ids))
        .collect();
    list.sort_by_key(|process| process.pid);
    let inside: BTreeMap<i32, i32> = list.iter().map(|p| (p.host_pid, p.pid)).collect();
    for process in &mut list {
        process.parent = inside.get(&process.parent).copied().unwrap_or(0);
    }
    list
}

/// Their pids as the host sees them: by the cgroup, or where there is none by the pid namespace.
#[must_use]
pub fn pids(id: &str, first: i32) -> Vec<i32> {
    let listed = cgroup::leaf_of(id)
        .and_then(|leaf| fs::read_to_string(leaf.join("cgroup.procs")).ok())
        .unwrap_or_default();
    let listed: Vec<i32> = listed.lines().filter_map(|line| line.parse().ok()).collect();
    if listed.contains(&first) {
        return listed;
    }
    let space = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = space(first) else {
        return Vec::new();
    };
    let Ok(dir) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    dir.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| space(*pid).as_ref() == Some(&own))
        .collect()
}

/// How long memory is counted exactly. Reading `smaps_rollup` waits for whoever forks or maps, and a
/// container may do nothing else.
const EXACTLY: Duration = Duration::from_millis(200);

/// Processor time in microseconds and memory in bytes of all of them, where no cgroup counts either. What
/// several share is counted once (`Pss` of proc_pid_smaps(5)), while there is time for that.
#[must_use]
pub fn sums(id: &str, first: i32) -> (u64, u64) {
    let begun = Instant::now();
    let mut total = (0, 0);
    for pid in pids(id, first) {
        total.0 += stat(pid).map_or(0, |stat| stat.cpu_ms * 1000);
        let memory = if begun.elapsed() < EXACTLY {
            share(pid)
        } else {
            anonymous(pid)
        };
        total.1 += memory.unwrap_or(0);
    }
    total
}

/// Its share of the memory that is mapped, in bytes.
fn share(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(pss.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// What it has resident without files and what is shared, in bytes; takes no lock (proc_pid_statm(5)).
fn anonymous(pid: i32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut pages = statm.split_whitespace().skip(1).map(|n| n.parse::<u64>().ok());
    let (resident, shared) = (pages.next()??, pages.next()??);
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(resident.saturating_sub(shared) * u64::try_from(page).ok()?)
}

fn one(pid: i32, first: i32, accounts: &Files, ids: &str) -> Option<Inside> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches(':').trim())
    };
    let level = fs::read_to_string(format!("/proc/{first}/status"))
        .ok()
        .and_then(|text| depth(&text))?;
    let stat = stat(pid)?;
    let outside: u32 = field("Uid")?.split_whitespace().nth(1)?.parse().ok()?;
    let uid = mapped(ids, outside);
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    let command = if words.is_empty() {
        format!("[{}]", field("Name")?)
    } else {
        words.join(" ")
    };
    let resident = field("VmRSS").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    Some(Inside {
        pid: field("NSpid")?.split_whitespace().nth(level)?.parse().ok()?,
        parent: stat.parent,
        host_pid: pid,
        user: uid.map_or_else(
            || "nobody".to_owned(),
            |uid| accounts.name_of(uid).map_or_else(|| uid.to_string(), plain),
        ),
        state: stat.state,
        cpu_ms: stat.cpu_ms,
        memory: resident.unwrap_or(0) * 1024,
        command: plain(&command),
    })
}

/// How many pid namespaces are around that of a process.
fn depth(status: &str) -> Option<usize> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().count().checked_sub(1)
}

fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// An id of ours as the container knows it (user_namespaces(7)).
fn mapped(map: &str, outside: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line
            .split_whitespace()
            .filter_map(|text| text.parse::<u32>().ok());
        let (inside, first, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let offset = outside.checked_sub(first).filter(|offset| *offset < count)?;
        inside.checked_add(offset)
    })
}

struct Stat {
    state: char,
    parent: i32,
    cpu_ms: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields of proc_pid_stat(5); the name in the second may hold anything.
fn parse(text: &str) -> Option<Stat> {
    /// Clock ticks are hundredths of a second to every program (`USER_HZ`).
    const TICK_MS: u64 = 10;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at - 3).and_then(|text| text.parse::<u64>().ok());
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        cpu_ms: (number(14)? + number(15)?) * TICK_MS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_back() {
        let map = "         0     100000      65536\n     70000          5          1\n";
        assert_eq!(mapped(map, 100_000), Some(0));
        assert_eq!(mapped(map, 100_103), Some(103));
        assert_eq!(mapped(map, 5), Some(70_000));
        assert_eq!(mapped(map, 0), None);
        assert_eq!(mapped("0 0 4294967295", 33), Some(33));
    }

    #[test]
    fn odd_names_do_not_confuse() {
        let text = "7 (a) b) R 3 7 7 0 -1 4194304 1 0 0 0 12 30 0 0 20 0 1 0 9 0 0";
        let stat = parse(text).expect("parses");
        assert_eq!((stat.state, stat.parent, stat.cpu_ms), ('R', 3, 420));
        assert_eq!(depth("Name:\tx\nNSpid:\t10\t1\n"), Some(1));
        assert_eq!(plain("a\u{1b}[31m\n"), "a?[31m?");
    }

    #[test]
    fn this_process_is_seen() {
        let own = i32::try_from(std::process::id()).expect("fits");
        let first = i32::try_from(std::os::unix::process::parent_id()).expect("fits");
        let seen = one(own, first, &Files::default(), "0 0 4294967295").expect("is there");
        assert!(seen.memory > 0 && !seen.command.is_empty());
    }
}
