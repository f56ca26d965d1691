//! `moat up`: makes what exists what a file says.
//!
//! What can be known to fail is found before anything is touched. Then links, what goes, and what starts,
//! in the order of the plan. What cannot start stops it: what runs goes on running, also what this call
//! started, and a container that was to be replaced is started again as it was.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::super::context::{Moat, Where};
use super::super::error::{Error, Result};
use super::super::{remove, run};
use super::file::{Found, Source, read};
use super::stop::Stop;
use super::wait::{self, Ready};
use super::{Event, Tell, links, parts, request};
use crate::model::topology::{
    CONFIG, Existing, Options, PROJECT, Plan as Topology, REPLICA, Role, SERVICE, Why, plan,
};
use crate::model::yaml::Fault;
use crate::model::{Name, Published};
use crate::plan::Plan;
use crate::sandbox::{self, Spec};
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

/// One replica that is to start.
struct Start {
    name: Name,
    role: Role,
    why: Why,
    request: run::Request,
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

/// What is to start, each checked as far as that can be done without doing it.
fn starts(moat: &mut Moat, found: &Found, topology: &Topology) -> Result<Vec<Start>> {
    parts::check_networks(moat, found)?;
    let mut all = Vec::new();
    for (name, role, replica, why) in &topology.started {
        let Some(role) = found.project.role(role.as_str()) else {
            continue;
        };
        let wrong = |e: Error| {
            let mut fault = Fault::new(role.pos, format!("service `{}`: {e}", role.name));
            fault.hint = e.hint();
            found.wrong(fault)
        };
        let mut request = request::request(moat, found, role, name, *replica)?;
        run::complete(moat, &mut request, "check", name);
        request::check(found, role, &request)?;
        super::super::classic::portmap::check_free(moat, &request.ports).map_err(wrong)?;
        check_holders(moat, found, role, &request)?;
        check_name(moat, found, role, name)?;
        all.push(Start {
            name: name.clone(),
            role: role.clone(),
            why: *why,
            request,
        });
    }
    Ok(all)
}

/// Whether no container of somebody else has the host's ports.
fn check_holders(moat: &Moat, found: &Found, role: &Role, request: &run::Request) -> Result<()> {
    for map in &request.ports {
        for port in map.host.first..=map.host.last {
            let Some(holder) = moat.store.publisher(map.proto, port, map.host_ip)? else {
                continue;
            };
            let container = moat.store.container(&holder)?;
            let ours =
                container.is_some_and(|c| c.labels.get(PROJECT) == Some(&found.project.name.to_string()));
            if !ours {
                let pos = role.settings.ports.first().map_or(role.pos, |p| p.pos);
                let what = format!(
                    "the host's port {port}/{} is taken by container `{holder}`",
                    map.proto
                );
                let hint = format!("choose another one, or `moat rm -f {holder}`");
                return Err(found.wrong(Fault::new(pos, what).hinting(hint)));
            }
        }
    }
    Ok(())
}

/// Whether the name is not somebody else's.
fn check_name(moat: &Moat, found: &Found, role: &Role, name: &Name) -> Result<()> {
    let there = moat.store.container(name.as_str())?.filter(|c| c.name == *name);
    let ours = there.is_none_or(|c| {
        c.labels
            .get(PROJECT)
            .is_some_and(|p| p == found.project.name.as_str())
    });
    if ours {
        return Ok(());
    }
    let what = format!("a container that is not of this project has the name `{name}`");
    Err(found.wrong(Fault::new(role.pos, what).hinting(format!("`moat rm -f {name}` removes it"))))
}

fn take_away(moat: &mut Moat, name: &Name) -> Result<()> {
    let Some(c) = moat.store.container(name.as_str())?.filter(|c| c.name == *name) else {
        return Ok(());
    };
    remove::remove(moat, &c, true).map_err(|e| e.while_doing(format!("remove `{name}`")))
}

/// Starts one after the other whatever need not wait, until nothing is left.
#[allow(clippy::too_many_arguments)] // one step of `bring_up`
fn start_all(
    moat: &mut Moat,
    found: &Found,
    mut left: Vec<Start>,
    timeout: Duration,
    stop: &Stop,
    started: &mut Vec<Name>,
    tell: Tell<'_>,
) -> Result<()> {
    let begun = Instant::now();
    let mut said = None;
    while !left.is_empty() {
        let mut waiting = Vec::new();
        let mut until = None;
        for start in left {
            stop.look()?;
            // What waits to be replaced is as good as not there.
            let blocked = waiting
                .iter()
                .any(|w: &Start| start.role.depends_on.iter().any(|d| d.role == w.role.name));
            let ready = if blocked {
                Ready::No(String::new())
            } else {
                wait::dependencies(moat, found, &start.role)
                    .map_err(|e| e.while_doing(format!("start service `{}`", start.role.name)))?
            };
            match ready {
                Ready::Yes => {
                    let name = start.name.clone();
                    start_one(moat, start, tell)?;
                    started.push(name);
                }
                Ready::No(why) => {
                    until = until.or(Some((start.name.clone(), why)));
                    waiting.push(start);
                }
            }
        }
        left = waiting;
        let Some((name, until)) = until else { continue };
        if begun.elapsed() > timeout {
            return Err(too_long(&name, &until, timeout));
        }
        if said.as_ref() != Some(&until) {
            tell(&Event::Waiting {
                name,
                until: until.clone(),
            });
            said = Some(until);
        }
        wait::pause(moat)?;
    }
    Ok(())
}

fn too_long(name: &Name, until: &str, timeout: Duration) -> Error {
    Error::Refused {
        what: format!("`{name}` has waited {} s until {until}", timeout.as_secs()),
        hint: "--timeout gives it longer; `moat logs` shows what it does".into(),
    }
}

fn start_one(moat: &mut Moat, start: Start, tell: Tell<'_>) -> Result<()> {
    let begun = Instant::now();
    let before = moat
        .store
        .container(start.name.as_str())?
        .filter(|c| c.name == start.name);
    let before = before.map(|c| Before::of(moat, c)).transpose()?;
    if before.is_some() {
        take_away(moat, &start.name)?;
    }
    let role = start.role.name;
    let name = start.name.clone();
    let mut note = |text: &str| {
        tell(&Event::Warning {
            text: format!("`{name}`: {text}"),
        });
    };
    if let Err(e) = run::start_detached(moat, &start.name, start.request, &mut note) {
        let e = e.while_doing(format!("start service `{role}`"));
        let Some(before) = before.filter(|b| b.ran) else {
            return Err(e);
        };
        return Err(
            match run::start_detached(moat, &start.name, before.request, &mut note) {
                Ok(()) => {
                    tell(&Event::Restored {
                        name: start.name.clone(),
                    });
                    e.noting(&format!("`{}` was started again as it was before", start.name))
                }
                Err(also) => e.noting(&format!(
                    "`{}` could not be started again either: {also}",
                    start.name
                )),
            },
        );
    }
    tell(&Event::Started {
        name: start.name,
        why: start.why,
        took: begun.elapsed(),
    });
    Ok(())
}

/// A container as it was, so that it can be started again.
struct Before {
    ran: bool,
    request: run::Request,
}

impl Before {
    fn of(moat: &Moat, c: Container) -> Result<Self> {
        let endpoint = moat.store.endpoint(&c.name)?.map(|(e, _)| e);
        let ports = moat.store.published_of(Some(&c.name))?;
        let spec: Spec = serde_json::from_str(&c.spec).unwrap_or_default();
        Ok(Self {
            ran: c.phase == Phase::Running,
            request: run::Request {
                name: Some(c.name.clone()),
                net: endpoint.as_ref().map(|e| e.network.clone()),
                auto_remove: c.auto_remove,
                labels: c.labels,
                links: vec![],
                ports: ports.iter().map(one_port).collect(),
                addresses: endpoint.as_ref().map(|e| e.addresses.clone()).unwrap_or_default(),
                mac: endpoint.as_ref().map(|e| e.mac),
                aliases: endpoint.map(|e| e.aliases).unwrap_or_default(),
                // What it said is in the spec.
                image: None,
                entrypoint: None,
                spec,
            },
        })
    }
}

fn one_port(p: &Published) -> super::super::PortMap {
    use crate::model::Ports;
    let one = |port| Ports {
        first: port,
        last: port,
    };
    super::super::PortMap {
        host_ip: p.host_ip,
        host: one(p.host_port),
        inside: one(p.port),
        proto: p.proto,
    }
}

/// Waits until every container does what it is there for.
fn wait_for_all(
    moat: &mut Moat,
    found: &Found,
    timeout: Duration,
    stop: &Stop,
    tell: Tell<'_>,
) -> Result<()> {
    let begun = Instant::now();
    let mut left: Vec<(&Role, Name)> = Vec::new();
    for role in &found.project.roles {
        left.extend(wait::members(found, role)?.into_iter().map(|name| (role, name)));
    }
    loop {
        let mut waiting = Vec::new();
        let mut first = None;
        for (role, name) in left {
            match wait::works(moat, found, role, &name)? {
                Ready::Yes => tell(&Event::Ready {
                    name,
                    took: begun.elapsed(),
                }),
                Ready::No(until) => {
                    first = first.or(Some((name.clone(), until)));
                    waiting.push((role, name));
                }
            }
        }
        let Some((name, until)) = first else { return Ok(()) };
        if begun.elapsed() > timeout {
            return Err(wait::with_last_lines(
                moat,
                &name,
                too_long(&name, &until, timeout),
            ));
        }
        stop.look()?;
        left = waiting;
        wait::pause(moat)?;
    }
}

/// Whether what was started a moment ago has not failed yet.
fn still_there(moat: &mut Moat, found: &Found, fresh: &[(Name, Role)]) -> Result<()> {
    let _ = found;
    for (name, role) in fresh {
        if let wait::Now::Ended(code) = wait::now(moat, name)?
            && code != Some(0)
        {
            remove::sweep(moat)?;
            return Err(wait::ended(moat, role, name, code));
        }
    }
    Ok(())
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
