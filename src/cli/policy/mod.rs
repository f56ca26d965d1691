//! `moat policy`: reading arguments, printing reports.

mod form;
mod table;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::args::{FamilyWord, NetworkPolicies, ReportFormat};
use super::print::{Look, Printer, save};
use crate::model::policy::{Engine, Ruling, Side, lint, words};
use crate::model::{Family, Ports, Proto, Service};
use crate::ops::policy::{self, Answer, Change, Question, Report, Request};
use crate::ops::{Error, Result, Where};

/// Work that takes longer than this says how far it is.
const SOON: Duration = Duration::from_secs(1);

pub fn run(place: &Where, command: NetworkPolicies, dry: bool, p: &Printer) -> Result<i32> {
    match command {
        NetworkPolicies::Test {
            path,
            expect,
            probe,
            format,
            out,
            families,
        } => {
            let form = if p.json { ReportFormat::Json } else { format };
            test(&request(path, expect, &families), probe, form, out.as_deref(), p)
        }
        NetworkPolicies::Table { path, families } => {
            let report = if path.is_empty() {
                policy::table_live(place, &kinds(&families))?
            } else {
                decided(&request(path, vec![], &families), p)?
            };
            let form = if p.json {
                ReportFormat::Json
            } else {
                ReportFormat::Table
            };
            print(&report, form, None, p)?;
            Ok(0)
        }
        NetworkPolicies::Why {
            file,
            from,
            to,
            port,
            families,
        } => {
            let port = service(&port)?;
            let question = Question {
                files: file,
                from,
                to,
                port,
                families: kinds(&families),
            };
            let answer = if question.files.is_empty() {
                policy::why_live(place, &question)?
            } else {
                policy::why(&question)?
            };
            Ok(why(&answer, port, p))
        }
        NetworkPolicies::Diff {
            before,
            after,
            families,
        } => {
            let diff = policy::diff(before, after, &kinds(&families))?;
            if p.json {
                let changes: Vec<Value> = diff.changes.iter().map(|c| changed(&diff, c)).collect();
                p.json(&json!({ "changes": changes }));
            } else {
                diff.changes.iter().for_each(|c| p.line(change(&diff, c, p)));
                p.say(counts(&diff.changes));
            }
            Ok(i32::from(!diff.changes.is_empty()))
        }
        NetworkPolicies::Lint { path } => findings(&path, p),
        NetworkPolicies::Apply { file } => {
            let (count, plan) = policy::apply(place, &file, dry)?;
            if plan.is_none() {
                p.say(format!("applied {count}"));
            }
            super::planned(place, p, plan)
        }
        NetworkPolicies::Ls => {
            listed(&policy::ls(place)?, p);
            Ok(0)
        }
        NetworkPolicies::Rm { names } => super::planned(place, p, policy::rm(place, &names, dry)?),
    }
}

fn listed(all: &[policy::View], p: &Printer) {
    if p.json {
        p.json(&all);
        return;
    }
    let row = |v: &policy::View| {
        let name = v
            .namespace
            .as_ref()
            .map_or_else(|| v.name.clone(), |n| format!("{n}/{}", v.name));
        vec![
            v.kind.clone(),
            name,
            v.containers.to_string(),
            format!("{}:{}", v.file, v.line),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    p.table(&["KIND", "NAME", "CONTAINERS", "FROM"], &rows);
}

fn kinds(words: &[FamilyWord]) -> Vec<Family> {
    let mut all: Vec<Family> = (words.iter())
        .map(|w| match w {
            FamilyWord::Ip4 => Family::Ip4,
            FamilyWord::Ip6 => Family::Ip6,
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn request(paths: Vec<PathBuf>, expect: Vec<PathBuf>, families: &[FamilyWord]) -> Request {
    let families = kinds(families);
    Request {
        paths,
        expect,
        families,
    }
}

/// `80`, `80/tcp`, `53/UDP`.
fn service(text: &str) -> Result<(u16, Proto)> {
    match text.to_lowercase().parse::<Service>()? {
        Service::Ports(proto, Ports { first, last }) if first == last => Ok((first, proto)),
        _ => Err(Error::Input {
            value: text.to_owned(),
            reason: "--port takes one port, with tcp, udp or sctp".into(),
            hint: Some("for example `--port 53/udp`".into()),
        }),
    }
}

/// Does something, and says how far it is where that takes a while.
fn showing<T>(what: &str, p: &Printer, work: impl FnOnce(&mut dyn FnMut(usize, usize)) -> T) -> T {
    let begun = Instant::now();
    let shows = std::io::stderr().is_terminal() && !p.quiet;
    let mut shown = false;
    let done = work(&mut |done, all| {
        if shows && begun.elapsed() > SOON {
            shown = true;
            let _ = write!(std::io::stderr(), "\r{what}: {} %", done * 100 / all.max(1));
        }
    });
    if shown {
        let _ = write!(std::io::stderr(), "\r{:30}\r", "");
    }
    done
}

fn decided(request: &Request, p: &Printer) -> Result<Report> {
    showing("deciding", p, |done| policy::test(request, done))
}

fn test(request: &Request, probe: bool, form: ReportFormat, out: Option<&Path>, p: &Printer) -> Result<i32> {
    let mut report = decided(request, p)?;
    if probe {
        showing("trying with packets", p, |done| policy::probe(&mut report, done))?;
    }
    print(&report, form, out, p)?;
    for line in table::differences(&report) {
        p.say(format!("{} {line}", p.paint_talk(Look::Bad, "differs:")));
    }
    Ok(report.exit_code())
}

/// The report on stdout or into a file, and the counts.
fn print(report: &Report, form: ReportFormat, out: Option<&Path>, p: &Printer) -> Result<()> {
    let text = form::text(report, form)?;
    match out {
        None => p.line(text.trim_end()),
        Some(path) => save(path, &text)?,
    }
    p.say(summary(report));
    Ok(())
}

fn summary(report: &Report) -> String {
    let of = |is: &dyn Fn(&policy::Cell) -> bool| report.cells.iter().filter(|c| is(c)).count();
    let allowed = of(&|c| c.decided);
    let text = format!(
        "{} pods, {} policies, {} cells: {allowed} allowed, {} denied",
        report.engine.cluster.pods.len(),
        report.engine.policies.len(),
        report.cells.len(),
        report.cells.len() - allowed
    );
    let mut against = String::new();
    if !report.expectations.is_empty() {
        let (judged, wrong) = (of(&|c| c.line.is_some()), of(&|c| report.is_unexpected(c)));
        against = format!("; {judged} expected, {wrong} other than expected");
    }
    let packets = report.probed.map_or(String::new(), |probed| {
        let differing = of(&Report::disagrees);
        format!(
            "; each tried with a packet over {} set elements, {differing} did something else",
            probed.elements
        )
    });
    format!("{text}{against}{packets}; in {} ms", report.took.as_millis())
}

/// What decides in one direction, for scripts: the things whose absence would change it.
fn names(engine: &Engine, side: &Side) -> Vec<Value> {
    let policy = |number: &usize| {
        let policy = &engine.policies[*number];
        json!({
            "rule": policy.to_string(),
            "text": words::ruling(engine, side),
            "direction": side.direction.as_str(),
            "file": &*policy.file,
            "line": policy.pos.line,
        })
    };
    let rule = |id: &crate::model::policy::RuleId| {
        let (policy, rule) = (&engine.policies[id.policy], engine.rule(*id));
        json!({
            "rule": format!("{policy} {} rule {}", id.direction.as_str(), rule.number),
            "text": words::ruling(engine, side),
            "direction": side.direction.as_str(),
            "file": &*policy.file,
            "line": rule.pos.line,
        })
    };
    match &side.ruling {
        Ruling::Beyond | Ruling::Default => vec![json!({
            "rule": "default",
            "text": words::ruling(engine, side),
            "direction": side.direction.as_str(),
        })],
        Ruling::Admin { rule: id, .. } => vec![rule(id)],
        Ruling::Rules(rules) => rules.iter().map(rule).collect(),
        Ruling::Isolated => side.isolated_by.iter().map(policy).collect(),
    }
}

fn why(answer: &Answer, port: (u16, Proto), p: &Printer) -> i32 {
    let engine = &answer.engine;
    if p.json {
        let because = answer.verdicts.iter().flat_map(|(family, verdict)| {
            let sides = verdict.sides();
            let all = sides.into_iter().flat_map(|s| {
                let misses: Vec<String> = s.tried.iter().map(|t| words::tried(engine, t, port)).collect();
                names(engine, s).into_iter().map(move |mut value| {
                    value["family"] = json!(words::family(*family));
                    value["allowed"] = json!(s.allowed);
                    value["misses"] = json!(misses);
                    value
                })
            });
            all.collect::<Vec<_>>()
        });
        let because: Vec<Value> = because.collect();
        p.json(&json!({ "allowed": answer.allowed(), "because": because, "probe": null }));
        return i32::from(!answer.allowed());
    }
    let name = |id| engine.cluster.pod(id).to_string();
    for (family, verdict) in &answer.verdicts {
        let word = if verdict.allowed {
            p.paint(Look::Good, "allowed")
        } else {
            p.paint(Look::Bad, "denied")
        };
        p.line(format!(
            "{word}: {} -> {} {}/{} ({})",
            name(answer.from),
            name(answer.to),
            port.0,
            words::proto(port.1),
            words::family(*family)
        ));
        if verdict.own {
            p.line("  a pod reaches itself: no policy is asked");
            continue;
        }
        for side in verdict.sides() {
            let subject = name(side.subject);
            let said = words::ruling(engine, side);
            p.line(format!("  {} of {subject}: {said}", side.direction.as_str()));
            if let Some(id) = side.passed_by {
                p.line(format!("    passed on by {}", words::rule(engine, id)));
            }
            for tried in &side.tried {
                p.line(format!("    {}", words::tried(engine, tried, port)));
            }
        }
    }
    i32::from(!answer.allowed())
}

fn counts(changes: &[Change]) -> String {
    let is = |c: &Option<policy::Cell>| c.is_some_and(|c| c.decided);
    let both = |c: &&Change| c.before.is_some() && c.after.is_some();
    let opened = changes.iter().filter(both).filter(|c| is(&c.after)).count();
    let closed = changes.iter().filter(both).filter(|c| is(&c.before)).count();
    let rest = changes.len() - opened - closed;
    format!("{opened} opened, {closed} closed, {rest} come or gone")
}

/// What a change is, and why it is so in the version that has it.
fn step(diff: &policy::Diff, c: &Change) -> (&'static str, bool, String) {
    let because = |report: &Report, cell: &policy::Cell| {
        words::because(&report.engine, &report.verdict(cell), (c.port, c.proto))
    };
    match (&c.before, &c.after) {
        (Some(_), Some(cell)) if cell.decided => ("opened", true, because(&diff.after, cell)),
        (Some(_), Some(cell)) => ("closed", false, because(&diff.after, cell)),
        (None, Some(cell)) => ("new", cell.decided, because(&diff.after, cell)),
        (Some(cell), None) => ("gone", cell.decided, because(&diff.before, cell)),
        (None, None) => ("unchanged", false, String::new()),
    }
}

fn change(diff: &policy::Diff, c: &Change, p: &Printer) -> String {
    let (word, allowed, why) = step(diff, c);
    let look = if allowed { Look::Good } else { Look::Bad };
    format!(
        "{:6}  {} -> {} {}/{} {}: {why}",
        p.paint(look, word),
        c.from,
        c.to,
        c.port,
        words::proto(c.proto),
        words::family(c.family)
    )
}

fn changed(diff: &policy::Diff, c: &Change) -> Value {
    let (word, _, why) = step(diff, c);
    json!({
        "change": word,
        "from": c.from,
        "to": c.to,
        "port": c.port,
        "protocol": words::proto(c.proto),
        "family": words::family(c.family),
        "before": c.before.map(|c| c.decided),
        "after": c.after.map(|c| c.decided),
        "because": why,
    })
}

fn findings(paths: &[PathBuf], p: &Printer) -> Result<i32> {
    let manifests = policy::load_all(paths)?;
    let refused = manifests.refused;
    let engine = Engine::new(manifests.cluster, manifests.policies);
    let found = lint(&engine);
    let count = refused.len() + found.len();
    if p.json {
        let of_refused = refused.iter().map(|e| {
            json!({
                "file": e.file, "line": e.fault.pos.line, "column": e.fault.pos.column,
                "code": "refused", "text": e.fault.what, "hint": e.fault.hint,
            })
        });
        let of_found = found.iter().map(|f| {
            json!({
                "file": &*f.place.file, "line": f.place.pos.line, "column": f.place.pos.column,
                "code": f.code, "text": f.what, "hint": f.hint,
            })
        });
        let all: Vec<Value> = of_refused.chain(of_found).collect();
        p.json(&json!({ "findings": all }));
    } else {
        for e in &refused {
            p.line(format!("{e} [refused]"));
            if let Some(hint) = &e.fault.hint {
                p.line(format!("    {hint}"));
            }
        }
        for f in &found {
            p.line(format!("{:#}: {} [{}]\n    {}", f.place, f.what, f.code, f.hint));
        }
        p.say(format!("{count} findings in {} policies", engine.policies.len()));
    }
    Ok(i32::from(count > 0))
}
