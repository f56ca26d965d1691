//! Every kind of plan as text, compared with a file. `MOAT_BLESS=1 cargo test golden`
//! writes the files anew.

use std::collections::BTreeMap;

use super::{Machine, Names, Plan, Renderer, State, desired, elements, foreign};
use crate::model::{
    DefaultPolicy, End, Endpoint, ExtraRoute, Family, Foreign, Link, Mac, Network, Proto, Published, Router,
    World,
};

const NOW: u64 = 1_000;

fn compare(name: &str, wanted: &str, objects: &State) {
    let names = Names::of_world(0);
    let renderer = Renderer {
        names: &names,
        router: "moat-router",
        now: NOW,
    };
    let made = renderer.plan(&Plan::add(objects));
    let undone = renderer.plan(&Plan::add(objects).reversed());
    let found = format!("# add\n{made}\n# remove\n{undone}");
    if std::env::var_os("MOAT_BLESS").is_some() {
        let path = format!("{}/src/plan/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, found).unwrap();
    } else {
        assert_eq!(found, wanted, "golden/{name}.txt; MOAT_BLESS=1 writes it anew");
    }
}

macro_rules! golden {
    ($name:literal, $objects:expr) => {
        compare($name, include_str!(concat!("golden/", $name, ".txt")), &$objects)
    };
}

fn network(name: &str, router: Router) -> Network {
    Network {
        name: name.parse().unwrap(),
        subnets: vec![
            "10.9.0.0/16".parse().unwrap(),
            "fd6d:6f61:1::/64".parse().unwrap(),
        ],
        internal: false,
        router,
        default_policy: DefaultPolicy::Isolated,
        mtu: 1500,
        gateways: vec![],
        masquerade: true,
        foreign: false,
    }
}

fn container(name: &str, id: u32) -> Endpoint {
    Endpoint {
        id,
        container: name.parse().unwrap(),
        network: "moat".parse().unwrap(),
        addresses: vec![
            format!("10.9.0.{}", id + 1).parse().unwrap(),
            format!("fd6d:6f61:1::{:x}", id + 1).parse().unwrap(),
        ],
        mac: format!("02:6d:0a:09:00:{:02x}", id + 1).parse().unwrap(),
        labels: BTreeMap::from([("app".to_owned(), name.to_owned())]),
        bridge: 1,
        foreign: None,
        iface: "eth0".to_owned(),
        aliases: vec![],
        routes: vec![],
        further: false,
    }
}

fn world(router: Router) -> World {
    let endpoints = [container("web", 1), container("db", 2)];
    World {
        networks: BTreeMap::from([("moat".parse().unwrap(), network("moat", router))]),
        endpoints: endpoints.map(|e| (e.container.clone(), e)).into(),
        ..World::default()
    }
}

fn link(to: &str, expires: Option<u64>) -> Link {
    let (to, service) = End::with_service(to).unwrap();
    Link {
        from: "web".parse().unwrap(),
        to,
        service,
        expires,
    }
}

/// What `web -> TARGET` opens.
fn linked(targets: &[(&str, Option<u64>)]) -> State {
    let mut world = world(Router::Own);
    world.networks.values_mut().for_each(|n| n.internal = true);
    world.links = targets.iter().map(|(to, until)| link(to, *until)).collect();
    let web = &world.endpoints["web"];
    let mut s = elements::pairs_of(&world, web);
    s.extend(elements::reach_of(&Names::of_world(0), &world, web));
    s
}

#[test]
fn golden_foundation() {
    let machine = Machine {
        families: Family::BOTH.to_vec(),
        mtu: 1500,
        accepts_ra: vec!["ens3.100".to_owned()],
        filters_frames: true,
    };
    let names = Names::of_world(0);
    let mut s = desired::foundation(&names, &machine);
    s.extend(desired::host_addresses(
        &names,
        &super::Place::Router,
        &["192.168.1.5".parse().unwrap()],
    ));
    golden!("foundation", s);
}

#[test]
fn golden_networks() {
    let names = Names::of_world(0);
    golden!("network", desired::net(&names, &network("moat", Router::Own)));
    golden!(
        "network-host-mode",
        desired::net(&names, &network("moat", Router::Host))
    );
    let open = Network {
        default_policy: DefaultPolicy::Open,
        masquerade: false,
        ..network("moat", Router::Own)
    };
    golden!("network-open", desired::net(&names, &open));
    golden!(
        "bridge",
        desired::bridge(&names, &network("moat", Router::Own), 1)
    );
    golden!(
        "bridge-host-mode",
        desired::bridge(&names, &network("moat", Router::Host), 1)
    );
}

#[test]
fn golden_endpoints() {
    let (names, web) = (Names::of_world(0), container("web", 1));
    let sandbox = super::Place::Sandbox("/proc/4711/ns/net".into());
    let of = |router| desired::endpoint(&names, &network("moat", router), &web, &sandbox);
    golden!("endpoint", of(Router::Own));
    golden!("endpoint-host-mode", of(Router::Host));
    let through_cni = Endpoint {
        container: "cni:moat/3f2a9c".parse().unwrap(),
        iface: "net1".to_owned(),
        routes: vec![ExtraRoute {
            to: "192.0.2.0/24".parse().unwrap(),
            table: Some(100),
        }],
        ..web
    };
    let sandbox = super::Place::Sandbox("/run/netns/pod".into());
    let net = Network {
        gateways: vec!["10.9.255.254".parse().unwrap()],
        ..network("moat", Router::Own)
    };
    golden!(
        "endpoint-through-cni",
        desired::endpoint(&names, &net, &through_cni, &sandbox)
    );
}

#[test]
fn golden_foreign() {
    let (names, web) = (Names::of_world(0), container("web", 1));
    let net = Network {
        foreign: true,
        ..network("moat", Router::Host)
    };
    let sandbox = super::Place::Sandbox("/run/netns/pod".into());
    let behind = |bridge: Option<&str>| Foreign {
        port: "veth3f2a".to_owned(),
        bridge: bridge.map(str::to_owned),
    };
    let whole = |bridge| {
        let f = behind(bridge);
        let e = Endpoint {
            foreign: Some(f.clone()),
            ..web.clone()
        };
        let mut s = foreign::side(&names, &net, &f);
        s.extend(desired::endpoint(&names, &net, &e, &sandbox));
        s
    };
    golden!("foreign-network", desired::net(&names, &net));
    golden!("foreign-bridge", whole(Some("cni0")));
    golden!("foreign-routed", whole(None));
}

#[test]
fn golden_links() {
    golden!("link-any", linked(&[("db", None)]));
    golden!(
        "link-protocol",
        linked(&[("db:udp", None), ("label:app=db:icmp", None)])
    );
    golden!("link-port", linked(&[("db:5432/tcp", Some(NOW + 900))]));
    golden!(
        "link-ranges",
        linked(&[
            ("db:8000-8100", None),
            ("db:8050-8200", Some(NOW + 60)),
            ("db:53/udp", None)
        ])
    );
    golden!("link-host", linked(&[("host:22", None)]));
    golden!("link-world", linked(&[("world", Some(NOW + 60))]));
    golden!("link-world-port", linked(&[("world:443", None)]));
    golden!(
        "link-range-of-world",
        linked(&[("198.51.100.0/24", None), ("[2001:db8::/32]:53/udp", None)])
    );
}

#[test]
fn golden_published() {
    let world = world(Router::Own);
    let publish = |host_ip: Option<&str>, host_port| Published {
        container: "web".parse().unwrap(),
        host_ip: host_ip.map(|a| a.parse().unwrap()),
        host_port,
        port: 80,
        proto: Proto::Tcp,
    };
    let mut s = desired::published(&world, &publish(None, 8080));
    s.extend(desired::published(&world, &publish(Some("127.0.0.1"), 8081)));
    s.extend(desired::published(&world, &publish(Some("2001:db8::5"), 8082)));
    golden!("published", s);
}

#[test]
fn golden_classic() {
    use super::classic::{self, Hidden, Ingress, Mapping};
    let addresses = ["10.88.0.2/16", "fd00:88::2/64"].map(|a| a.parse().unwrap());
    let map = |host_ip: Option<&str>, host_port, proto| Mapping {
        host_ip: host_ip.map(|a| a.parse().unwrap()),
        host_port,
        port: 80,
        proto,
    };
    let maps = [
        map(None, 8080, Proto::Tcp),
        map(Some("127.0.0.1"), 8081, Proto::Udp),
        map(Some("::"), 8082, Proto::Sctp),
    ];
    let mut s = classic::masquerade(&addresses);
    for a in addresses {
        s.extend(classic::published(a, &maps, Hidden::Near));
    }
    s.extend(classic::published(addresses[1], &maps[..1], Hidden::Everybody));
    s.extend(classic::guard("cni0"));
    s.extend(classic::ingress("cni0", Ingress::SameBridge, &[]));
    s.extend(classic::ingress(
        "cni1",
        Ingress::Isolated,
        &["veth0a1b2c3d".into()],
    ));
    s.extend(classic::mac_check("veth0a1b2c3d", Mac([2, 0, 0, 0, 0, 1])));
    golden!("classic", s);
}
