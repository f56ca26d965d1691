//! What a CNI plugin must do, point by point and version by version: one row a point.
//!
//! A row is told three times: about `moat` itself, about our binary called by the names of the
//! reference plugins, and about Debian's `containernetworking-plugins`. `docs/CONFORMANCE.md`
//! has what came out; `MOAT_BLESS=1` writes it anew. Points that only a runtime can meet have
//! no row; the others are those of the specification (SPEC.md 1.1.0 and CONVENTIONS.md) and of
//! what its callers really send.

mod add;
mod args;
mod call;
mod check;
mod delegate;
mod gc;
mod lab;
mod leave;
mod lists;
mod page;
mod process;
mod results;
mod robust;
mod room;
mod traces;

use crate::harness::{Story, long};
use crate::world::Mode;
use lab::{Lab, Subject};

/// What a row comes to: why not, if it does not hold.
pub type Verdict = Result<(), String>;

/// One point.
pub struct Row {
    /// Its number, and a letter where there is more to it than one row.
    pub point: &'static str,
    /// What holds, in words.
    pub words: &'static str,
    /// The versions that it is about.
    pub versions: &'static [&'static str],
    /// Why the reference does not do so, where it does not.
    pub known: Option<&'static str>,
    /// Whether it does so now and then only.
    pub chance: bool,
    pub tell: fn(&Lab) -> Verdict,
}

pub const ALL: &[&str] = &["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// With interfaces in the result.
pub const LISTS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// With CHECK.
pub const CHECKS: &[&str] = &["0.4.0", "1.0.0", "1.1.0"];
pub const BEFORE_CHECK: &[&str] = &["0.1.0", "0.2.0", "0.3.0", "0.3.1"];
pub const BEFORE_GC: &[&str] = &["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];
/// With GC and STATUS.
pub const LATEST: &[&str] = &["1.1.0"];

impl Row {
    pub const fn new(point: &'static str, words: &'static str, tell: fn(&Lab) -> Verdict) -> Self {
        Self {
            point,
            words,
            versions: ALL,
            known: None,
            chance: false,
            tell,
        }
    }

    /// It is about some versions only.
    pub const fn of(mut self, versions: &'static [&'static str]) -> Self {
        self.versions = versions;
        self
    }

    /// The reference does otherwise.
    pub const fn unlike(mut self, why: &'static str) -> Self {
        self.known = Some(why);
        self
    }
}

impl Row {
    /// The reference does otherwise, but not each time.
    pub const fn not_always(mut self, why: &'static str) -> Self {
        self.known = Some(why);
        self.chance = true;
        self
    }
}

/// The rows of one story, and their heading.
pub struct Part {
    pub heading: &'static str,
    pub rows: &'static [Row],
}

pub const STORIES: &[Story] = &[
    long("conformance::process", |_: Mode| tell(&process::PART)),
    long("conformance::results", |_: Mode| tell(&results::PART)),
    long("conformance::add", |_: Mode| tell(&add::PART)),
    long("conformance::leave", |_: Mode| tell(&leave::PART)),
    long("conformance::check", |_: Mode| tell(&check::PART)),
    long("conformance::gc", |_: Mode| tell(&gc::PART)),
    long("conformance::delegate", |_: Mode| tell(&delegate::PART)),
    long("conformance::robust", |_: Mode| tell(&robust::PART)),
    long("conformance::lists", |_: Mode| tell(&lists::PART)),
    long("conformance::args", |_: Mode| tell(&args::PART)),
];

/// Tells all rows of a part, and compares with the page.
fn tell(part: &Part) {
    let only = std::env::var("MOAT_ROWS").unwrap_or_default();
    let chosen = |row: &&Row| only.is_empty() || only.split(',').any(|p| p == row.point);
    let mut lines = Vec::new();
    let mut wrong = Vec::new();
    lab::programs();
    for row in part.rows.iter().filter(chosen) {
        let results: Vec<page::Cell> = Subject::ALL
            .map(|subject| {
                // All versions at once: most of the time is waiting for the kernel to take
                // namespaces down.
                let told = row
                    .versions
                    .iter()
                    .map(|v| (*v, room::apart(subject, v, row.tell)));
                let told: Vec<_> = told.collect();
                page::Cell(
                    told.into_iter()
                        .map(|(v, room)| (v, room::outcome(room)))
                        .collect(),
                )
            })
            .into();
        let [moat, names, reference] = &results[..] else {
            unreachable!("three subjects")
        };
        for (who, cell) in [("moat", moat), ("by names", names)] {
            wrong.extend(cell.failure().map(|f| format!("{} {who}: {f}", row.point)));
        }
        match (row.known, reference.failure()) {
            (None, Some(f)) => wrong.push(format!("{} reference, not known to differ: {f}", row.point)),
            (Some(_), None) if reference.told() > 0 && !row.chance => {
                wrong.push(format!("{} reference, known to differ, does not", row.point))
            }
            _ => {}
        }
        lines.push(page::line(row, &results));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    if only.is_empty() {
        page::compare(part.heading, &lines);
    }
}
