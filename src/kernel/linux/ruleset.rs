//! The rulesets as a whole: loading them with `nft`, and telling whether they are whole.
//!
//! `nft -j` takes text as well as JSON: what does not parse as JSON is parsed again as text
//! (`nft_run_cmd_from_filename` in `src/libnftables.c`). A pipe is empty by then, so the text
//! lies in a memory file that the program opens by its path.

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use nftables::helper::{NftablesError, get_current_ruleset_raw};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::namespace::Namespace;
use super::nft::Nft;
use crate::kernel::Error;
use crate::kernel::words;
use crate::plan::{Names, Place, Ruleset, Table, skeleton};

/// Where `nft` lies when `PATH` does not say: an ordinary user's path often lacks these.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The tables a ruleset consists of, in the order in which they are made and taken away.
pub(super) fn tables(which: Ruleset) -> &'static [Table] {
    match which {
        Ruleset::Wall => &[Table::Wall, Table::Ports],
        Ruleset::WayOut => &[Table::WayOut],
        Ruleset::Stand => &[Table::Stand],
        Ruleset::Classic => &[Table::ClassicPorts, Table::Classic],
    }
}

/// Whether every table is there, awake, with every chain and as many rules as the skeleton has.
pub(super) fn is_whole(nft: &mut Nft, which: Ruleset, at: &Place, names: &Names) -> io::Result<bool> {
    let wanted = outline(&skeleton::ruleset(which, at, names));
    // The skeleton's tables stand in the order of `tables`.
    for (table, wanted) in tables(which).iter().zip(wanted) {
        if nft.chains(*table)?.as_ref() != Some(&wanted) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A ruleset that is about to be loaded in one transaction, in place of whatever is left of it.
pub(super) struct Load {
    which: Ruleset,
    script: String,
    /// `None` for the calling thread's own.
    namespace: Option<Namespace>,
}

impl Load {
    /// `left` are the tables that exist: deleting one makes `nft` wait for a grace period at its
    /// end, so only these are deleted.
    pub fn new(
        namespace: Option<&Namespace>,
        which: Ruleset,
        at: &Place,
        names: &Names,
        left: &[bool],
    ) -> Result<Self, Error> {
        let text = skeleton::ruleset(which, at, names);
        let tables = text
            .lines()
            .filter_map(|l| l.strip_prefix("table ")?.strip_suffix('{'));
        let gone: String = tables
            .zip(left)
            .filter(|(_, left)| **left)
            .map(|(name, _)| format!("delete table {name}\n"))
            .collect();
        let namespace = namespace
            .map(Namespace::try_clone)
            .transpose()
            .map_err(|e| refused(which, e.to_string()))?;
        Ok(Self {
            which,
            script: gone + &text,
            namespace,
        })
    }

    pub fn run(&self) -> Result<(), Error> {
        let run = || run(&self.script);
        match &self.namespace {
            Some(ns) => ns.within(run),
            None => Ok(run()),
        }
        .map_err(|e| refused(self.which, e.to_string()))?
        .map_err(|detail| refused(self.which, detail))
    }
}

fn refused(which: Ruleset, detail: String) -> Error {
    Error::Nft {
        which: words::ruleset(which).to_owned(),
        detail,
    }
}

/// A thread that loads ended without a word.
pub(super) fn broken() -> Error {
    refused(Ruleset::Wall, "the loading thread panicked".to_owned())
}

/// Which tables of a ruleset exist, in the order of [`tables`].
pub(super) fn left(nft: &mut Nft, which: Ruleset) -> io::Result<Vec<bool>> {
    tables(which)
        .iter()
        .map(|t| Ok(nft.chains(*t)?.is_some()))
        .collect()
}

fn run(script: &str) -> Result<(), String> {
    let file = memory_file(script).map_err(|e| e.to_string())?;
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let program = program();
    match get_current_ruleset_raw(Some(program.as_os_str()), ["-f", path.as_str()]) {
        Ok(_) => Ok(()),
        Err(NftablesError::NftFailed { stderr, .. }) => Err(stderr.trim().replace(&path, "ruleset")),
        Err(e) => Err(e.to_string()),
    }
}

fn memory_file(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"ruleset", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Where `nft` is, as `PATH` and the usual places say; only its name when it is nowhere.
#[must_use]
pub fn program() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM.iter().map(PathBuf::from))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("nft"))
        .find(|p| p.is_file())
        .unwrap_or_else(|| Path::new("nft").to_owned())
}

/// The chains of each table of a skeleton, and how many rules each has.
fn outline(text: &str) -> Vec<BTreeMap<String, usize>> {
    let mut tables: Vec<BTreeMap<String, usize>> = Vec::new();
    let mut chain: Option<(String, usize)> = None;
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        if line.starts_with("table ") {
            tables.push(BTreeMap::new());
        } else if let Some(rest) = line.strip_prefix("chain ") {
            let (name, body) = rest.split_once('{').unwrap_or((rest, ""));
            let name = name.trim().to_owned();
            match body.trim().strip_suffix('}') {
                // A chain on one line.
                Some(body) => {
                    let rules = body.split(';').filter(|r| !r.trim().is_empty()).count();
                    close(&mut tables, Some((name, rules)));
                }
                None => chain = Some((name, 0)),
            }
        } else if line == "}" {
            close(&mut tables, chain.take());
        } else if let Some((_, rules)) = chain.as_mut().filter(|_| !line.starts_with("type ")) {
            *rules += 1;
        }
    }
    tables
}

fn close(tables: &mut [BTreeMap<String, usize>], chain: Option<(String, usize)>) {
    if let (Some(table), Some((name, rules))) = (tables.last_mut(), chain) {
        table.insert(name, rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlines_count_the_rules_of_each_chain() {
        let text = "table inet x {\n  set s { type inet_proto; }\n  chain a { meta mark 1 drop; }\n\
                    chain b {\n type filter hook input priority 0;\n tcp dport { 1, 2 } drop\n\n drop\n }\n}\n";
        let wanted = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(outline(text), [wanted]);
    }

    #[test]
    fn skeletons_have_the_tables_they_are_said_to_have() {
        for which in [Ruleset::Wall, Ruleset::WayOut, Ruleset::Stand, Ruleset::Classic] {
            let text = skeleton::ruleset(which, &Place::Router, &Names::of_world(0));
            assert_eq!(outline(&text).len(), tables(which).len());
        }
    }
}
