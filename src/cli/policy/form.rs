//! The forms of a report: one function for each, from the report to text.

mod junit;
mod markdown;
mod page;

use serde_json::{Value, json};

use super::super::args::ReportFormat;
use super::{table, words};
use crate::model::policy::{Side, Verdict};
use crate::ops::Result;
use crate::ops::policy::{Cell, Report};

/// The report in one form, as a text that ends with a line's end.
///
/// # Errors
/// It is too large for its form.
pub fn text(report: &Report, form: ReportFormat) -> Result<String> {
    let text = match form {
        ReportFormat::Table => table::table(report),
        ReportFormat::Json => serde_json::to_string_pretty(&cells(report)).unwrap_or_default(),
        ReportFormat::Junit => junit::junit(report),
        ReportFormat::Html => page::page(report)?,
        ReportFormat::Markdown => markdown::markdown(report),
    };
    Ok(text + "\n")
}

/// The cells as the contract has them.
fn cells(report: &Report) -> Value {
    let cell = |c: &Cell| {
        json!({
            "from": report.name(c.from),
            "to": report.name(c.to),
            "port": c.port,
            "protocol": words::proto(c.proto),
            "family": words::family(c.family),
            "decided": c.decided,
            "observed": c.observed,
            "expected": report.expected(c),
            "because": because(report, c),
        })
    };
    json!({ "cells": report.cells.iter().map(cell).collect::<Vec<_>>() })
}

/// What decided a cell, in one line.
fn because(report: &Report, cell: &Cell) -> String {
    words::because(&report.engine, &report.verdict(cell), (cell.port, cell.proto))
}

/// `allowed` or `denied`.
fn word(allowed: bool) -> &'static str {
    if allowed { "allowed" } else { "denied" }
}

/// `shop/web -> shop/db 81/TCP ip4`.
fn title(report: &Report, c: &Cell) -> String {
    let (from, to) = (report.name(c.from), report.name(c.to));
    let (proto, family) = (words::proto(c.proto), words::family(c.family));
    format!("{from} -> {to} {}/{proto} {family}", c.port)
}

/// What is wrong with a cell: `expected allowed, is denied`; `None` when nothing is.
fn wrong(report: &Report, cell: &Cell) -> Option<String> {
    let is = word(cell.observed.unwrap_or(cell.decided));
    if Report::disagrees(cell) {
        return Some(format!("decided {}, packets {is}", word(cell.decided)));
    }
    let wanted = report.expected(cell).filter(|_| report.is_unexpected(cell))?;
    Some(format!("expected {}, is {is}", word(wanted)))
}

/// Both directions of a verdict, and below each the rules that came near.
fn reasons(report: &Report, cell: &Cell, verdict: &Verdict) -> Vec<String> {
    if verdict.own {
        return vec!["a pod reaches itself: no policy is asked".to_owned()];
    }
    let mut lines = vec![];
    for side in verdict.sides() {
        let engine = &report.engine;
        let subject = report.name(side.subject);
        let said = words::ruling(engine, side);
        lines.push(format!("{} of {subject}: {said}", side.direction.as_str()));
        if let Some(id) = side.passed_by {
            lines.push(format!("  passed on by {}", words::rule(engine, id)));
        }
        lines.extend(misses(report, cell, side));
    }
    lines
}

/// Why rules did not match where none did: the nearest, and how many more there are.
fn misses(report: &Report, cell: &Cell, side: &Side) -> Vec<String> {
    const SHOWN: usize = 4;
    if side.allowed {
        return vec![];
    }
    let mut tried: Vec<_> = side.tried.iter().collect();
    tried.sort_by_key(|t| words::distance(t));
    let text = |t| format!("  {}", words::tried(&report.engine, t, (cell.port, cell.proto)));
    let mut lines: Vec<String> = tried.iter().take(SHOWN).map(|t| text(t)).collect();
    if tried.len() > SHOWN {
        lines.push(format!("  {} more rules do not match", tried.len() - SHOWN));
    }
    lines
}
