//! What a world looks like from outside: kernel, store and files, as lines that two moments
//! can be compared by.
//!
//! Numbers that the kernel or chance gives (indexes, counters, pids, ids) are left out, so
//! that equal lines mean an equal world.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness;
use crate::net::{Ns, until};
use crate::world::World;

/// Interfaces, addresses, routes, rules, neighbours and rules of one namespace.
const LOOK: &str = r"
printf 'link show\naddr show scope global\nroute show table all\nrule show\nneigh show nud permanent\n' > $T
ip -4 -o -b $T; sed -i 1d $T; ip -6 -o -b $T
printf 'fdb show\n-d link show\n' > $T; bridge -o -d -b $T
rm $T
nft -s list ruleset";

/// A moment of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment(Vec<String>);

impl World {
    /// This world once it has come to rest: the kernel does some things a moment later, and a
    /// child of the last command may still wait for it.
    pub fn moment(&self) -> Moment {
        let mut last = self.now();
        until(Duration::from_millis(1500), || {
            std::thread::sleep(Duration::from_millis(20));
            let before = std::mem::replace(&mut last, self.now());
            before == last
        });
        last
    }

    fn now(&self) -> Moment {
        let mut all = look("host", &Ns::host());
        for dir in self.dirs() {
            let router = dir.join("router");
            if Ns::at(&router, "lo").sh("true").ok() {
                all.extend(look("router", &Ns::at(router, "lo")));
            }
            all.extend(store(&dir.join("state.db")));
        }
        all.extend(sysctls());
        all.extend(mounts());
        let ids = self.ids();
        all.extend(files(&self.root, &ids));
        all.extend(files(&harness::dir().join("data"), &ids));
        all.extend(processes());
        all.sort();
        Moment(all)
    }

    /// The directories of the worlds below the state root.
    pub fn dirs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.map(|e| e.path()).filter(|p| p.is_dir()).collect()
    }

    /// The directory of this world.
    pub fn dir(&self) -> PathBuf {
        self.dirs().pop().expect("a world")
    }

    /// The ids of the containers that have a directory, recorded or not.
    pub fn dir_ids(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for dir in self.dirs() {
            let entries = std::fs::read_dir(dir.join("containers"))
                .into_iter()
                .flatten()
                .flatten();
            found.extend(entries.map(|e| e.file_name().to_string_lossy().into_owned()));
        }
        found
    }

    /// The ids and names of the recorded containers.
    fn ids(&self) -> Vec<(String, String)> {
        let all = self.dirs().into_iter().flat_map(|d| {
            rows(&d.join("state.db"), "SELECT id, name FROM containers")
                .into_iter()
                .filter_map(|r| {
                    r.split_once('|')
                        .map(|(id, name)| (id.to_owned(), name.to_owned()))
                })
                .collect::<Vec<_>>()
        });
        all.collect()
    }

    /// Fails unless the world comes to be as it was at one of these moments. Processes and
    /// interfaces take a moment to go.
    #[track_caller]
    pub fn comes_to_be(&self, allowed: &[&Moment], what: &str) -> usize {
        let mut at = None;
        until(Duration::from_millis(1500), || {
            let now = self.now();
            at = allowed.iter().position(|m| **m == now);
            at.is_some()
        });
        at.unwrap_or_else(|| {
            let now = self.now();
            let all = allowed.iter().map(|m| now.since(m));
            let nearest = all.min_by_key(String::len).unwrap_or_default();
            panic!("{what}: the world differs:\n{nearest}")
        })
    }

    /// Fails when a cgroup of one of these containers is there and the container is not.
    #[track_caller]
    pub fn no_cgroups_of(&self, ids: &BTreeSet<String>, what: &str) {
        let known = self.ids();
        for id in ids.iter().filter(|id| known.iter().all(|(k, _)| k != *id)) {
            let found = cgroups(id);
            assert!(found.is_empty(), "{what}: left behind: {found:?}");
        }
    }
}

/// The cgroups of a container.
pub fn cgroups(id: &str) -> Vec<PathBuf> {
    let top = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    let all = top.map(|e| e.path().join("moat").join(id));
    let all = all.chain([Path::new("/sys/fs/cgroup/moat").join(id)]);
    all.filter(|p| p.is_dir()).collect()
}

impl Moment {
    /// What came and went since another moment.
    pub fn since(&self, before: &Self) -> String {
        let mut text = String::new();
        for (sign, a, b) in [('+', self, before), ('-', before, self)] {
            let mut rest = b.0.clone();
            for line in &a.0 {
                if let Some(i) = rest.iter().position(|l| l == line) {
                    rest.swap_remove(i);
                } else {
                    text += &format!("{sign} {line}\n");
                }
            }
        }
        text
    }

    /// The lines that begin so.
    pub fn lines<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a String> {
        self.0.iter().filter(move |l| l.starts_with(start))
    }
}

fn look(place: &str, ns: &Ns) -> Vec<String> {
    let batch = harness::dir().join("batch");
    let out = ns.sh(&format!("T={}; {LOOK}", batch.display()));
    assert!(out.ok(), "{out:?}");
    let mut set = String::new();
    let mut all = Vec::new();
    for line in out.stdout.lines().map(str::trim) {
        let by_itself = [
            "fe80:",
            "ff00:",
            "local fe80:",
            "multicast ",
            "anycast ",
            "33:33:",
            "01:00:5e:",
        ];
        if by_itself.iter().any(|s| line.starts_with(s)) || line.contains(" permanent") {
            continue;
        }
        if ["set ", "map ", "chain "].iter().any(|s| line.starts_with(s)) {
            line.clone_into(&mut set);
        }
        // Elements come in any order, several a line.
        let elements = line.trim_start_matches("elements = {").trim_end_matches('}');
        let words = elements.split(", ").map(plain).filter(|w| !w.is_empty());
        all.extend(words.map(|w| format!("{place}: {set} {w}")));
    }
    all
}

/// A line without the numbers that the kernel or time gives.
fn plain(line: &str) -> String {
    let mut words = line.trim_end_matches(',').split_whitespace().peekable();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        let value = [
            "link-netnsid",
            "state",
            "qdisc",
            "qlen",
            "link/ether",
            "brd",
            "valid_lft",
            "preferred_lft",
            // Of the uplink's ::1 route: made from the interface's index.
            "metric",
        ];
        if value.contains(&word) {
            words.next();
            continue;
        }
        let index =
            kept.is_empty() && word.ends_with(':') && word.trim_end_matches(':').parse::<u32>().is_ok();
        let is_rule = index && words.peek() == Some(&"from");
        if !index || is_rule {
            let name = word.split_once('@').map_or(word, |(name, _)| name);
            kept.push(name.replace("LOWER_UP", ""));
        }
    }
    kept.join(" ")
}

/// The rows of a query, fields joined; none where there is no database.
pub fn rows(path: &Path, sql: &str) -> Vec<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let Ok(db) = rusqlite::Connection::open_with_flags(path, flags) else {
        return vec![];
    };
    let Ok(mut query) = db.prepare(sql) else {
        return vec![];
    };
    let width = query.column_count();
    let found = query.query_map([], |r| {
        let text = |i| -> rusqlite::Result<String> {
            Ok(match r.get_ref(i)? {
                rusqlite::types::ValueRef::Integer(n) => n.to_string(),
                rusqlite::types::ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned(),
                _ => String::new(),
            })
        };
        Ok((0..width).map(text).collect::<Result<Vec<_>, _>>()?.join("|"))
    });
    found.expect("a query").map(|r| r.expect("a row")).collect()
}

fn store(path: &Path) -> Vec<String> {
    let tables = [
        (
            "meta",
            "SELECT key, value FROM meta WHERE key IN ('live', 'sysctls', 'manifests')",
        ),
        ("intents", "SELECT what FROM intents"),
        ("networks", "SELECT name, json, kept FROM networks"),
        ("bridges", "SELECT n, network, ports FROM bridges"),
        (
            "containers",
            "SELECT name, phase, exit_code, auto_remove, labels FROM containers",
        ),
        (
            "endpoints",
            "SELECT container, network, ip4, ip6, mac, bridge, labels FROM endpoints",
        ),
        ("labels", "SELECT * FROM labels"),
        ("links", "SELECT from_end, to_end, service, expires FROM links"),
        ("published", "SELECT * FROM published"),
        (
            "attachments",
            "SELECT plugin, network, container, ifname, phase, record FROM attachments",
        ),
        ("aliases", "SELECT * FROM aliases"),
    ];
    let read = |(name, sql): (&str, &str)| {
        rows(path, sql)
            .into_iter()
            .map(|r| format!("store: {name} {r}"))
            .collect::<Vec<_>>()
    };
    tables.into_iter().flat_map(read).collect()
}

/// What moat may change of the host.
fn sysctls() -> Vec<String> {
    let conf = [
        "forwarding",
        "accept_ra",
        "rp_filter",
        "src_valid_mark",
        "send_redirects",
        "accept_redirects",
        "route_localnet",
        "disable_ipv6",
    ];
    let mut all = Vec::new();
    for family in ["ipv4", "ipv6"] {
        let ifaces = std::fs::read_dir(format!("/proc/sys/net/{family}/conf"))
            .into_iter()
            .flatten();
        for iface in ifaces.flatten() {
            for key in conf {
                if let Ok(value) = std::fs::read_to_string(iface.path().join(key)) {
                    let name = iface.file_name();
                    all.push(format!(
                        "sysctl: {family} {} {key}={}",
                        name.display(),
                        value.trim()
                    ));
                }
            }
        }
    }
    all
}

fn mounts() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let dir = harness::dir().display().to_string();
    // A pod's namespace is the story's own.
    let of_ours = |l: &&str| l.contains(&dir) && !l.contains("/netns-");
    text.lines()
        .filter(of_ours)
        .map(|l| format!("mount: {l}"))
        .collect()
}

/// Directories and files below a directory, with names for ids.
fn files(dir: &Path, ids: &[(String, String)]) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = vec![(dir.to_owned(), 0)];
    while let Some((dir, depth)) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let own = [
                "state.db",
                "state.db-wal",
                "state.db-shm",
                "lock",
                "gate",
                "links",
                "generation",
                "topologies",
                "audit.log",
                "audit.lock",
                "boot",
                "netns",
            ];
            let deep = depth > 3;
            let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
            if is_dir && !deep {
                open.push((entry.path(), depth + 1));
            }
            // Directories that hold the world's things stay, as the files do.
            let frame = depth < 2 && (is_dir || own.contains(&name.as_str()));
            if !frame && !deep {
                let mut text = entry.path().display().to_string();
                for (id, name) in ids {
                    text = text.replace(id, name);
                }
                all.push(format!("file: {text}"));
            }
        }
    }
    all
}

/// The command lines of all processes of the story.
fn processes() -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let numeric = entry
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|b| b.is_ascii_digit());
        if numeric && let Ok(line) = std::fs::read(entry.path().join("cmdline")) {
            // A process on its way out has none.
            if !line.is_empty() {
                let text = String::from_utf8_lossy(&line).replace('\0', " ");
                all.push(format!("process: {text}"));
            }
        }
    }
    all
}
