//! Other firewalls beside moat: installed, reloaded, taken away. The walls do not move, and what
//! stops the way out is named by `doctor`, with a way that works.

use crate::faults::leak::Flood;
use crate::harness::{Story, own};
use crate::net::{Ns, until};
use crate::world::{Container, FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    own("beside::other_firewalls", other_firewalls),
    own("beside::an_overlapping_range", an_overlapping_range),
];

/// As Docker leaves it: a policy of drop, chains of its own, a NAT of its own.
const DOCKER: &str = r"
for t in iptables ip6tables; do
  $t -P FORWARD DROP; $t -N DOCKER-USER; $t -A DOCKER-USER -j RETURN; $t -I FORWARD -j DOCKER-USER
  $t -t nat -N DOCKER; $t -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
done
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
ip6tables -t nat -A POSTROUTING -s fd17::/64 ! -o docker0 -j MASQUERADE";

const DOCKER_AGAIN: &str = "iptables-save > $T/4; ip6tables-save > $T/6; iptables -F; ip6tables -F; \
                            iptables-restore < $T/4; ip6tables-restore < $T/6; rm $T/4 $T/6";

const FIREWALLD: &str = r"
nft -f - <<END
table inet firewalld
delete table inet firewalld
table inet firewalld {
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    iifname lo accept
    jump trusted
    reject with icmpx admin-prohibited
  }
  chain trusted { }
  chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; }
}
END";

/// `a` is linked to port 80 of `b`, which is published; nobody is to `c`.
fn three(w: &World) -> (Container, Container, Container) {
    let all = (
        w.idle("a", &[]),
        w.idle("b", &["-p", "8080:80"]),
        w.idle("c", &[]),
    );
    w.ok(&["link", "a", "b:80/tcp"]);
    all
}

fn other_firewalls(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let (a, b, c) = three(&w);
    let _server = b.ns.serve("tcp", "::", 80);
    let flood = Flood::start(&c, &b);
    let links = |when: &str| {
        for family in FAMILIES {
            assert!(
                a.ns.reaches("tcp", b.ip(family), 80),
                "{when}: the link, IPv{family}"
            );
        }
        flood.none(when);
    };
    let way_out = || {
        FAMILIES.iter().all(|f| {
            let host = Neighbour::host(*f);
            a.ns.pings(Neighbour::ip(*f)) && lan.ns.reaches("tcp", host, 8080)
        })
    };
    let host = Ns::host();
    let dir = crate::harness::dir().display().to_string();
    let doctor = || w.ok(&["doctor"]);
    let line = |text: &str, of: &str| {
        let found = text.lines().find(|l| l.contains(of)).unwrap_or_default();
        found.to_owned()
    };
    links("before");
    assert!(way_out());
    let before = doctor();
    assert!(line(&before, "other firewalls").starts_with("ok"), "{before}");

    host.must(DOCKER);
    links("beside Docker");
    assert!(!way_out(), "a policy of drop stops the way out");
    let said = line(&doctor(), "other firewalls");
    assert!(
        said.starts_with("warning")
            && said.contains("filter FORWARD")
            && said.contains("Docker: `iptables -I DOCKER-USER"),
        "{said}"
    );
    // What it says helps, as it is said.
    let first = said.split("Docker: `").nth(1).and_then(|s| s.split('`').next());
    let rule = first.expect("a command").to_owned();
    for rule in [rule.clone(), rule.replace(" -i ", " -o ")] {
        host.must(&format!(
            "{rule} && {}",
            rule.replacen("iptables", "ip6tables", 1)
        ));
    }
    assert!(
        until(std::time::Duration::from_secs(3), way_out),
        "after `{rule}`"
    );
    host.must(&DOCKER_AGAIN.replace("$T", &dir));
    links("Docker reloaded");
    assert!(way_out(), "Docker reloaded");
    host.must("for t in iptables ip6tables; do $t -P FORWARD ACCEPT; $t -F; $t -t nat -F; done");

    host.must(FIREWALLD);
    host.must(FIREWALLD);
    links("beside firewalld");
    assert!(!way_out());
    let said = line(&doctor(), "other firewalls");
    assert!(said.contains("--zone=trusted --add-interface="), "{said}");
    let uplink = said
        .split("--add-interface=")
        .nth(1)
        .and_then(|s| s.split('`').next());
    host.must(&format!(
        "nft 'add rule inet firewalld trusted iifname {0} accept; add rule inet firewalld trusted oifname {0} accept'",
        uplink.expect("an interface")
    ));
    assert!(until(std::time::Duration::from_secs(3), way_out));
    host.must("nft delete table inet firewalld");
    // A rule of a VPN's that comes first.
    host.must("ip rule add pref 100 to 203.0.113.0/24 lookup 51820");
    let said = line(&doctor(), "routing rules of others");
    assert!(
        said.starts_with("warning") && said.contains("100 (IPv4, table 51820)"),
        "{said}"
    );
    host.must("ip rule del pref 100");
    // `sysctl --system` of a machine that does not forward.
    host.must(
        "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 net.ipv4.conf.all.rp_filter=1",
    );
    links("forwarding is off on the host");
    let said = line(&doctor(), "IPv4 forwarding");
    assert!(said.contains("off"), "{said}");
    w.ok(&["fsck", "--fix"]);
    assert!(!way_out(), "a strict reverse path filter stops IPv4");
    let said = line(&doctor(), "reverse path filter");
    assert!(
        said.starts_with("warning") && said.contains("`sysctl -w "),
        "{said}"
    );
    let command = said.split('`').nth(1).expect("a command");
    host.must(command);
    assert!(way_out(), "after `{command}`");
    flood.sent(10_000);
    w.is_clean();
    // What was others' is others'.
    assert!(host.must("iptables -S").contains("DOCKER-USER"));
}

/// The host gets an address and a route within the containers' range: nothing opens, and it mends.
fn an_overlapping_range(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let (a, b, c) = three(&w);
    let _server = b.ns.serve("tcp", "::", 80);
    let flood = Flood::start(&c, &b);
    let subnet = w.net_field("subnets", 0);
    let (base, length) = subnet.split_once('/').expect("a subnet");
    let other = base.replacen(".0", ".77", 1);
    let other = other
        .strip_suffix(".0")
        .map_or(other.clone(), |s| format!("{s}.1"));
    let host = Ns::host();
    host.must(&format!("ip addr add {other}/{length} dev lan0"));
    let open = |when: &str| {
        assert!(a.ns.reaches("tcp", &b.ip4, 80), "{when}: the link");
        assert!(
            lan.ns.reaches("tcp", Neighbour::host(4), 8080),
            "{when}: the port"
        );
        flood.none(when);
    };
    open("overlapping");
    w.ok(&["ps"]);
    open("overlapping, and a command came");
    assert!(!c.ns.reaches("tcp", &other, 22) && !c.ns.pings(&other));
    // A new network is not made there.
    let out = w.moat(&[
        "net",
        "create",
        "n",
        "--subnet",
        &format!("{other}/30").replace(".1/", ".0/"),
    ]);
    assert_eq!(out.code, 2, "{out:?}");
    host.must(&format!("ip addr del {other}/{length} dev lan0"));
    w.ok(&["ps"]);
    w.is_clean();
    open("afterwards");
}
