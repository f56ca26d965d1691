//! Who may talk to whom, as boxes and arrows: what `moat graph` draws.
//!
//! Says what `decide` says of containers and published ports; `plan/oracle` compares the two.
//! A label is a box of its own, once where links begin and once where they end, so that an
//! arrow into a label never seems to go on out of it.

use std::collections::{BTreeMap, BTreeSet};

use super::governed::Governed;
use super::{DefaultPolicy, End, Endpoint, Name, Network, Published, Router, Service, World};

/// The whole picture; frames and nodes are named by their place in these lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    pub frames: Vec<Frame>,
    pub nodes: Vec<Node>,
    pub arrows: Vec<Arrow>,
}

/// A network, around its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub net: Name,
    pub subnets: Vec<String>,
    /// What its containers reach without a link, in words.
    pub notes: Vec<String>,
}

/// Where arrows touch an end that is no container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    From,
    To,
}

/// A box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub end: End,
    pub side: Side,
    /// The network a container is in.
    pub frame: Option<usize>,
    /// Addresses, or why there are none.
    pub notes: Vec<String>,
}

/// What an arrow means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Means {
    /// A link opens these services.
    Opens(BTreeSet<Service>),
    /// One end is the label, the other a container that has it.
    Bears,
    /// These ports of the host lead to the container.
    Publishes(BTreeSet<Published>),
}

/// An arrow, in the direction in which flows are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    pub from: usize,
    pub to: usize,
    pub means: Means,
    /// The same is open the other way round.
    pub both: bool,
}

impl Arrow {
    /// What stands on it, a line each.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match &self.means {
            Means::Opens(services) => services.iter().map(|s| service(*s)).collect(),
            Means::Bears => vec![],
            Means::Publishes(ports) => ports.iter().map(published).collect(),
        }
    }
}

fn service(s: Service) -> String {
    match s {
        Service::Any => "everything".to_owned(),
        other => other.to_string(),
    }
}

/// `8080 -> 80/tcp`, with the host's address where it is published on one.
#[must_use]
pub fn published(p: &Published) -> String {
    let host = match p.host_ip {
        Some(ip) if ip.is_ipv6() => format!("[{ip}]:"),
        Some(ip) => format!("{ip}:"),
        None => String::new(),
    };
    format!("{host}{} -> {}/{}", p.host_port, p.port, p.proto)
}

impl Picture {
    /// The picture of a world. `lone` are containers that run without a network.
    #[must_use]
    pub fn of(world: &World, lone: &[Name]) -> Self {
        let mut drawing = Drawing::default();
        for net in world.networks.values() {
            drawing.frame(net, world);
        }
        for e in world.endpoints.values() {
            drawing.container(e, world);
        }
        for name in lone {
            let end = End::Container(name.clone());
            drawing.node(&end, Side::From, vec!["no network".to_owned()]);
        }
        for b in world.bystanders.values() {
            let addresses = b.addresses.iter().map(ToString::to_string);
            let open = format!("open: bridge {} has no walls of moat", b.bridge);
            let end = End::Container(b.container.clone());
            drawing.node(&end, Side::From, addresses.chain([open]).collect());
        }
        for link in &world.links {
            let from = drawing.end(world, &link.from, Side::From);
            let to = drawing.end(world, &link.to, Side::To);
            let opens = drawing.opens.entry((from, to)).or_default();
            opens.insert(link.service);
        }
        for (from, to, services) in world.governed.values().flat_map(Governed::granted) {
            let from = drawing.node(&End::Container(from), Side::From, vec![]);
            let to = drawing.node(&End::Container(to), Side::To, vec![]);
            drawing.opens.entry((from, to)).or_default().extend(services);
        }
        for p in &world.published {
            drawing.publish(p);
        }
        drawing.done()
    }

    /// The arrows that leave a node, with where they lead.
    pub fn leaving(&self, node: usize) -> impl Iterator<Item = (&Arrow, usize)> {
        self.arrows.iter().filter_map(move |a| match a {
            a if a.from == node => Some((a, a.to)),
            a if a.both && a.to == node => Some((a, a.from)),
            _ => None,
        })
    }

    /// Whether an arrow touches a node.
    #[must_use]
    pub fn touches(&self, node: usize) -> bool {
        self.arrows.iter().any(|a| a.from == node || a.to == node)
    }
}

#[derive(Default)]
struct Drawing {
    picture: Picture,
    places: BTreeMap<(End, Side), usize>,
    opens: BTreeMap<(usize, usize), BTreeSet<Service>>,
    publishes: BTreeMap<(usize, usize), BTreeSet<Published>>,
    bears: BTreeSet<(usize, usize)>,
}

impl Drawing {
    fn frame(&mut self, net: &Network, world: &World) {
        if world.endpoints.values().any(|e| e.network == net.name) {
            self.picture.frames.push(Frame {
                net: net.name.clone(),
                subnets: net.subnets.iter().map(ToString::to_string).collect(),
                notes: frame_notes(net),
            });
        }
    }

    fn container(&mut self, e: &Endpoint, world: &World) {
        let end = End::Container(e.container.clone());
        let mut notes: Vec<String> = e.addresses.iter().map(ToString::to_string).collect();
        if let Some(governed) = world.governed_of(e) {
            notes.extend(
                governed
                    .selected_by(&e.container)
                    .into_iter()
                    .map(|p| format!("policy {p}")),
            );
        }
        let n = self.node(&end, Side::From, notes);
        self.picture.nodes[n].frame = self.picture.frames.iter().position(|f| f.net == e.network);
    }

    /// The place of a node, which is drawn when it is not there yet.
    fn node(&mut self, end: &End, side: Side, notes: Vec<String>) -> usize {
        // A container is one box, whichever way an arrow goes.
        let side = if matches!(end, End::Container(_)) {
            Side::From
        } else {
            side
        };
        let next = self.picture.nodes.len();
        *self.places.entry((end.clone(), side)).or_insert_with(|| {
            self.picture.nodes.push(Node {
                end: end.clone(),
                side,
                frame: None,
                notes,
            });
            next
        })
    }

    /// The place of a link's end, with arrows between a label and those who have it.
    fn end(&mut self, world: &World, end: &End, side: Side) -> usize {
        if let Some(only) = lone_member(world, end) {
            return self.node(&End::Container(only.clone()), side, vec![]);
        }
        let notes = match end {
            End::Container(_) => vec!["not running".to_owned()],
            _ => vec![],
        };
        let n = self.node(end, side, notes);
        if matches!(end, End::Label(..)) {
            for e in world.endpoints.values().filter(|e| e.is(end)) {
                let holder = self.node(&End::Container(e.container.clone()), side, vec![]);
                self.bears.insert(match side {
                    Side::From => (holder, n),
                    Side::To => (n, holder),
                });
            }
        }
        n
    }

    fn publish(&mut self, p: &Published) {
        // What is published on loopback is for the host's own programs.
        let local = p.host_ip.is_some_and(|ip| ip.is_loopback());
        let end = if local { End::Host } else { End::World };
        let from = self.node(&end, Side::From, vec![]);
        let to = self.node(&End::Container(p.container.clone()), Side::To, vec![]);
        self.publishes.entry((from, to)).or_default().insert(p.clone());
    }

    fn done(mut self) -> Picture {
        let mut arrows: Vec<Arrow> = Vec::new();
        let mut draw = |(from, to), means, both| {
            arrows.push(Arrow {
                from,
                to,
                means,
                both,
            });
        };
        let opens: BTreeMap<_, _> = (self.opens.iter())
            .map(|(ends, services)| (*ends, narrowed(services)))
            .collect();
        for ((from, to), services) in &opens {
            let both = from != to && opens.get(&(*to, *from)) == Some(services);
            if !both || from < to {
                draw((*from, *to), Means::Opens(services.clone()), both);
            }
        }
        for (ends, ports) in self.publishes {
            draw(ends, Means::Publishes(ports), false);
        }
        for ends in self.bears {
            draw(ends, Means::Bears, false);
        }
        arrows.sort_by(|a, b| (a.from, a.to, &a.means).cmp(&(b.from, b.to, &b.means)));
        self.picture.arrows = arrows;
        self.picture
    }
}

/// The one container of a service. The label that `up` gives its members is nobody's choice: it is drawn
/// only where it stands for several.
fn lone_member<'w>(world: &'w World, end: &End) -> Option<&'w Name> {
    let ours = matches!(end, End::Label(key, _) if key.starts_with("moat."));
    let mut bearers = world.endpoints.values().filter(|e| ours && e.is(end));
    let first = bearers.next()?;
    bearers.next().is_none().then_some(&first.container)
}

/// Without services that another one holds anyway.
fn narrowed(services: &BTreeSet<Service>) -> BTreeSet<Service> {
    let held = |s: &Service| services.iter().any(|o| o != s && o.contains(*s));
    services.iter().filter(|s| !held(s)).copied().collect()
}

fn frame_notes(net: &Network) -> Vec<String> {
    let mut notes = Vec::new();
    if net.default_policy == DefaultPolicy::Open {
        notes.push("open inside".to_owned());
    }
    if net.default_policy == DefaultPolicy::Kubernetes {
        notes.push("open where no policy selects".to_owned());
    }
    notes.push(
        if net.internal {
            "no way out"
        } else {
            "way out open"
        }
        .to_owned(),
    );
    if net.router == Router::Host {
        notes.push("on the host".to_owned());
    }
    notes
}
