//! CHECK, GC and DEL of chains, whatever is left of them, and many at once.

use serde_json::{Value, json};

use crate::chain::{Added, Chain, bridge, container, error_code, host_state, leases, prepare};
use crate::cni_chains::{net, web};
use crate::harness::{Story, own};
use crate::net::Ns;
use crate::world::{FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[
    own("chain_ends::collected", collected),
    own("chain_ends::checked", checked),
    own("chain_ends::gone_whatever_is_left", gone_whatever_is_left),
    own("chain_ends::side_by_side", side_by_side),
];

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
            4 => host.must(&format!("nft delete element inet {table} hide4 '{{ {ip} }}'")),
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
