//! The plugin type `bandwidth`: rates that packets are measured at.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{self, Story, own};
use crate::net::{Ns, Out, Running, until};
use crate::plugin::{Whose, chained, container, previous};

pub const STORIES: &[Story] = &[
    own("cni_bandwidth::limits", |_| bandwidth_limits()),
    own("cni_bandwidth::as_the_reference", |_| {
        bandwidth_as_the_reference()
    }),
    own("cni_bandwidth::check", |_| bandwidth_check()),
    own("cni_bandwidth::goes", |_| bandwidth_goes()),
    own("cni_bandwidth::dies", |_| bandwidth_dies()),
];

const RATE: &str = include_str!("rate.py");

fn limits() -> Value {
    json!({ "ingressRate": 8_000_000, "ingressBurst": 400_000, "egressRate": 16_000_000, "egressBurst": 400_000 })
}

/// Bits a second from one namespace to an address of another.
fn rate(from: &Ns, to: &Ns, address: &str) -> u64 {
    let mut sink = to.command("/usr/bin/python3");
    let mut sink = Running::start(sink.args(["-uc", RATE, "sink", address]), "ready");
    let poured = Out::of(
        from.command("/usr/bin/python3")
            .args(["-c", RATE, "pour", address, "4"]),
    );
    assert!(poured.ok(), "{poured:?}");
    until(Duration::from_secs(5), || !sink.runs());
    sink.count()
}

fn bandwidth_limits() {
    let plugin = chained(
        "bandwidth",
        &json!({ "runtimeConfig": { "bandwidth": limits() } }),
    );
    plugin.must("ADD", "c");
    let (host, inside) = (Ns::host(), container());
    for (there, here) in [("10.1.0.2", "10.1.0.1"), ("fd00:1::2", "fd00:1::1")] {
        for (what, rate, limit) in [
            ("to the container", rate(&host, &inside, there), 8_000_000),
            ("from the container", rate(&inside, &host, here), 16_000_000),
        ] {
            println!("{what}, {there}: {rate} of {limit} bit/s");
            assert!(
                rate.abs_diff(limit) * 4 < limit,
                "{what}, {there}: {rate} of {limit}"
            );
        }
    }
    plugin.must("DEL", "c");
    assert!(rate(&host, &inside, "10.1.0.2") > 100_000_000);
}

/// All that traffic control has, but the numbers that change by themselves.
fn traffic_control() -> String {
    Ns::host().must(
        "{ tc qdisc show; tc filter show dev h0 parent ffff:; ip -br link show type ifb; } | \
         sed -E 's/(index|refcnt) [0-9]+//g; s/[0-9a-f:]{17}//; s/ +/ /g; s/ $//'",
    )
}

/// The reference's filter has its one action twice, of which the second never comes to act.
fn without_second_action(text: &str) -> String {
    let Some((before, rest)) = text.split_once("\taction order 2") else {
        return text.to_owned();
    };
    let (_, after) = rest.split_once("\n\n").expect("an end");
    format!("{before}{after}")
}

fn bandwidth_as_the_reference() {
    let plugin = chained("bandwidth", &json!({}));
    let none = traffic_control();
    let mut limits: BTreeMap<String, Value> = serde_json::from_value(limits()).unwrap();
    let inline = |limits: &BTreeMap<String, Value>| {
        let mut plugin = plugin.clone();
        plugin.conf.as_object_mut().unwrap().extend(limits.clone());
        plugin
    };
    let both = inline(&limits);
    limits.retain(|k, _| k.starts_with("egress"));
    let egress = inline(&limits);
    for plugin in [both, egress] {
        let made = [Whose::Reference, Whose::Ours].map(|by| {
            let result = plugin.of(by).must("ADD", "c");
            let made = without_second_action(&traffic_control());
            for checks in [Whose::Reference, Whose::Ours] {
                plugin
                    .of(checks)
                    .with("prevResult", result.clone())
                    .must("CHECK", "c");
            }
            if by == Whose::Reference {
                // It leaves what hangs on the interface, which goes with it.
                Ns::host().sh("tc qdisc del dev h0 root; tc qdisc del dev h0 ingress");
            }
            plugin.must("DEL", "c");
            assert_eq!(traffic_control(), none, "{by:?}");
            let names = result["interfaces"]
                .as_array()
                .unwrap()
                .iter()
                .map(|i| i["name"].clone());
            (made, names.collect::<Vec<_>>())
        });
        assert_eq!(made[0], made[1]);
    }
    for keys in [
        json!({ "ingressRate": 8 }),
        json!({ "egressBurst": 8 }),
        json!({ "ingressRate": 8, "ingressBurst": 1_u64 << 36 }),
    ] {
        let mut wrong = plugin.clone();
        wrong
            .conf
            .as_object_mut()
            .unwrap()
            .extend(keys.as_object().unwrap().clone());
        assert_eq!(wrong.call("ADD", "c").error(), 7);
        assert!(!wrong.of(Whose::Reference).call("ADD", "c").ok());
    }
    assert_eq!(traffic_control(), none);
}

fn bandwidth_check() {
    let plugin = chained("bandwidth", &limits());
    let result = plugin.must("ADD", "c");
    let ifb = result["interfaces"][2]["name"].as_str().unwrap().to_owned();
    let checked = plugin.with("prevResult", result);
    checked.must("CHECK", "c");
    for harm in [
        "tc qdisc del dev h0 root",
        "tc qdisc change dev h0 root handle 1: tbf rate 9mbit burst 50000 latency 25ms",
        "tc filter del dev h0 parent ffff:",
        "tc qdisc del dev h0 ingress",
        &format!("tc qdisc del dev {ifb} root"),
        &format!("ip link del {ifb}"),
    ] {
        Ns::host().must(harm);
        assert!(!checked.call("CHECK", "c").ok(), "{harm}");
        plugin.must("ADD", "c");
        checked.must("CHECK", "c");
    }
}

/// DEL and GC, whatever is left of namespace, state and interface.
fn bandwidth_goes() {
    let plugin = chained("bandwidth", &limits());
    let none = traffic_control();
    let mut second = plugin.with("prevResult", previous("h1", "eth1"));
    second.ifname = "eth1";
    plugin.must("ADD", "c");
    let one = traffic_control();
    Ns::host().must(
        "ip link add h1 type veth peer name eth1 netns c && ip link set h1 up && ip -n c link set eth1 up",
    );
    second.must("ADD", "c");
    second.must("DEL", "c");
    second.must("DEL", "c");
    Ns::host().must("ip link del h1");
    assert_eq!(
        traffic_control(),
        one,
        "another interface of the container keeps its IFB"
    );
    assert_eq!(
        plugin.with("cniVersion", json!("1.1.0")).call("GC", "").error(),
        7
    );
    assert!(plugin.with("name", json!("other")).gc(Value::Null).ok());
    assert!(plugin.gc(json!([{ "containerID": "c", "ifname": "eth0" }])).ok());
    assert_eq!(traffic_control(), one);
    assert!(plugin.gc(Value::Null).ok());
    assert_eq!(traffic_control(), none);
    // Without state: what the reference would have made.
    plugin.must("ADD", "c");
    std::fs::remove_dir_all(harness::dir().join("root")).unwrap();
    plugin.must("DEL", "c");
    assert_eq!(Ns::host().must("ip -br link show type ifb"), "");
    // Without the interface, with other limits, and without a namespace.
    plugin.must("ADD", "c");
    Ns::host().must("ip netns del c; ip link del h0 2>/dev/null || true");
    let mut late = plugin.with("ingressRate", json!(0));
    late.netns = String::new();
    late.must("DEL", "c");
    assert_eq!(Ns::host().must("ip -br link show type ifb"), "");
}

fn bandwidth_dies() {
    let plugin = chained("bandwidth", &limits());
    let none = traffic_control();
    let faulty = |how: &str, step: u32| {
        let mut faulty = plugin.clone();
        faulty.fault = Some(format!("{how}:{step}"));
        faulty
    };
    for step in 1..=2 {
        assert!(!faulty("fail", step).call("ADD", "c").ok());
        assert_eq!(traffic_control(), none, "failed at step {step}");
        assert_eq!(faulty("abort", step).call("ADD", "c").code, -1);
        // Any next call tidies.
        assert!(plugin.gc(json!([{ "containerID": "c", "ifname": "eth0" }])).ok());
        assert_eq!(traffic_control(), none, "died at step {step}");
    }
    plugin.must("ADD", "c");
    assert_eq!(faulty("abort", 1).call("DEL", "c").code, -1);
    plugin.must("DEL", "c");
    assert_eq!(traffic_control(), none);
}
