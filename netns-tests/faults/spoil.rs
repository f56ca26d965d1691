//! Pieces taken away or changed by hand, one after the other, under a flood: `fsck` names each,
//! `fsck --fix` mends it, and packets do what they did. Nothing of the flood ever arrives.

use crate::faults::leak::Flood;
use crate::harness::{Story, own};
use crate::net::Ns;
use crate::world::{Container, FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    own("spoil::in_the_router", |m| table(m, Where::Router, ROUTER)),
    own("spoil::on_the_host", |m| table(m, Where::Host, HOST)),
    own("spoil::in_a_container", |m| table(m, Where::Inside, INSIDE)),
];

#[derive(Clone, Copy, PartialEq)]
enum Where {
    Router,
    Host,
    /// In the container `b`.
    Inside,
}

const ROUTER: &[&str] = &[
    "nft flush ruleset",
    "nft flush chain inet $TABLE judge",
    "nft flush chain bridge $TABLE ingress",
    "nft delete element inet $TABLE port4 { $A4 . $B4 . tcp . 80 }",
    "nft add element inet $TABLE pair4 { $C4 . $A4 }",
    "nft add element inet $TABLE world4 { $C4 }; nft flush set inet $TABLE near4",
    "bridge link set dev $PORT isolated off",
    "bridge link set dev $PORT learning on",
    "ip link set $PORT down",
    "ip link set $PORT nomaster",
    "ip link set $PORT down; ip link set $PORT name stolen",
    "bridge fdb del $MAC dev $PORT master",
    "ip neigh del $B4 dev $BRIDGE",
    "ip neigh replace $B4 lladdr 02:00:00:00:00:99 nud permanent dev $BRIDGE",
    "ip route flush table $ROUTES",
    "ip -6 route flush table $ROUTES",
    "ip rule del pref 5204; ip -6 rule del pref 5204",
    "ip route flush table main",
    "ip addr flush dev $BRIDGE",
    "ip link set $BRIDGE down",
    "ip link set $BRIDGE address 02:00:00:00:00:42",
    "ip link del $BRIDGE",
    "sysctl -qw net.ipv4.ip_forward=0",
    "sysctl -qw net.ipv4.conf.all.rp_filter=1",
    "sysctl -qw net.ipv6.conf.all.forwarding=0",
];

const HOST: &[&str] = &[
    "nft flush ruleset",
    "nft delete table inet $WAY",
    "nft flush chain inet $WAY input",
    "nft flush map inet $WAY any4",
    "ip rule del pref 5200",
    "ip -6 rule del pref 5201",
    "ip route flush table $ROUTES",
    "ip link set $UPLINK down",
    "ip addr flush dev $UPLINK",
    "ip link set $UPLINK down; ip link set $UPLINK name stolen",
    "ip link del $UPLINK",
    "sysctl -qw net.ipv4.ip_forward=0",
    "umount $PATH",
];

const INSIDE: &[&str] = &[
    "ip route del default; ip -6 route del default",
    "ip addr flush dev eth0",
    "ip link set eth0 down",
    "ip link set eth0 address 02:00:00:00:00:77",
    "ip neigh flush dev eth0 nud permanent",
    "ip link del eth0",
];

fn table(mode: Mode, place: Where, lines: &[&str]) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let (a, b) = (w.idle("a", &[]), w.idle("b", &["-p", "8080:80"]));
    let (c, d) = (w.idle("c", &[]), w.idle("d", &[]));
    w.ok(&["link", "a", "b:80/tcp"]);
    let _server = b.ns.serve("tcp", "::", 80);
    // At one that nothing is ever done to, and at the one that it is done to.
    let floods = [Flood::start(&c, &b), Flood::start(&c, &d)];
    open(&a, &b, &lan, &FAMILIES, "before");
    for (n, line) in lines.iter().enumerate() {
        let spelled = spell(&w, &a, &b, &c, line);
        match place {
            Where::Router => w.router().must(&spelled),
            Where::Host => Ns::host().must(&spelled),
            Where::Inside => b.ns.must(&spelled),
        };
        if line.starts_with("umount") {
            let gone = || !b.ns.sh("ip link show eth0").ok();
            crate::net::until(std::time::Duration::from_secs(5), gone);
        }
        let found = w.moat(&["fsck"]);
        assert_eq!(found.code, 1, "`{spelled}`: {found:?}");
        assert!(!found.stdout.trim().is_empty(), "`{spelled}`: {found:?}");
        let fixed = w.moat(&["fsck", "--fix"]);
        assert!(fixed.ok(), "`{spelled}`: {found:?}: {fixed:?}");
        w.is_clean();
        // By turns: each probe takes its time.
        open(&a, &b, &lan, &FAMILIES[n % 2..=n % 2], &spelled);
        floods.iter().for_each(|f| f.none(&spelled));
    }
    open(&a, &b, &lan, &FAMILIES, "at the end");
    floods[1].sent(20_000);
    w.ok(&["link", "c", "d"]);
    floods[1].arrives();
}

/// What is linked and published, and the way out.
#[track_caller]
fn open(a: &Container, b: &Container, lan: &Neighbour, families: &[u8], when: &str) {
    for family in families.iter().copied() {
        let reaches = |ns: &Ns, to: &str, port| {
            crate::net::until(std::time::Duration::from_secs(3), || ns.reaches("tcp", to, port))
        };
        assert!(
            reaches(&a.ns, b.ip(family), 80),
            "`{when}`: the link, IPv{family}"
        );
        let host = Neighbour::host(family);
        assert!(reaches(&lan.ns, host, 8080), "`{when}`: the port, IPv{family}");
        let out = || a.ns.pings(Neighbour::ip(family));
        assert!(
            crate::net::until(std::time::Duration::from_secs(3), out),
            "`{when}`: the way out, IPv{family}"
        );
    }
}

fn spell(w: &World, a: &Container, b: &Container, c: &Container, line: &str) -> String {
    let net = w.json(&["net", "inspect", "moat"]);
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let bridge = text(&net["bridges"][0]);
    let prefix = bridge[..bridge.rfind('b').unwrap_or(0)].to_owned();
    let digits = prefix.strip_prefix('m').unwrap_or_default();
    let number = u32::from_str_radix(digits, 16).expect("four digits");
    // By the bridge's own list: numbers of ports are the store's.
    let fdb = w.router().must(&format!("bridge fdb show br {bridge}"));
    let port = fdb.lines().find(|l| l.starts_with(&b.mac));
    let port = port.and_then(|l| l.split_whitespace().nth(2)).unwrap_or("none");
    line.replace("$BRIDGE", &bridge)
        .replace("$TABLE", &format!("moat_{digits}"))
        .replace("$WAY", &format!("moat_{digits}_out"))
        .replace("$ROUTES", &(0x6d74_0000 + number).to_string())
        .replace("$UPLINK", &format!("{prefix}up"))
        .replace("$PATH", &text(&net["router_netns"]))
        .replace("$PORT", port)
        .replace("$MAC", &b.mac)
        .replace("$A4", &a.ip4)
        .replace("$B4", &b.ip4)
        .replace("$C4", &c.ip4)
}
