//! Points 81 to 91, and the first of section 0: what callers want, in every form they say it.

use super::*;
use crate::cni::runtime::{Bandwidth, PortMapping, Rate, Runtime, WantedIp};
use crate::model::Proto;

fn with_runtime(runtime: Value) -> Result<Runtime> {
    let config = config_with(Version::V100, json!({ "runtimeConfig": runtime }));
    call(&env("ADD", &[]), &config).runtime()
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn containerd_and_podman_publish_the_same_ports() {
    let podman = json!({ "portMappings": [
        { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
        { "hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1" },
    ]});
    let containerd = json!({ "PortMappings": [
        { "HostPort": 8080, "ContainerPort": 80, "Protocol": "TCP", "HostIP": "" },
        { "HostPort": 53, "ContainerPort": 53, "Protocol": "udp", "HostIP": "127.0.0.1" },
    ]});
    let port = |host_port, container_port, proto, host_ip: Option<&str>| PortMapping {
        host_port,
        container_port,
        proto,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
    };
    let expected = [
        port(8080, 80, Proto::Tcp, None),
        port(53, 53, Proto::Udp, Some("127.0.0.1")),
    ];
    assert_eq!(with_runtime(podman).unwrap().port_mappings, expected);
    assert_eq!(with_runtime(containerd).unwrap().port_mappings, expected);
}

#[test]
fn ten_thousand_ports_are_read_and_repeated_ones_are_one() {
    let one = |port: u32| json!({ "hostPort": port, "containerPort": port, "protocol": "sctp" });
    let list: Vec<Value> = (1..=10_000).chain(1..=10_000).map(one).collect();
    let ports = with_runtime(json!({ "portMappings": list }))
        .unwrap()
        .port_mappings;
    assert_eq!(ports.len(), 10_000);
    assert_eq!((ports[9_999].host_port, ports[0].proto), (10_000, Proto::Sctp));
}

#[test]
fn containerd_s_bandwidth_and_dns_are_read() {
    let runtime = with_runtime(json!({
        "bandwidth": { "IngressRate": 1000, "IngressBurst": 4_294_967_295_u64, "EgressRate": 0, "EgressBurst": 0 },
        "dns": { "Servers": ["10.0.0.1"], "Searches": null, "Options": ["ndots:5"] },
        "io.kubernetes.cri.pod-annotations": { "moat.dev/labels": "a=b" },
        "cgroupPath": "/x", "deviceID": "y", "ips": null, "ipRanges": null, "mac": "",
    }))
    .unwrap();
    let ingress = Rate {
        rate: 1000,
        burst: 4_294_967_295,
    };
    let bandwidth = Bandwidth {
        ingress: Some(ingress),
        egress: None,
    };
    assert_eq!(runtime.bandwidth, Some(bandwidth));
    assert_eq!(runtime.dns.nameservers, ["10.0.0.1"]);
    assert_eq!(runtime.dns.options, ["ndots:5"]);
    assert_eq!(runtime.annotations["moat.dev/labels"], "a=b");
    assert_eq!((runtime.ips, runtime.mac), (vec![], None));
}

#[test]
fn nothing_wanted_is_nothing() {
    for nothing in [
        json!(null),
        json!({}),
        json!({ "portMappings": null, "aliases": null, "bandwidth": { "ingressRate": 0 } }),
    ] {
        assert_eq!(with_runtime(nothing).unwrap(), Runtime::default());
    }
}

#[test]
fn aliases_are_a_list_or_lists_by_network() {
    let read = |aliases: Value| with_runtime(json!({ "aliases": aliases })).unwrap().aliases;
    assert_eq!(read(json!(["a", "b"])), texts(&["a", "b"]));
    assert_eq!(
        read(json!({ "other": ["x"], "net": ["a", "0123456789ab"] })),
        texts(&["a", "0123456789ab"])
    );
    assert_eq!(read(json!({ "Net": ["x"], "other": null })), texts(&[]));
}

#[test]
fn pools_and_addresses_are_read_in_both_families() {
    let runtime = with_runtime(json!({
        "ipRanges": [[{ "subnet": "10.5.0.0/16", "rangeStart": "10.5.0.9" }], [{ "Subnet": "fd05::/64", "gateway": "fd05::1" }]],
        "ips": ["10.5.0.10", "fd05::a/64", ""],
    }))
    .unwrap();
    assert_eq!(runtime.ip_ranges.len(), 2);
    assert_eq!(runtime.ip_ranges[0][0].start, Some("10.5.0.9".parse().unwrap()));
    assert_eq!(runtime.ip_ranges[1][0].gateway, Some("fd05::1".parse().unwrap()));
    let wanted = |address: &str, prefix| WantedIp {
        address: address.parse().unwrap(),
        prefix,
    };
    assert_eq!(
        runtime.ips,
        [wanted("10.5.0.10", None), wanted("fd05::a", Some(64))]
    );
}

#[test]
fn wrong_values_are_named_with_their_keys() {
    let port = |host: Value, container: Value, protocol: &str, ip: &str| json!({ "portMappings": [{ "HostPort": host, "containerPort": container, "protocol": protocol, "hostIP": ip }] });
    for (wrong, key, value) in [
        (
            port(json!(0), json!(1), "tcp", ""),
            "portMappings[0].hostPort",
            "0",
        ),
        (
            port(json!(65536), json!(1), "tcp", ""),
            "portMappings[0].hostPort",
            "65536",
        ),
        (port(json!(1), json!("80"), "tcp", ""), "containerPort", "\"80\""),
        (port(json!(1), json!(80.5), "tcp", ""), "containerPort", "80.5"),
        (port(json!(1), json!(null), "tcp", ""), "containerPort", "{"),
        (port(json!(1), json!(1), "icmp", ""), "protocol", "icmp"),
        (
            port(json!(1), json!(1), "udp", "localhost"),
            "hostIP",
            "localhost",
        ),
        (json!({ "portMappings": {} }), "runtimeConfig.portMappings", "{}"),
        (json!({ "mac": "zz" }), "runtimeConfig.mac", "zz"),
        (
            json!({ "mac": "01:00:00:00:00:00" }),
            "runtimeConfig.mac",
            "01:00",
        ),
        (
            json!({ "ips": ["10.0.0.300"] }),
            "runtimeConfig.ips[0]",
            "10.0.0.300",
        ),
        (
            json!({ "ips": ["fd00::1/129"] }),
            "runtimeConfig.ips[0]",
            "fd00::1/129",
        ),
        (
            json!({ "ipRanges": [[{ "rangeStart": "10.0.0.1" }]] }),
            "`subnet`",
            "10.0.0.1",
        ),
        (json!({ "bandwidth": { "ingressRate": 5 } }), "ingressBurst", "5"),
        (json!({ "bandwidth": { "egressBurst": 5 } }), "egressRate", "5"),
        (
            json!({ "bandwidth": { "egressRate": 1, "egressBurst": 34_359_738_360_u64 } }),
            "egressBurst",
            "34359738360",
        ),
        (json!({ "bandwidth": { "ingressRate": -1 } }), "ingressRate", "-1"),
        (json!({ "aliases": "a" }), "runtimeConfig.aliases", "\"a\""),
        (json!({ "aliases": { "net": [1] } }), "aliases.net[0]", "1"),
        (
            json!({ "io.kubernetes.cri.pod-annotations": { "a": 1 } }),
            "annotations.a",
            "1",
        ),
        (json!([]), "runtimeConfig", "[]"),
    ] {
        let e = with_runtime(wrong.clone()).expect_err(&wrong.to_string());
        assert_eq!(e.code, code::CONFIG);
        assert!(e.msg.contains(key) && e.msg.contains(value), "{}: {wrong}", e.msg);
    }
}

/// A call with an address and MAC from each of the sources that are given.
fn from(env_args: Option<u8>, args_cni: Option<u8>, runtime: Option<u8>) -> Call {
    let words = |n: u8| (format!("10.0.0.{n}"), format!("02:00:00:00:00:0{n}"));
    let object = |n: Option<u8>| n.map_or(json!({}), |n| json!({ "ips": [words(n).0], "mac": words(n).1 }));
    let config = config_with(
        Version::V100,
        json!({ "runtimeConfig": object(runtime), "args": { "cni": object(args_cni) } }),
    );
    let args = env_args.map(words).map(|(ip, mac)| format!("IP={ip};MAC={mac}"));
    call(&env("ADD", &[("CNI_ARGS", &args.unwrap_or_default())]), &config)
}

#[test]
fn the_most_specific_source_wins() {
    for (sources, expected) in [
        ((Some(1), Some(2), Some(3)), 3),
        ((Some(1), Some(2), None), 2),
        ((Some(1), None, Some(3)), 3),
        ((Some(1), None, None), 1),
    ] {
        let wishes = from(sources.0, sources.1, sources.2).wishes().unwrap();
        assert_eq!(wishes.mac.unwrap().0[5], expected);
        let ips: Vec<String> = wishes.ips.iter().map(|ip| ip.address.to_string()).collect();
        assert_eq!(ips, [format!("10.0.0.{expected}")]);
    }
    assert_eq!(from(None, None, None).wishes().unwrap(), Default::default());
    let all = from(Some(1), Some(2), Some(3)).wanted_ips().unwrap();
    assert_eq!(
        all.map(|ips| ips[0].address.to_string()),
        ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    );
}

#[test]
fn labels_are_read_and_other_metadata_is_nobody_s_error() {
    let args = json!({ "args": { "podman_labels": 1, "cni": { "sysctl": [], "future": {},
        "labels": [{ "key": "app", "value": "web" }, { "key": 3 }, null] } } });
    let call = call(&env("ADD", &[]), &config_with(Version::V100, args));
    let expected = [("app".to_owned(), "web".to_owned())];
    assert_eq!(call.wishes().unwrap().labels, expected);
}

#[test]
fn cni_args_are_pairs_and_the_last_of_a_key_wins() {
    let read = |args: &str| call(&env("ADD", &[("CNI_ARGS", args)]), &config(Version::V100));
    let twice = read("IgnoreUnknown=0;K8S_POD_NAME=a;IP=10.0.0.1,fd00::1;IgnoreUnknown=1;MAC=");
    assert_eq!(twice.arg("IgnoreUnknown"), Some("1"));
    assert_eq!(
        (twice.arg("K8S_POD_NAME"), twice.arg("k8s_pod_name")),
        (Some("a"), None)
    );
    assert_eq!(twice.arg("MAC"), None);
    assert_eq!(twice.wishes().unwrap().ips.len(), 2);

    for wrong in ["a", "a=b=c", "a=b;", ";", "=;x"] {
        let env = |verb| env(verb, &[("CNI_ARGS", wrong)]);
        let error = failure(&ask(&Mute::new(), &env("ADD"), &config(Version::V100)));
        assert_eq!(error["code"], 4, "{wrong}");
        assert_eq!(
            ask(&Mute::new(), &env("DEL"), &config(Version::V100)).code,
            0,
            "{wrong}"
        );
    }
    for (wrong, key) in [("IP=x", "IP"), ("MAC=x", "MAC")] {
        let e = read(wrong).wishes().unwrap_err();
        assert_eq!(e.code, code::ENVIRONMENT);
        assert!(e.msg.contains(key) && e.msg.contains("\"x\""), "{}", e.msg);
    }
}

#[test]
fn unknown_cni_args_are_errors_unless_ignored() {
    let plugin = Mute {
        args: Some(&["MAC"]),
        ..Mute::new()
    };
    for (args, is_right) in [
        ("", true),
        ("MAC=02:00:00:00:00:01", true),
        ("IP=10.0.0.1", false),
        ("IgnoreUnknown=1;IP=10.0.0.1", true),
        ("IgnoreUnknown=TRUE;IP=10.0.0.1", true),
        ("IgnoreUnknown=false;IP=10.0.0.1", false),
        ("IgnoreUnknown=perhaps", false),
    ] {
        let answer = ask(
            &plugin,
            &env("ADD", &[("CNI_ARGS", args)]),
            &config(Version::V100),
        );
        assert_eq!(answer.code == 0, is_right, "{args}: {answer:?}");
        let answer = ask(
            &plugin,
            &env("DEL", &[("CNI_ARGS", args)]),
            &config(Version::V100),
        );
        assert_eq!(answer.code, 0, "{args}");
    }
}
