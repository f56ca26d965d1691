//! The report as a page: the matrix, and for each square what both directions say.

use super::super::super::page::{End, LIMIT, Page, Square};
use super::super::{summary, words};
use super::{Report, reasons};
use crate::model::policy::Labels;
use crate::ops::{Error, Result};

/// # Errors
/// There are more cells than a browser holds.
pub fn page(report: &Report) -> Result<String> {
    if report.cells.len() > LIMIT {
        return Err(Error::Refused {
            what: format!("{} cells are too many for one page", report.cells.len()),
            hint: "--families ip4 halves them; --format json, junit and markdown take any number".into(),
        });
    }
    let pods = &report.engine.cluster.pods;
    let end = |p: &crate::model::policy::Pod| End {
        name: p.name.clone(),
        group: p.namespace.clone(),
        about: labels(&p.labels),
    };
    let ends = pods.iter().map(end).collect();
    let mut page = Page::new("Network policies", summary(report), ends, false);
    for cell in &report.cells {
        let reason = reasons(report, cell, &report.verdict(cell));
        page.add(Square {
            from: cell.from.index(),
            to: cell.to.index(),
            service: format!("{}/{}", cell.port, words::proto(cell.proto)),
            family: words::family(cell.family),
            decided: cell.decided,
            observed: cell.observed,
            expected: report.expected(cell),
            place: report.line(cell).map(|line| line.place.to_string()),
            reason: &reason,
        });
    }
    Ok(page.html())
}

fn labels(labels: &Labels) -> String {
    let each = labels.iter().map(|(key, value)| format!("{key}={value}"));
    each.collect::<Vec<_>>().join(" ")
}
