//! `moat up` and `moat down`: reading arguments, and saying what happens.

use std::time::Duration;

use super::args::{Down, TopologyFile, Up};
use super::follow::Wish;
use super::print::{Look, Printer};
use crate::ops::topology::{self, Event, Removal, Request, Source, Why};
use crate::ops::{Error, Result, Where};

fn source(file: TopologyFile, scale: &[String]) -> Result<Source> {
    let scale = scale.iter().map(|s| scaled(s)).collect::<Result<_>>()?;
    Ok(Source {
        file: file.file,
        project: file.project.as_deref().map(str::parse).transpose()?,
        scale,
    })
}

fn scaled(text: &str) -> Result<(String, u32)> {
    let read = text
        .split_once('=')
        .and_then(|(s, n)| Some((s.to_owned(), n.parse().ok()?)));
    read.filter(|(s, n)| !s.is_empty() && *n <= 1000)
        .ok_or_else(|| Error::Input {
            value: text.to_owned(),
            reason: "--scale takes SERVICE=N, N from 0 to 1000".into(),
            hint: Some("for example `--scale web=3`".into()),
        })
}

/// Which links a file would need: talk on stderr, the links on stdout.
fn explain(args: Up, p: &Printer) -> Result<i32> {
    let answer = topology::explain(&source(args.file, &args.scale)?)?;
    for refused in &answer.refused {
        p.say(format!("{} {refused}", p.paint_talk(Look::Strong, "left out:")));
    }
    if answer.hints.is_empty() {
        p.say("the file seems to need no further link");
    }
    if let Some(path) = args.output {
        let text = answer.written.map_err(|what| Error::Refused {
            what,
            hint: "without -o the links are printed".into(),
        })?;
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path);
        let done = file.and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()));
        done.map_err(|e| Error::Input {
            value: path.display().to_string(),
            reason: format!("the file cannot be written ({e})"),
            hint: Some("-o takes the name of a file that is not there yet".into()),
        })?;
        p.say(format!(
            "{} links written to {}",
            answer.hints.len(),
            path.display()
        ));
    } else if p.json {
        p.json(&answer.hints);
    } else if !answer.hints.is_empty() {
        p.line(answer.snippet.trim_end());
    }
    Ok(0)
}

pub fn up(place: &Where, args: Up, dry: bool, p: &Printer) -> Result<i32> {
    if args.explain {
        return explain(args, p);
    }
    let request = Request {
        source: source(args.file, &args.scale)?,
        remove_orphans: args.remove_orphans,
        recreate: args.force_recreate,
        wait: args.wait,
        timeout: Duration::from_millis(crate::ops::time::milliseconds(&args.timeout)?),
    };
    let begun = std::time::Instant::now();
    let outcome = topology::up(place, &request, dry, &mut |e| say(p, e))?;
    if let Some(plan) = outcome.plan {
        return super::planned(place, p, Some(plan));
    }
    for name in &outcome.orphans {
        p.say(format!(
            "`{name}` is of no service of the file; --remove-orphans removes it"
        ));
    }
    if p.json {
        p.json(&outcome);
    } else {
        p.say(format!(
            "{} is up: {} started, {} unchanged, {} removed, in {}",
            outcome.project,
            outcome.started.len(),
            outcome.kept.len(),
            outcome.removed.len(),
            time(begun.elapsed())
        ));
    }
    Ok(0)
}

/// The logs of the containers that are named, or of a project's.
pub fn logs(place: &Where, project: Option<&str>, names: &[String], wish: Wish, p: &Printer) -> Result<i32> {
    let names = if names.is_empty() {
        let source = Source {
            project: project.map(str::parse).transpose()?,
            ..Source::default()
        };
        topology::members(place, &source)?
    } else {
        names.to_vec()
    };
    let logs: Vec<_> = names
        .iter()
        .map(|n| crate::ops::life::log(place, n))
        .collect::<Result<_>>()?;
    super::follow::logs(p, &logs, wish)
}

pub fn down(place: &Where, args: Down, dry: bool, p: &Printer) -> Result<i32> {
    let request = Removal {
        source: source(args.file, &[])?,
        volumes: args.volumes,
        grace: args.time.map(Duration::from_secs),
    };
    let begun = std::time::Instant::now();
    let gone = topology::down(place, &request, dry, &mut |e| say(p, e))?;
    if p.json && gone.plan.is_none() {
        p.json(&gone);
        return Ok(0);
    }
    if let Some(plan) = gone.plan {
        return super::planned(place, p, Some(plan));
    }
    let n = gone.removed.len();
    p.say(format!(
        "{} is down: {n} removed, in {}",
        gone.project,
        time(begun.elapsed())
    ));
    Ok(0)
}

fn time(d: Duration) -> String {
    if d.as_secs() < 1 {
        format!("{} ms", d.as_millis())
    } else {
        format!("{:.1} s", d.as_secs_f64())
    }
}

/// One line for each thing that happens.
fn say(p: &Printer, event: &Event) {
    let good = |word: &str| p.paint_talk(Look::Good, word);
    let line = match event {
        Event::Warning { text } => format!("{} {text}", p.paint_talk(Look::Strong, "warning:")),
        Event::Network { name } => format!("network   {name}"),
        Event::Volume { path } => format!("volume    {}", path.display()),
        Event::Link { text } => text.clone(),
        Event::Unlink { text } => format!("un{text}"),
        Event::Kept { name } if p.verbose => format!("unchanged {name}"),
        Event::Removed { name, why } => match why {
            Why::Fewer => format!("removed   {name} (fewer are asked for)"),
            Why::Orphan => format!("removed   {name} (no such service any more)"),
            _ => format!("removed   {name}"),
        },
        Event::Started { name, why, took } => {
            let why = match why {
                Why::Changed => ", replaced: the file has changed",
                Why::Ended => ", again: it had ended",
                Why::Asked => ", replaced",
                _ => "",
            };
            format!("{}   {name} ({}{why})", good("started"), time(*took))
        }
        Event::Restored { name } => format!("restored  {name}"),
        Event::Waiting { name, until } => format!("waiting   {name}: until {until}"),
        Event::Ready { name, took } if p.verbose => format!("{}     {name} ({})", good("ready"), time(*took)),
        Event::Kept { .. } | Event::Ready { .. } => return,
    };
    p.say(line);
}
