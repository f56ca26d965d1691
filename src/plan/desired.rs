//! What the kernel should hold, from what exists.
//!
//! Pure. Each function returns the objects of one thing, so a command that adds one
//! container plans for that container alone; `everything` is their union, for `fsck`
//! and for healing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use super::elements;
use super::foreign;
use super::names::{MARK_IN, MARK_OUT, Names};
use super::object::{Hop, LOCAL, MAIN, Mark, Object, Place, Ruleset, State, Verdict};
use super::set::{Element, Field, SetName, Table};
use crate::model::{DefaultPolicy, Endpoint, Family, Mac, Name, Network, Published, Router, World};

/// The gateway of every IPv6 container: link-local, so it is the same on each bridge.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The link-local addresses of the uplink's ends.
const LINK_LOCAL_HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const LINK_LOCAL_ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// What the plan must know of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The families the kernel has.
    pub families: Vec<Family>,
    /// Bytes, for the uplink.
    pub mtu: u32,
    /// Host interfaces that take IPv6 router advertisements: these must go on doing so
    /// when the host starts to forward (`accept_ra` 2).
    pub accepts_ra: Vec<String>,
}

/// Where a network's objects are made.
#[must_use]
pub fn place(network: &Network) -> Place {
    match network.router {
        Router::Own => Place::Router,
        Router::Host => Place::Host,
    }
}

fn sysctl(at: &Place, key: &str, value: &str) -> Object {
    Object::Sysctl {
        at: at.clone(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

pub(super) fn element(at: &Place, table: Table, set: SetName, key: Vec<Field>) -> Element {
    Element {
        at: at.clone(),
        table,
        set,
        key,
        end: None,
        data: None,
        expires: None,
    }
}

/// A range as an element of a set of intervals.
pub(super) fn interval(at: &Place, table: Table, set: SetName, range: IpNetwork) -> Object {
    let mut e = element(at, table, set, vec![Field::Ip(range.network())]);
    e.end = Some(vec![Field::Ip(range.broadcast())]);
    Object::Element(e)
}

/// The bridge's own address on the wire: fixed, or a bridge takes its lowest port's.
#[must_use]
pub fn bridge_mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([0x0e, 0x6d, a, b, c, d])
}

/// The router namespace with its uplink, and what the host needs for the way out and in.
#[must_use]
pub fn foundation(names: &Names, machine: &Machine) -> State {
    let mut s = State::from([Object::Namespace]);
    let (host, router) = (Place::Host, Place::Router);
    s.insert(Object::Ruleset {
        at: router.clone(),
        which: Ruleset::Wall,
    });
    s.insert(Object::Uplink {
        host: names.uplink_host(),
        router: names.uplink_router(),
        mtu: machine.mtu,
    });
    for (key, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        ("net/ipv4/conf/all/accept_redirects", "0"),
        ("net/ipv4/conf/all/accept_source_route", "0"),
        // A scan for the router's other addresses finds none.
        ("net/ipv4/conf/all/arp_ignore", "1"),
    ] {
        s.insert(sysctl(&router, key, value));
    }
    if machine.families.contains(&Family::Ip6) {
        s.insert(sysctl(&router, "net/ipv6/conf/all/forwarding", "1"));
        s.insert(sysctl(&router, "net/ipv6/conf/all/accept_redirects", "0"));
    }
    for family in &machine.families {
        s.extend(uplink_ends(names, *family));
        s.extend(router_policy(names, *family));
    }
    s.insert(Object::Up {
        at: host,
        iface: names.uplink_host(),
    });
    s.insert(Object::Up {
        at: router,
        iface: names.uplink_router(),
    });
    s.extend(way_out(names, machine));
    s
}

/// What the host needs in either mode: translation, forwarding, and the container routes' rules.
#[must_use]
pub fn way_out(names: &Names, machine: &Machine) -> State {
    let host = Place::Host;
    let mut s = State::from([
        Object::Ruleset {
            at: host.clone(),
            which: Ruleset::WayOut,
        },
        sysctl(&host, "net/ipv4/ip_forward", "1"),
    ]);
    if machine.families.contains(&Family::Ip6) {
        s.insert(sysctl(&host, "net/ipv6/conf/all/forwarding", "1"));
        for iface in &machine.accepts_ra {
            s.insert(sysctl(&host, &format!("net/ipv6/conf/{iface}/accept_ra"), "2"));
        }
    }
    s.extend(machine.families.iter().flat_map(|f| host_policy(names, *f)));
    s
}

/// The container routes are for marked packets, and for what the host itself sends.
#[must_use]
pub fn host_policy(names: &Names, family: Family) -> State {
    let rule = |n, mark, iif: Option<&str>| Object::Rule {
        at: Place::Host,
        family,
        priority: names.priority + n,
        mark: Option::map(mark, Mark::With),
        iif: iif.map(str::to_owned),
        then: Verdict::Lookup(names.route_table),
    };
    State::from([rule(0, Some(MARK_IN), None), rule(1, None, Some("lo"))])
}

fn uplink_ends(names: &Names, family: Family) -> State {
    let (host, router, length): (IpAddr, IpAddr, u8) = match family {
        Family::Ip4 => (names.host4.into(), names.router4.into(), 32),
        Family::Ip6 => (names.host6.into(), names.router6.into(), 128),
    };
    let (h, r) = (names.uplink_host(), names.uplink_router());
    let address = |at, iface: &str, ip| Object::Address {
        at,
        iface: iface.to_owned(),
        address: network(ip, length),
    };
    let route = |at, table, to, hop| Object::Route { at, table, to, hop };
    let mut s = State::from([
        address(Place::Host, &h, host),
        address(Place::Router, &r, router),
        route(
            Place::Host,
            names.route_table,
            network(router, length),
            Hop::Dev(h.clone()),
        ),
        route(Place::Router, MAIN, network(host, length), Hop::Dev(r.clone())),
        // Where a link to `host` leads.
        route(
            Place::Router,
            names.route_table,
            network(host, length),
            Hop::Dev(r.clone()),
        ),
        route(
            Place::Router,
            MAIN,
            family.everything(),
            Hop::Via(host, r.clone()),
        ),
    ]);
    if family == Family::Ip6 {
        // Neighbour discovery for a forwarded packet needs a link-local source
        // (`ndisc_send_ns` in net/ipv6/ndisc.c): without one it asks nothing.
        s.insert(address(Place::Host, &h, LINK_LOCAL_HOST.into()));
        s.insert(address(Place::Router, &r, LINK_LOCAL_ROUTER.into()));
    }
    if family == Family::Ip4 {
        // Publishing on 127.0.0.1 sends loopback addresses through this one interface; its
        // other end is our router, which drops them as martians.
        s.insert(sysctl(
            &Place::Host,
            &format!("net/ipv4/conf/{h}/route_localnet"),
            "1",
        ));
        s.insert(sysctl(
            &Place::Host,
            &format!("net/ipv4/conf/{h}/send_redirects"),
            "0",
        ));
    } else {
        // The same for [::1], which the kernel takes to be local on `lo` only: an answer comes
        // back through the uplink. Packets that bear a loopback address on the wire are dropped
        // before any route is looked up (`ip6_rcv_core`).
        s.insert(Object::Route {
            at: Place::Host,
            table: LOCAL,
            to: IpNetwork::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            hop: Hop::Local(h),
        });
    }
    s
}

fn network(ip: IpAddr, length: u8) -> IpNetwork {
    IpNetwork::new(ip, length).unwrap_or_else(|_| IpNetwork::from(ip))
}

/// In the router everything that arrives needs a mark; only its own packets do not.
/// The routing policy of a router.
#[must_use]
pub fn router_policy(names: &Names, family: Family) -> State {
    let rule = |n, mark, iif: Option<&str>, then| Object::Rule {
        at: Place::Router,
        family,
        priority: names.priority + n,
        mark: Option::map(mark, Mark::With),
        iif: iif.map(str::to_owned),
        then,
    };
    State::from([
        rule(0, Some(MARK_IN), None, Verdict::Lookup(names.route_table)),
        rule(1, None, Some("lo"), Verdict::Lookup(names.route_table)),
        rule(2, Some(MARK_OUT), None, Verdict::Lookup(MAIN)),
        rule(3, None, Some("lo"), Verdict::Lookup(MAIN)),
        rule(4, None, None, Verdict::Prohibit),
    ])
}

/// The host's addresses that lie in no network. In host mode the gateways are addresses of
/// the host too: they are inside their subnets, and `net` has them.
#[must_use]
pub fn lone_host_addresses(world: &World) -> Vec<IpAddr> {
    let lone = world.host.iter().copied().filter(|ip| !world.is_inside(*ip));
    lone.collect()
}

/// What links alone judge beside the subnets: these addresses of the host. None of them may
/// lie in a subnet (see [`lone_host_addresses`]): the kernel refuses intervals that overlap.
#[must_use]
pub fn host_addresses(names: &Names, at: &Place, addresses: &[IpAddr]) -> State {
    let uplink: [IpAddr; 2] = [names.host4.into(), names.host6.into()];
    let own = if *at == Place::Router { &uplink[..] } else { &[] };
    let mut s = State::new();
    for ip in addresses.iter().chain(own) {
        let family = Family::of(*ip);
        s.insert(Object::Element(element(
            at,
            Table::Wall,
            SetName::Host(family),
            vec![Field::Ip(*ip)],
        )));
        s.insert(interval(
            at,
            Table::Wall,
            SetName::Near(family),
            IpNetwork::from(*ip),
        ));
    }
    s
}

/// A network without its bridges: its ranges, and the way to them.
#[must_use]
pub fn net(names: &Names, net: &Network) -> State {
    if net.foreign {
        return foreign::net(names, net);
    }
    let at = place(net);
    let mut s = State::new();
    for subnet in &net.subnets {
        let (range, family) = (subnet.network(), subnet.family());
        s.insert(interval(&at, Table::Wall, SetName::Near(family), range));
        s.insert(interval(
            &Place::Host,
            Table::WayOut,
            SetName::Nets(family),
            range,
        ));
        if net.masquerade {
            s.insert(interval(
                &Place::Host,
                Table::WayOut,
                SetName::Masq(family),
                range,
            ));
        }
        if net.default_policy == DefaultPolicy::Open {
            let mut open = element(
                &at,
                Table::Wall,
                SetName::Open(family),
                vec![Field::Ip(range.network()); 2],
            );
            open.end = Some(vec![Field::Ip(range.broadcast()); 2]);
            s.insert(Object::Element(open));
        }
        // An address that nobody has is refused, never sent to the way out.
        let table = names.route_table;
        s.insert(Object::Route {
            at: at.clone(),
            table,
            to: range,
            hop: Hop::Prohibit,
        });
        if at == Place::Router {
            let router: IpAddr = match family {
                Family::Ip4 => names.router4.into(),
                Family::Ip6 => names.router6.into(),
            };
            let hop = Hop::Via(router, names.uplink_host());
            s.insert(Object::Route {
                at: Place::Host,
                table: names.route_table,
                to: range,
                hop,
            });
        } else if let Some(gateway) = net.gateway(family) {
            // What the host's own clients of a published port send from.
            let gateway = vec![Field::Ip(gateway)];
            s.insert(Object::Element(element(
                &at,
                Table::Wall,
                SetName::Host(family),
                gateway,
            )));
        }
    }
    if at == Place::Host {
        s.insert(Object::Ruleset {
            at,
            which: Ruleset::Wall,
        });
    }
    s
}

/// One bridge of a network: the gateway of the containers on it.
#[must_use]
pub fn bridge(names: &Names, net: &Network, n: u32) -> State {
    let (at, name) = (place(net), names.bridge(n));
    let mut s = State::from([
        Object::Bridge {
            at: at.clone(),
            name: name.clone(),
            mac: bridge_mac(n),
            mtu: net.mtu,
        },
        sysctl(&at, &format!("net/ipv4/conf/{name}/send_redirects"), "0"),
        sysctl(&at, &format!("net/ipv4/conf/{name}/accept_source_route"), "0"),
        sysctl(&at, &format!("net/ipv4/conf/{name}/arp_ignore"), "1"),
        Object::Up {
            at: at.clone(),
            iface: name.clone(),
        },
    ]);
    for subnet in &net.subnets {
        let own = |ip| Object::Address {
            at: at.clone(),
            iface: name.clone(),
            address: IpNetwork::from(ip),
        };
        s.extend(net.gateway(subnet.family()).map(own));
        if subnet.family() == Family::Ip6 {
            s.insert(own(GATEWAY6.into()));
            s.insert(sysctl(&at, &format!("net/ipv6/conf/{name}/accept_ra"), "0"));
        }
        if at == Place::Host {
            s.extend(host_mode_rules(names, subnet.family(), n));
        }
    }
    s
}

/// What the ports beside an endpoint's share with it: our bridge, or somebody else's.
#[must_use]
pub fn side(names: &Names, net: &Network, e: &Endpoint) -> State {
    match &e.foreign {
        Some(f) => foreign::side(names, net, f),
        None => bridge(names, net, e.bridge),
    }
}

/// In host mode each bridge has its own pair of rules: out with the mark, refused without.
fn host_mode_rules(names: &Names, family: Family, n: u32) -> State {
    let rule = |k, mark, then| Object::Rule {
        at: Place::Host,
        family,
        priority: names.priority + k,
        mark: Option::map(mark, Mark::With),
        iif: Some(names.bridge(n)),
        then,
    };
    State::from([
        // Number 2 is the fence of the walls around others' interfaces.
        rule(3, Some(MARK_OUT), Verdict::Lookup(MAIN)),
        rule(4, None, Verdict::Prohibit),
    ])
}

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
        s.insert(Object::Element(element(
            &at,
            Table::Ports,
            SetName::Source(family),
            source,
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
        s.insert(Object::Element(element(
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
        let mut map = element(&Place::Host, Table::WayOut, set, key);
        map.data = Some(vec![Field::Ip(*ip), Field::Port(p.port)]);
        s.insert(Object::Element(map));
    }
    s
}

/// Everything, for a world whose containers live in these namespaces. `bridges` are the
/// numbers of the bridges that exist although no endpoint is on them yet.
#[must_use]
pub fn everything(
    names: &Names,
    machine: &Machine,
    world: &World,
    sandboxes: &BTreeMap<Name, PathBuf>,
    bridges: &BTreeMap<u32, Name>,
) -> State {
    let mut s = State::new();
    let own = world.networks.values().any(|n| n.router == Router::Own);
    let hosted = world.networks.values().any(|n| n.router == Router::Host);
    let lone = lone_host_addresses(world);
    if own {
        s.extend(foundation(names, machine));
        s.extend(host_addresses(names, &Place::Router, &lone));
    }
    if hosted {
        s.extend(way_out(names, machine));
        s.extend(host_addresses(names, &Place::Host, &lone));
    }
    for n in world.networks.values() {
        s.extend(net(names, n));
    }
    for (n, owner) in bridges {
        if let Some(network) = world.networks.get(owner).filter(|n| !n.foreign) {
            s.extend(bridge(names, network, *n));
        }
    }
    for e in world.endpoints.values() {
        if let (Some(network), Some(path)) = (world.networks.get(&e.network), sandboxes.get(&e.container)) {
            s.extend(side(names, network, e));
            s.extend(endpoint(names, network, e, &Place::Sandbox(path.clone())));
            s.extend(elements::reach_of(names, world, e));
        }
    }
    s.extend(elements::all_pairs(world));
    s.extend(world.published.iter().flat_map(|p| published(world, p)));
    s
}
