//! The plugin types that make no interface: `host-local`, `loopback`, `static`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{self, Story, own};
use crate::net::Ns;
use crate::plugin::{Plugin, Whose, ips, prepare};

pub const STORIES: &[Story] = &[
    own("cni_classic::host_local_shares_its_files", |_| shares_its_files()),
    own("cni_classic::host_local_parallel", |_| parallel()),
    own("cni_classic::host_local_exhausted", |_| exhausted()),
    own("cni_classic::host_local_dies", |_| dies()),
    own("cni_classic::host_local_gc", |_| gc()),
    own("cni_classic::host_local_cost", |_| cost()),
    own("cni_classic::loopback", |_| loopback()),
    own("cni_classic::static", |_| fixed()),
];

fn data() -> PathBuf {
    harness::dir().join("ipam")
}

fn host_local(ranges: Value) -> Plugin {
    prepare();
    let ipam = json!({ "type": "host-local", "dataDir": data(), "ranges": ranges });
    Plugin::new("host-local", &json!({ "ipam": ipam }))
}

fn both_families() -> Value {
    json!([[{ "subnet": "10.1.0.0/26" }], [{ "subnet": "fd00:1::/122" }]])
}

/// The files of leases, by address.
fn leases() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(data().join("net")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.parse::<std::net::IpAddr>().is_ok() {
            found.insert(name, std::fs::read_to_string(path).unwrap());
        }
    }
    found
}

/// Ours and the reference's take turns on one directory, in an order that looks like none.
fn shares_its_files() {
    let plugin = host_local(both_families());
    let (mut held, mut dice) = (BTreeMap::<String, Vec<String>>::new(), 7_u32);
    for round in 0..160 {
        dice = dice.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let toss = dice >> 16;
        let by = plugin.of([Whose::Ours, Whose::Reference][toss as usize & 1]);
        if toss & 6 == 0 || held.len() > 50 {
            let Some((id, _)) = held.pop_first() else { continue };
            by.must("DEL", &id);
        } else {
            let id = format!("c{round}");
            let given = ips(&by.must("ADD", &id));
            let taken: BTreeSet<&String> = held.values().flatten().collect();
            assert!(
                given.iter().all(|ip| !taken.contains(ip)),
                "{given:?} twice: {held:?}"
            );
            for by in [Whose::Ours, Whose::Reference] {
                plugin.of(by).must("CHECK", &id);
            }
            held.insert(id, given);
        }
        assert_eq!(leases().len(), 2 * held.len());
    }
    for (i, id) in held.into_keys().enumerate() {
        plugin.of([Whose::Ours, Whose::Reference][i & 1]).must("DEL", &id);
    }
    assert_eq!(leases(), BTreeMap::new());
}

fn parallel() {
    let plugin = host_local(both_families());
    let ids: Vec<String> = (0..56).map(|n| format!("c{n}")).collect();
    let all = |verb: &'static str| -> Vec<Value> {
        std::thread::scope(|scope| {
            let of = |n: usize| [Whose::Ours, Whose::Ours, Whose::Reference][n % 3];
            let calls = ids.iter().enumerate().map(|(n, id)| {
                let by = plugin.of(of(n));
                scope.spawn(move || by.must(verb, id))
            });
            let calls: Vec<_> = calls.collect();
            calls.into_iter().map(|c| c.join().unwrap()).collect()
        })
    };
    let given: Vec<String> = all("ADD").iter().flat_map(ips).collect();
    let distinct: BTreeSet<&String> = given.iter().collect();
    assert_eq!((given.len(), distinct.len(), leases().len()), (112, 112, 112));
    all("DEL");
    assert_eq!(leases(), BTreeMap::new());
}

/// The second set runs out first: what the first gave is free again.
fn exhausted() {
    let plugin = host_local(json!([[{ "subnet": "10.1.0.0/24" }], [{ "subnet": "fd00:1::/126" }]]));
    let status = |plugin: &Plugin| plugin.with("cniVersion", json!("1.1.0")).call("STATUS", "");
    plugin.must("ADD", "a");
    assert!(status(&plugin).ok());
    plugin.must("ADD", "b");
    assert_eq!(status(&plugin).error(), 50);
    assert_eq!(plugin.call("ADD", "c").error(), 100);
    assert_eq!(leases().len(), 4);
    assert_eq!(plugin.call("ADD", "a").error(), 7, "an address twice");
    let wish = |ip: &str| plugin.with("runtimeConfig", json!({ "ips": [ip] }));
    plugin.must("DEL", "b");
    for (ip, fine) in [
        ("10.1.0.1", false),
        ("10.2.0.9", false),
        ("10.1.0.2/24", false),
        ("10.1.0.9", true),
    ] {
        assert_eq!(wish(ip).call("ADD", "d").ok(), fine, "{ip}");
    }
    plugin.must("DEL", "a");
    plugin.must("DEL", "a");
    let has = |ip: &str| leases().get(ip).map(String::as_str) == Some("d\r\neth0");
    assert!(has("10.1.0.9") && leases().len() == 2, "{:?}", leases());
}

fn dies() {
    let plugin = host_local(both_families());
    plugin.must("ADD", "other");
    for verb in ["ADD", "DEL"] {
        for step in 1..=2 {
            if verb == "DEL" {
                plugin.must("ADD", "c");
            }
            let mut dying = plugin.clone();
            dying.fault = Some(format!("abort:{step}"));
            assert_eq!(dying.call(verb, "c").code, -1, "{verb} {step}");
            plugin.must("DEL", "c");
            assert_eq!(leases().len(), 2, "{verb} {step}: {:?}", leases());
            plugin.must("ADD", "c");
            plugin.must("DEL", "c");
        }
    }
}

fn gc() {
    let plugin = host_local(both_families());
    for id in ["a", "b", "c"] {
        plugin.of(Whose::Reference).must("ADD", id);
    }
    std::fs::write(data().join("net/10.1.0.60"), "a").unwrap();
    let latest = plugin.with("cniVersion", json!("1.1.0"));
    assert_eq!(latest.call("GC", "").error(), 7);
    assert!(plugin.with("name", json!("other")).gc(Value::Null).ok());
    assert_eq!(leases().len(), 7);
    let valid = json!([{ "containerID": "a", "ifname": "eth0" }, { "containerID": "b", "ifname": "eth1" }]);
    assert!(plugin.gc(valid).ok());
    let holders: BTreeSet<String> = leases().into_values().collect();
    assert_eq!(
        holders,
        ["a".to_owned(), "a\r\neth0".to_owned()].into(),
        "the old form, too"
    );
    assert!(plugin.gc(json!([])).ok());
    assert_eq!(leases(), BTreeMap::new());
}

/// The reference reads every lease at each call.
fn cost() {
    let plugin = host_local(json!([[{ "subnet": "10.1.0.0/16" }]]));
    std::fs::create_dir_all(data().join("net")).unwrap();
    for n in 2..20_002_u32 {
        let ip = std::net::Ipv4Addr::from_bits(0x0a01_0000 + n);
        std::fs::write(data().join(format!("net/{ip}")), format!("x{n}\r\neth0")).unwrap();
    }
    let time = |whose| {
        let by = plugin.of(whose);
        by.must("ADD", "first");
        let begun = Instant::now();
        for n in 0..4 {
            by.must("ADD", &format!("c{n}"));
            by.must("DEL", &format!("c{n}"));
        }
        let took = begun.elapsed();
        by.must("DEL", "first");
        took
    };
    let (theirs, ours) = (time(Whose::Reference), time(Whose::Ours));
    println!("8 calls at 20000 leases: reference {theirs:?}, ours {ours:?}");
    assert!(ours * 4 < theirs, "reference {theirs:?}, ours {ours:?}");
    assert!(ours < Duration::from_secs(2), "{ours:?}");
}

fn loopback() {
    prepare();
    let up = || Ns::host().must("ip -n c -o link show lo").contains("LOOPBACK,UP");
    for (version, shape) in [
        (
            "0.3.1",
            json!([{ "version": "4", "interface": 0, "address": "127.0.0.1/8" }, { "version": "6", "interface": 0, "address": "::1/128" }]),
        ),
        (
            "1.0.0",
            json!([{ "interface": 0, "address": "127.0.0.1/8" }, { "interface": 0, "address": "::1/128" }]),
        ),
    ] {
        Ns::host().must("ip netns add c");
        let mut plugin = Plugin::new("loopback", &json!({ "cniVersion": version }));
        plugin.netns = "/run/netns/c".into();
        let result = plugin.must("ADD", "c");
        assert_eq!(result["ips"], shape);
        let lo = json!([{ "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/run/netns/c" }]);
        assert_eq!(result["interfaces"], lo);
        assert!(up());
        let checked = plugin.with("cniVersion", json!("1.0.0"));
        checked.must("CHECK", "c");
        plugin.must("DEL", "c");
        assert!(!up() && !checked.call("CHECK", "c").ok());
        Ns::host().must("ip netns del c");
        plugin.must("DEL", "c");
        plugin.netns = String::new();
        plugin.must("DEL", "c");
    }
}

/// The same answers as the reference's, where Debian's speaks the version.
fn fixed() {
    prepare();
    let two = json!([{ "address": "10.1.0.5/24", "gateway": "10.1.0.1" }, { "address": "fd00::5/64" }]);
    let routes = json!([{ "dst": "0.0.0.0/0" }, { "dst": "fd01::/64", "gw": "fd00::1" }]);
    let ipam = json!({ "type": "static", "addresses": two, "routes": routes, "dns": { "search": ["a"] } });
    let plain = Plugin::new("static", &json!({ "ipam": ipam }));
    let wishes = json!({ "ips": ["10.3.0.1/24", "fd03::1/64"] });
    let mut told = 0;
    for version in ["0.2.0", "0.3.1", "1.0.0"] {
        let plain = plain.with("cniVersion", json!(version));
        for plugin in [
            plain.clone(),
            plain.with("runtimeConfig", wishes.clone()),
            plain.with("args", json!({ "cni": wishes })),
            plain.with("runtimeConfig", json!({ "ips": ["10.3.0.1"] })),
        ] {
            let [ours, theirs] = [Whose::Ours, Whose::Reference].map(|w| plugin.of(w).call("ADD", "c"));
            assert_eq!(ours.ok(), theirs.ok(), "{ours:?} {theirs:?}");
            if ours.ok() {
                assert_eq!(ours.json, theirs.json);
                told += 1;
            }
        }
    }
    assert_eq!(told, 9);
    let result = plain.must("ADD", "c");
    plain.with("prevResult", result.clone()).must("CHECK", "c");
    let fewer = json!({ "cniVersion": "1.0.0", "ips": [result["ips"][0]] });
    assert!(!plain.with("prevResult", fewer).call("CHECK", "c").ok());
}
