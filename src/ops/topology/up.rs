//! `moat up`: makes what exists what a file says.
//!
//! What can be known to fail is found before anything is touched. Then links, what goes, and what starts,
//! in the order of the plan. What cannot start stops it: what runs goes on running, also what this call
//! started, and a container that was to be replaced is started again as it was.

use std::time::Duration;

use serde::Serialize;

use super::super::context::{Moat, Where};
use super::super::error::{Error, Result};
use super::super::stop::Stop;
use super::super::{remove, run};
use super::file::{Found, Source, read};
use super::start::{Start, start_all, starts, still_there, take_away, wait_for_all};
use super::{Event, Tell, links, parts};
use crate::model::Name;
use crate::model::topology::{
    CONFIG, Existing, Options, PROJECT, Plan as Topology, REPLICA, Role, SERVICE, plan,
};
use crate::plan::Plan;
use crate::sandbox;
use crate::store::{Container, Phase};

/// What `up` was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub source: Source,
    pub remove_orphans: bool,
    pub recreate: bool,
    /// Until everything is healthy, or listens.
    pub wait: bool,
    /// How long anything may be waited for.
    pub timeout: Duration,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub project: Name,
    pub kept: Vec<Name>,
    pub started: Vec<Name>,
    pub removed: Vec<Name>,
    /// Of no service of the file, and left alone.
    pub orphans: Vec<Name>,
    #[serde(skip)]
    pub plan: Option<Plan>,
}

/// Brings a topology up.
///
/// # Errors
/// What is wrong in the file, or which service would not start, and why.
pub fn up(place: &Where, request: &Request, dry: bool, tell: Tell<'_>) -> Result<Outcome> {
    let found = read(&request.source)?;
    for text in &found.project.warnings {
        tell(&Event::Warning { text: text.clone() });
    }
    let wanted = format!("bring `{}` up", found.project.name);
    let mut moat = Moat::settled(place)?;
    // One at a time for a world: two would start the same containers.
    let lock = moat.dir.join("topologies");
    let _alone = super::super::lock::exclusive(&lock, moat.locks.patience)?;
    bring_up(&mut moat, &found, request, dry, tell).map_err(|e| match e {
        Error::File(_) => e,
        e => e.while_doing(wanted),
    })
}

fn bring_up(moat: &mut Moat, found: &Found, request: &Request, dry: bool, tell: Tell<'_>) -> Result<Outcome> {
    remove::sweep(moat)?;
    let options = Options {
        remove_orphans: request.remove_orphans,
        recreate: request.recreate,
    };
    let topology =
        plan(&found.project, &existing(moat, &found.project.name)?, options).map_err(|f| found.wrong(f))?;
    let starts = starts(moat, found, &topology)?;
    let mut outcome = Outcome {
        project: found.project.name.clone(),
        kept: topology.kept.clone(),
        started: vec![],
        removed: topology.removed.iter().map(|r| r.0.clone()).collect(),
        orphans: topology.orphans.clone(),
        plan: None,
    };
    if dry {
        outcome.plan = Some(preview(moat, found, &topology, &starts)?);
        return Ok(outcome);
    }
    let stop = Stop::watch()?;
    parts::make_volumes(moat, found, tell)?;
    parts::make_networks(moat, found, tell)?;
    links::change(moat, found, tell)?;
    for (name, why) in &topology.removed {
        stop.look()?;
        take_away(moat, name)?;
        tell(&Event::Removed {
            name: name.clone(),
            why: *why,
        });
    }
    for name in &topology.kept {
        tell(&Event::Kept { name: name.clone() });
    }
    let fresh: Vec<(Name, Role)> = starts.iter().map(|s| (s.name.clone(), s.role.clone())).collect();
    start_all(
        moat,
        found,
        starts,
        request.timeout,
        &stop,
        &mut outcome.started,
        tell,
    )
    .and_then(|()| {
        if request.wait {
            wait_for_all(moat, found, request.timeout, &stop, tell)
        } else {
            still_there(moat, found, &fresh)
        }
    })
    .map_err(|e| add_note(e, outcome.started.len()))?;
    Ok(outcome)
}

fn add_note(e: Error, started: usize) -> Error {
    let what = format!("what ran goes on running, with {started} containers that this command started");
    match e.note().map(str::to_owned) {
        Some(note) => e.noting(&format!("{note}\nnote: {what}")),
        None => e.noting(&what),
    }
}

/// The containers of a project, as they are.
///
/// # Errors
/// When the store cannot be read.
pub fn existing(moat: &Moat, project: &Name) -> Result<Vec<Existing>> {
    let all = containers(moat, project)?.into_iter().map(|c| {
        let label = |key: &str| c.labels.get(key).cloned().unwrap_or_default();
        let alive = c
            .pid
            .is_some_and(|(pid, started)| sandbox::is_alive(pid, started));
        Existing {
            role: label(SERVICE),
            replica: label(REPLICA).parse().unwrap_or(0),
            config: label(CONFIG),
            runs: c.phase == Phase::Running && alive,
            exit_code: c.exit_code,
            name: c.name,
        }
    });
    Ok(all.collect())
}

/// The names of a project's containers: that of a file, or of a name alone.
///
/// # Errors
/// There is none, or the file cannot be read.
pub fn members(place: &Where, source: &Source) -> Result<Vec<String>> {
    let project = match &source.project {
        Some(name) => name.clone(),
        None => read(source)?.project.name,
    };
    let moat = Moat::settled(place)?;
    let names: Vec<String> = containers(&moat, &project)?
        .iter()
        .map(|c| c.name.to_string())
        .collect();
    if names.is_empty() {
        return Err(Error::Refused {
            what: format!("project `{project}` has no container"),
            hint: "`moat ps -a` lists the containers, `moat up` starts those of a file".into(),
        });
    }
    Ok(names)
}

/// The records of a project's containers.
///
/// # Errors
/// When the store cannot be read.
pub fn containers(moat: &Moat, project: &Name) -> Result<Vec<Container>> {
    let mut all = moat.store.containers()?;
    all.retain(|c| c.labels.get(PROJECT).is_some_and(|p| p == project.as_str()));
    Ok(all)
}

/// What would change in the kernel; the records are made and rolled back.
fn preview(moat: &mut Moat, found: &Found, topology: &Topology, starts: &[Start]) -> Result<Plan> {
    moat.learn_host()?;
    let before = moat.wanted()?;
    moat.store.begin()?;
    let after = enter_all(moat, found, topology, starts).and_then(|()| moat.wanted());
    moat.store.roll_back()?;
    Ok(Plan::between(&before, &after?))
}

fn enter_all(moat: &mut Moat, found: &Found, topology: &Topology, starts: &[Start]) -> Result<()> {
    let replaced = starts.iter().map(|s| &s.name);
    for name in topology.removed.iter().map(|r| &r.0).chain(replaced) {
        moat.store.remove_endpoint(name)?;
        moat.store.remove_container(name)?;
    }
    for link in links::recorded(moat, &found.project.name)? {
        moat.store
            .remove_links(&link.from, &link.to, Some(link.service))?;
    }
    for link in found.project.links() {
        moat.store.add_link(&link)?;
    }
    parts::enter_networks(moat, found)?;
    for (n, start) in starts.iter().enumerate() {
        let netns = format!("/proc/PID-OF-{}/ns/net", start.name);
        run::enter_only(moat, &format!("dry-run-{n}"), &start.name, &start.request, &netns)?;
    }
    Ok(())
}
