//! An interface of a container: its port, its entries in the wall, its routes, and what it publishes.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{GATEWAY6, bridge_mac, place, sysctl};
use crate::model::{Endpoint, Family, Network, Published, World};
use crate::plan::foreign;
use crate::plan::names::Names;
use crate::plan::object::{Hop, MAIN, Object, Place, State};
use crate::plan::set::{Element, Field, SetName, Table};

/// The interface of a container, with its port, its entry in the wall and its routes.
#[must_use]
pub fn endpoint(names: &Names, net: &Network, e: &Endpoint, sandbox: &Place) -> State {
    if let Some(f) = &e.foreign {
        return foreign::endpoint(names, net, e, f, sandbox);
    }
    let inside = e.iface.as_str();
    let (at, port, bridge) = (place(net), names.port(e.id), names.bridge(e.bridge));
    let mut s = State::from([
        Object::Veth {
            at: at.clone(),
            port: port.clone(),
            sandbox: sandbox.clone(),
            inside: inside.to_owned(),
            mac: e.mac,
            mtu: net.mtu,
        },
        Object::BridgePort {
            at: at.clone(),
            port: port.clone(),
            bridge: bridge.clone(),
        },
        Object::Fdb {
            at: at.clone(),
            port: port.clone(),
            mac: e.mac,
        },
        Object::Up {
            at: at.clone(),
            iface: port.clone(),
        },
        Object::Up {
            at: sandbox.clone(),
            iface: inside.to_owned(),
        },
    ]);
    if !e.container.is_anothers() {
        s.extend(own_namespace(sandbox));
    }
    let table = names.route_table;
    if e.address(Family::Ip6).is_some() {
        // The port speaks no IPv6 of its own: a report of its groups would be the one packet
        // that reaches a container unasked.
        s.insert(sysctl(&at, &format!("net/ipv6/conf/{port}/disable_ipv6"), "1"));
    }
    for ip in &e.addresses {
        let (family, exact) = (Family::of(*ip), IpNetwork::from(*ip));
        let source = vec![Field::Iface(port.clone()), Field::Mac(e.mac), Field::Ip(*ip)];
        s.insert(Object::Element(Element::new(
            &at,
            Table::Ports,
            SetName::Source(family),
            source,
        )));
        let itself = vec![Field::Ip(*ip), Field::Ip(*ip)];
        s.insert(Object::Element(Element::new(
            &at,
            Table::Wall,
            SetName::Itself(family),
            itself,
        )));
        s.insert(Object::Neighbour {
            at: at.clone(),
            iface: bridge.clone(),
            ip: *ip,
            mac: e.mac,
        });
        s.insert(Object::Route {
            at: at.clone(),
            table,
            to: exact,
            hop: Hop::Dev(bridge.clone()),
        });
        s.extend(inside_of(net, e, *ip, sandbox));
    }
    s
}

/// What a namespace that is all the container's needs beside its interface; that of another
/// runtime is its runtime's business. Ping without raw sockets, and low ports without privilege.
fn own_namespace(sandbox: &Place) -> State {
    State::from([
        Object::Up {
            at: sandbox.clone(),
            iface: "lo".to_owned(),
        },
        sysctl(sandbox, "net/ipv4/ping_group_range", "0\t2147483647"),
        sysctl(sandbox, "net/ipv4/ip_unprivileged_port_start", "0"),
    ])
}

/// A container's own addresses, routes and neighbours of one family. Everything goes to the
/// gateway, whose address on the wire is known from the start: nothing is ever asked for.
fn inside_of(net: &Network, e: &Endpoint, ip: IpAddr, at: &Place) -> State {
    let family = Family::of(ip);
    let (Some(subnet), Some(own)) = (net.subnet(family), net.gateway(family)) else {
        return State::new();
    };
    let (gateway, address) = match family {
        Family::Ip4 => (own, subnet.of(ip)),
        Family::Ip6 => (GATEWAY6.into(), IpNetwork::from(ip)),
    };
    let route = |table, to, hop| Object::Route {
        at: at.clone(),
        table,
        to,
        hop,
    };
    let iface = e.iface.clone();
    let leads_to = if e.further {
        subnet.network()
    } else {
        family.everything()
    };
    let mut s = State::from([
        Object::Address {
            at: at.clone(),
            iface: iface.clone(),
            address,
        },
        Object::Neighbour {
            at: at.clone(),
            iface: iface.clone(),
            ip: gateway,
            mac: bridge_mac(e.bridge),
        },
        route(MAIN, leads_to, Hop::Via(gateway, iface.clone())),
    ]);
    let extra = e.routes.iter().filter(|r| r.to.is_ipv4() == ip.is_ipv4());
    s.extend(extra.map(|r| {
        let hop = Hop::Via(gateway, iface.clone());
        route(r.table.unwrap_or(MAIN), r.to, hop)
    }));
    if family == Family::Ip4 {
        s.insert(route(MAIN, IpNetwork::from(gateway), Hop::Dev(iface)));
    }
    s
}

/// A published port: the host's map, and the wall's leave.
#[must_use]
pub fn published(world: &World, p: &Published) -> State {
    let Some(e) = world.endpoints.get(&p.container) else {
        return State::new();
    };
    let Some(net) = world.networks.get(&e.network) else {
        return State::new();
    };
    let mut s = State::new();
    for ip in &e.addresses {
        let family = Family::of(*ip);
        if p.host_ip.is_some_and(|h| Family::of(h) != family) {
            continue;
        }
        let proto = Field::Proto(p.proto.number(family));
        let target = vec![Field::Ip(*ip), proto.clone(), Field::Port(p.port)];
        s.insert(Object::Element(Element::new(
            &place(net),
            Table::Wall,
            SetName::Public(family),
            target,
        )));
        // 0.0.0.0 is every address of its family.
        let (set, key) = match p.host_ip.filter(|h| !h.is_unspecified()) {
            Some(h) => (
                SetName::At(family),
                vec![Field::Ip(h), proto, Field::Port(p.host_port)],
            ),
            _ => (SetName::Any(family), vec![proto, Field::Port(p.host_port)]),
        };
        let mut map = Element::new(&Place::Host, Table::WayOut, set, key);
        map.data = Some(vec![Field::Ip(*ip), Field::Port(p.port)]);
        s.insert(Object::Element(map));
    }
    s
}
