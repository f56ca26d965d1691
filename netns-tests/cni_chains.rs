//! The reference plugins' names, served by our binary: by real packets, and mixed with the
//! reference's own binaries.

use serde_json::{Value, json};

use crate::chain::{Added, Chain, Whose, bridge, container, host_state, leases, prepare};
use crate::harness::{Story, own};
use crate::net::{Ns, Running};
use crate::world::{FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    own("cni_chains::ours", ours),
    own("cni_chains::reference_bridge", reference_bridge),
    own("cni_chains::our_bridge", our_bridge),
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

pub fn serves(ns: &Ns) -> [Running; 2] {
    [ns.serve("tcp", "::", 80), ns.serve("udp", "::", 80)]
}

/// The bridge's filters of the host's own rules (br_netfilter), if the kernel has them.
pub fn bridge_calls(on: bool) {
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
    // The reference's bridge has its IPv6 addresses checked for duplicates.
    crate::net::until(std::time::Duration::from_secs(5), || {
        !Ns::host().must("ip -6 addr").contains("tentative")
    });
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

pub fn mac_of(added: &Added) -> &str {
    added.0["interfaces"][2]["mac"].as_str().unwrap()
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
