//! The plugin type `tuning`: properties of an interface, changed and put back.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{self, Story, own};
use crate::net::Ns;
use crate::plugin::{Plugin, Whose, chained, container};

pub const STORIES: &[Story] = &[
    own("cni_tuning::changes_and_puts_back", |_| tuning()),
    own("cni_tuning::undone", |_| tuning_undone()),
];

fn backups() -> PathBuf {
    harness::dir().join("tuning")
}

/// MAC, MTU, flags and queue length of the container's interface, and a sysctl of it.
fn properties() -> String {
    let link = "ip -o link show eth0 | sed 's/state.*qlen/qlen/; s/brd.*//'";
    container().must(&format!("{link}; cat /proc/sys/net/ipv4/conf/eth0/log_martians"))
}

fn tuning() {
    let plugin = chained("tuning", &json!({ "dataDir": backups() }));
    let before = properties();
    assert_eq!(
        plugin.must("ADD", "c"),
        plugin.conf["prevResult"],
        "nothing wanted: passed on"
    );
    let wishes = json!({ "mac": "02:00:00:00:00:58", "mtu": 1300, "promisc": true, "allmulti": true, "txQLen": 5,
        "sysctl": { "net.ipv4.conf.IFNAME.log_martians": "1" } });
    let plugin = plugin
        .with("args", json!({ "cni": wishes }))
        .with("mtu", json!(1400));
    let result = plugin.must("ADD", "c");
    let plugin = plugin.with("prevResult", result.clone());
    let macs = result["interfaces"].as_array().unwrap().iter().map(|i| &i["mac"]);
    assert_eq!(
        macs.collect::<Vec<_>>(),
        ["02:00:00:00:00:99", "02:00:00:00:00:58"]
    );
    let now = properties();
    for word in [
        "PROMISC",
        "ALLMULTI",
        "mtu 1300",
        "qlen 5",
        "02:00:00:00:00:58",
        "\n1\n",
    ] {
        assert!(now.contains(word), "{word}: {now}");
    }
    plugin.must("CHECK", "c");
    container().must("ip link set eth0 mtu 1200");
    assert!(!plugin.call("CHECK", "c").ok());
    plugin.must("DEL", "c");
    // The sysctl stays, as with the reference: it goes with the namespace.
    assert_eq!(properties(), before.replace("\n0\n", "\n1\n"));
    assert!(!plugin.call("CHECK", "c").ok());
    // Each puts back what the other changed.
    for (adds, dels) in [(Whose::Ours, Whose::Reference), (Whose::Reference, Whose::Ours)] {
        let plugin = Plugin {
            conf: chained_conf(
                &plugin,
                &json!({ "mtu": 1300, "mac": "02:00:00:00:00:58", "promisc": true }),
            ),
            ..plugin.clone()
        };
        plugin.of(adds).must("ADD", "c");
        assert!(properties().contains("mtu 1300"));
        plugin.of(dels).must("DEL", "c");
        assert_eq!(
            properties(),
            before.replace("\n0\n", "\n1\n"),
            "{adds:?} {dels:?}"
        );
        assert_eq!(std::fs::read_dir(backups()).unwrap().count(), 0);
    }
}

fn chained_conf(plugin: &Plugin, keys: &Value) -> Value {
    let mut all = plugin.conf.as_object().unwrap().clone();
    all.remove("args");
    all.extend(keys.as_object().unwrap().clone());
    Value::Object(all)
}

/// Failing and dying at each step, and DEL and GC without the namespace.
fn tuning_undone() {
    let keys = json!({ "dataDir": backups(), "mtu": 1300, "mac": "02:00:00:00:00:58",
        "sysctl": { "net.ipv4.conf.IFNAME.log_martians": "1" } });
    let plugin = chained("tuning", &keys);
    let before = properties();
    let files = || std::fs::read_dir(backups()).map_or(0, Iterator::count);
    assert!(!plugin.with("mtu", json!(10)).call("ADD", "c").ok());
    assert!(
        !plugin
            .with("sysctl", json!({ "kernel.pid_max": "9" }))
            .call("ADD", "c")
            .ok()
    );
    assert_eq!((properties(), files()), (before.clone(), 0));
    for step in 1..=3 {
        let mut faulty = plugin.clone();
        faulty.fault = Some(format!("fail:{step}"));
        assert!(!faulty.call("ADD", "c").ok());
        assert_eq!((properties(), files()), (before.clone(), 0), "step {step}");
        faulty.fault = Some(format!("abort:{step}"));
        assert_eq!(faulty.call("ADD", "c").code, -1);
        plugin.must("DEL", "c");
        container().must("echo 0 > /proc/sys/net/ipv4/conf/eth0/log_martians");
        assert_eq!((properties(), files()), (before.clone(), 0), "step {step}");
    }
    plugin.must("ADD", "c");
    assert!(plugin.with("name", json!("other")).gc(json!([])).ok() && files() == 1);
    assert!(plugin.gc(json!([{ "containerID": "c", "ifname": "eth0" }])).ok() && files() == 1);
    assert!(plugin.gc(json!([])).ok() && files() == 0);
    plugin.must("ADD", "c");
    Ns::host().must("ip netns del c");
    plugin.must("DEL", "c");
    assert_eq!(files(), 0);
}
