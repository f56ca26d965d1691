//! Published ports: for whom, and for nobody else.

use crate::harness::{Story, everywhere, own};
use crate::links::any;
use crate::net::Ns;
use crate::walls::FROM_OTHERS;
use crate::world::{FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    everywhere("ports::for_the_world", for_the_world),
    // In host mode the bridge would need `route_localnet`, which is refused (ADR 7).
    own("ports::from_loopback", from_loopback),
    own("ports::on_loopback_only", on_loopback_only),
    everywhere("ports::not_for_the_unlinked", not_for_the_unlinked),
    everywhere("ports::taken", taken),
];

fn loopback(family: u8) -> &'static str {
    if family == 4 { "127.0.0.1" } else { "::1" }
}

/// From the LAN, from the host's own address and from its loopback; tcp, udp, a range.
fn for_the_world(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let c = w.idle(
        "c",
        &["-p", "8080:80", "-p", "5353:53/udp", "-p", "9000-9002:7000-7002"],
    );
    let host = Ns::host();
    for family in FAMILIES {
        let _tcp = c.ns.serve("tcp", any(family), 80);
        let _udp = c.ns.serve("udp", any(family), 53);
        let _range = c.ns.start(&["serve", "tcp", any(family), "7000-7003"]);
        for (from, ip) in [
            (&lan.ns, Neighbour::host(family)),
            (&host, Neighbour::host(family)),
        ] {
            assert!(from.reaches("tcp", ip, 8080), "tcp {ip} from {from:?}");
            assert!(from.reaches("udp", ip, 5353), "udp {ip} from {from:?}");
            assert!(!from.reaches("udp", ip, 8080), "udp {ip} from {from:?}");
            for (port, open) in [(9000, true), (9002, true), (9003, false)] {
                assert_eq!(from.reaches("tcp", ip, port), open, "{ip} {port} from {from:?}");
            }
        }
        // Straight at the container's address: as a route on the LAN would send it.
        lan.ns.must(&format!(
            "ip route replace {} via {}",
            c.ip(family),
            Neighbour::host(family)
        ));
        let seen = c.ns.capture(FROM_OTHERS);
        for port in [80, 7000, 7003] {
            assert!(!lan.ns.reaches("tcp", c.ip(family), port));
        }
        assert!(!lan.ns.pings(c.ip(family)) && !lan.ns.reaches("udp", c.ip(family), 53));
        seen.nothing("from the LAN, around the published port");
        assert!(lan.ns.reaches("tcp", Neighbour::host(family), 8080));
        seen.something("through the published port");
    }
    // Transit traffic for another machine with the same port is not ours.
    let seen = c.ns.capture(FROM_OTHERS);
    lan.ns.must("ip route add 203.0.113.9 via 192.168.50.1");
    assert!(!lan.ns.reaches("tcp", "203.0.113.9", 8080));
    seen.nothing("transit traffic");
    w.is_clean();
}

/// The host's own programs reach it at the loopback addresses too.
fn from_loopback(mode: Mode) {
    let w = World::new(mode);
    let c = w.idle("c", &["-p", "8080:80", "-p", "5353:53/udp"]);
    for family in FAMILIES {
        let _tcp = c.ns.serve("tcp", any(family), 80);
        let _udp = c.ns.serve("udp", any(family), 53);
        let ip = loopback(family);
        assert!(Ns::host().reaches("tcp", ip, 8080), "tcp {ip}");
        assert!(Ns::host().reaches("udp", ip, 5353), "udp {ip}");
    }
}

/// `-p 127.0.0.1:…` is for the host alone (CVE-2020-8558).
fn on_loopback_only(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let c = w.idle("c", &["-p", "127.0.0.1:8080:80", "-p", "[::1]:8080:80"]);
    let host = Ns::host();
    let mac = |ns: &Ns| {
        ns.must("cat /proc/net/dev >/dev/null; ip -o link show lan0")
            .split("link/ether ")
            .nth(1)
            .unwrap_or_default()[..17]
            .to_owned()
    };
    let (host_mac, lan_mac) = (mac(&host), mac(&lan.ns));
    for family in FAMILIES {
        let _tcp = c.ns.serve("tcp", any(family), 80);
        let seen = c.ns.capture(FROM_OTHERS);
        assert!(!lan.ns.reaches("tcp", Neighbour::host(family), 8080));
        for (to, port) in [
            (loopback(family), "8080"),
            (loopback(family), "80"),
            (c.ip(family), "80"),
        ] {
            for from in [Neighbour::ip(family), loopback(family), Neighbour::host(family)] {
                let out = lan
                    .ns
                    .wire(&["emit", "lan0", &host_mac, &lan_mac, "tcp", from, to, port]);
                assert!(out.ok(), "{out:?}");
            }
        }
        assert!(
            !host.reaches("tcp", Neighbour::host(family), 8080),
            "not on the LAN address"
        );
        seen.nothing("published on loopback only");
        assert!(
            host.reaches("tcp", loopback(family), 8080),
            "{}",
            loopback(family)
        );
        seen.something("from the host itself");
    }
}

/// A published port is not a link: not through the host's address, nor through another's port.
fn not_for_the_unlinked(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let c = w.idle("c", &["-p", "8080:80"]);
    let a = w.idle("a", &["-p", "8081:80"]);
    let gateways = [w.net_field("gateways", 0), w.net_field("gateways", 1)];
    for (family, gateway) in FAMILIES.iter().zip(&gateways) {
        let family = *family;
        let _tcp = c.ns.serve("tcp", any(family), 80);
        let _own = a.ns.serve("tcp", any(family), 80);
        let seen = c.ns.capture(FROM_OTHERS);
        let uplink = Ns::host().must(&format!("ip -{family} -o addr show scope global"));
        let addresses = uplink
            .lines()
            .filter_map(|l| l.split_ascii_whitespace().nth(3)?.split('/').next());
        for ip in addresses.chain([gateway.as_str(), c.ip(family), loopback(family)]) {
            assert!(!a.ns.reaches("tcp", ip, 8080), "through {ip}");
            if ip != loopback(family) {
                assert!(!a.ns.reaches("tcp", ip, 80), "straight at {ip}");
            }
        }
        seen.nothing("from an unlinked container");
        assert!(lan.ns.reaches("tcp", Neighbour::host(family), 8080));
        assert!(lan.ns.reaches("tcp", Neighbour::host(family), 8081));
        seen.something("from the LAN");
    }
}

/// A port that somebody has is refused with one error, and nothing is changed.
fn taken(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let c = w.idle("c", &["-p", "8080:80"]);
    let _listens = Ns::host().serve("tcp", "0.0.0.0", 8090);
    let before = w.json(&["ps", "-a"]);
    for map in [
        "8080:81",
        "8090:80",
        "8085-8095:8085-8095",
        "127.0.0.1:8080:80",
        "8070-8080:70-80",
    ] {
        let out = w.moat(&[
            "run", "-d", "--name", "late", "--net", &w.net, "-p", map, "--", "sleep", "100",
        ]);
        assert_eq!(out.code, 125, "{map}: {out:?}");
        let errors = out.stderr.lines().filter(|l| l.starts_with("error:")).count();
        let hints = out.stderr.lines().filter(|l| l.starts_with("hint:")).count();
        assert_eq!((errors, hints), (1, 1), "{map}: {}", out.stderr);
    }
    assert_eq!(before, w.json(&["ps", "-a"]));
    w.is_clean();
    let _server = c.ns.serve("tcp", "::", 80);
    assert!(
        lan.ns.reaches("tcp", "192.168.50.1", 8080),
        "the first still has it"
    );
    w.ok(&["rm", "-f", "c"]);
    let d = w.idle("d", &["-p", "8080:80"]);
    let _server = d.ns.serve("tcp", "::", 80);
    for ip in FAMILIES.map(Neighbour::host) {
        assert!(
            lan.ns.reaches("tcp", ip, 8080),
            "{ip}: freed, and given to the next"
        );
    }
    w.ok(&["rm", "-f", "d"]);
    assert!(!lan.ns.reaches("tcp", "192.168.50.1", 8080));
}
