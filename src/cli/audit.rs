//! `audit`: printing who changed what.

use std::time::Duration;

use serde_json::Value;

use super::print::{Look, Printer};
use crate::ops::{self, Error, Result, Where};

/// How often the log is looked at with `-f`.
const PAUSE: Duration = Duration::from_millis(200);

/// Prints the log, and with `follow` what comes.
pub fn run(place: &Where, follow: bool, tail: Option<usize>, p: &Printer) -> Result<i32> {
    let mut log = ops::audit::audit(place)?;
    let path = place.data.join("audit.log").display().to_string();
    let mut read = || {
        let fail = |e: std::io::Error| Error::Refused {
            what: format!("the audit log {path}: {e}"),
            hint: "MOAT_DATA names another data directory".into(),
        };
        log.records().map_err(fail)
    };
    let mut records = read()?;
    records.drain(..records.len() - tail.unwrap_or(records.len()).min(records.len()));
    if p.json && !follow {
        p.json(&records);
        return Ok(0);
    }
    loop {
        for record in &records {
            p.line(if p.json {
                record.to_string()
            } else {
                line(p, record)
            });
        }
        if !follow {
            return Ok(0);
        }
        std::thread::sleep(PAUSE);
        records = read()?;
    }
}

/// `2026-03-01T12:00:00Z  root 17  + link web -> db 5432/tcp  (moat link web db:5432)`
fn line(p: &Printer, record: &Value) -> String {
    let text = |key: &str| record[key].as_str().unwrap_or_default();
    let user = ["sudo", "login", "uid"].iter().find_map(|k| record[*k].as_u64());
    let (look, sign) = match (record["before"].is_null(), record["after"].is_null()) {
        (true, false) => (Look::Good, "+"),
        (false, true) => (Look::Bad, "-"),
        _ => (Look::Strong, "~"),
    };
    let mut what = format!("{sign} {} {}", text("what"), text("object"));
    if text("what") == "port" {
        let target = if sign == "-" {
            &record["before"]
        } else {
            &record["after"]
        };
        let container = target["container"].as_str().unwrap_or_default();
        what.extend([" -> ", container, " ", &target["port"].to_string()]);
    }
    format!(
        "{}  uid {} pid {}  {}  ({})",
        text("time"),
        user.unwrap_or_default(),
        record["pid"],
        p.paint(look, &what),
        text("command")
    )
}
