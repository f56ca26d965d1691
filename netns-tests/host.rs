//! The host: closed to containers, the way out, and as it was when all is over.

use crate::harness::{Story, everywhere, own};
use crate::net::Ns;
use crate::walls::{FROM_OTHERS, gateway_mac};
use crate::world::{FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    everywhere("host::closed_to_containers", closed_to_containers),
    everywhere("host::the_way_out", the_way_out),
    everywhere("host::no_redirects", no_redirects),
    everywhere("host::left_as_before", left_as_before),
    own("host::both_routers_at_once", both_routers_at_once),
];

/// Services of the host's on any address, old or new, hear nothing from a container.
fn closed_to_containers(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let a = w.idle("a", &[]);
    let host = Ns::host();
    let _tcp = host.serve("tcp", "::", 7000);
    let _udp = host.serve("udp", "::", 7000);
    host.must("ip addr add 192.168.60.1/24 dev lan0; ip addr add fd60::1/64 dev lan0 nodad");
    // Every address that the host and the router have, of whichever interface.
    let mut addresses = vec!["fe80::1%eth0".to_owned()];
    for ns in [&host, &w.router()] {
        let all = ns.must("ip -o addr show");
        addresses.extend(
            all.lines()
                .filter_map(|l| Some(l.split_ascii_whitespace().nth(3)?.split('/').next()?.to_owned())),
        );
    }
    addresses.retain(|ip| {
        let scoped = ip.contains('%') || !ip.starts_with("fe80");
        scoped && !ip.starts_with("127.") && ip != "::1"
    });
    addresses.sort();
    addresses.dedup();
    assert!(addresses.len() >= 7, "{addresses:?}");
    for ip in &addresses {
        for proto in ["tcp", "udp"] {
            let out = a.ns.wire(&["call", proto, ip, "7000", "0", "0.2"]);
            assert!(!out.ok(), "{proto} to {ip}");
        }
    }
    // Loopback addresses as destination, on the wire.
    let gate = gateway_mac(&a);
    for (from, to) in [(&a.ip4, "127.0.0.1"), (&a.ip6, "::1")] {
        a.ns.wire(&["emit", "eth0", &gate, &a.mac, "tcp", from, to, "7000"]);
    }
    for family in FAMILIES {
        assert!(
            lan.ns.reaches("tcp", Neighbour::host(family), 7000),
            "others still reach the host"
        );
    }
}

/// The neighbour sees the host's address, never a container's.
fn the_way_out(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let a = w.idle("a", &[]);
    for family in FAMILIES {
        let ip = Neighbour::ip(family);
        let inside = lan.ns.capture(&format!("src {}", a.ip(family)));
        for proto in ["tcp", "udp"] {
            let server = lan.ns.start(&["seen_by", proto, ip, "9000"]);
            assert!(a.ns.reaches(proto, ip, 9000), "{proto} to {ip}");
            let from = format!("from {}", Neighbour::host(family));
            assert!(
                crate::net::until(std::time::Duration::from_secs(1), || server
                    .text()
                    .contains(&from)),
                "{}",
                server.text()
            );
        }
        assert!(a.ns.pings(ip), "{ip}");
        inside.nothing("a container's own address on the LAN");
        let seen = a.ns.capture(FROM_OTHERS);
        lan.ns.must(&format!(
            "ip route replace {} via {}",
            a.ip(family),
            Neighbour::host(family)
        ));
        assert!(!lan.ns.pings(a.ip(family)) && !lan.ns.reaches("tcp", a.ip(family), 80));
        seen.nothing("from the LAN");
    }
}

/// What the router hairpins, it must not "improve": a redirect says that a peer exists.
fn no_redirects(mode: Mode) {
    let w = World::new(mode);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &[]));
    let seen =
        a.ns.capture("icmp[icmptype] == icmp-redirect or icmp6[icmp6type] == 137");
    for linked in [false, true] {
        if linked {
            w.ok(&["link", "a", "b"]);
        }
        for family in FAMILIES {
            for _ in 0..3 {
                assert_eq!(a.ns.pings(b.ip(family)), linked);
            }
        }
    }
    seen.nothing("redirects");
}

/// What a story may not leave behind.
pub fn snapshot() -> Vec<(&'static str, String)> {
    let look = |line: &str| Ns::host().must(line);
    vec![
        // The kernel's own link-local address is tentative for a while.
        (
            "addresses",
            look("ip -o addr | sed 's/ tentative//'; ip -o link | sed 's/ qdisc.*//'"),
        ),
        (
            "routes",
            look("ip route show table all; ip -6 route show table all | sed 's/expires [0-9]*sec//'"),
        ),
        ("rules", look("ip rule; ip -6 rule")),
        ("tables", look("nft list tables")),
        (
            "mounts",
            look("grep -v ' /proc' /proc/self/mountinfo | cut -d' ' -f3-"),
        ),
        (
            "sysctls",
            look(
                "cd /proc/sys/net; grep -r . ipv4/ip_forward ipv4/conf ipv6/conf 2>/dev/null | grep -v stable_secret | sort",
            ),
        ),
        (
            "processes",
            look("ps -eo comm= | grep -E 'moat|sleep' | sort || true"),
        ),
        (
            "neighbours",
            look("ip neigh show nud permanent; bridge fdb | grep moat || true"),
        ),
    ]
}

/// Every kind of thing is made and used, and afterwards the host is what it was.
fn left_as_before(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    if mode == Mode::Host {
        w.ok(&["net", "rm", "flat"]);
    }
    let before = snapshot();
    if mode == Mode::Host {
        w.ok(&["net", "create", "flat", "--router", "host"]);
    }
    let mine = |w: &World| {
        let ids: Vec<String> = w
            .json(&["ps", "-a"])
            .as_array()
            .into_iter()
            .flatten()
            .map(|c| c["id"].as_str().unwrap_or_default().to_owned())
            .collect();
        ids
    };
    w.ok(&["net", "create", "back", "--internal", "--router", mode.word()]);
    let a = w.idle("a", &["--label", "x=y", "-m", "64m"]);
    let b = w.idle(
        "b",
        &[
            "-p",
            "8080:80",
            "-p",
            "127.0.0.1:9000:90/udp",
            "--link",
            "a:1/tcp",
        ],
    );
    w.idle("c", &["--net", "back"]);
    for to in [
        "b:80/tcp",
        "b",
        "host:22/tcp",
        "label:x=y",
        "10.1.0.0/16",
        "world",
    ] {
        w.ok(&["link", "a", to]);
    }
    let server = b.ns.serve("tcp", "::", 80);
    assert!(a.ns.reaches("tcp", &b.ip6, 80) && lan.ns.reaches("tcp", Neighbour::host(4), 8080));
    drop(server);
    let ids = mine(&w);
    assert_eq!(ids.len(), 3);
    w.ok(&["stop", "-t", "1", "a"]);
    w.ok(&["rm", "-f", "--all"]);
    w.ok(&["net", "rm", "back"]);
    if mode == Mode::Host {
        w.ok(&["net", "rm", "flat"]);
    }
    for ((what, then), (_, now)) in before.iter().zip(snapshot()) {
        let lines = |t: &str| {
            t.lines()
                .map(str::to_owned)
                .collect::<std::collections::BTreeSet<_>>()
        };
        let (then, now) = (lines(then), lines(&now));
        let differ: Vec<_> = then.symmetric_difference(&now).collect();
        assert!(differ.is_empty(), "{what}: {differ:#?}");
    }
    let left = Ns::host().must("find /sys/fs/cgroup -type d -path '*moat/*'");
    assert!(
        !ids.iter().any(|id| left.contains(id.as_str())),
        "cgroups: {left}"
    );
    let files = Ns::host().must(&format!(
        "find {} -mindepth 1",
        w.root.parent().unwrap().join("data").display()
    ));
    assert!(
        !ids.iter().any(|id| files.contains(id.as_str())),
        "files: {files}"
    );
    if mode == Mode::Host {
        w.ok(&["net", "create", "flat", "--router", "host"]);
    }
}

/// A network with its own router and one in the host's, in either order, in one world.
fn both_routers_at_once(_: Mode) {
    for (first, second) in [("host", "own"), ("own", "host")] {
        let w = World::new(Mode::Own);
        w.ok(&["net", "create", "one", "--router", first]);
        let a = w.idle("a", &["--net", "one"]);
        w.ok(&["net", "create", "two", "--router", second]);
        let b = w.idle("b", &["--net", "two"]);
        for family in FAMILIES {
            let seen = b.ns.capture(FROM_OTHERS);
            assert!(!a.ns.pings(b.ip(family)), "{first} then {second}");
            seen.nothing("across routers");
            let seen = a.ns.capture(FROM_OTHERS);
            assert!(!b.ns.pings(a.ip(family)), "{first} then {second}");
            seen.nothing("across routers");
        }
        let refused = w.moat(&["link", "a", "b"]);
        assert_eq!(refused.code, 2, "{refused:?}");
        w.is_clean();
        w.ok(&["rm", "-f", "--all"]);
        w.ok(&["net", "rm", "one"]);
        w.ok(&["net", "rm", "two"]);
    }
}
