//! `moat flows`: who talks to whom, and who is not let, by name, as it happens.
//!
//! Holds no lock while it listens: containers come and go. Names are read again before each answer, and what is
//! listened to is set up anew where a router, a network or a bridge of another plugin came or went.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::context::{Moat, Where, now};
use super::error::{Error, Result};
use super::stop::Stop;
use super::time::rfc3339;
use crate::kernel::linux::{Listener, SeenFlow};
use crate::model::{Family, Flow, Party, Ports, Proto, Router, Service, World, decide};
use crate::plan::Place;
use crate::plan::watch::Watched;

/// A packet that is sent again within this time belongs to the flow that was told of.
const AGAIN: Duration = Duration::from_mins(1);
/// How often it is looked whether networks came or went.
const LOOK: Duration = Duration::from_secs(1);
/// Flows that are remembered; more are forgotten, and then told of again.
const REMEMBERED: usize = 100_000;

/// One flow, by name.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    pub time: String,
    /// `allowed` or `denied`.
    pub verdict: &'static str,
    /// A container, `host`, or an address.
    pub from: String,
    pub to: String,
    pub port: Option<u16>,
    /// `tcp`, `udp`, `sctp`, `icmp`, or the number of another.
    pub proto: String,
    /// `ip4` or `ip6`.
    pub family: &'static str,
    pub from_ip: IpAddr,
    pub to_ip: IpAddr,
    pub because: String,
}

/// Flows between two ends for one service, together.
#[derive(Clone, Debug, Serialize)]
pub struct Count {
    pub verdict: &'static str,
    pub from: String,
    pub to: String,
    pub port: Option<u16>,
    pub proto: String,
    pub flows: u64,
}

/// What is counted together.
type Key = (&'static str, String, String, Option<u16>, String);

/// How many flows there were of each kind.
#[derive(Debug, Default)]
pub struct Counts(BTreeMap<Key, u64>);

impl Counts {
    fn add(&mut self, e: &Event) {
        let key = (e.verdict, e.from.clone(), e.to.clone(), e.port, e.proto.clone());
        *self.0.entry(key).or_default() += 1;
    }

    /// Allowed flows first, then by name.
    #[must_use]
    pub fn all(&self) -> Vec<Count> {
        let count = |((verdict, from, to, port, proto), flows): (&Key, &u64)| Count {
            verdict,
            from: from.clone(),
            to: to.clone(),
            port: *port,
            proto: proto.clone(),
            flows: *flows,
        };
        self.0.iter().map(count).collect()
    }
}

/// The flows that are tracked now.
///
/// # Errors
/// The world or the kernel cannot be read.
pub fn tracked(place: &Where) -> Result<Vec<Count>> {
    let mut moat = Moat::settled(place)?;
    let world = moat.world()?;
    let mut counts = Counts::default();
    for at in watched(&world).keys() {
        for seen in moat.kernel.tracked_flows(at)? {
            event(&world, seen).iter().for_each(|e| counts.add(e));
        }
    }
    Ok(counts.all())
}

/// Somebody who listens.
pub struct Watch {
    moat: Moat,
    world: World,
    stop: Stop,
    listeners: Vec<Listener>,
    /// What is listened to.
    heard: BTreeMap<Place, (Watched, (u64, u64))>,
    looked: Option<Instant>,
    told: HashMap<SeenFlow, Instant>,
    pub counts: Counts,
    /// What a person should know of what is not heard; emptied by whoever says it.
    pub notes: Vec<String>,
}

impl Watch {
    /// # Errors
    /// The world cannot be opened, or signals not be watched.
    pub fn begin(place: &Where) -> Result<Self> {
        let mut moat = Moat::settled(place)?;
        let world = moat.world()?;
        moat.lock = None;
        let mut watch = Self {
            moat,
            world,
            stop: Stop::watch()?,
            listeners: vec![],
            heard: BTreeMap::new(),
            looked: None,
            told: HashMap::new(),
            counts: Counts::default(),
            notes: vec![],
        };
        watch.look()?;
        Ok(watch)
    }

    /// Waits for flows, at most for `limit`; `None` when somebody asked to stop.
    ///
    /// # Errors
    /// The world or the kernel cannot be read.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Vec<Event>>> {
        let wait = limit.min(LOOK);
        Listener::wait(&self.listeners, self.stop.as_fd(), wait).map_err(unheard)?;
        if self.stop.asked() {
            return Ok(None);
        }
        let mut seen = vec![];
        let mut missed = 0;
        for listener in &mut self.listeners {
            seen.extend(listener.read().map_err(unheard)?);
            missed += std::mem::take(&mut listener.missed);
        }
        if missed > 0 {
            let text = "flows came faster than they could be told: some are missing";
            self.notes.push(text.to_owned());
        }
        if seen.is_empty() {
            if self.looked.is_none_or(|t| t.elapsed() >= LOOK) {
                self.look()?;
            }
            return Ok(Some(vec![]));
        }
        // Whoever these addresses belong to now.
        self.look()?;
        let moment = Instant::now();
        if self.told.len() > REMEMBERED {
            self.told.retain(|_, t| moment.duration_since(*t) < AGAIN);
        }
        if self.told.len() > REMEMBERED {
            self.told.clear();
        }
        let mut events = vec![];
        for flow in seen {
            let before = self.told.insert(flow, moment);
            let again = before.is_some_and(|t| moment.duration_since(t) < AGAIN);
            if again && !flow.allowed {
                continue;
            }
            let found = event(&self.world, flow);
            found.iter().for_each(|e| self.counts.add(e));
            events.extend(found);
        }
        Ok(Some(events))
    }

    /// Reads names again, and listens anew where what there is to hear has changed.
    fn look(&mut self) -> Result<()> {
        self.looked = Some(Instant::now());
        self.world = self.moat.world()?;
        let mut wanted = BTreeMap::new();
        for (at, watched) in watched(&self.world) {
            let path = match at {
                Place::Router => self.moat.router_path(),
                _ => "/proc/thread-self/ns/net".into(),
            };
            // A router that is being made or taken away is looked for again.
            let Ok(meta) = std::fs::metadata(path) else {
                continue;
            };
            wanted.insert(at, (watched, (meta.dev(), meta.ino())));
        }
        if wanted == self.heard {
            return Ok(());
        }
        self.listeners.clear();
        self.heard.clear();
        for (at, (watched, id)) in wanted {
            let (listener, deaf) = self.moat.kernel.listen(&at, &watched)?;
            match deaf {
                Some(why) => self.notes.push(format!("denied flows are not shown: {why}")),
                // The table was one transaction: nothing that others need to look into.
                None if at == Place::Router => self.moat.count_another()?,
                None => {}
            }
            self.listeners.push(listener);
            self.heard.insert(at, (watched, id));
        }
        Ok(())
    }
}

fn unheard(source: std::io::Error) -> Error {
    let what = "flows as they happen".to_owned();
    crate::kernel::Error::Observe { what, source }.into()
}

/// Where containers' packets are judged, and what of them.
fn watched(world: &World) -> BTreeMap<Place, Watched> {
    let mut all: BTreeMap<Place, Watched> = BTreeMap::new();
    for network in world.networks.values() {
        let at = match network.router {
            Router::Own => Place::Router,
            Router::Host => Place::Host,
        };
        let subnets = network.subnets.iter().map(|s| s.network());
        all.entry(at).or_default().subnets.extend(subnets);
    }
    for endpoint in world.endpoints.values() {
        if let (Some(foreign), Some(here)) = (&endpoint.foreign, all.get_mut(&Place::Host)) {
            here.sides.insert(foreign.side().to_owned());
        }
    }
    all
}

/// A flow in which a container takes part, by name.
fn event(world: &World, seen: SeenFlow) -> Option<Event> {
    let SeenFlow {
        allowed,
        from,
        to,
        proto,
        ports,
    } = seen;
    let contained = |ip| world.name_of(ip).is_some();
    if !contained(from) && !contained(to) {
        return None;
    }
    let name = |ip: IpAddr| match world.name_of(ip) {
        Some(name) => name.to_string(),
        None if world.host.contains(&ip) => "host".to_owned(),
        None => ip.to_string(),
    };
    let family = Family::of(from);
    let known = Proto::of_number(proto);
    let port = known.filter(|p| *p != Proto::Icmp).map(|_| ports.1);
    let service = match (known, port) {
        (Some(proto), Some(port)) => Service::Ports(
            proto,
            Ports {
                first: port,
                last: port,
            },
        ),
        (Some(proto), None) => Service::Proto(proto),
        (None, _) => Service::Any,
    };
    let decision = decide(
        world,
        &Flow {
            from: Party::Address(from),
            to: Party::Address(to),
            service,
            family,
        },
    );
    let texts: Vec<String> = decision.because.into_iter().map(|r| r.text).collect();
    let because = texts.join("; ");
    let agrees = decision.allowed == allowed;
    Some(Event {
        time: rfc3339(now()),
        verdict: if allowed { "allowed" } else { "denied" },
        from: name(from),
        to: name(to),
        port,
        proto: known.map_or_else(|| proto.to_string(), |p| p.to_string()),
        family: if family == Family::Ip4 { "ip4" } else { "ip6" },
        from_ip: from,
        to_ip: to,
        because: if agrees {
            because
        } else {
            format!("now it is otherwise: {because}")
        },
    })
}
