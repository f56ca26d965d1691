//! Published ports of `portmap`: whose they are, and thousands of them.

use serde_json::{Value, json};

use crate::chain::{Chain, container, error_code, prepare};
use crate::cni_chains::{net, serves, web};
use crate::harness::{Story, own};
use crate::net::Ns;
use crate::world::{FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    own("chain_ports::ports_have_owners", ports_have_owners),
    own("chain_ports::thousands_of_ports", thousands_of_ports),
];

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
    assert_eq!(running.code, 125, "`moat run` is refused too: {running:?}");
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
    // Another namespace has its path by now.
    let _other = container("a");
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
