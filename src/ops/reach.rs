//! `moat reach`: the whole matrix, decided, and with probes what real packets do.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use serde::Serialize;

use super::context::{Moat, Where};
use super::error::{Error, Result};
use super::probe::{self, Shot};
use crate::model::governed::Governed;
use crate::model::{Endpoint, Family, Flow, Name, Party, Ports, Proto, Service, World, decide};

/// Probes that wait at the same time: what is closed is waited for.
const AT_ONCE: usize = 128;

/// What to look at.
#[derive(Clone, Debug)]
pub struct Request {
    /// The containers of one network; `None` is all of them.
    pub net: Option<Name>,
    /// Empty: ping, and every service that a link or a published port names.
    pub services: Vec<Service>,
    pub probing: bool,
}

/// One cell as `moat reach --json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    pub from: Name,
    pub to: Name,
    /// `5432` or `8000-8100`.
    pub port: Option<String>,
    pub proto: Option<Proto>,
    /// `ip4` or `ip6`.
    pub family: &'static str,
    pub decided: bool,
    /// `None` when nobody looked.
    pub observed: Option<bool>,
    #[serde(skip)]
    pub service: Service,
    /// Why it was decided so, and the command that would change it.
    #[serde(skip)]
    pub because: Vec<String>,
}

impl Cell {
    /// Whether packets did what was decided, as far as anybody looked.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.observed.is_none_or(|o| o == self.decided)
    }
}

/// The matrix, by service, then sender and receiver.
#[derive(Debug, Serialize)]
pub struct Matrix {
    pub cells: Vec<Cell>,
    /// Those who are in it.
    #[serde(skip)]
    pub ends: Vec<End>,
}

/// A container, for a picture of the matrix.
#[derive(Clone, Debug)]
pub struct End {
    pub name: Name,
    /// `None`: one without a wall.
    pub network: Option<Name>,
    /// Addresses and labels.
    pub about: String,
}

/// Who reaches whom.
///
/// # Errors
/// The network does not exist, or a probe cannot be sent.
pub fn reach(place: &Where, request: &Request) -> Result<Matrix> {
    let mut moat = Moat::settled(place)?;
    if let Some(net) = &request.net
        && moat.store.network(net)?.is_none()
    {
        let all = moat.store.networks()?;
        let near = super::error::nearest(net.as_str(), all.iter().map(|r| r.network.name.as_str()));
        return Err(Error::Unknown {
            kind: "network",
            name: net.to_string(),
            near,
        });
    }
    let world = moat.world()?;
    let shown = |e: &&Endpoint| request.net.as_ref().is_none_or(|n| e.network == *n);
    let walled = world.endpoints.values().filter(shown).map(|e| &e.container);
    // Those without a wall are on no network of ours.
    let beside = world.bystanders.keys().filter(|_| request.net.is_none());
    let ends: Vec<&Name> = walled.chain(beside).collect();
    let services = if request.services.is_empty() {
        named(&world)
    } else {
        request.services.iter().copied().collect()
    };
    let mut cells = Vec::new();
    for service in services {
        for from in &ends {
            for to in ends.iter().filter(|to| *to != from) {
                cells.extend(
                    Family::BOTH
                        .iter()
                        .filter_map(|f| cell(&world, from, to, service, *f)),
                );
            }
        }
    }
    if request.probing {
        let shots: Vec<Shot> = cells
            .iter()
            .map(|c| shot(&moat, &world, c))
            .collect::<Result<_>>()?;
        let seen = shoot(&shots)?;
        for (cell, seen) in cells.iter_mut().zip(seen) {
            cell.observed = Some(seen);
        }
    }
    let ends = ends.into_iter().map(|name| end(&world, name)).collect();
    Ok(Matrix { cells, ends })
}

fn end(world: &World, name: &Name) -> End {
    let addresses = Family::BOTH.iter().filter_map(|f| world.address_of(name, *f));
    let endpoint = world.endpoints.get(name);
    let labels = endpoint.iter().flat_map(|e| &e.labels);
    let labels = labels.map(|(key, value)| format!("{key}={value}"));
    End {
        name: name.clone(),
        network: endpoint.map(|e| e.network.clone()),
        about: addresses
            .map(|a| a.to_string())
            .chain(labels)
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// One port as a service.
fn single((proto, port): (Proto, u16)) -> Service {
    let (first, last) = (port, port);
    Service::Ports(proto, Ports { first, last })
}

/// What somebody opened to containers, what policies name, and ping.
fn named(world: &World) -> BTreeSet<Service> {
    let linked = world
        .links
        .iter()
        .map(|l| l.service)
        .filter(|s| *s != Service::Any);
    let published = (world.published.iter()).map(|p| {
        let port = Ports {
            first: p.port,
            last: p.port,
        };
        Service::Ports(p.proto, port)
    });
    linked
        .chain(published)
        .chain(world.governed.values().flat_map(Governed::ports).map(single))
        .chain([Service::Proto(Proto::Icmp)])
        .collect()
}

fn cell(world: &World, from: &Name, to: &Name, service: Service, family: Family) -> Option<Cell> {
    // A family that one of them lacks has no cell.
    world.address_of(from, family).and(world.address_of(to, family))?;
    let flow = Flow {
        from: Party::Container(from.clone()),
        to: Party::Container(to.clone()),
        service,
        family,
    };
    let decision = decide(world, &flow);
    let reasons = decision.because.into_iter().map(|r| r.text);
    let change = decision.change.map(|c| format!("to change it: {c}"));
    Some(Cell {
        from: from.clone(),
        to: to.clone(),
        port: service.ports().map(|p| p.to_string()),
        proto: service.proto(),
        family: match family {
            Family::Ip4 => "ip4",
            Family::Ip6 => "ip6",
        },
        decided: decision.allowed,
        observed: None,
        service,
        because: reasons.chain(change).collect(),
    })
}

fn shot(moat: &Moat, world: &World, cell: &Cell) -> Result<Shot> {
    let family = if cell.family == "ip4" {
        Family::Ip4
    } else {
        Family::Ip6
    };
    let end = |name: &Name| -> Result<(PathBuf, std::net::IpAddr)> {
        let address = world.address_of(name, family);
        let path = moat.netns_of(name)?;
        address.map(|a| (path, a)).ok_or_else(|| not_running(name))
    };
    let ((from, source), (to, target)) = (end(&cell.from)?, end(&cell.to)?);
    let (proto, port) = probe::packet(cell.service);
    Ok(Shot {
        from,
        to,
        sources: Shot::sources(world, source, &cell.to),
        target,
        proto,
        port,
    })
}

/// Whether each packet arrived.
fn shoot(shots: &[Shot]) -> Result<Vec<bool>> {
    let next = Mutex::new(0..shots.len());
    let take = || next.lock().ok().and_then(|mut n| n.next());
    let work = || -> Result<Vec<(usize, bool)>> {
        let mut seen = Vec::new();
        while let Some(i) = take() {
            seen.push((i, probe::send(&shots[i])?.reached));
        }
        Ok(seen)
    };
    let mut all = thread::scope(|scope| {
        let running: Vec<_> = (0..AT_ONCE.min(shots.len())).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for thread in running {
            all.extend(thread.join().unwrap_or_else(|_| Ok(vec![]))?);
        }
        Ok::<_, Error>(all)
    })?;
    all.sort_unstable();
    Ok(all.into_iter().map(|(_, seen)| seen).collect())
}

fn not_running(name: &Name) -> Error {
    Error::Refused {
        what: format!("container `{name}` does not run"),
        hint: "`moat ps -a` shows its state".into(),
    }
}

impl Moat {
    /// Where the network namespace of a running container is.
    ///
    /// # Errors
    /// It has none.
    pub fn netns_of(&self, name: &Name) -> Result<PathBuf> {
        let endpoint = self.store.endpoint(name)?;
        if let Some((_, Some(path))) = endpoint {
            return Ok(path);
        }
        let beside = self.called_classic(name.as_str())?.and_then(|s| s.netns());
        beside.ok_or_else(|| not_running(name))
    }
}
