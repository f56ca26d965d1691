//! A13, A15: what is published, and what is known by name; from containers, the LAN and the host.
//!
//! Each attempt is made against walls and, where it shows something there, against the naive way: a
//! translation rule for the port, `route_localnet` for the loopback address, one resolver for all.

use std::time::Duration;

use super::lab::Lab;
use crate::net::{Ns, Running, until};
use crate::walls::FROM_OTHERS;
use crate::world::{FAMILIES, Mode, Neighbour, World};

/// A machine behind another interface of the host: 192.168.70.2, fd70::2. It serves port 8080.
fn beyond(host: &Ns) -> (Running, Ns, Running) {
    let mut sleeper = std::process::Command::new("unshare");
    sleeper.args(["-n", "sh", "-c", "echo ready; echo $$; exec sleep 1000"]);
    let sleeper = Running::start(&mut sleeper, "\n");
    until(Duration::from_secs(2), || sleeper.count() > 0);
    let pid = sleeper.count();
    let ns = Ns::at(format!("/proc/{pid}/ns/net"), "far0");
    host.must(&format!(
        "ip link add far0 type veth peer name far0 netns {pid} && ip link set far0 up && \
         ip addr add 192.168.70.1/24 dev far0 && ip addr add fd70::1/64 dev far0 nodad"
    ));
    ns.must(
        "ip link set lo up; ip link set far0 up; ip addr add 192.168.70.2/24 dev far0; ip addr add fd70::2/64 dev far0 nodad; \
         ip route add default via 192.168.70.1; ip -6 route add default via fd70::1",
    );
    let server = ns.start(&["seen_by", "tcp", "::", "8080"]);
    (sleeper, ns, server)
}

fn far(family: u8) -> &'static str {
    if family == 4 { "192.168.70.2" } else { "fd70::2" }
}

/// The LAN's machine sends what is for the machine beyond by way of the host.
fn routed_by_the_host(lan: &Ns) {
    for family in FAMILIES {
        lan.must(&format!(
            "ip route replace {} via {}",
            far(family),
            Neighbour::host(family)
        ));
    }
}

/// The LAN's machine takes 127.0.0.1 for an address of the host's.
fn loopback_by_the_host(lan: &Ns) {
    lan.must(&format!(
        "sysctl -qw net.ipv4.conf.lan0.route_localnet=1; ip rule add to 127.0.0.0/8 pref 0 lookup 100; \
         ip rule add pref 1 lookup local; ip rule del pref 0 lookup local; \
         ip route add 127.0.0.0/8 via {} dev lan0 table 100 src {}",
        Neighbour::host(4),
        Neighbour::ip(4)
    ));
}

/// What a rule that translates port 8080, and `route_localnet`, open to everybody.
fn naively() {
    let lab = Lab::plain();
    let (host, lan, me) = (
        Ns::at("/run/netns/host", "br0"),
        Ns::at("/run/netns/lan", "lan0"),
        lab.person("me"),
    );
    let victim = lab.person("victim");
    let _server = victim.ns.serve("tcp", "::", 80);
    let (_sleeper, _, theirs) = beyond(&host);
    host.must(&format!(
        "sysctl -qw net.ipv4.conf.all.route_localnet=1; \
         nft 'table inet naive {{ chain pre {{ type nat hook prerouting priority dstnat; \
         meta nfproto ipv4 tcp dport {{ 8080, 8081 }} dnat ip to {}:80; meta nfproto ipv6 tcp dport {{ 8080, 8081 }} dnat ip6 to [{}]:80; }}; \
         chain post {{ type nat hook postrouting priority srcnat; oifname br0 masquerade; }}; }}'",
        victim.ip4, victim.ip6
    ));
    routed_by_the_host(&lan);
    for family in FAMILIES {
        assert!(
            me.ns.reaches("tcp", Neighbour::host(family), 8080),
            "by the host's address"
        );
        assert!(lan.reaches("tcp", victim.ip(family), 80), "straight to it");
        assert!(lan.reaches("tcp", far(family), 8080), "something answers");
        assert!(!theirs.text().contains("from"), "and it is not whom it was for");
    }
    loopback_by_the_host(&lan);
    assert!(lan.reaches("tcp", "127.0.0.1", 8081), "by a loopback address");
}

/// A13: what was published, to whom it was; nothing beside it.
pub fn ports(mode: Mode) {
    if mode == Mode::Own {
        naively();
    }
    let mut w = World::new(mode);
    let lan = w.lan();
    let victim = w.idle("victim", &["-p", "8080:80", "-p", "127.0.0.1:8081:80"]);
    let me = w.idle("me", &["-p", "8082:82"]);
    let friend = w.idle("friend", &["--link", "victim:4000/udp"]);
    let _servers = [
        victim.ns.serve("tcp", "::", 80),
        victim.ns.serve("udp", "::", 4000),
        me.ns.serve("tcp", "::", 82),
    ];
    let (_sleeper, _, theirs) = beyond(&Ns::host());
    routed_by_the_host(&lan.ns);
    for family in FAMILIES {
        let seen = victim.ns.capture(FROM_OTHERS);
        let gate = w.net_field("gateways", usize::from(family == 6));
        for (to, port) in [
            (Neighbour::host(family), 8080),
            (&gate, 8080),
            (Neighbour::host(family), 8081),
            (&gate, 80),
            ("127.0.0.1", 8081),
        ] {
            assert!(
                !me.ns.reaches("tcp", to, port),
                "{to}:{port} from another container"
            );
        }
        // Hairpin: to itself by the host's address it is no other than anybody.
        assert!(
            !me.ns.reaches("tcp", Neighbour::host(family), 8082),
            "to itself by the host"
        );
        lan.ns.must(&format!(
            "ip route replace {} via {}",
            victim.ip(family),
            Neighbour::host(family)
        ));
        for port in [80, 8080] {
            assert!(
                !lan.ns.reaches("tcp", victim.ip(family), port),
                "straight from the LAN"
            );
        }
        assert!(
            !lan.ns.reaches("tcp", Neighbour::host(family), 8081),
            "published on loopback"
        );
        seen.nothing("that was not for it");
        // An error about a flow that two containers have, from the LAN.
        assert!(
            friend
                .ns
                .wire(&["call", "udp", victim.ip(family), "4000", "5000", "2"])
                .ok()
        );
        lan.ns.must(&format!(
            "ip route replace {} via {}",
            friend.ip(family),
            Neighbour::host(family)
        ));
        let errors = friend
            .ns
            .capture("icmp[icmptype] == icmp-unreach or icmp6[icmp6type] == 1");
        report(&lan.ns, family, friend.ip(family), victim.ip(family));
        errors.nothing("an error from the LAN about a flow between two containers");
        // What it is for: from the LAN, from the host; and what is for others goes to others.
        assert!(lan.ns.reaches("tcp", Neighbour::host(family), 8080));
        assert!(Ns::host().reaches("tcp", Neighbour::host(family), 8080));
        assert!(lan.ns.reaches("tcp", far(family), 8080));
        let who = Neighbour::ip(family);
        // It says so after it has answered.
        let told = || theirs.text().contains(who);
        assert!(until(Duration::from_secs(2), told), "{}", theirs.text());
    }
    loopback_by_the_host(&lan.ns);
    let seen = victim.ns.capture(FROM_OTHERS);
    for port in [8080, 8081] {
        assert!(
            !lan.ns.reaches("tcp", "127.0.0.1", port),
            "a loopback address from the LAN"
        );
    }
    seen.nothing("by a loopback address");
    if mode == Mode::Own {
        assert!(Ns::host().reaches("tcp", "127.0.0.1", 8081));
    }
    w.is_clean();
}

/// An ICMP error to `client` about its UDP flow 5000 -> `server`:4000.
fn report(from: &Ns, family: u8, client: &str, server: &str) {
    let (ip, error, me) = match family {
        4 => ("IP", "ICMP(type=3, code=3)", Neighbour::ip(4)),
        _ => ("IPv6", "ICMPv6DestUnreach(code=4)", Neighbour::ip(6)),
    };
    let line = format!(
        "from scapy.all import *; send({ip}(src='{me}',dst='{client}')/{error}/{ip}(src='{client}',dst='{server}')/UDP(sport=5000,dport=4000)/b'moat', verbose=0)"
    );
    let out = from.sh(&format!("/usr/bin/python3 -c \"{line}\""));
    assert!(out.ok(), "{out:?}");
}

/// A15: an unlinked name is nobody's, either way round, and on an internal network no question gets out.
pub fn names(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    w.ok(&["net", "create", "shut", "--internal", "--router", mode.word()]);
    let victim = w.idle("victim", &[]);
    let me = w.idle("me", &[]);
    let inner = w.idle("inner", &["--net", "shut"]);
    // Nobody answers for the world's names here, and that is known soon.
    let ask = |of: &str, kind: &str, what: &str| {
        w.moat(&[
            "exec",
            "-e",
            "RES_OPTIONS=timeout:1 attempts:1",
            of,
            "getent",
            kind,
            what,
        ])
    };
    let finds = |of: &str, what: &str| ask(of, "ahosts", what).ok();
    let turns = |of: &str, what: &str| ask(of, "hosts", what).stdout.contains("victim");
    for family in FAMILIES {
        let ip = victim.ip(family);
        assert!(!finds("me", "victim") && !turns("me", ip));
        w.ok(&["link", "me", "victim:80/tcp"]);
        assert!(finds("me", "victim"), "a linked name is known");
        assert!(turns("me", ip), "and its address has it");
        assert!(!finds("victim", "me"), "in one direction");
        w.ok(&["unlink", "me", "victim:80/tcp"]);
        assert!(!finds("me", "victim") && !turns("me", ip));
    }
    // Out of an internal network, by whoever might pass a question on (CVE-2024-29018).
    let own = w.exec("inner", &["cat", "/etc/resolv.conf"]).stdout;
    let named = own
        .lines()
        .filter_map(|l| l.strip_prefix("nameserver "))
        .map(str::trim);
    let mut asked: Vec<String> = named.map(str::to_owned).collect();
    asked.extend(["127.0.0.11", "127.0.0.53", "8.8.8.8", "2001:4860:4860::8888"].map(str::to_owned));
    for family in FAMILIES {
        asked.extend([
            Neighbour::ip(family).to_owned(),
            Neighbour::host(family).to_owned(),
            me.ip(family).to_owned(),
        ]);
        asked.push(w.net_field("gateways", usize::from(family == 6)));
    }
    let _resolver = Ns::host().serve("udp", "::", 53);
    let seen = lan.ns.capture("udp port 53");
    for to in &asked {
        inner.ns.wire(&["call", "udp", to, "53", "0", "0.1"]);
    }
    seen.nothing("out of an internal network");
    // The same question from a network that is open does come.
    let seen = lan.ns.capture("udp port 53");
    me.ns.wire(&["call", "udp", Neighbour::ip(4), "53", "0", "0.1"]);
    seen.something("from an open network");
    w.ok(&["rm", "-f", "inner"]);
    w.ok(&["net", "rm", "shut"]);
    w.is_clean();
}
