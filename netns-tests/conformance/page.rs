//! `docs/CONFORMANCE.md`: what came out, a table for each part.

use std::fs::File;
use std::path::Path;

use super::{LATEST, Row, Verdict};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFORMANCE.md");

/// What a row came to for one subject, version by version.
pub struct Cell(pub Vec<(&'static str, Verdict)>);

impl Cell {
    /// In which versions it failed, and how in the first; not the reference's lack of a version
    /// that Debian's release does not know, which the page says once.
    pub fn failure(&self) -> Option<String> {
        let failed = |(version, v): &(&'static str, Verdict)| match v {
            Err(e) if e != UNSPOKEN => Some((*version, e.clone())),
            _ => None,
        };
        let failed: Vec<_> = self.0.iter().filter_map(failed).collect();
        let versions: Vec<_> = failed.iter().map(|(v, _)| *v).collect();
        let (_, first) = failed.first()?;
        Some(format!("{}: {first}", versions.join(" ")))
    }

    /// In how many versions it was told.
    pub fn told(&self) -> usize {
        self.0
            .iter()
            .filter(|(_, v)| v != &Err(UNSPOKEN.to_owned()))
            .count()
    }

    fn text(&self) -> String {
        let held: Vec<&str> = self
            .0
            .iter()
            .filter(|(_, v)| v.is_ok())
            .map(|(n, _)| *n)
            .collect();
        match (held.len(), self.told()) {
            (_, 0) => "–".into(),
            (held, told) if held == told => "yes".into(),
            (0, _) => "**no**".into(),
            _ => format!("**only {}**", held.join(", ")),
        }
    }
}

/// How a row fails when its subject does not speak the version.
pub const UNSPOKEN: &str = "does not speak this version";

/// A line of the table.
pub fn line(row: &Row, cells: &[Cell]) -> String {
    let versions = match row.versions {
        [one] => (*one).to_owned(),
        [first, .., last] if *last == LATEST[0] && *first == "0.1.0" => "all".to_owned(),
        [first, .., last] => format!("{first} – {last}"),
        [] => String::new(),
    };
    let [moat, names, reference] = cells else {
        unreachable!("three subjects")
    };
    let why = row.known.map_or(String::new(), |w| format!(": {w}"));
    format!(
        "| {} | {} | {versions} | {} | {} | {}{why} |",
        row.point,
        row.words,
        moat.text(),
        names.text(),
        if row.chance {
            "**not always**".to_owned()
        } else {
            reference.text()
        }
    )
}

/// Fails when the page has another table under this heading.
pub fn compare(heading: &str, lines: &[String]) {
    let table = format!(
        "## {heading}\n\n| point | what holds | versions | `moat` | by names | reference |\n|---|---|---|---|---|---|\n{}\n",
        lines.join("\n")
    );
    // Parts are told side by side.
    let lock = File::open(Path::new(PAGE)).expect("docs/CONFORMANCE.md");
    lock.lock().expect("the page's lock");
    let page = std::fs::read_to_string(PAGE).expect("docs/CONFORMANCE.md");
    if page.contains(&table) {
        return;
    }
    assert!(
        std::env::var_os("MOAT_BLESS").is_some(),
        "docs/CONFORMANCE.md is stale; MOAT_BLESS=1 writes it anew:\n{table}"
    );
    let mut parts: Vec<&str> = page.split("\n## ").collect();
    let own = table.trim_start_matches("## ");
    match parts.iter_mut().find(|p| p.starts_with(heading)) {
        Some(part) => *part = own,
        None => parts.push(own),
    }
    std::fs::write(PAGE, parts.join("\n## ")).expect("docs/CONFORMANCE.md");
}
