//! The containers that `up` starts: checked first, then one after the other as what they wait for is ready.

use std::time::{Duration, Instant};

use super::super::context::Moat;
use super::super::error::{Error, Result};
use super::super::stop::Stop;
use super::super::{remove, run};
use super::file::Found;
use super::wait::{self, Ready};
use super::{Event, Tell, parts, request};
use crate::model::topology::{PROJECT, Plan as Topology, Role, Why};
use crate::model::yaml::Fault;
use crate::model::{Name, Published};
use crate::sandbox::Spec;
use crate::store::{Container, Phase};

/// One replica that is to start.
pub struct Start {
    pub name: Name,
    pub role: Role,
    pub why: Why,
    pub request: run::Request,
}

/// What is to start, each checked as far as that can be done without doing it.
pub fn starts(moat: &mut Moat, found: &Found, topology: &Topology) -> Result<Vec<Start>> {
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

pub fn take_away(moat: &mut Moat, name: &Name) -> Result<()> {
    let Some(c) = moat.store.container(name.as_str())?.filter(|c| c.name == *name) else {
        return Ok(());
    };
    remove::remove(moat, &c, true).map_err(|e| e.while_doing(format!("remove `{name}`")))
}

/// Starts one after the other whatever need not wait, until nothing is left.
#[allow(clippy::too_many_arguments)] // one step of `bring_up`
pub fn start_all(
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
pub fn wait_for_all(
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
pub fn still_there(moat: &mut Moat, found: &Found, fresh: &[(Name, Role)]) -> Result<()> {
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
