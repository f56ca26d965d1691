//! The reference plugins' names, served by our binary: by real packets, and mixed with the
//! reference's own binaries.

use serde_json::{Value, json};

use crate::chain::{Added, Chain, Whose, bridge, container, error_code, host_state, leases, prepare};
use crate::harness::{Story, own};
use crate::net::{Ns, Running};
use crate::world::{FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    own("cni_chains::ours", ours),
    own("cni_chains::reference_bridge", reference_bridge),
    own("cni_chains::our_bridge", our_bridge),
    own("cni_chains::isolated", isolated),
    own("cni_chains::same_bridge", same_bridge),
    own("cni_chains::loopback_is_the_hosts", loopback_is_the_hosts),
    own("cni_chains::ports_have_owners", ports_have_owners),
    own("cni_chains::keys_of_bridge", keys_of_bridge),
    own("cni_chains::addresses_of_the_bridge", addresses_of_the_bridge),
    own("cni_chains::a_mac_is_held_to", a_mac_is_held_to),
    own("cni_chains::collected", collected),
    own("cni_chains::checked", checked),
    own("cni_chains::gone_whatever_is_left", gone_whatever_is_left),
    own("cni_chains::side_by_side", side_by_side),
    own("cni_chains::thousands_of_ports", thousands_of_ports),
    own("cni_chains::beside_a_world", beside_a_world),
];

pub const NET4: &str = "10.88.0.0/16";
pub const NET6: &str = "fd00:88::/64";

pub fn net() -> Value {
    bridge("cni0", NET4, NET6)
}

/// Port 8080 of the host is port 80 inside; in the words of containerd.
pub fn web() -> Value {
    let map = |proto| json!({ "HostPort": 8080, "ContainerPort": 80, "Protocol": proto, "HostIP": "" });
    json!({ "portMappings": [map("tcp"), map("udp")] })
}

fn serves(ns: &Ns) -> [Running; 2] {
    [ns.serve("tcp", "::", 80), ns.serve("udp", "::", 80)]
}

/// The bridge's filters of the host's own rules (br_netfilter), if the kernel has them.
fn bridge_calls(on: bool) {
    let value = u8::from(on);
    Ns::host().sh(&format!(
        "sysctl -w net.bridge.bridge-nf-call-iptables={value} net.bridge.bridge-nf-call-ip6tables={value}"
    ));
}

/// What every chain of `bridge` and `portmap` does: neighbours, the way out, published ports
/// from everywhere. The servers run in `a`.
#[track_caller]
fn works(lan: &Neighbour, a: (&Ns, &Added), b: (&Ns, &Added)) {
    let _servers = serves(a.0);
    let host = Ns::host();
    for family in FAMILIES {
        let to = a.1.ip(family);
        assert!(b.0.reaches("tcp", &to, 80), "{to} from its neighbour");
        assert!(host.reaches("tcp", &to, 80), "{to} from the host");
        // The LAN knows no way back to containers.
        let _outside = lan.ns.serve("tcp", Neighbour::ip(family), 99);
        for ns in [a.0, b.0] {
            assert!(
                ns.reaches("tcp", Neighbour::ip(family), 99),
                "IPv{family}: out of {ns:?}"
            );
        }
        let published = Neighbour::host(family);
        for ns in [&lan.ns, &host, a.0, b.0] {
            for proto in ["tcp", "udp"] {
                assert!(
                    ns.reaches(proto, published, 8080),
                    "{proto} {published} from {ns:?}"
                );
            }
        }
    }
    for proto in ["tcp", "udp"] {
        assert!(host.reaches(proto, "127.0.0.1", 8080), "{proto} from loopback");
    }
}

/// After DEL of everything the host is as before the first ADD, but for the bridge.
fn comes_and_goes(chain: &Chain, firewalled: bool) {
    let mut w = World::new(Mode::Own);
    let lan = w.lan();
    let (a, b) = (container("a"), container("b"));
    // The bridge, its addresses and forwarding stay, and the reference's chains.
    let warm = chain.with(web()).add("a");
    chain.with(web()).del("a", &warm);
    let before = host_state();
    let (in_a, in_b) = (chain.with(web()).add("a"), chain.add("b"));
    works(&lan, (&a, &in_a), (&b, &in_b));
    let names: Vec<_> = in_a.0["interfaces"].as_array().unwrap().iter().collect();
    assert_eq!(names[0]["name"], "cni0");
    assert!(names[1]["sandbox"].is_null() && names[2]["sandbox"] == "/run/netns/a");
    assert_eq!(names[2]["name"], "eth0");
    chain.with(web()).check("a", &in_a).unwrap();
    chain.check("b", &in_b).unwrap();
    w.is_clean();
    chain.with(web()).del("a", &in_a);
    assert!(!lan.ns.reaches("tcp", Neighbour::host(4), 8080));
    if firewalled {
        assert!(b.pings("10.88.0.1"), "the other one lives on");
    }
    chain.del("b", &in_b);
    assert_eq!(leases(&chain.name), 0);
    let after = host_state();
    assert!(before == after, "before: {before}\nafter: {after}");
    w.is_clean();
}

fn ours(_: Mode) {
    prepare();
    bridge_calls(false);
    let plugins = vec![net(), json!({ "type": "portmap" }), json!({ "type": "firewall" })];
    comes_and_goes(&Chain::ours("net", plugins.clone()), true);
    // [::1] is let through where the bridge's frames are not filtered as packets.
    let mut w = World::new(Mode::Own);
    w.net = "none".into();
    let a = container("loop");
    let chain = Chain::ours("net", plugins).with(web());
    let added = chain.add("loop");
    let _servers = serves(&a);
    assert!(Ns::host().reaches("tcp", "::1", 8080) && Ns::host().reaches("udp", "::1", 8080));
    chain.del("loop", &added);
}

fn reference_bridge(_: Mode) {
    prepare();
    let chain = Chain::new(
        "net",
        vec![
            (Whose::Reference, net()),
            (Whose::Ours, json!({ "type": "portmap", "snat": true })),
            (Whose::Ours, json!({ "type": "firewall", "backend": "" })),
            (Whose::Reference, json!({ "type": "tuning" })),
        ],
    );
    comes_and_goes(&chain, true);
}

fn our_bridge(_: Mode) {
    prepare();
    let limit = json!({
        "type": "bandwidth", "ingressRate": 1_000_000_000, "ingressBurst": 100_000_000,
        "egressRate": 1_000_000_000, "egressBurst": 100_000_000,
    });
    let chain = Chain::new(
        "net",
        vec![
            (Whose::Ours, net()),
            (Whose::Reference, json!({ "type": "portmap" })),
            (
                Whose::Reference,
                json!({ "type": "firewall", "backend": "iptables" }),
            ),
            (Whose::Reference, json!({ "type": "tuning", "mtu": 1400 })),
            (Whose::Reference, limit),
        ],
    );
    comes_and_goes(&chain, true);
}

/// Nothing passes between two containers, by any protocol, whether or not the host filters
/// the bridge's frames; the way out and published ports stay open.
fn isolated(_: Mode) {
    prepare();
    let mut w = World::new(Mode::Own);
    let lan = w.lan();
    let firewall = json!({ "type": "firewall", "ingressPolicy": "isolated" });
    for whose in [Whose::Ours, Whose::Reference] {
        let chain = Chain::new(
            "net",
            vec![
                (whose, net()),
                (Whose::Ours, json!({ "type": "portmap" })),
                (Whose::Ours, firewall.clone()),
            ],
        );
        let (a, b) = (container("a"), container("b"));
        let (in_a, in_b) = (chain.with(web()).add("a"), chain.add("b"));
        let _servers = serves(&a);
        for on in [true, false] {
            bridge_calls(on);
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

fn mac_of(added: &Added) -> &str {
    added.0["interfaces"][2]["mac"].as_str().unwrap()
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

/// A taken port is refused with code 101; a dead container's is taken over, and its late DEL leaves
/// the new holder alone. Flows of a released port end.
fn ports_have_owners(_: Mode) {
    prepare();
    let mut w = World::new(Mode::Own);
    let lan = w.lan();
    let chain = Chain::ours("net", vec![net(), json!({ "type": "portmap" })]);
    let published = chain.with(web());
    let a = container("a");
    let in_a = published.add("a");
    let b = container("b");
    let refused = published.try_add("b").unwrap_err();
    assert_eq!(error_code(&refused), 101, "{refused:?}");
    assert!(refused.stdout.contains("8080/tcp"), "{refused:?}");
    published.del_with("b", None, None);
    let running = w.moat(&["run", "-d", "--name", "c", "-p", "8080:80", "--", "sleep", "100"]);
    assert_eq!(running.code, 2, "`moat run` is refused too: {running:?}");
    let servers = serves(&a);
    for proto in ["tcp", "udp"] {
        assert!(lan.ns.reaches(proto, Neighbour::host(4), 8080));
    }
    drop((servers, a));
    // The container ends; its runtime is late.
    Ns::host().must("ip netns del a");
    crate::net::until(std::time::Duration::from_secs(3), || {
        !Ns::host().sh(&format!("ip link show {}", in_a.port())).ok()
    });
    let in_b = published.add("b");
    let _servers = serves(&b);
    published.del_with("a", Some(""), None);
    for family in FAMILIES {
        for proto in ["tcp", "udp"] {
            assert!(lan.ns.reaches(proto, Neighbour::host(family), 8080), "{proto}");
        }
    }
    w.is_clean();
    let flows = || Ns::host().must("grep -c dport=8080 /proc/net/nf_conntrack || true");
    assert_ne!(flows().trim(), "0");
    published.del("b", &in_b);
    assert_eq!(flows().trim(), "0", "no flow outlives its port");
    // Chained, and with what it does not honour.
    let alone = chain.call(1, "ADD", "b", None, &json!({}));
    assert_eq!(error_code(&alone), 7, "{alone:?}");
    let strange = json!({ "conditionsV4": ["!", "-s", "192.0.2.0/24"], "prevResult": in_b.0 });
    let strange = published.call(1, "ADD", "b", None, &strange);
    assert_eq!(error_code(&strange), 2, "{strange:?}");
    assert!(strange.stdout.contains("conditionsV4") && strange.stdout.contains("192.0.2.0"));
    assert_eq!(Ns::host().must("nft list ruleset"), "");
}

/// Keys of `bridge` that show in the kernel.
fn keys_of_bridge(_: Mode) {
    prepare();
    let host = Ns::host();
    let with = |extra: Value| {
        let mut config = net();
        for (key, value) in extra.as_object().unwrap() {
            config[key] = value.clone();
        }
        Chain::ours("net", vec![config])
    };
    for (extra, code, word) in [
        (json!({ "vlan": 100 }), 2, "100"),
        (json!({ "vlanTrunk": [{ "id": 101 }] }), 2, "vlanTrunk"),
        (json!({ "promiscMode": true }), 7, "hairpin"),
        (json!({ "disableContainerInterface": true }), 7, "IPAM"),
        (json!({ "bridge": "a/b" }), 7, "a/b"),
        (json!({ "mtu": "big" }), 7, "mtu"),
        (json!({ "ipam": { "type": "no-such" } }), 7, "no-such"),
    ] {
        let a = container("a");
        let out = with(extra.clone()).try_add("a").unwrap_err();
        assert_eq!(error_code(&out), code, "{extra}: {out:?}");
        assert!(out.stdout.contains(word), "{extra}: {out:?}");
        assert!(!a.sh("ip link show eth0").ok() && !host.sh("ip link show cni0").ok());
        host.must("ip netns del a");
    }
    let a = container("a");
    let chain = with(json!({
        "mtu": 1400, "portIsolation": true, "isDefaultGateway": true, "enabledad": true,
        "ipam": { "type": "host-local", "dataDir": crate::harness::dir().join("ipam"),
                  "ranges": [[{ "subnet": NET4 }], [{ "subnet": NET6 }]] },
        "dns": { "nameservers": ["192.0.2.53"] }, "args": { "cni": { "mac": "02:11:22:33:44:55" } },
    }));
    let added = chain.add("a");
    assert_eq!(mac_of(&added), "02:11:22:33:44:55");
    assert_eq!(added.0["dns"]["nameservers"][0], "192.0.2.53");
    assert_eq!(added.0["routes"].as_array().unwrap().len(), 2);
    a.must("ip link show eth0 | grep -q 'mtu 1400'; ip route | grep -q '^default via 10.88.0.1'");
    a.must("ip -6 route | grep -q '^default via fd00:88::1'; ! ip -6 addr | grep -q tentative");
    let port = host.must(&format!("bridge -d link show dev {}", added.port()));
    assert!(
        port.contains("isolated on") && port.contains("hairpin on"),
        "{port}"
    );
    chain.check("a", &added).unwrap();
    let twice = chain.try_add("a").unwrap_err();
    assert!(twice.stdout.contains("eth0"), "{twice:?}");
    chain.check("a", &added).unwrap();
    chain.del("a", &added);
    assert!(!a.sh("ip link show eth0").ok());
    // Without addresses: up, or left alone.
    for (extra, up) in [
        (json!({ "ipam": {} }), true),
        (
            json!({ "ipam": { "type": "" }, "disableContainerInterface": true }),
            false,
        ),
    ] {
        let chain = with(extra);
        let added = chain.add("a");
        assert!(added.0["ips"].as_array().is_none_or(Vec::is_empty));
        let flags = a.must("ip link show eth0");
        assert_eq!(flags.contains("UP"), up, "{flags}");
        chain.check("a", &added).unwrap();
        chain.del("a", &added);
    }
}

/// A bridge has one IPv4 address, unless another is forced on it.
fn addresses_of_the_bridge(_: Mode) {
    prepare();
    let host = Ns::host();
    host.must("ip link add cni0 type bridge; ip addr add 192.0.2.1/24 dev cni0; ip link set cni0 up");
    let _a = container("a");
    let before = host_state();
    let refused = Chain::ours("net", vec![net()]).try_add("a").unwrap_err();
    assert!(
        refused.stdout.contains("already has an IP address"),
        "{refused:?}"
    );
    assert_eq!(before, host_state());
    assert_eq!(leases("net"), 0);
    let mut forced = net();
    forced["forceAddress"] = json!(true);
    let chain = Chain::ours("net", vec![forced]);
    let added = chain.add("a");
    let addresses = host.must("ip -4 -o addr show dev cni0");
    assert!(addresses.contains("10.88.0.1/16") && !addresses.contains("192.0.2.1"));
    chain.del("a", &added);
    host.must("ip link del cni0; ip link add cni0 type dummy || ip link add cni0 type veth");
    let other = chain.try_add("a").unwrap_err();
    assert!(other.stdout.contains("not a bridge"), "{other:?}");
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

/// GC: what is not valid goes, with veth, elements and lease; without the key nothing does.
fn collected(_: Mode) {
    prepare();
    let firewall = json!({ "type": "firewall", "ingressPolicy": "isolated" });
    let mut counted = net();
    counted["ipam"] = json!({ "type": "counter" });
    let mut chain = Chain::ours("net", vec![counted, json!({ "type": "portmap" }), firewall]);
    chain.version = "1.1.0";
    let all = ["a", "b", "c"];
    let _containers = all.map(container);
    let added: Vec<Added> = [&chain.with(web()), &chain, &chain]
        .iter()
        .zip(all)
        .map(|(c, id)| c.add(id))
        .collect();
    let other = Chain::ours("other", vec![bridge("cni1", "10.89.0.0/16", "fd00:89::/64")]);
    let _d = container("d");
    let in_d = other.add("d");
    let gc = |extra: &Value| -> Vec<u64> {
        (0..3)
            .map(|n| {
                let out = chain.call(n, "GC", "", Some(""), extra);
                if out.ok() { 0 } else { error_code(&out) }
            })
            .collect()
    };
    let before = host_state();
    assert_eq!(gc(&json!({})), [7, 7, 7]);
    assert_eq!(host_state(), before);
    let one = json!({ "containerID": "b", "ifname": "eth0" });
    assert_eq!(gc(&json!({ "cni.dev/valid-attachments": [one] })), [0, 0, 0]);
    assert!(Ns::host().sh(&format!("ip link show {}", added[1].port())).ok());
    for gone in [0, 2] {
        assert!(
            !Ns::host()
                .sh(&format!("ip link show {}", added[gone].port()))
                .ok()
        );
    }
    assert_eq!(leases("counter"), 1);
    chain.check("b", &added[1]).unwrap();
    other.check("d", &in_d).unwrap();
    assert!(!Ns::host().must("nft list ruleset").contains("8080"));
    assert_eq!(gc(&json!({ "cni.dev/valid-attachments": null })), [0, 0, 0]);
    other.check("d", &in_d).unwrap();
    assert_eq!(leases("counter"), 0);
    assert!(
        crate::harness::dir().join("ipam/counter/gc").exists(),
        "passed on"
    );
    for n in 0..3 {
        let status = chain.call(n, "STATUS", "", Some(""), &json!({}));
        assert!(status.ok() && status.stdout.is_empty(), "{status:?}");
    }
    other.del("d", &in_d);
    assert_eq!(Ns::host().must("nft list ruleset"), "");
}

/// CHECK sees whatever is missing, one thing after the other.
fn checked(_: Mode) {
    prepare();
    let firewall = json!({ "type": "firewall", "ingressPolicy": "same-bridge" });
    let chain = Chain::ours("net", vec![net(), json!({ "type": "portmap" }), firewall]).with(web());
    let a = container("a");
    let host = Ns::host();
    let tables = || {
        host.must("nft list tables inet")
            .trim()
            .replace("table inet ", "")
    };
    for damage in 0..9 {
        let added = chain.add("a");
        chain.check("a", &added).unwrap();
        // Another plugin's route and MTU are no damage.
        a.must("ip route add 198.51.100.0/24 via 10.88.0.1; ip link set eth0 mtu 1300");
        chain.check("a", &added).unwrap();
        let port = added.port().to_owned();
        let (ip, table) = (added.ip(4), tables());
        match damage {
            0 => a.must("ip addr del $(ip -4 -o addr show eth0 | awk '{print $4}') dev eth0"),
            1 => a.must("ip -6 route del default"),
            2 => host.must(&format!("ip link set {port} nomaster")),
            3 => host.must("ip addr del 10.88.0.1/16 dev cni0"),
            4 => host.must(&format!("nft delete element inet {table} masq4 '{{ {ip} }}'")),
            5 => host.must(&format!(
                "nft delete element inet {table} any6 '{{ tcp . 8080 }}'"
            )),
            6 => host.must(&format!("nft delete element inet {table} bridges '{{ cni0 }}'")),
            7 => host.must(&format!("bridge link set dev {port} hairpin off")),
            _ => a.must("ip link set eth0 address 02:00:00:00:00:99"),
        };
        let out = chain.check("a", &added).expect_err("the damage is seen");
        assert!(out.stdout.contains("\"code\""), "{damage}: {out:?}");
        chain.del("a", &added);
        assert_eq!(host.must("nft list ruleset"), "", "{damage}");
    }
}

/// DEL without a namespace, twice, with one that is gone, without an ADD, with a record that is lost
/// or broken.
fn gone_whatever_is_left(_: Mode) {
    prepare();
    let w = World::new(Mode::Own);
    let firewall = json!({ "type": "firewall", "ingressPolicy": "isolated" });
    let mut strict = net();
    strict["macspoofchk"] = json!(true);
    let chain = Chain::ours("net", vec![strict, json!({ "type": "portmap" }), firewall]).with(web());
    let host = Ns::host();
    let database = "for f in $(ls -d DIR/root/*/state.db); do DO; done"
        .replace("DIR", &crate::harness::dir().display().to_string());
    let sql = |text: &str| {
        let python = format!(
            "/usr/bin/python3 -c \"import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(\\\"{text}\\\"); c.commit()\" $f"
        );
        host.must(&database.replace("DO", &python))
    };
    chain.del_with("never", Some(""), None);
    for how in 0..6 {
        let ns = container("a");
        let added = chain.add("a");
        match how {
            0 => chain.del_with("a", Some(""), None),
            1 => {
                host.must("ip netns del a");
                chain.del_with("a", None, None);
            }
            2 => {
                sql("update attachments set record='{'");
                chain.del_with("a", None, None);
            }
            3 => {
                host.must(&format!("rm -r {}/root", crate::harness::dir().display()));
                chain.del_with("a", None, Some(&added));
                // Nobody knows the elements any more: they are strays.
                w.ok(&["fsck", "--fix"]);
            }
            4 => {
                // The configuration changed meanwhile.
                let other = Chain::ours(
                    "net",
                    vec![
                        json!({ "type": "bridge", "bridge": "other" }),
                        json!({ "type": "portmap", "conditionsV4": ["x"] }),
                        json!({ "type": "firewall" }),
                    ],
                );
                other.del_with("a", None, None);
            }
            _ => {
                host.must("nft flush ruleset");
                chain.del_with("a", None, Some(&added));
            }
        }
        chain.del_with("a", Some(""), None);
        chain.del_with("a", Some("/nowhere"), None);
        assert!(!ns.sh("ip link show eth0").ok(), "{how}");
        assert!(!host.sh(&format!("ip link show {}", added.port())).ok(), "{how}");
        assert_eq!(leases("net"), 0, "{how}");
        assert_eq!(host.must("nft list ruleset"), "", "{how}");
        w.is_clean();
        host.sh("ip netns del a");
    }
}

/// Many at once, in two networks: no error, no duplicate, nothing left.
fn side_by_side(_: Mode) {
    prepare();
    let w = World::new(Mode::Own);
    let firewall = json!({ "type": "firewall", "ingressPolicy": "isolated" });
    let chains = [
        Chain::ours("one", vec![net(), json!({ "type": "portmap" }), firewall.clone()]),
        Chain::ours(
            "two",
            vec![
                bridge("cni1", "10.89.0.0/16", "fd00:89::/64"),
                json!({ "type": "portmap" }),
                firewall,
            ],
        ),
    ];
    let ids: Vec<String> = (0..32).map(|n| format!("c{n}")).collect();
    ids.iter().for_each(|id| drop(container(id)));
    let of = |n: usize| {
        let map = json!({ "hostPort": 9000 + n, "containerPort": 80, "protocol": "tcp" });
        chains[n % 2].with(json!({ "portMappings": [map] }))
    };
    let added: Vec<Added> = std::thread::scope(|s| {
        let all: Vec<_> = ids
            .iter()
            .enumerate()
            .map(|(n, id)| s.spawn(move || of(n).add(id)))
            .collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let mut ips: Vec<String> = added.iter().flat_map(|a| FAMILIES.map(|f| a.ip(f))).collect();
    ips.sort();
    ips.dedup();
    assert_eq!(ips.len(), 64);
    w.is_clean();
    for (n, id) in ids.iter().enumerate() {
        of(n).check(id, &added[n]).unwrap();
    }
    std::thread::scope(|s| {
        for (n, id) in ids.iter().enumerate() {
            let added = &added[n];
            s.spawn(move || of(n).del(id, added));
        }
    });
    w.is_clean();
    assert_eq!(Ns::host().must("nft list ruleset"), "");
    assert_eq!(leases("one") + leases("two"), 0);
}

/// podman asks for each port of a range by itself.
fn thousands_of_ports(_: Mode) {
    prepare();
    let w = World::new(Mode::Own);
    let maps: Vec<Value> = (0..5000)
        .map(|n| json!({ "hostPort": 10_000 + n, "containerPort": 20_000 + n, "protocol": "tcp" }))
        .collect();
    let chain = Chain::ours("net", vec![net(), json!({ "type": "portmap" })]);
    let many = chain.with(json!({ "portMappings": maps }));
    let a = container("a");
    let begun = std::time::Instant::now();
    let added = many.add("a");
    eprintln!("5000 ports, two families: {:?}", begun.elapsed());
    let _server = a.start(&["serve", "tcp", "::", "24999"]);
    assert!(Ns::host().reaches("tcp", "127.0.0.1", 14_999));
    assert!(!Ns::host().reaches("tcp", "127.0.0.1", 15_000));
    many.del("a", &added);
    w.is_clean();
    assert_eq!(Ns::host().must("nft list ruleset"), "");
}

/// A world of `moat run` and classic attachments share the host and leave each other alone.
fn beside_a_world(_: Mode) {
    prepare();
    let mut w = World::new(Mode::Own);
    let lan = w.lan();
    let chain = Chain::ours("net", vec![net(), json!({ "type": "portmap" })]);
    let a = container("a");
    let in_a = chain.with(web()).add("a");
    let _servers = serves(&a);
    let c = w.idle("c", &["-p", "8090:80"]);
    let _server = c.ns.serve("tcp", "::", 80);
    let both = |open: bool| {
        for family in FAMILIES {
            assert!(lan.ns.reaches("tcp", Neighbour::host(family), 8080));
            assert_eq!(lan.ns.reaches("tcp", Neighbour::host(family), 8090), open);
        }
    };
    both(true);
    w.is_clean();
    // Everybody's rules are lost; whoever comes next puts them back.
    Ns::host().must("nft flush ruleset");
    assert!(!lan.ns.reaches("tcp", Neighbour::host(4), 8080));
    w.ok(&["ps"]);
    both(true);
    w.ok(&["rm", "-f", "c"]);
    both(false);
    w.is_clean();
    let c = w.idle("c", &[]);
    chain.with(web()).del("a", &in_a);
    w.is_clean();
    assert!(!lan.ns.reaches("tcp", Neighbour::host(4), 8080));
    assert!(w.json(&["inspect", &c.name]).is_object());
}
