//! The router with its uplink, and what the host needs for the way out and in.
//!
//! Made once for a world, whatever networks it has.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;

use super::{Machine, sysctl};
use crate::model::Family;
use crate::plan::names::{MARK_IN, MARK_OUT, Names};
use crate::plan::object::{Hop, LOCAL, MAIN, Mark, Object, Place, Ruleset, State, Verdict};

/// Whether bridged frames go through the hooks of these families as well: `br_netfilter` has them, each namespace
/// its own.
pub const BRIDGE_FILTERS: [&str; 3] = [
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-arptables",
];

/// The link-local addresses of the uplink's ends.
const LINK_LOCAL_HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

const LINK_LOCAL_ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

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
    s.extend(router_values(&machine.families));
    if machine.filters_frames {
        s.extend(BRIDGE_FILTERS.map(|key| sysctl(&router, key, "0")));
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

/// What a router's namespace must do as a router, and must not.
#[must_use]
pub fn router_values(families: &[Family]) -> State {
    let mut values = vec![
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        ("net/ipv4/conf/all/accept_redirects", "0"),
        ("net/ipv4/conf/all/accept_source_route", "0"),
        // A scan for the router's other addresses finds none.
        ("net/ipv4/conf/all/arp_ignore", "1"),
    ];
    if families.contains(&Family::Ip6) {
        values.push(("net/ipv6/conf/all/forwarding", "1"));
        values.push(("net/ipv6/conf/all/accept_redirects", "0"));
    }
    let all = values.into_iter();
    all.map(|(key, value)| sysctl(&Place::Router, key, value))
        .collect()
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

/// The routing policy of a router: everything that arrives needs a mark, only its own packets do not.
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
