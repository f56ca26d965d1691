//! `stats` and `top` as tables; `stats` goes on once a second until it is interrupted or nobody reads.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use super::print::Printer;
use crate::ops::stats::{Sampler, Stat};
use crate::ops::{Inside, Result, Where};

const TICK: Duration = Duration::from_secs(1);
/// Between the two samples of a single table.
const SHORT: Duration = Duration::from_millis(200);

pub fn stats(p: &Printer, place: &Where, names: &[String], once: bool) -> Result<i32> {
    let mut sampler = Sampler::default();
    sampler.sample(place, names)?;
    std::thread::sleep(SHORT);
    let terminal = std::io::stdout().is_terminal();
    loop {
        let all = sampler.sample(place, names)?;
        if once {
            if p.json {
                p.json(&all);
            } else {
                p.table(&HEAD, &rows(&all));
            }
            return Ok(0);
        }
        if !names.is_empty() && all.is_empty() {
            return Ok(0);
        }
        let text = if p.json {
            // One document a line: a stream has no end to wait for.
            serde_json::to_string(&all).unwrap_or_default() + "\n"
        } else {
            let clear = if terminal { "\x1b[H\x1b[2J" } else { "" };
            clear.to_owned() + &p.table_text(&HEAD, &rows(&all))
        };
        let mut out = std::io::stdout().lock();
        if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(0);
        }
        drop(out);
        std::thread::sleep(TICK);
    }
}

const HEAD: [&str; 8] = [
    "NAME",
    "CPU",
    "MEMORY",
    "LIMIT",
    "PIDS",
    "RECEIVED",
    "SENT",
    "WAITS (CPU MEM IO)",
];

fn rows(all: &[Stat]) -> Vec<Vec<String>> {
    let row = |s: &Stat| {
        let paused = if s.paused { " (paused)" } else { "" };
        let share = |p: Option<f64>| p.map_or_else(|| "-".to_owned(), |p| format!("{p:.1}%"));
        let pids = match s.pids_limit {
            Some(most) => format!("{}/{most}", s.pids),
            None => s.pids.to_string(),
        };
        vec![
            format!("{}{paused}", s.name),
            format!("{:.1}%", s.cpu_percent),
            bytes(s.memory),
            s.memory_limit.map_or_else(|| "-".to_owned(), bytes),
            pids,
            bytes(s.received),
            bytes(s.sent),
            [s.pressure.cpu, s.pressure.memory, s.pressure.io]
                .map(share)
                .join(" "),
        ]
    };
    all.iter().map(row).collect()
}

pub fn top(p: &Printer, all: &[Inside]) -> i32 {
    if p.json {
        p.json(&all);
        return 0;
    }
    let row = |i: &Inside| {
        vec![
            i.pid.to_string(),
            i.parent.to_string(),
            i.user.clone(),
            i.state.to_string(),
            format!("{}.{:02}", i.cpu_ms / 1000, i.cpu_ms % 1000 / 10),
            bytes(i.memory),
            i.command.clone(),
        ]
    };
    let head = ["PID", "PARENT", "USER", "STATE", "CPU", "MEMORY", "COMMAND"];
    p.table(&head, &all.iter().map(row).collect::<Vec<_>>());
    0
}

/// `12.3M` and the like; whole numbers below 1 KiB.
fn bytes(n: u64) -> String {
    let units = ["", "K", "M", "G", "T"];
    #[allow(clippy::cast_precision_loss)] // one digit behind the point
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        n.to_string()
    } else {
        format!("{value:.1}{}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0");
        assert_eq!(bytes(1023), "1023");
        assert_eq!(bytes(1536), "1.5K");
        assert_eq!(bytes(64 << 20), "64.0M");
    }
}
