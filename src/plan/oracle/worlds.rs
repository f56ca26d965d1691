//! Random small worlds, and the questions to ask of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use crate::model::{
    DefaultPolicy, End, Endpoint, Family, Foreign, Link, Name, Network, Party, Proto, Published, Router,
    Service, World,
};
use crate::plan::Names;

pub const SERVICES: [&str; 14] = [
    "22/tcp",
    "80/tcp",
    "79-81/tcp",
    "80-90/tcp",
    "85-100/tcp",
    "91-95/tcp",
    "1-65535/tcp",
    "53/udp",
    "50-60/udp",
    "61-70/udp",
    "90/sctp",
    "tcp",
    "icmp",
    "udp",
];
const RANGES: [&str; 9] = [
    "0.0.0.0/0",
    "198.51.0.0/16",
    "198.51.100.0/24",
    "10.9.1.0/24",
    "192.0.2.0/24",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "fd00:1::/64",
];
/// The host's own, beside the uplink's.
pub const HOST: [&str; 2] = ["192.0.2.10", "2001:db8:aa::10"];
/// Nobody's: outside, and inside a subnet without a holder.
pub const OUTSIDE: [&str; 5] = [
    "198.51.100.7",
    "198.51.7.7",
    "203.0.113.9",
    "2001:db8:1::7",
    "2606:4700::1",
];
pub const UNUSED: [&str; 2] = ["10.9.1.200", "fd00:1::200"];

pub fn name(s: &str) -> Name {
    s.parse().unwrap()
}

/// `any`, or as it is written.
pub fn service() -> impl Strategy<Value = Service> {
    prop_oneof![
        1 => Just(Service::Any),
        5 => select(&SERVICES[..]).prop_map(|s| s.parse().unwrap()),
    ]
}

fn container_end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => (0..5_u32).prop_map(|n| End::Container(name(&format!("c{n}")))),
        1 => select(&["label:app=a", "label:app=b", "label:tier=x"][..]).prop_map(|s| s.parse().unwrap()),
    ]
}

pub fn link() -> impl Strategy<Value = Link> {
    let to = prop_oneof![
        6 => container_end(),
        1 => Just(End::Host),
        1 => Just(End::World),
        2 => select(&RANGES[..]).prop_map(|s| s.parse().unwrap()),
    ];
    let expires = prop_oneof![Just(None), Just(Some(50)), Just(Some(200))];
    (container_end(), to, service(), expires).prop_map(|(from, to, service, expires)| Link {
        from,
        to,
        service,
        expires,
    })
}

fn network(n: u32, families: u8, internal: bool, open: bool, (router, foreign): (Router, bool)) -> Network {
    let (v4, v6) = (format!("10.9.{n}.0/24"), format!("fd00:{n:x}::/64"));
    let subnets: &[&str] = match families {
        0 => &[&v4],
        1 => &[&v6],
        _ => &[&v4, &v6],
    };
    Network {
        name: name(&format!("n{n}")),
        subnets: subnets.iter().map(|s| s.parse().unwrap()).collect(),
        internal,
        router,
        default_policy: if open && !foreign {
            DefaultPolicy::Open
        } else {
            DefaultPolicy::Isolated
        },
        mtu: 1500,
        gateways: vec![],
        masquerade: true,
        foreign,
    }
}

pub fn networks() -> impl Strategy<Value = Vec<Network>> {
    let router = prop_oneof![
        4 => Just((Router::Own, false)),
        1 => Just((Router::Host, false)),
        2 => Just((Router::Host, true)),
    ];
    let open = prop_oneof![3 => Just(false), 1 => Just(true)];
    proptest::collection::vec((0..4_u8, any::<bool>(), open, router), 1..=3).prop_map(|all| {
        let of = |(n, (families, internal, open, router))| network(n, families, internal, open, router);
        (1..).zip(all).map(of).collect()
    })
}

/// Interfaces that another plugin made.
const PORTS: [&str; 5] = ["veth0", "veth1", "veth2", "veth3", "veth4"];
const BRIDGES: [&str; 3] = ["cni1", "cni2", "cni3"];

/// The interface from which a container's packets come.
pub fn side(e: &Endpoint) -> &'static str {
    let foreign = e.foreign.as_ref().map_or("mtb1", Foreign::side);
    let all = PORTS.iter().chain(&BRIDGES).chain(&["mtb1"]);
    all.copied().find(|name| *name == foreign).unwrap()
}

pub fn endpoint(n: u32, network: &Network, labels: &[(&str, &str)]) -> Endpoint {
    let addresses: Vec<IpAddr> = network.subnets.iter().map(|s| s.nth(u128::from(n) + 2)).collect();
    Endpoint {
        id: n + 1,
        container: name(&format!("c{n}")),
        network: network.name.clone(),
        addresses,
        mac: format!("02:6d:00:00:00:{n:02x}").parse().unwrap(),
        labels: labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        bridge: network.name.as_str()[1..].parse().unwrap(),
        foreign: network.foreign.then(|| Foreign {
            port: PORTS[n as usize].to_owned(),
            // Each third one has no bridge.
            bridge: (n % 3 != 2).then(|| format!("cni{}", &network.name.as_str()[1..])),
        }),
        iface: "eth0".to_owned(),
        aliases: vec![],
        routes: vec![],
        further: false,
    }
}

pub fn labels() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    select(vec![
        vec![],
        vec![("app", "a")],
        vec![("app", "b")],
        vec![("app", "a"), ("tier", "x")],
    ])
}

fn published() -> impl Strategy<Value = Vec<Published>> {
    let ip = select(vec![
        None,
        None,
        Some("127.0.0.1"),
        Some("::1"),
        Some(HOST[0]),
        Some(HOST[1]),
    ]);
    let one = (
        0..5_u32,
        ip,
        select(vec![22_u16, 80, 81, 53]),
        select(vec![Proto::Tcp, Proto::Udp]),
    );
    proptest::collection::vec(one, 0..4).prop_map(|all| {
        let of = |(host_port, (n, ip, port, proto)): (u16, (u32, Option<&str>, u16, Proto))| Published {
            container: name(&format!("c{n}")),
            host_ip: ip.map(|a| a.parse().unwrap()),
            host_port,
            port,
            proto,
        };
        (8000..).zip(all).map(of).collect()
    })
}

/// The host's own addresses, the uplink's included.
pub fn host() -> Vec<IpAddr> {
    let names = Names::of_world(0);
    let own = HOST.iter().map(|a| a.parse().unwrap());
    own.chain([names.host4.into(), names.host6.into()]).collect()
}

pub fn world() -> impl Strategy<Value = World> {
    let containers = proptest::collection::vec((0..3_usize, labels()), 3..=5);
    let links = proptest::collection::vec(link(), 0..10);
    (networks(), containers, links, published()).prop_map(|(networks, containers, links, published)| {
        let endpoints: Vec<Endpoint> = (0..)
            .zip(&containers)
            .map(|(n, (net, labels))| endpoint(n, &networks[net % networks.len()], labels))
            .collect();
        let here = |p: &Published| {
            let own = |e: &&Endpoint| e.foreign.is_none() && e.container == p.container;
            endpoints.iter().any(|e| own(&e))
        };
        World {
            published: published.into_iter().filter(here).collect(),
            networks: networks.into_iter().map(|n| (n.name.clone(), n)).collect(),
            endpoints: endpoints
                .into_iter()
                .map(|e| (e.container.clone(), e))
                .collect::<BTreeMap<_, _>>(),
            links,
            host: host(),
            ..World::default()
        }
    })
}

/// Everybody who may send, or be sent to.
pub fn parties(world: &World) -> Vec<Party> {
    let addresses = OUTSIDE.iter().chain(&UNUSED).chain(&HOST);
    world
        .endpoints
        .keys()
        .map(|n| Party::Container(n.clone()))
        .chain([Party::Host, Party::World])
        .chain(addresses.map(|a| Party::Address(a.parse().unwrap())))
        .collect()
}

/// One protocol number and port; the ports around every boundary of a service in use.
pub fn packets(family: Family) -> Vec<(u8, u16)> {
    let mut ports = vec![0, 7, 65535];
    for service in SERVICES.iter().map(|s| s.parse::<Service>().unwrap()) {
        if let Some(p) = service.ports() {
            ports.extend([
                p.first.saturating_sub(1),
                p.first,
                p.last,
                p.last.saturating_add(1),
            ]);
        }
    }
    ports.sort_unstable();
    ports.dedup();
    let icmp = Proto::Icmp.number(family);
    let ported = [6, 17, 132]
        .into_iter()
        .flat_map(|p| ports.iter().map(move |port| (p, *port)));
    ported.chain([(icmp, 0), (47, 0)]).collect()
}
