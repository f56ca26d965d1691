//! `moat policy diff`: what the step from one version to another opens and closes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::error::Result;
use super::report::{Cell, Report};
use super::test::{Request, test};
use crate::model::{Family, Proto};

/// A flow whose decision changes; with `None` it is not there in that version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: String,
    pub to: String,
    pub port: u16,
    pub proto: Proto,
    pub family: Family,
    /// `None`: it is only in the other version.
    pub before: Option<Cell>,
    pub after: Option<Cell>,
}

/// Two versions and what changes between them.
#[derive(Debug)]
pub struct Diff {
    pub before: Report,
    pub after: Report,
    /// By names, port, protocol and family.
    pub changes: Vec<Change>,
}

/// Compares two versions.
///
/// # Errors
/// One of them cannot be read.
pub fn diff(before: PathBuf, after: PathBuf, families: &[Family]) -> Result<Diff> {
    let read = |path| {
        let request = Request {
            paths: vec![path],
            expect: vec![],
            families: families.to_vec(),
        };
        test(&request, &mut |_, _| {})
    };
    let (before, after) = (read(before)?, read(after)?);
    let keyed = |report: &Report| -> BTreeMap<_, Cell> {
        let key = |c: &Cell| (report.name(c.from), report.name(c.to), c.port, c.proto, c.family);
        report.cells.iter().map(|c| (key(c), *c)).collect()
    };
    let (old, new) = (keyed(&before), keyed(&after));
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).cloned().collect();
    let changes = keys
        .into_iter()
        .map(|key| (old.get(&key).copied(), new.get(&key).copied(), key))
        .filter(|(a, b, _)| a.map(|c| c.decided) != b.map(|c| c.decided))
        .map(|(before, after, (from, to, port, proto, family))| Change {
            from,
            to,
            port,
            proto,
            family,
            before,
            after,
        })
        .collect();
    Ok(Diff {
        before,
        after,
        changes,
    })
}
