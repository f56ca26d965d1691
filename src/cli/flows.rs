//! `moat flows`: flows by name, as they happen with `-f`, and how many there were.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::print::{Look, Printer};
use crate::ops::flows::{Count, Event, Watch, tracked};
use crate::ops::{Result, Where};

/// Without a limit of its own.
const LONG: Duration = Duration::from_hours(1);

/// Which flows, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub follow: bool,
    pub denied: bool,
    pub lasting: Option<Duration>,
}

pub fn flows(p: &Printer, place: &Where, wish: Wish) -> Result<i32> {
    if !wish.follow {
        let all = tracked(place)?;
        if p.json {
            p.json(&all);
        } else {
            table(p, &all);
            p.say("what is denied leaves no trace: `moat flows -f` shows it as it happens");
        }
        return Ok(0);
    }
    let begun = Instant::now();
    let mut watch = Watch::begin(place)?;
    p.say("listening; Ctrl-C ends it");
    loop {
        for note in watch.notes.drain(..) {
            p.say(format!("note: {note}"));
        }
        let left = wish.lasting.map(|d| d.saturating_sub(begun.elapsed()));
        if left.is_some_and(|d| d.is_zero()) {
            break;
        }
        let Some(events) = watch.next(left.unwrap_or(LONG))? else {
            break;
        };
        let shown = events.iter().filter(|e| !wish.denied || e.verdict == "denied");
        let text: String = shown.map(|e| line(p, e)).collect();
        let mut out = std::io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(0);
        }
    }
    let counts = watch.counts.all();
    if !p.json && !p.quiet && !counts.is_empty() {
        p.line("");
        table(p, &counts);
    }
    Ok(0)
}

/// One event a line; in JSON, too: a stream has no end to wait for.
fn line(p: &Printer, e: &Event) -> String {
    if p.json {
        return serde_json::to_string(e).unwrap_or_default() + "\n";
    }
    let look = if e.verdict == "denied" {
        Look::Bad
    } else {
        Look::Good
    };
    // The time of day: a stream is read as it comes.
    let time = e
        .time
        .split_once('T')
        .map_or(&*e.time, |(_, t)| t.trim_end_matches('Z'));
    format!(
        "{time} {} {} -> {} {} ({})  {}\n",
        p.paint(look, &format!("{:7}", e.verdict)),
        e.from,
        e.to,
        service(e.port, &e.proto),
        e.family,
        p.paint(Look::Dim, &e.because)
    )
}

fn service(port: Option<u16>, proto: &str) -> String {
    port.map_or_else(|| proto.to_owned(), |port| format!("{port}/{proto}"))
}

fn table(p: &Printer, all: &[Count]) {
    let row = |c: &Count| {
        vec![
            c.verdict.to_owned(),
            c.from.clone(),
            c.to.clone(),
            service(c.port, &c.proto),
            c.flows.to_string(),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    p.table(&["VERDICT", "FROM", "TO", "SERVICE", "FLOWS"], &rows);
}
