//! Network policies as set elements of the wall.
//!
//! In each direction a governed pod has a *class*: the rules that speak of it. Every address has a *class of
//! peers*: the rules that name it. What passes between the two is looked up by both numbers, so that nothing is
//! said twice for pods that are alike. Tiers, priorities and names of ports are decided here; the kernel only
//! grants. A pod that no policy selects has the class `FREE`, one that is not in a governed network none: where
//! elements are lost, nothing passes.
//!
//! Numbers come from what a class is ([`numbers`]), so equal numbers mean the same before and after a change, and
//! a change is the difference of two compiled states ([`change`]), in an order in which no step opens what neither
//! state opens.

mod block;
mod change;
mod class;
mod numbers;
mod services;
mod sets;
mod stand;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use self::class::{Class, Marked, Marks};
use self::services::{Services, WITH_PORTS};
use super::object::{Object, Place, State};
use super::set::{Element, Field, SetName, Table};
use crate::model::Family;
use crate::model::policy::{Direction, Engine, PodId};

pub use change::change;
pub use numbers::{FREE, TooMany};
pub use sets::Sets;
pub use stand::{SEATS, Stand};

/// One direction, worked out but not numbered.
struct Side {
    direction: Direction,
    marks: Marks,
    classes: BTreeMap<String, Class>,
    class_of: BTreeMap<PodId, String>,
    /// For each family the marks of the pods' addresses, and of ranges.
    pods: [BTreeMap<IpAddr, Marked>; 2],
    ranges: [Vec<block::Range>; 2],
}

/// The elements that enforce policies upon all pods of a cluster, at the router where these are.
///
/// # Errors
/// There are more classes than numbers.
pub fn compile(engine: &Engine, at: &Place) -> Result<State, TooMany> {
    let sides = Direction::BOTH.map(|d| Side::new(engine, d));
    let texts = sides.iter().flat_map(Side::texts).collect();
    let numbers = numbers::number(texts)?;
    let mut state = State::new();
    for side in &sides {
        side.addresses(engine, at, &numbers, &mut state);
        side.grants(at, &numbers, &mut state);
    }
    Ok(state)
}

impl Side {
    fn new(engine: &Engine, direction: Direction) -> Self {
        let marks = Marks::new(engine, direction);
        let (classes, class_of) = class::classes(engine, &marks, direction);
        Self {
            direction,
            pods: Family::BOTH.map(|f| class::of_pods(engine, &marks, f)),
            ranges: Family::BOTH.map(|f| block::ranges(engine, &marks, f)),
            marks,
            classes,
            class_of,
        }
    }

    /// Every class of peers there is, that of no mark apart.
    fn peers(&self) -> BTreeSet<&Marked> {
        let pods = self.pods.iter().flat_map(BTreeMap::values);
        let ranges = self.ranges.iter().flatten().map(|(_, _, marked)| marked);
        pods.chain(ranges).filter(|m| !m.is_empty()).collect()
    }

    fn peer_text(&self, marked: &Marked) -> String {
        format!(
            "peers of {}: {}",
            self.direction.as_str(),
            self.marks.text(marked)
        )
    }

    fn texts(&self) -> Vec<String> {
        let peers = self.peers().into_iter().map(|m| self.peer_text(m));
        peers.chain(self.classes.keys().cloned()).collect()
    }

    fn addresses(&self, engine: &Engine, at: &Place, numbers: &BTreeMap<String, u16>, state: &mut State) {
        for (family, n) in Family::BOTH.into_iter().zip(0..) {
            let [class, peer, range] = match self.direction {
                Direction::Egress => [
                    SetName::EgressClass(family),
                    SetName::EgressPeer(family),
                    SetName::EgressBlock(family),
                ],
                Direction::Ingress => [
                    SetName::IngressClass(family),
                    SetName::IngressPeer(family),
                    SetName::IngressBlock(family),
                ],
            };
            let mut map = |set, ip, end: Option<IpAddr>, number| {
                let mut e = Element::new(at, Table::Wall, set, vec![Field::Ip(ip)]);
                e.end = end.map(|ip| vec![Field::Ip(ip)]);
                e.data = Some(vec![Field::Class(number)]);
                state.insert(Object::Element(e));
            };
            let mut classes: BTreeMap<IpAddr, u16> = BTreeMap::new();
            for pod in engine.cluster.ids() {
                if let Some(ip) = engine.cluster.pod(pod).address(family) {
                    let number = self.class_of.get(&pod).map_or(FREE, |c| numbers[c]);
                    // What shares an address with a governed pod is governed.
                    let known = classes.entry(ip).or_insert(number);
                    *known = if *known == FREE { number } else { *known };
                }
            }
            classes
                .into_iter()
                .for_each(|(ip, number)| map(class, ip, None, number));
            for (ip, marked) in self.pods[n].iter().filter(|(_, m)| !m.is_empty()) {
                map(peer, *ip, None, numbers[&self.peer_text(marked)]);
            }
            for (first, last, marked) in &self.ranges[n] {
                map(range, *first, Some(*last), numbers[&self.peer_text(marked)]);
            }
        }
    }

    fn grants(&self, at: &Place, numbers: &BTreeMap<String, u16>, state: &mut State) {
        let none = Marked::new();
        let mut peers: Vec<(&Marked, u16)> = vec![(&none, 0)];
        peers.extend(self.peers().into_iter().map(|m| (m, numbers[&self.peer_text(m)])));
        for (text, class) in &self.classes {
            let relevant = class.relevant();
            let mut known: HashMap<Marked, Services> = HashMap::new();
            for (marked, peer) in &peers {
                let these: Marked = marked.iter().filter(|m| relevant.contains(m)).copied().collect();
                let services = known.entry(these).or_insert_with_key(|these| class.allows(these));
                open(at, numbers[text], *peer, services, state);
            }
        }
    }
}

/// The elements that open services between a class and a class of peers.
fn open(at: &Place, class: u16, peer: u16, services: &Services, state: &mut State) {
    let pair = || vec![Field::Class(class), Field::Class(peer)];
    let with = |more: &[Field]| [&pair()[..], more].concat();
    let mut add = |set, key: Vec<Field>, end| {
        let mut e = Element::new(at, Table::Wall, set, key);
        e.end = end;
        state.insert(Object::Element(e));
    };
    if services.is_none() {
        return;
    }
    add(SetName::MaySome, pair(), None);
    if services.is_all() {
        return add(SetName::May, pair(), None);
    }
    if services.others {
        add(SetName::MayOther, pair(), None);
    }
    for (proto, ports) in WITH_PORTS.into_iter().zip(&services.ports) {
        // The protocols with ports have one number in both families.
        let proto = Field::Proto(proto.number(Family::Ip4));
        if ports.is_all() {
            add(SetName::MayProto, with(&[proto]), None);
            continue;
        }
        for (first, last) in ports.iter() {
            let key = |port| with(&[proto.clone(), Field::Port(port)]);
            if first == last {
                add(SetName::MayPort, key(first), None);
            } else {
                add(SetName::MayRange, key(first), Some(key(last)));
            }
        }
    }
}
