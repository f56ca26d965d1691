//! Calls that are almost right, and what must hold for the answer to any call.
//!
//! Random bytes stop at the first brace. These start from a right configuration and break it
//! in a few places, in the tree and in the text: nulls, wrong types, huge numbers, deep
//! nesting, repeated keys. Also read by `netns-tests/fuzz.rs`, which asks the real binary:
//! so this uses nothing of the crate.

mod spoil;
mod verdict;

use std::fmt;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

pub use verdict::wrong;

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const VERBS: [&str; 6] = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"];

/// One call: its environment and configuration.
#[derive(Clone)]
pub struct Case {
    pub env: Vec<(&'static str, String)>,
    pub stdin: Vec<u8>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}\n<<<{}>>>", self.env, self.stdin.escape_ascii())
    }
}

/// A right configuration for any plugin type. A `rich` one has everything that a caller may
/// send, but asks for more than there is; in a `delegated` one, addresses come from host-local.
fn right(version: &str, state: &str, rich: bool, delegated: bool) -> Value {
    let dns = json!({ "nameservers": ["10.1.0.1"], "domain": "d", "search": [], "options": [] });
    let routes = json!([{ "dst": "0.0.0.0/0", "gw": "10.1.0.1" }, { "dst": "::/0" }]);
    let earlier = if version < "0.3.0" {
        json!({ "cniVersion": version, "dns": dns,
            "ip4": { "ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{ "dst": "0.0.0.0/0" }] } })
    } else {
        json!({
            "cniVersion": version, "dns": dns, "routes": routes,
            "interfaces": [{ "name": "br0" }, { "name": "eth0", "mac": "02:00:00:00:00:07", "sandbox": "/n" }],
            "ips": [{ "version": "4", "interface": 1, "address": "10.1.0.5/16", "gateway": "10.1.0.1" }],
        })
    };
    let mut config = json!({
        "cniVersion": version, "name": "net", "type": "moat", "prevResult": earlier, "dns": dns,
        "bridge": "mtfuzz", "isGateway": true, "ipMasq": true, "mtu": 1400, "hairpinMode": false,
        "ingressPolicy": "open", "snat": true, "sysctl": {}, "promisc": false, "backend": "",
        "subnets": ["10.1.0.0/16", "fd01::/64"], "defaultPolicy": "isolated", "links": [],
        "ipam": {
            "type": "host-local", "dataDir": state, "routes": routes, "resolvConf": "",
            "ranges": [[{ "subnet": "10.1.0.0/16", "rangeStart": "10.1.0.2", "gateway": "10.1.0.1" }], [{ "subnet": "fd01::/64" }]],
            "addresses": [{ "address": "10.1.0.6/16", "gateway": "10.1.0.1" }],
        },
        "capabilities": { "portMappings": true, "ips": true },
        "args": { "cni": { "mac": "02:00:00:00:00:08", "labels": [{ "key": "a", "value": "b" }] } },
        "runtimeConfig": {
            "portMappings": [{ "HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": "" }],
            "mac": "02:00:00:00:00:09", "aliases": { "net": ["x"] },
            "dns": { "Servers": ["10.1.0.1"], "Searches": null, "Options": [] },
            "io.kubernetes.cri.pod-annotations": { "moat.dev/labels": "a=b" },
        },
        "cni.dev/valid-attachments": [{ "containerID": "c1", "ifname": "eth0" }],
    });
    if rich {
        config["ipam"]["routes"][1]["mtu"] = json!(1400);
        config["args"]["cni"]["ips"] = json!(["10.1.0.8"]);
        config["runtimeConfig"]["ips"] = json!(["10.1.0.9/16", "fd01::9"]);
        config["runtimeConfig"]["io.kubernetes.cri.pod-annotations"]["moat.dev/links"] = json!("db:5432/tcp");
        config["runtimeConfig"]["bandwidth"] =
            json!({ "ingressRate": 1000, "ingressBurst": 8000, "egressRate": 0, "egressBurst": 0 });
        config["runtimeConfig"]["ipRanges"] = json!([[{ "subnet": "10.1.0.0/16" }]]);
    }
    if !delegated {
        config["ipam"]["type"] = json!("");
    }
    config
}

/// A value for one variable, mostly right.
fn variable(right: String, wrong: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![28 => Just(right), 1 => wrong.prop_map(String::from), 1 => Just(String::new())]
}

/// `CNI_ARGS`.
fn args() -> impl Strategy<Value = String> {
    let pair = (
        "IP|MAC|GATEWAY|IgnoreUnknown|K8S_POD_NAME|[a-zA-Z=;]{0,3}",
        "1|true|10.1.0.7|02:00:00:00:00:06|fd01::7|.{0,5}",
    );
    let pair = pair.prop_map(|(k, v)| format!("{k}={v}"));
    let pairs = proptest::collection::vec(pair, 0..4).prop_map(|p| p.join(";"));
    prop_oneof![20 => Just("IgnoreUnknown=1;K8S_POD_NAME=p".to_owned()), 3 => pairs, 1 => ".{0,20}"]
}

/// Calls about the namespace at `netns`, whose state is kept below `state`.
pub fn cases(netns: &str, state: &str) -> impl Strategy<Value = Case> + use<> {
    let (netns, state) = (netns.to_owned(), state.to_owned());
    let verb = prop_oneof![28 => select(&VERBS[..]).prop_map(String::from), 1 => "[A-Z]{0,6}"];
    // Only the last has all verbs.
    let version = prop_oneof![1 => select(&VERSIONS[..]), 1 => Just("1.1.0")];
    let variables = (
        verb,
        variable("c1".into(), ".{0,80}"),
        variable(netns, ".{0,80}"),
        variable("eth0".into(), ".{0,20}"),
        args(),
    );
    (version, any::<[bool; 2]>(), spoil::spoiling(), variables).prop_map(
        move |(version, [rich, delegated], spoiling, variables)| {
            let (verb, container, netns, ifname, args) = variables;
            let env = [
                ("CNI_COMMAND", verb),
                ("CNI_CONTAINERID", container),
                ("CNI_NETNS", netns),
                ("CNI_IFNAME", ifname),
                ("CNI_ARGS", args),
            ];
            Case {
                // The environment of a process cannot hold a NUL.
                env: env.map(|(k, v)| (k, v.replace('\0', ""))).into(),
                stdin: spoiling.apply(right(version, &state, rich, delegated)),
            }
        },
    )
}
