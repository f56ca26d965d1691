//! Links as set elements.
//!
//! A pair of ends has one element for each service that is open between them, however many
//! links say so; ranges that overlap are cut into disjoint ones, because the kernel refuses
//! elements of an interval set that overlap.

use std::net::IpAddr;

use super::desired::place;
use super::names::Names;
use super::object::{Object, Place, State};
use super::set::{Element, Expires, Field, SetName, Table};
use crate::model::{
    DefaultPolicy, End, Endpoint, Family, Link, Network, Ports, Proto, Router, Service, World,
};

/// A service that is open, until when.
#[derive(Clone, Copy, Debug)]
struct Open {
    service: Service,
    expires: Option<u64>,
}

/// The later of two ends; `None` never ends.
fn later(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    Some(a?.max(b?))
}

/// The elements between two containers, in the direction `from -> to`, and their peer entries.
#[must_use]
pub fn pair(world: &World, from: &Endpoint, to: &Endpoint) -> State {
    if from.container == to.container || !world.joins(from, to) {
        return State::new();
    }
    let open: Vec<Open> = links(world, from, |end| to.is(end));
    let Some(net) = world.networks.get(&from.network) else {
        return State::new();
    };
    let mut s = State::new();
    for family in Family::BOTH {
        if let (Some(a), Some(b)) = (from.address(family), to.address(family)) {
            s.extend(services(&place(net), a, b, &open));
        }
    }
    s
}

fn links(world: &World, from: &Endpoint, to: impl Fn(&End) -> bool) -> Vec<Open> {
    let fits = |l: &&Link| from.is(&l.from) && to(&l.to);
    world
        .links
        .iter()
        .filter(fits)
        .map(|l| Open {
            service: l.service,
            expires: l.expires,
        })
        .collect()
}

/// The elements that open services from one address to another.
fn services(at: &Place, from: IpAddr, to: IpAddr, open: &[Open]) -> State {
    let family = Family::of(from);
    let (a, b) = (Field::Ip(from), Field::Ip(to));
    let mut s = State::new();
    let mut add = |set, key: Vec<Field>, end: Option<Vec<Field>>, expires: Option<u64>| {
        let expires = expires.map(Expires);
        s.insert(Object::Element(Element {
            at: at.clone(),
            table: Table::Wall,
            set,
            key,
            end,
            data: None,
            expires,
        }));
    };
    let proto_field = |p: Proto| Field::Proto(p.number(family));
    for o in merge(open, |s| matches!(s, Service::Any | Service::Proto(_))) {
        match o.service {
            Service::Any => add(SetName::Pair(family), vec![a.clone(), b.clone()], None, o.expires),
            Service::Proto(p) => {
                add(
                    SetName::Proto(family),
                    vec![a.clone(), b.clone(), proto_field(p)],
                    None,
                    o.expires,
                );
            }
            Service::Ports(..) => {}
        }
    }
    for (p, ports, expires) in disjoint_ports(open) {
        let key = |port| vec![a.clone(), b.clone(), proto_field(p), Field::Port(port)];
        if ports.count() == 1 {
            add(SetName::Port(family), key(ports.first), None, expires);
        } else {
            add(
                SetName::Range(family),
                key(ports.first),
                Some(key(ports.last)),
                expires,
            );
        }
    }
    if let Some(expires) = open.iter().map(|o| o.expires).reduce(later) {
        add(SetName::Peer(family), vec![a, b], None, expires);
    }
    s
}

/// One entry a service, with the latest end.
fn merge(open: &[Open], which: impl Fn(Service) -> bool) -> Vec<Open> {
    let mut out: Vec<Open> = Vec::new();
    for o in open.iter().filter(|o| which(o.service)) {
        match out.iter_mut().find(|x| x.service == o.service) {
            Some(x) => x.expires = later(x.expires, o.expires),
            None => out.push(*o),
        }
    }
    out
}

/// Cuts ranges that overlap into disjoint ones; each lasts as long as its longest cover.
fn disjoint_ports(open: &[Open]) -> Vec<(Proto, Ports, Option<u64>)> {
    let mut out = Vec::new();
    for proto in [Proto::Tcp, Proto::Udp, Proto::Sctp] {
        let covers: Vec<(u128, u128, Option<u64>)> = open
            .iter()
            .filter(|o| o.service.proto() == Some(proto))
            .filter_map(|o| {
                o.service
                    .ports()
                    .map(|p| (p.first.into(), p.last.into(), o.expires))
            })
            .collect();
        for (first, last, expires) in disjoint(&covers) {
            out.push((
                proto,
                Ports {
                    first: first as u16,
                    last: last as u16,
                },
                expires,
            ));
        }
    }
    out
}

/// Cuts inclusive ranges into disjoint ones, neighbours with one end joined.
fn disjoint(covers: &[(u128, u128, Option<u64>)]) -> Vec<(u128, u128, Option<u64>)> {
    let mut starts: Vec<u128> = covers
        .iter()
        .flat_map(|(a, b, _)| [Some(*a), b.checked_add(1)])
        .flatten()
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let mut out: Vec<(u128, u128, Option<u64>)> = Vec::new();
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).map_or(u128::MAX, |next| next - 1);
        let here = covers
            .iter()
            .filter(|(a, b, _)| a <= start && *b >= end)
            .map(|c| c.2);
        let Some(expires) = here.reduce(later) else {
            continue;
        };
        match out.last_mut() {
            Some(last) if last.1.checked_add(1) == Some(*start) && last.2 == expires => last.1 = end,
            _ => out.push((*start, end, expires)),
        }
    }
    out
}

/// What a container may reach beside other containers: the host, the world, ranges of it.
#[must_use]
pub fn reach_of(names: &Names, world: &World, from: &Endpoint) -> State {
    let Some(net) = world.networks.get(&from.network) else {
        return State::new();
    };
    let at = place(net);
    let mut s = State::new();
    for address in &from.addresses {
        let family = Family::of(*address);
        let to_host = links(world, from, |end| *end == End::Host);
        if let Some(host) = host_end(names, net, family) {
            s.extend(services(&at, *address, host, &to_host));
        }
        let any_world = merge(&links(world, from, |end| *end == End::World), |s| {
            s == Service::Any
        });
        let expires = any_world.first().map(|o| o.expires);
        if let Some(expires) = if net.internal { expires } else { Some(None) } {
            s.insert(Object::Element(Element {
                at: at.clone(),
                table: Table::Wall,
                // Where policies hold, these say how far out.
                set: match net.default_policy {
                    DefaultPolicy::Kubernetes if !net.internal => SetName::PolicyWorld(family),
                    _ => SetName::World(family),
                },
                key: vec![Field::Ip(*address)],
                end: None,
                data: None,
                expires: expires.map(Expires),
            }));
        }
        s.extend(ranges(&at, *address, world, from));
    }
    s
}

/// The address that `host` means to a container.
#[must_use]
pub fn host_end(names: &Names, net: &Network, family: Family) -> Option<IpAddr> {
    match (net.router, family) {
        (Router::Own, Family::Ip4) => Some(names.host4.into()),
        (Router::Own, Family::Ip6) => Some(names.host6.into()),
        (Router::Host, _) => net.gateway(family),
    }
}

type Box2 = ((u128, u128), (u128, u128), Option<u64>);

/// Links to ranges of the world: boxes of addresses and ports, disjoint for each protocol.
fn ranges(at: &Place, from: IpAddr, world: &World, e: &Endpoint) -> State {
    let family = Family::of(from);
    let open: Vec<(u128, u128, Open)> = world
        .links
        .iter()
        .filter(|l| e.is(&l.from))
        .filter_map(|l| {
            let range = match l.to {
                End::Cidr(r) if r.is_ipv4() == from.is_ipv4() => r,
                // All of the world, all services, has its own set.
                End::World if l.service != Service::Any => family.everything(),
                _ => return None,
            };
            let ends = (Family::number(range.network()), Family::number(range.broadcast()));
            Some((
                ends.0,
                ends.1,
                Open {
                    service: l.service,
                    expires: l.expires,
                },
            ))
        })
        .collect();
    let mut s = State::new();
    let mut add = |set, key, end, expires: Option<u64>| {
        let (end, expires) = (Some(end), expires.map(Expires));
        s.insert(Object::Element(Element {
            at: at.clone(),
            table: Table::Wall,
            set,
            key,
            end,
            data: None,
            expires,
        }));
    };
    let ip = |n| Field::Ip(family.address(n));
    let all: Vec<_> = open
        .iter()
        .filter(|o| o.2.service == Service::Any)
        .map(|o| (o.0, o.1, o.2.expires))
        .collect();
    for (a, b, expires) in disjoint(&all) {
        add(
            SetName::Cidr(family),
            vec![Field::Ip(from), ip(a)],
            vec![Field::Ip(from), ip(b)],
            expires,
        );
    }
    for proto in [Proto::Tcp, Proto::Udp, Proto::Sctp, Proto::Icmp] {
        let boxes: Vec<Box2> = open
            .iter()
            .filter(|o| o.2.service.proto() == Some(proto))
            .map(|o| {
                let ports =
                    o.2.service
                        .ports()
                        .map_or((0, 65535), |p| (p.first.into(), p.last.into()));
                ((o.0, o.1), ports, o.2.expires)
            })
            .collect();
        let number = Field::Proto(proto.number(family));
        for ((a, b), (first, last), expires) in disjoint_boxes(&boxes) {
            let key = |n, port: u128| vec![Field::Ip(from), ip(n), number.clone(), Field::Port(port as u16)];
            add(SetName::CidrPort(family), key(a, first), key(b, last), expires);
        }
    }
    s
}

/// Cuts by ports first, then by addresses within each band of ports.
fn disjoint_boxes(boxes: &[Box2]) -> Vec<Box2> {
    let mut cuts: Vec<u128> = boxes.iter().flat_map(|(_, p, _)| [p.0, p.1 + 1]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut out = Vec::new();
    for band in cuts.windows(2) {
        let (first, last) = (band[0], band[1] - 1);
        let here: Vec<_> = boxes
            .iter()
            .filter(|(_, p, _)| p.0 <= first && last <= p.1)
            .map(|(a, _, e)| (a.0, a.1, *e))
            .collect();
        out.extend(
            disjoint(&here)
                .into_iter()
                .map(|(a, b, e)| ((a, b), (first, last), e)),
        );
    }
    out
}

/// The elements between one container and every other, in both directions.
#[must_use]
pub fn pairs_of(world: &World, e: &Endpoint) -> State {
    let mut s = State::new();
    for other in world.endpoints.values().filter(|o| o.container != e.container) {
        s.extend(pair(world, e, other));
        s.extend(pair(world, other, e));
    }
    s
}

/// The elements between all containers that some link joins.
#[must_use]
pub fn all_pairs(world: &World) -> State {
    let mut joined = std::collections::BTreeSet::new();
    for link in &world.links {
        for from in ends(world, &link.from) {
            joined.extend(ends(world, &link.to).map(|to| (&from.container, &to.container)));
        }
    }
    let at = |name: &crate::model::Name| world.endpoints.get(name);
    joined
        .iter()
        .filter_map(|(a, b)| Some(pair(world, at(a)?, at(b)?)))
        .flatten()
        .collect()
}

/// The containers an end names.
pub fn ends<'w>(world: &'w World, end: &End) -> Box<dyn Iterator<Item = &'w Endpoint> + 'w> {
    match end {
        End::Container(name) => Box::new(world.endpoints.get(name).into_iter()),
        End::Label(..) => {
            let end = end.clone();
            Box::new(world.endpoints.values().filter(move |e| e.is(&end)))
        }
        End::Host | End::World | End::Cidr(_) => Box::new(std::iter::empty()),
    }
}
