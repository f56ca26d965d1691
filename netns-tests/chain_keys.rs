//! Keys of `bridge`, as they show in the kernel.

use serde_json::{Value, json};

use crate::chain::{Chain, container, error_code, host_state, leases, prepare};
use crate::cni_chains::{NET4, NET6, mac_of, net};
use crate::harness::{Story, own};
use crate::net::Ns;
use crate::world::Mode;

pub const STORIES: &[Story] = &[
    own("chain_keys::keys_of_bridge", keys_of_bridge),
    own("chain_keys::addresses_of_the_bridge", addresses_of_the_bridge),
];

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
