//! What the documents promise, for one packet at a time and by enumeration; written
//! without a look at `decide`.

use std::net::IpAddr;

use super::worlds::{OUTSIDE, packets};
use crate::model::{DefaultPolicy, End, Endpoint, Family, Flow, Link, Party, Proto, Router, Service, World};

/// Whether every packet of the service may open a flow.
pub fn allows(world: &World, flow: &Flow) -> bool {
    packets(flow.family)
        .into_iter()
        .filter(|(proto, port)| is_of(flow.service, flow.family, *proto, *port))
        .all(|packet| party(world, flow, packet))
}

/// Whether a packet belongs to a service.
pub fn is_of(service: Service, family: Family, proto: u8, port: u16) -> bool {
    let number = |p: Proto| match (p, family) {
        (Proto::Tcp, _) => 6,
        (Proto::Udp, _) => 17,
        (Proto::Sctp, _) => 132,
        (Proto::Icmp, Family::Ip4) => 1,
        (Proto::Icmp, Family::Ip6) => 58,
    };
    match service {
        Service::Any => true,
        Service::Proto(p) => number(p) == proto,
        Service::Ports(p, r) => number(p) == proto && r.first <= port && port <= r.last,
    }
}

/// The world is every address that is nobody's.
fn party(world: &World, flow: &Flow, packet: (u8, u16)) -> bool {
    let outside = OUTSIDE.iter().map(|a| a.parse::<IpAddr>().unwrap());
    let outside: Vec<IpAddr> = outside.filter(|a| Family::of(*a) == flow.family).collect();
    match (&flow.from, &flow.to) {
        (Party::World, to) => outside
            .iter()
            .all(|a| to_party(world, *a, to, flow.family, packet)),
        (Party::Host, to) => to_party(world, host(flow.family), to, flow.family, packet),
        (Party::Container(n), to) => world
            .endpoints
            .get(n)
            .and_then(|e| e.address(flow.family))
            .is_some_and(|a| to_party(world, a, to, flow.family, packet)),
        (Party::Address(a), to) => to_party(world, *a, to, flow.family, packet),
    }
}

pub fn host(family: Family) -> IpAddr {
    super::worlds::HOST
        .iter()
        .map(|a| a.parse().unwrap())
        .find(|a| Family::of(*a) == family)
        .unwrap()
}

fn to_party(world: &World, from: IpAddr, to: &Party, family: Family, packet: (u8, u16)) -> bool {
    let outside = OUTSIDE.iter().map(|a| a.parse::<IpAddr>().unwrap());
    match to {
        Party::World => outside
            .filter(|a| Family::of(*a) == family)
            .all(|a| one(world, from, a, packet)),
        Party::Host => one(world, from, host(family), packet),
        Party::Container(n) => world
            .endpoints
            .get(n)
            .and_then(|e| e.address(family))
            .is_some_and(|a| one(world, from, a, packet)),
        Party::Address(a) => one(world, from, *a, packet),
    }
}

fn has(world: &World, ip: IpAddr) -> Option<&Endpoint> {
    world.endpoints.values().find(|e| e.addresses.contains(&ip))
}

fn named(e: &Endpoint, end: &End) -> bool {
    match end {
        End::Container(n) => e.container == *n,
        End::Label(k, v) => e.labels.iter().any(|(a, b)| a == k && b == v),
        _ => false,
    }
}

fn router(world: &World, e: &Endpoint) -> Router {
    world.networks[&e.network].router
}

/// One packet from one address to another.
pub fn one(world: &World, from: IpAddr, to: IpAddr, (proto, port): (u8, u16)) -> bool {
    if from.is_ipv4() != to.is_ipv4() {
        return false;
    }
    let family = Family::of(from);
    let open = |l: &&Link| is_of(l.service, family, proto, port);
    let mine = |l: &&Link, e: &Endpoint| named(e, &l.from);
    let nobody = |ip| {
        has(world, ip).is_none()
            && world
                .networks
                .values()
                .any(|n| n.subnets.iter().any(|s| s.contains(ip)))
    };
    match (has(world, from), has(world, to)) {
        (Some(a), Some(b)) if a.container == b.container => true,
        // Between containers: a network that has no walls, or a link and a router in which both are.
        (Some(a), Some(b)) => {
            let wallless = world.networks[&a.network].default_policy == DefaultPolicy::Open;
            let together = wallless && a.network == b.network;
            together
                || router(world, a) == router(world, b)
                    && world
                        .links
                        .iter()
                        .filter(|l| mine(l, a) && named(b, &l.to))
                        .any(|l| open(&l))
        }
        (Some(_), None) if nobody(to) => false,
        (Some(a), None) => {
            let host = world.host.contains(&to);
            let names = |l: &&Link| match l.to {
                End::Host => host,
                End::World => !host,
                End::Cidr(range) => !host && range.contains(to),
                _ => false,
            };
            let way_out = !host && !world.networks[&a.network].internal;
            way_out
                || world
                    .links
                    .iter()
                    .filter(|l| mine(l, a))
                    .filter(names)
                    .any(|l| open(&l))
        }
        (None, Some(_)) if nobody(from) => false,
        // From outside: published, on an address of the family that the sender can reach.
        (None, Some(b)) => world.published.iter().any(|p| {
            p.container == b.container
                && p.proto.number(family) == proto
                && p.port == port
                && p.host_ip.is_none_or(|ip| ip.is_ipv4() == to.is_ipv4())
                && (world.host.contains(&from) || p.host_ip.is_none_or(|ip| !ip.is_loopback()))
        }),
        (None, None) => true,
    }
}
