//! What the use cases found out, for people or as JSON.

use std::collections::BTreeSet;

use super::print::{Look, Printer};
use crate::model::{Name, Party, Service};
use crate::ops::doctor::{Check, Level};
use crate::ops::fsck::Report;
use crate::ops::{link, list, net, reach, why};

pub fn containers(p: &Printer, all: &[list::View]) -> i32 {
    if p.json {
        p.json(&all);
        return 0;
    }
    if p.quiet {
        all.iter().for_each(|c| p.line(c.name.as_str()));
        return 0;
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|c| {
            let status = status(c);
            let ports: Vec<String> = c.ports.iter().map(port).collect();
            vec![
                c.name.to_string(),
                status,
                net(c),
                c.ips
                    .iter()
                    .map(|ip| ip.split('/').next().unwrap_or_default())
                    .collect::<Vec<_>>()
                    .join(" "),
                ports.join(" "),
            ]
        })
        .collect();
    p.table(&["NAME", "STATUS", "NET", "ADDRESSES", "PORTS"], &rows);
    0
}

/// One that has ended is on no network, whichever it was on.
fn net(c: &list::View) -> String {
    let without = if c.status == "exited" { "" } else { "none" };
    c.net
        .as_ref()
        .map_or_else(|| without.to_owned(), ToString::to_string)
}

/// `running`, `exited (3)`, and what else there is to say of it.
fn status(c: &list::View) -> String {
    let mut notes: Vec<String> = c.exit_code.iter().map(ToString::to_string).collect();
    notes.extend(c.paused.then(|| "paused".to_owned()));
    notes.extend(c.health.map(|h| h.as_str().to_owned()));
    if c.restarting {
        notes.push("restarting".to_owned());
    } else {
        match c.restarts {
            0 => {}
            1 => notes.push("restarted once".to_owned()),
            n => notes.push(format!("restarted {n} times")),
        }
    }
    if notes.is_empty() {
        return c.status.to_owned();
    }
    format!("{} ({})", c.status, notes.join(", "))
}

fn port(port: &list::Port) -> String {
    let host = match port.host {
        Some(std::net::IpAddr::V6(ip)) => format!("[{ip}]:"),
        Some(ip) => format!("{ip}:"),
        None => String::new(),
    };
    format!("{host}{}->{}/{}", port.host_port, port.port, port.proto)
}

pub fn details(p: &Printer, details: &list::Details) -> i32 {
    p.json(details);
    0
}

pub fn links(p: &Printer, all: &[link::View]) -> i32 {
    if p.json {
        p.json(&all);
        return 0;
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|l| {
            let service = match (&l.port, l.proto) {
                (Some(port), Some(proto)) => format!("{port}/{proto}"),
                (None, Some(proto)) => proto.to_string(),
                _ => "any".to_owned(),
            };
            let expires = l.expires.clone().unwrap_or_else(|| "never".to_owned());
            vec![
                l.from.clone(),
                l.to.clone(),
                service,
                expires,
                l.packets.to_string(),
                l.bytes.to_string(),
            ]
        })
        .collect();
    p.table(&["FROM", "TO", "SERVICE", "EXPIRES", "PACKETS", "BYTES"], &rows);
    0
}

pub fn networks(p: &Printer, all: &[net::View]) -> i32 {
    if p.json {
        p.json(&all);
        return 0;
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|n| {
            let way = if n.internal { "internal" } else { "open" };
            vec![
                n.name.to_string(),
                n.subnets.join(" "),
                way.to_owned(),
                n.containers.len().to_string(),
            ]
        })
        .collect();
    p.table(&["NAME", "SUBNETS", "WAY OUT", "CONTAINERS"], &rows);
    0
}

pub fn answer(p: &Printer, from: &Party, to: &Party, service: Service, a: &why::Answer) -> i32 {
    let code = i32::from(!a.allowed);
    if p.json {
        p.json(a);
        return disagreement(a).unwrap_or(code);
    }
    let (look, word) = if a.allowed {
        (Look::Good, "allowed")
    } else {
        (Look::Bad, "not allowed")
    };
    let what = if service == Service::Any {
        String::new()
    } else {
        format!(" {service}")
    };
    p.line(format!("{from} -> {to}{what}: {}", p.paint(look, word)));
    for reason in &a.because {
        p.line(format!("  because: {}", reason.text));
    }
    if let Some(probe) = &a.probe {
        let word = if probe.reached { "reached" } else { "did not reach" };
        p.line(format!("  probe: {word} the receiver ({})", probe.detail));
    }
    if let Some(change) = &a.change {
        p.line(format!("  to change it: {}", p.paint(Look::Strong, change)));
    }
    disagreement(a).unwrap_or(code)
}

/// A packet that does not do what was decided is an error of ours, never a yes or no.
fn disagreement(a: &why::Answer) -> Option<i32> {
    a.probe
        .as_ref()
        .filter(|probe| probe.reached != a.allowed)
        .map(|_| 2)
}

/// A table for each service: `yes`, `-`, or the one family in which it is a yes; `!` where
/// packets did not do what was decided.
pub fn matrix(p: &Printer, m: &reach::Matrix) -> i32 {
    let wrong = m.cells.iter().filter(|c| !c.agrees()).count();
    let code = i32::from(wrong > 0) * 2;
    if p.json {
        p.json(m);
        return code;
    }
    let services: BTreeSet<Service> = m.cells.iter().map(|c| c.service).collect();
    let to: BTreeSet<&Name> = m.cells.iter().map(|c| &c.to).collect();
    for service in services {
        p.line(p.paint(Look::Strong, &service.to_string()));
        let head: Vec<&str> = ["FROM \\ TO"]
            .into_iter()
            .chain(to.iter().map(|n| n.as_str()))
            .collect();
        let rows: Vec<Vec<String>> = to
            .iter()
            .map(|from| {
                let cell = |to: &&Name| {
                    let of = |c: &&reach::Cell| c.service == service && c.from == **from && c.to == **to;
                    word(&m.cells.iter().filter(of).collect::<Vec<_>>())
                };
                [from.to_string()]
                    .into_iter()
                    .chain(to.iter().map(cell))
                    .collect()
            })
            .collect();
        p.table(&head, &rows);
    }
    let probed = m.cells.iter().filter(|c| c.observed.is_some()).count();
    match (probed, wrong) {
        (0, _) => p.say(format!("{} cells decided; --probe sends packets", m.cells.len())),
        (n, 0) => p.say(format!(
            "{n} cells decided and probed: packets did what was decided"
        )),
        (n, wrong) => p.say(format!(
            "{wrong} of {n} cells: packets did not do what was decided (marked !)"
        )),
    }
    code
}

fn word(cells: &[&reach::Cell]) -> String {
    let yes: Vec<&str> = cells.iter().filter(|c| c.decided).map(|c| c.family).collect();
    let mark = if cells.iter().all(|c| c.agrees()) { "" } else { "!" };
    let word = match yes.as_slice() {
        _ if cells.is_empty() => "",
        [] => "-",
        all if all.len() == cells.len() => "yes",
        some => some[0],
    };
    format!("{word}{mark}")
}

pub fn checks(p: &Printer, all: &[Check]) -> i32 {
    let worst = i32::from(all.iter().any(|c| c.level == Level::Failed)) * 2;
    if p.json {
        p.json(&all);
        return worst;
    }
    for c in all {
        let (look, word) = match c.level {
            Level::Ok => (Look::Good, "ok     "),
            Level::Warning => (Look::Strong, "warning"),
            Level::Failed => (Look::Bad, "FAILED "),
        };
        p.line(format!("{}  {}: {}", p.paint(look, word), c.name, c.detail));
    }
    worst
}

pub fn report(p: &Printer, r: &Report) -> i32 {
    let code = i32::from(!r.findings.is_empty() && !r.fixed);
    if p.json {
        p.json(r);
        return code;
    }
    r.findings.iter().for_each(|f| p.line(f));
    p.say(match (r.findings.len(), r.fixed) {
        (0, _) => "nothing is wrong".to_owned(),
        (n, true) => format!("{n} findings, mended"),
        (n, false) => format!("{n} findings; `moat fsck --fix` mends them"),
    });
    code
}

/// What a container changed of its root.
pub fn changes(p: &Printer, changes: &[crate::ops::copy::Change]) -> i32 {
    if p.json {
        p.json(&changes);
    } else {
        for change in changes {
            // A name may hold what moves a cursor; a script reads --json.
            let path = change.path.to_string_lossy();
            let path: String = path.chars().flat_map(shown).collect();
            p.line(format!("{} {path}", change.kind));
        }
    }
    0
}

fn shown(c: char) -> Vec<char> {
    if c.is_control() {
        c.escape_default().collect()
    } else {
        vec![c]
    }
}
