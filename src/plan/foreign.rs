//! The wall around interfaces that another plugin made: what it adds to their bridge and routes.
//!
//! Pure. Everything is in the calling namespace, as in host mode, and everything is added:
//! their routes and addresses stay, and more specific routes and earlier rules decide. What
//! is sent to a walled address without the mark meets the fence, what comes from behind
//! a walled port without a mark meets the refusal; neither needs nftables.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;

use super::desired::interval;
use super::names::{MARK_OUT, Names};
use super::object::{Hop, MAIN, Mark, Object, Place, Ruleset, State, Verdict};
use super::set::{Element, Field, SetName, Table};
use crate::model::{Endpoint, Family, Foreign, Mac, Network, Proto};

fn ports(set: SetName, key: Vec<Field>) -> Object {
    Object::Element(Element::new(&Place::Host, Table::Ports, set, key))
}

fn wall(set: SetName, key: Vec<Field>) -> Object {
    Object::Element(Element::new(&Place::Host, Table::Wall, set, key))
}

fn rule(names: &Names, family: Family, n: u32, from: Option<(Mark, &str)>, table: u32) -> Object {
    Object::Rule {
        at: Place::Host,
        family,
        priority: names.priority + n,
        mark: from.map(|(mark, _)| mark),
        iif: from.map(|(_, iif)| iif.to_owned()),
        then: Verdict::Lookup(table),
    }
}

fn route(table: u32, to: IpNetwork, hop: Hop) -> Object {
    Object::Route {
        at: Place::Host,
        table,
        to,
        hop,
    }
}

/// A network as a whole: its ranges, the fence and the refusal. Its addresses that nobody has
/// stay as routable as its plugin left them: they may belong to containers without a wall.
#[must_use]
pub fn net(names: &Names, net: &Network) -> State {
    let at = Place::Host;
    let mut s = State::from([Object::Ruleset {
        at: at.clone(),
        which: Ruleset::Wall,
    }]);
    for subnet in &net.subnets {
        let family = subnet.family();
        s.insert(interval(
            &at,
            Table::Wall,
            SetName::Near(family),
            subnet.network(),
        ));
        s.extend(
            net.gateway(family)
                .map(|g| wall(SetName::Host(family), vec![Field::Ip(g)])),
        );
        s.insert(rule(names, family, 2, None, names.fence_table()));
        s.insert(route(names.refuse_table(), family.everything(), Hop::Prohibit));
    }
    s
}

/// What the ports of one bridge share: from behind it nothing is routed without a mark.
#[must_use]
pub fn side(names: &Names, net: &Network, f: &Foreign) -> State {
    let mut s = State::from([wall(SetName::Behind, vec![Field::Iface(f.side().to_owned())])]);
    s.extend(
        f.bridge
            .iter()
            .map(|b| wall(SetName::ForeignBridge, vec![Field::Iface(b.clone())])),
    );
    for subnet in &net.subnets {
        let from = Some((Mark::Without(MARK_OUT), f.side()));
        s.insert(rule(names, subnet.family(), 5, from, names.refuse_table()));
    }
    s
}

/// One container's port, its addresses in the wall, and the routes to it.
#[must_use]
pub fn endpoint(names: &Names, net: &Network, e: &Endpoint, f: &Foreign, sandbox: &Place) -> State {
    let mut s = State::new();
    for ip in &e.addresses {
        let (family, exact) = (Family::of(*ip), IpNetwork::from(*ip));
        s.insert(wall(SetName::Walled(family), vec![Field::Ip(*ip)]));
        s.insert(wall(
            SetName::Itself(family),
            vec![Field::Ip(*ip), Field::Ip(*ip)],
        ));
        let dev = Hop::Dev(f.side().to_owned());
        s.insert(route(names.route_table, exact, dev));
        s.insert(route(names.fence_table(), exact, Hop::Prohibit));
        if f.bridge.is_some() {
            s.extend(inside(net, *ip, &e.iface, sandbox));
        } else {
            let behind = vec![Field::Iface(f.port.clone()), Field::Ip(*ip)];
            s.insert(wall(SetName::Guest(family), behind));
        }
    }
    if let Some(bridge) = &f.bridge {
        s.extend(port(e, &f.port, bridge));
    }
    s
}

/// A bridge port, closed as ours are, and what may come in and go out there.
fn port(e: &Endpoint, port: &str, bridge: &str) -> State {
    let at = Place::Host;
    let named = || Field::Iface(port.to_owned());
    let mut s = State::from([
        Object::ClosedPort {
            at: at.clone(),
            port: port.to_owned(),
            bridge: bridge.to_owned(),
        },
        Object::Fdb {
            at,
            port: port.to_owned(),
            mac: e.mac,
        },
        ports(SetName::ForeignPort, vec![named()]),
    ]);
    let link_local = e.address(Family::Ip6).map(|_| link_local(e.mac).into());
    for ip in e.addresses.iter().copied().chain(link_local) {
        let family = Family::of(ip);
        let source = vec![named(), Field::Mac(e.mac), Field::Ip(ip)];
        s.insert(ports(SetName::Source(family), source));
        s.insert(ports(SetName::Asked(family), vec![named(), Field::Ip(asked(ip))]));
        s.insert(ports(SetName::Walled(family), vec![Field::Ip(ip)]));
        if family == Family::Ip6 {
            let advertised = Field::Proto(Proto::Icmp.number(family));
            s.insert(ports(SetName::Tells, vec![named(), Field::Ip(ip)]));
            s.insert(ports(SetName::Told, vec![advertised, Field::Ip(ip)]));
        }
        let behind = vec![Field::Iface(bridge.to_owned()), Field::Ip(ip)];
        s.insert(wall(SetName::Guest(family), behind));
    }
    s
}

/// What the container has by itself on an interface with this MAC (RFC 4291, appendix A); it
/// probes its gateway from there.
fn link_local(Mac([a, b, c, d, e, f]): Mac) -> Ipv6Addr {
    let pair = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        pair(a ^ 2, b),
        pair(c, 0xff),
        pair(0xfe, d),
        pair(e, f),
    )
}

/// To whom one asks for an address: all in ARP, which names the address inside; the
/// solicited-node group in IPv6 (RFC 4291, 2.7.1).
fn asked(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(a) => {
            let [.., high, low] = a.segments();
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low).into()
        }
    }
}

/// Two halves of the subnet by way of the gateway, where its plugin made one on-link route: more
/// specific, so that a peer is never asked for, and nothing of theirs goes.
fn inside(net: &Network, ip: IpAddr, iface: &str, at: &Place) -> State {
    let family = Family::of(ip);
    let (Some(subnet), Some(gateway)) = (net.subnet(family), net.gateway(family)) else {
        return State::new();
    };
    let route = |to, hop| Object::Route {
        at: at.clone(),
        table: MAIN,
        to,
        hop,
    };
    let mut s: State = halves(subnet.network())
        .into_iter()
        .map(|half| route(half, Hop::Via(gateway, iface.to_owned())))
        .collect();
    s.insert(route(IpNetwork::from(gateway), Hop::Dev(iface.to_owned())));
    s
}

fn halves(range: IpNetwork) -> Vec<IpNetwork> {
    let prefix = range.prefix() + 1;
    let middle: IpAddr = match range.network() {
        IpAddr::V4(a) => std::net::Ipv4Addr::from_bits(a.to_bits() | 1 << (32 - prefix)).into(),
        IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits() | 1 << (128 - prefix)).into(),
    };
    [range.network(), middle]
        .into_iter()
        .filter_map(|start| IpNetwork::new(start, prefix).ok())
        .collect()
}
