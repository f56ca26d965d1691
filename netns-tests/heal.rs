//! Pieces taken out of the kernel by hand: closed, named, healed.

use std::time::Duration;

use crate::harness::{Story, everywhere, own};
use crate::links::any;
use crate::net::{Ns, until};
use crate::walls::FROM_OTHERS;
use crate::world::{Container, FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    everywhere("heal::flush_on_the_host", flush_on_the_host),
    own("heal::flush_in_the_router", |m| {
        broken(m, true, "nft flush ruleset")
    }),
    own("heal::bridge_deleted", |m| broken(m, true, "ip link del $BRIDGE")),
    everywhere("heal::table_deleted", |m| {
        broken(m, true, "nft delete table inet $TABLE");
    }),
    everywhere("heal::port_table_deleted", |m| {
        broken(m, true, "nft delete table bridge $TABLE");
    }),
    everywhere("heal::rules_flushed", |m| {
        broken(m, true, "ip rule flush; ip -6 rule flush");
    }),
    own("heal::uplink_deleted", |m| {
        broken(m, false, "ip link del $UPLINK")
    }),
    own("heal::router_unmounted", |m| broken(m, false, "umount $ROUTER")),
    own("heal::flush_unnoticed", flush_unnoticed),
];

/// Something is done to the router (or to the host): nothing that was closed opens, `fsck`
/// names it, the next command heals it, and what was open is open again.
fn broken(mode: Mode, in_router: bool, line: &str) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let (a, b) = (w.idle("a", &[]), w.idle("b", &["-p", "8080:80"]));
    let c = w.idle("c", &[]);
    w.ok(&["link", "a", "b:80/tcp"]);
    let _server = b.ns.serve("tcp", "::", 80);
    let open = |when: &str| {
        for family in FAMILIES {
            let ip = b.ip(family);
            assert!(a.ns.reaches("tcp", ip, 80), "{when}: the link to {ip}");
            assert!(
                lan.ns.reaches("tcp", Neighbour::host(family), 8080),
                "{when}: published"
            );
            assert!(
                a.ns.pings(Neighbour::ip(family)),
                "{when}: the way out, family {family}"
            );
        }
    };
    open("before");
    let line = spell(&w, line);
    let place = if in_router { w.router() } else { Ns::host() };
    place.must(&line);
    if line.starts_with("umount") {
        // The kernel takes the namespace away a little later, with the containers' interfaces.
        let gone = || !b.ns.sh("ip link show eth0").ok();
        assert!(
            until(Duration::from_secs(5), gone),
            "the router lives on unmounted"
        );
    }
    closed(&w, [&a, &b, &c], &lan, &line);
    let found = w.moat(&["fsck"]);
    assert_eq!(found.code, 1, "`{line}`: {found:?}");
    assert!(found.stdout.contains("missing"), "`{line}`: {found:?}");
    closed(&w, [&a, &b, &c], &lan, &line);
    w.ok(&["links"]);
    w.is_clean();
    open("healed");
    let seen = b.ns.capture(&format!("src {} or src {}", c.ip4, c.ip6));
    assert!(!c.ns.pings(&b.ip4) && !c.ns.reaches("tcp", &b.ip6, 80));
    seen.nothing("healed, and unlinked");
}

/// The names of a world's pieces, put into a line of shell.
fn spell(w: &World, line: &str) -> String {
    let bridge = w.net_field("bridges", 0);
    let prefix = bridge.split_at(bridge.rfind('b').unwrap_or(0)).0.to_owned();
    let table = if prefix == "mt" {
        "moat".to_owned()
    } else {
        format!("moat_{}", &prefix[1..])
    };
    let net = w.json(&["net", "inspect", &w.net]);
    line.replace("$BRIDGE", &bridge)
        .replace("$TABLE", &table)
        .replace("$UPLINK", &format!("{prefix}up"))
        .replace("$ROUTER", net["router_netns"].as_str().unwrap_or_default())
}

/// Nothing passes between the unlinked, from the LAN straight to a container, nor to the host.
fn closed(w: &World, [a, b, c]: [&Container; 3], lan: &Neighbour, what: &str) {
    if !b.ns.sh("ip link show eth0").ok() {
        // Its interface went with the router: nothing can arrive.
        assert!(!c.ns.pings(&b.ip4) && !a.ns.pings(&b.ip6));
        return;
    }
    let services = Ns::host().serve("tcp", "::", 22);
    let at_b =
        b.ns.capture(&format!("{FROM_OTHERS} and not (src {} or src {})", a.ip4, a.ip6));
    let at_a = a.ns.capture(&format!(
        "{FROM_OTHERS} and not (src {} or src {}) and not icmp and not icmp6",
        b.ip4, b.ip6
    ));
    for family in FAMILIES {
        for port in [80, 81] {
            assert!(!c.ns.reaches("tcp", b.ip(family), port), "after `{what}`");
        }
        assert!(
            !b.ns.pings(c.ip(family)) && !c.ns.pings(b.ip(family)),
            "after `{what}`"
        );
        lan.ns.must(&format!(
            "ip route replace {} via {}",
            b.ip(family),
            Neighbour::host(family)
        ));
        assert!(
            !lan.ns.reaches("tcp", b.ip(family), 80),
            "from the LAN after `{what}`"
        );
        // In host mode the host's own services are closed by the rules alone.
        let host_open = c.ns.reaches("tcp", Neighbour::host(family), 22);
        assert!(w.mode == Mode::Host || !host_open, "to the host after `{what}`");
    }
    let strangers = |p: &String| !p.contains("ICMP");
    let at_b: Vec<_> = at_b.packets().into_iter().filter(strangers).collect();
    assert!(at_b.is_empty(), "after `{what}`: {at_b:#?}");
    at_a.nothing(what);
    drop(services);
}

/// A flush of everything on the host opens neither the host nor the containers.
fn flush_on_the_host(mode: Mode) {
    broken(mode, false, "nft flush ruleset");
}

/// Linked flows live in the router: a flush on the host costs them nothing.
fn flush_unnoticed(mode: Mode) {
    let w = World::new(mode);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &[]));
    w.ok(&["link", "a", "b"]);
    for family in FAMILIES {
        let ip = b.ip(family);
        let mut ping = a.ns.command("ping");
        ping.args(["-n", "-i", "0.01", "-c", "150", "-W", "1", ip]);
        let ping = crate::net::Running::start(&mut ping, "bytes from");
        let sink = b.ns.start(&["sink", "tcp", any(family), "7000"]);
        let _pour = a.ns.start(&["pour", "tcp", ip, "7000"]);
        assert!(until(Duration::from_secs(2), || sink.count() > 20_000));
        Ns::host().must("nft flush ruleset");
        let then = sink.count();
        assert!(
            until(Duration::from_secs(1), || sink.count() > then + 100_000),
            "the stream goes on"
        );
        assert!(until(Duration::from_secs(4), || ping
            .text()
            .contains("packet loss")));
        assert!(ping.text().contains(" 0% packet loss"), "{}", ping.text());
        w.ok(&["ps"]);
        w.is_clean();
    }
}
