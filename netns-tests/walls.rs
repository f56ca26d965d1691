//! Two containers that nobody linked: what each can send, and what arrives.

use crate::harness::{Story, everywhere};
use crate::world::{Container, FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[
    everywhere("walls::ordinary_packets", ordinary_packets),
    everywhere("walls::raw_frames", raw_frames),
    everywhere("walls::routes_by_hand", routes_by_hand),
    everywhere("walls::two_networks", two_networks),
];

/// The router's own port and bridge say that they are routers; no container is the source of this.
pub const FROM_OTHERS: &str = "not (ip6 dst ff02::16 and (ip6 src :: or ip6 src fe80::1))";

/// TCP, UDP and ping do not arrive; after a link the same packets do.
fn ordinary_packets(mode: Mode) {
    let w = World::new(mode);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &[]));
    for family in FAMILIES {
        let ip = b.ip(family);
        let any = if family == 4 { "0.0.0.0" } else { "::" };
        let _tcp = b.ns.serve("tcp", any, 80);
        let _udp = b.ns.serve("udp", any, 53);
        let seen = b.ns.capture(FROM_OTHERS);
        assert!(!a.ns.reaches("tcp", ip, 80), "tcp to {ip}");
        assert!(!a.ns.reaches("udp", ip, 53), "udp to {ip}");
        assert!(!a.ns.pings(ip), "ping to {ip}");
        seen.nothing("unlinked");

        w.ok(&["link", "a", "b"]);
        assert!(a.ns.reaches("tcp", ip, 80), "tcp to {ip} over a link");
        assert!(a.ns.reaches("udp", ip, 53), "udp to {ip} over a link");
        assert!(a.ns.pings(ip), "ping to {ip} over a link");
        seen.something("linked");
        w.ok(&["unlink", "a", "b"]);
    }
    w.is_clean();
}

/// Hundreds of frames that no program would send, and none arrives; a true one over a link
/// does, and every forged one still does not.
fn raw_frames(mode: Mode) {
    let w = World::new(mode);
    let (a, b, c) = (w.idle("a", &[]), w.idle("b", &[]), w.idle("c", &[]));
    let gate_mac = gateway_mac(&a);
    let gate4 = w.net_field("gateways", 0);
    let seen = b.ns.capture(FROM_OTHERS);
    let other = c.ns.capture(FROM_OTHERS);
    let tables = || (b.ns.must("ip neigh"), w.router().must("ip neigh | sort"));
    let before = tables();
    let sent = a.ns.wire(&[
        "battery", &a.mac, &a.ip4, &a.ip6, &b.mac, &b.ip4, &b.ip6, &gate_mac, &gate4, &c.ip4, &c.ip6,
    ]);
    let count: u32 = sent.stdout.trim().parse().unwrap_or(0);
    assert!(count > 500, "{sent:?}");
    seen.nothing("at the peer");
    other.nothing("at a third container");
    assert_eq!(before, tables(), "neighbour tables");

    // The same sender, over a link: what is true arrives.
    w.ok(&["link", "a", "b:4000/udp"]);
    for family in FAMILIES {
        let seen = b.ns.capture(&format!("udp and src {}", a.ip(family)));
        let emit = |from: &Container, mac: &str, source: &str| {
            let to = b.ip(family);
            let out = from
                .ns
                .wire(&["emit", "eth0", &gate_mac, mac, "udp", source, to, "4000"]);
            assert!(out.ok(), "{out:?}");
        };
        emit(&c, &c.mac, a.ip(family));
        emit(&c, &a.mac, a.ip(family));
        emit(&a, &c.mac, a.ip(family));
        seen.nothing("with the linked container's address, or from a foreign MAC");
        emit(&a, &a.mac, a.ip(family));
        seen.something("from the linked container");
    }
}

/// Routes that root in a container may add lead nowhere.
fn routes_by_hand(mode: Mode) {
    let w = World::new(mode);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &[]));
    let gate_mac = gateway_mac(&a);
    for family in FAMILIES {
        let (ip, ns) = (b.ip(family), &a.ns);
        let any = if family == 4 { "0.0.0.0" } else { "::" };
        let _server = b.ns.serve("tcp", any, 80);
        let seen = b.ns.capture(FROM_OTHERS);
        let gateway = if family == 4 {
            w.net_field("gateways", 0)
        } else {
            "fe80::1".into()
        };
        let neighbour = |mac: &str| format!("ip neigh replace {ip} lladdr {mac} dev eth0");
        for route in [
            format!("ip -{family} route replace {ip} via {gateway} dev eth0 onlink"),
            format!("ip -{family} route replace {ip} dev eth0"),
            format!("ip -{family} route replace {ip} dev eth0; {}", neighbour(&b.mac)),
            format!(
                "ip -{family} route replace {ip} dev eth0; {}",
                neighbour(&gate_mac)
            ),
        ] {
            ns.must(&route);
            assert!(!ns.reaches("tcp", ip, 80), "after `{route}`");
            assert!(!ns.pings(ip), "after `{route}`");
        }
        seen.nothing("with routes added by hand");
        w.ok(&["link", "a", "b"]);
        assert!(ns.reaches("tcp", ip, 80), "a link works beside such a route");
        seen.something("linked");
        w.ok(&["unlink", "a", "b"]);
    }
}

/// Containers on different networks, and a container that claims the other network's gateway.
fn two_networks(mode: Mode) {
    let w = World::new(mode);
    w.ok(&[
        "net",
        "create",
        "second",
        "--router",
        if mode == Mode::Own { "own" } else { "host" },
    ]);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &["--net", "second"]));
    for family in FAMILIES {
        let ip = b.ip(family);
        let any = if family == 4 { "0.0.0.0" } else { "::" };
        let _server = b.ns.serve("tcp", any, 80);
        let seen = b.ns.capture(FROM_OTHERS);
        assert!(!a.ns.reaches("tcp", ip, 80), "tcp to {ip}");
        assert!(!a.ns.pings(ip), "ping to {ip}");
        seen.nothing("from another network");
        w.ok(&["link", "a", "b:80/tcp"]);
        assert!(a.ns.reaches("tcp", ip, 80), "linked across networks");
        seen.something("linked");
        w.ok(&["unlink", "a", "b:80/tcp"]);
    }
}

/// The gateway's MAC, as the container knows it.
pub fn gateway_mac(c: &Container) -> String {
    let line = c.ns.must("ip -4 neigh show dev eth0 nud permanent");
    let mac = line
        .split_ascii_whitespace()
        .skip_while(|w| *w != "lladdr")
        .nth(1);
    mac.expect("a permanent gateway entry").to_owned()
}
