//! Points 17, 18, 25, 67 to 71: results in seven versions, and earlier ones read back.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use proptest::prelude::*;

use super::*;
use crate::cni::result::{Dns, Interface, Route};

fn rich() -> Outcome {
    let ip = |address: &str, gateway: &str| Ip {
        interface: Some(1),
        address: address.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
    };
    let route = |dst: &str| Route {
        dst: dst.parse().unwrap(),
        gw: None,
        mtu: Some(1400),
        advmss: Some(1300),
        priority: Some(7),
        table: Some(0),
        scope: Some(0),
    };
    Outcome {
        interfaces: vec![
            Interface {
                name: "br".into(),
                mtu: Some(1500),
                ..Interface::default()
            },
            Interface {
                name: "eth0".into(),
                mac: "02:00:00:00:00:01".into(),
                sandbox: "/n".into(),
                pci_id: "0:1".into(),
                ..Interface::default()
            },
        ],
        ips: vec![
            ip("10.0.0.5/16", "10.0.0.1"),
            ip("10.1.0.5/16", "10.1.0.1"),
            ip("fd00::5/64", "fd00::1"),
        ],
        routes: vec![route("0.0.0.0/0"), route("::/0")],
        dns: Dns::default(),
    }
}

#[test]
fn each_version_has_its_shape() {
    let oldest = |version: &str| {
        json!({
            "cniVersion": version, "dns": {},
            "ip4": { "ip": "10.0.0.5/16", "gateway": "10.0.0.1", "routes": [{ "dst": "0.0.0.0/0" }] },
            "ip6": { "ip": "fd00::5/64", "gateway": "fd00::1", "routes": [{ "dst": "::/0" }] },
        })
    };
    let middle = |version: &str| {
        json!({
            "cniVersion": version, "dns": {},
            "interfaces": [{ "name": "br" }, { "name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/n" }],
            "ips": [
                { "version": "4", "interface": 1, "address": "10.0.0.5/16", "gateway": "10.0.0.1" },
                { "version": "4", "interface": 1, "address": "10.1.0.5/16", "gateway": "10.1.0.1" },
                { "version": "6", "interface": 1, "address": "fd00::5/64", "gateway": "fd00::1" },
            ],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
        })
    };
    let mut v100 = middle("1.0.0");
    v100.as_object_mut().unwrap().remove("dns");
    for ip in v100["ips"].as_array_mut().unwrap() {
        ip.as_object_mut().unwrap().remove("version");
    }
    let mut v110 = v100.clone();
    v110["cniVersion"] = json!("1.1.0");
    v110["interfaces"][0]["mtu"] = json!(1500);
    v110["interfaces"][1]["pciID"] = json!("0:1");
    let rest = json!({ "mtu": 1400, "advmss": 1300, "priority": 7, "table": 0, "scope": 0 });
    for (n, dst) in ["0.0.0.0/0", "::/0"].iter().enumerate() {
        v110["routes"][n] = rest.clone();
        v110["routes"][n]["dst"] = json!(dst);
    }
    for (version, expected) in [
        (Version::V010, oldest("0.1.0")),
        (Version::V020, oldest("0.2.0")),
        (Version::V030, middle("0.3.0")),
        (Version::V031, middle("0.3.1")),
        (Version::V040, middle("0.4.0")),
        (Version::V100, v100),
        (Version::V110, v110),
    ] {
        assert_eq!(rich().write(version).unwrap(), expected);
    }
}

#[test]
fn without_an_address_the_oldest_versions_fail_and_undo() {
    for version in Version::ALL {
        let plugin = Mute {
            outcome: Outcome::default(),
            ..Mute::new()
        };
        let answer = ask(&plugin, &env("ADD", &[]), &config(version));
        if version <= Version::V020 {
            assert_eq!(failure(&answer)["code"], 1);
            assert_eq!(plugin.asked(), ["ADD", "DEL"]);
        } else {
            assert_eq!(success(&answer)["cniVersion"], version.as_str());
            assert_eq!(plugin.asked(), ["ADD"]);
        }
    }
}

#[test]
fn an_earlier_result_has_its_own_version_or_that_of_the_call() {
    for call in Version::ALL {
        for said in Version::ALL {
            let mut earlier = rich().write(said).unwrap();
            let expected = Outcome::read(&earlier, "x", said).unwrap();
            if call == said {
                earlier.as_object_mut().unwrap().remove("cniVersion");
            }
            let config = config_with(call, json!({ "prevResult": earlier }));
            let answer = success(&ask(&Mute::new(), &env("ADD", &[]), &config));
            assert_eq!(answer, expected.write(call).unwrap(), "{said:?} in {call:?}");
        }
    }
}

#[test]
fn nulls_are_missing_and_wrong_values_have_code_6() {
    let read = |value: &Value| Outcome::read(value, "prevResult", Version::V110);
    let nulls = json!({ "interfaces": null, "ips": [{ "address": "fd00::1/64", "gateway": null,
        "interface": null }], "routes": null, "dns": { "nameservers": null, "domain": null } });
    assert_eq!(read(&nulls).unwrap().ips[0].gateway, None);
    for (wrong, says) in [
        (json!({ "ips": [{}] }), "prevResult.ips[0]"),
        (
            json!({ "ips": [{ "address": "10.0.0.1" }] }),
            "prevResult.ips[0].address",
        ),
        (json!({ "ips": [{ "address": "10.0.0.1/33" }] }), "10.0.0.1/33"),
        (json!({ "routes": [{ "gw": "10.0.0.1" }] }), "`dst`"),
        (json!({ "routes": [{ "dst": "::/0", "scope": 256 }] }), "scope"),
        (
            json!({ "interfaces": [{ "name": 3 }] }),
            "prevResult.interfaces[0].name",
        ),
        (json!({ "interfaces": [null] }), "prevResult.interfaces[0]"),
        (json!({ "cniVersion": "7.0.0" }), "incompatible"),
        (json!([]), "prevResult must be an object"),
    ] {
        let e = read(&wrong).unwrap_err();
        assert_eq!(e.code, code::DECODE, "{wrong}");
        assert!(e.msg.contains(says), "{}", e.msg);
    }
}

#[test]
fn check_needs_an_earlier_result_and_del_goes_on_without() {
    let error = failure(&ask(&Mute::new(), &env("CHECK", &[]), &config(Version::V040)));
    assert_eq!(error["code"], 7);
    for earlier in [json!(null), json!("corrupt"), json!({ "ips": 3 })] {
        let config = config_with(Version::V100, json!({ "prevResult": earlier }));
        assert_eq!(ask(&Mute::new(), &env("DEL", &[]), &config).code, 0);
    }
}

fn network() -> impl Strategy<Value = IpNetwork> {
    let v4 = (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(a, p)| (IpAddr::from(a), p));
    let v6 = (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(a, p)| (IpAddr::from(a), p));
    prop_oneof![v4, v6].prop_map(|(a, p)| IpNetwork::new(a, p).unwrap())
}

fn address() -> impl Strategy<Value = Option<IpAddr>> {
    proptest::option::of(network().prop_map(|n| n.ip()))
}

fn some(range: std::ops::Range<u32>) -> impl Strategy<Value = Option<u32>> {
    proptest::option::of(range)
}

prop_compose! {
    fn interface()(
        texts in proptest::array::uniform5("[a-zé\"/]{0,9}"),
        mtu in some(1..u32::MAX),
    ) -> Interface {
        let [name, mac, sandbox, socket_path, pci_id] = texts;
        Interface { name, mac, mtu, sandbox, socket_path, pci_id }
    }
}

prop_compose! {
    fn ip()(interface in proptest::option::of(0..9_usize), address in network(), gateway in address()) -> Ip {
        Ip { interface, address, gateway }
    }
}

prop_compose! {
    fn route()(
        dst in network(),
        gw in address(),
        rest in proptest::array::uniform3(some(1..u32::MAX)),
        table in some(0..u32::MAX),
        scope in proptest::option::of(any::<u8>()),
    ) -> Route {
        let [mtu, advmss, priority] = rest;
        Route { dst, gw, mtu, advmss, priority, table, scope }
    }
}

prop_compose! {
    fn outcome()(
        interfaces in proptest::collection::vec(interface(), 0..4),
        ips in proptest::collection::vec(ip(), 1..5),
        routes in proptest::collection::vec(route(), 0..4),
        names in proptest::collection::vec("[a-z.]{1,9}", 0..3),
        domain in "[a-z.]{0,9}",
    ) -> Outcome {
        let dns = Dns { nameservers: names.clone(), domain, search: names.clone(), options: names };
        Outcome { interfaces, ips, routes, dns }
    }
}

/// What a version can say of a result.
fn sayable(outcome: &Outcome, version: Version) -> Outcome {
    let mut left = outcome.clone();
    if version < Version::V110 {
        for i in &mut left.interfaces {
            (i.mtu, i.socket_path, i.pci_id) = (None, String::new(), String::new());
        }
        for r in &mut left.routes {
            (r.mtu, r.advmss, r.priority, r.table, r.scope) = (None, None, None, None, None);
        }
    }
    if version <= Version::V020 {
        left.interfaces.clear();
        let first = |v4| left.ips.iter().find(|ip| ip.address.is_ipv4() == v4).cloned();
        let firsts: Vec<Ip> = [first(true), first(false)].into_iter().flatten().collect();
        let of_family = |v4: bool| left.routes.iter().filter(move |r| r.dst.is_ipv4() == v4).cloned();
        left.routes = firsts
            .iter()
            .flat_map(|ip| of_family(ip.address.is_ipv4()))
            .collect();
        left.ips = firsts;
        left.ips.iter_mut().for_each(|ip| ip.interface = None);
    }
    left
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn what_is_written_is_read_back(outcome in outcome()) {
        for version in Version::ALL {
            let written = outcome.write(version).unwrap();
            prop_assert!(!written.to_string().contains("null"), "no nulls on output: {written}");
            let read = Outcome::read(&written, "result", version).unwrap();
            prop_assert_eq!(&read, &sayable(&outcome, version));
            prop_assert_eq!(read.write(version).unwrap(), written);
        }
    }
}
