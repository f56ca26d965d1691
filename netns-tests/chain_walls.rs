//! Walls that `firewall`, `macspoofchk` and published loopback ports promise, by real packets.

use serde_json::json;

use crate::chain::{Chain, Whose, bridge, container, prepare};
use crate::cni_chains::{bridge_calls, mac_of, net, serves, web};
use crate::harness::{Story, own};
use crate::net::Ns;
use crate::world::{FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    own("chain_walls::isolated", isolated),
    own("chain_walls::same_bridge", same_bridge),
    own("chain_walls::a_mac_is_held_to", a_mac_is_held_to),
    own("chain_walls::loopback_is_the_hosts", loopback_is_the_hosts),
];

/// Nothing passes between two containers, by any protocol, whether or not the host filters
/// the bridge's frames; the way out and published ports stay open. By `firewall`, and by
/// `bridge` alone where its configuration asks for it.
fn isolated(_: Mode) {
    prepare();
    let mut w = World::new(Mode::Own);
    let lan = w.lan();
    let firewall = json!({ "type": "firewall", "ingressPolicy": "isolated" });
    let mut alone = net();
    alone["moat"] = json!({ "isolate": true });
    for (whose, first, wall, filters) in [
        (Whose::Ours, net(), Some(&firewall), &[true, false][..]),
        (Whose::Reference, net(), Some(&firewall), &[true, false]),
        (Whose::Ours, alone, None, &[false]),
    ] {
        let portmap = (Whose::Ours, json!({ "type": "portmap" }));
        let wall = wall.map(|w| (Whose::Ours, w.clone()));
        let chain = Chain::new("net", [(whose, first), portmap].into_iter().chain(wall).collect());
        let (a, b) = (container("a"), container("b"));
        let (in_a, in_b) = (chain.with(web()).add("a"), chain.add("b"));
        let _servers = serves(&a);
        for on in filters {
            bridge_calls(*on);
            let local = a.must("ip -6 -o addr show dev eth0 scope link | awk '{print $4}' | cut -d/ -f1");
            let seen = a.capture(&format!("ether src {}", mac_of(&in_b)));
            for family in FAMILIES {
                let to = in_a.ip(family);
                assert!(!b.pings(&to) && !b.reaches("tcp", &to, 80), "{to}");
                // By way of the gateway, as if the peer were not on the link.
                let via = if family == 4 { "10.88.0.1" } else { "fd00:88::1" };
                b.must(&format!("ip route replace {to} via {via}"));
                assert!(!b.pings(&to) && !b.reaches("tcp", &to, 80), "{to} via {via}");
                b.must(&format!("ip route del {to}"));
                let _outside = lan.ns.serve("tcp", Neighbour::ip(family), 99);
                assert!(b.reaches("tcp", Neighbour::ip(family), 99));
                assert!(lan.ns.reaches("tcp", Neighbour::host(family), 8080));
            }
            assert!(!b.pings(&format!("{}%eth0", local.trim())));
            b.sh("ping -n -c 1 -W 1 -b 10.88.255.255; ping -n -c 1 -W 1 ff02::1%eth0");
            seen.nothing("from an isolated neighbour");
        }
        chain.check("a", &in_a).unwrap();
        Ns::host().must(&format!("bridge link set dev {} isolated off", in_a.port()));
        assert!(chain.check("a", &in_a).is_err(), "CHECK looks at the port");
        chain.with(web()).del("a", &in_a);
        chain.del("b", &in_b);
        Ns::host().must("ip netns del a; ip netns del b");
    }
}

/// Containers of one bridge reach each other; those of two bridges do not.
fn same_bridge(_: Mode) {
    prepare();
    let _w = World::new(Mode::Own);
    let firewall = json!({ "type": "firewall", "ingressPolicy": "same-bridge" });
    let one = Chain::ours("one", vec![net(), firewall.clone()]);
    let two = Chain::ours(
        "two",
        vec![bridge("cni1", "10.89.0.0/16", "fd00:89::/64"), firewall],
    );
    let [a, b, c] = ["a", "b", "c"].map(container);
    let (in_a, in_b) = (one.add("a"), one.add("b"));
    let in_c = two.add("c");
    let _servers = [serves(&a), serves(&c)];
    for on in [true, false] {
        bridge_calls(on);
        for family in FAMILIES {
            assert!(b.reaches("tcp", &in_a.ip(family), 80));
            assert!(!c.reaches("tcp", &in_a.ip(family), 80), "from bridge to bridge");
            assert!(!a.reaches("tcp", &in_c.ip(family), 80), "and back");
        }
    }
    // With the last of a bridge its walls go.
    two.del("c", &in_c);
    let without = Chain::ours("two", two.plugins[..1].iter().map(|p| p.1.clone()).collect());
    let in_c = without.add("c");
    assert!(a.reaches("tcp", &in_c.ip(4), 80), "`two` has no policy now");
    without.del("c", &in_c);
    one.del("a", &in_a);
    one.del("b", &in_b);
    assert_eq!(Ns::host().must("nft list ruleset"), "");
}

/// `macspoofchk`: another source MAC gets nowhere.
fn a_mac_is_held_to(_: Mode) {
    prepare();
    let mut config = net();
    config["macspoofchk"] = json!(true);
    let chain = Chain::ours("net", vec![config]);
    let (a, b) = (container("a"), container("b"));
    let (in_a, in_b) = (chain.add("a"), chain.add("b"));
    for family in FAMILIES {
        assert!(b.pings(&in_a.ip(family)));
    }
    let seen = a.capture("ether src 02:00:00:00:00:77");
    b.must("ip link set eth0 address 02:00:00:00:00:77");
    assert!(!b.pings(&in_a.ip(4)));
    seen.nothing("from a forged MAC");
    b.must(&format!("ip link set eth0 address {}", mac_of(&in_b)));
    assert!(b.pings(&in_a.ip(4)));
    chain.del("a", &in_a);
    chain.del("b", &in_b);
    assert_eq!(Ns::host().must("nft list ruleset"), "");
}

/// `route_localnet` lets no neighbour at what listens on the host's loopback (CVE-2020-8558), and
/// goes with the last port.
fn loopback_is_the_hosts(_: Mode) {
    prepare();
    let mut w = World::new(Mode::Own);
    let lan = w.lan();
    let chain = Chain::ours("net", vec![net(), json!({ "type": "portmap" })]);
    let (a, b) = (container("a"), container("b"));
    let map = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1" });
    let one = chain.with(json!({ "portMappings": [map] }));
    let (in_a, in_b) = (one.add("a"), chain.add("b"));
    let _servers = serves(&a);
    let host = Ns::host();
    let _secret = host.serve("tcp", "127.0.0.1", 22);
    assert!(host.reaches("tcp", "127.0.0.1", 8080) && host.reaches("tcp", "127.0.0.1", 22));
    assert!(
        !lan.ns.reaches("tcp", Neighbour::host(4), 8080),
        "on loopback only"
    );
    for (ns, dev, via) in [(&b, "eth0", "10.88.0.1"), (&lan.ns, "lan0", Neighbour::host(4))] {
        ns.must(&format!(
            "sysctl -qw net.ipv4.conf.{dev}.route_localnet=1; ip rule add to 127.0.0.0/8 pref 0 lookup 100; \
             ip rule add pref 1 lookup local; ip rule del pref 0 lookup local; \
             ip route add 127.0.0.0/8 via {via} dev {dev} table 100 src {}",
            if dev == "eth0" {
                in_b.ip(4)
            } else {
                Neighbour::ip(4).into()
            }
        ));
        for port in [22, 8080] {
            assert!(!ns.reaches("tcp", "127.0.0.1", port), "{port} from {ns:?}");
        }
    }
    let value = || {
        host.must("sysctl -n net.ipv4.conf.cni0.route_localnet")
            .trim()
            .to_owned()
    };
    assert_eq!(value(), "1");
    one.del("a", &in_a);
    assert_eq!(value(), "0");
    chain.del("b", &in_b);
}
