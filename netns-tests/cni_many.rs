//! A hundred calls of the plugin at once, over four networks.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{self, Story, own};
use crate::net::Ns;
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[own("cni_many::hundred_at_once", hundred_at_once)];

const MANY: usize = 100;
const NETS: usize = 4;

/// The n-th attachment: on one of the networks, with a host port of its own.
fn conf(n: usize) -> Value {
    let net = n % NETS;
    json!({
        "cniVersion": "1.1.0", "name": format!("net{net}"), "type": "moat",
        "subnets": [format!("10.{}.0.0/24", 60 + net), format!("fd{}::/64", 60 + net)],
        "capabilities": {"portMappings": true},
        "runtimeConfig": {"portMappings": [{"hostPort": 20000 + n, "containerPort": 80, "protocol": "tcp"}]},
    })
}

fn call(w: &World, verb: &str, n: usize, netns: &str) -> Child {
    let mut c = Command::new(env!("CARGO_BIN_EXE_moat"));
    c.env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("MOAT_ROOT", &w.root)
        .env("MOAT_DATA", harness::dir().join("data"))
        .envs([
            ("CNI_COMMAND", verb),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/none"),
        ])
        .env("CNI_CONTAINERID", format!("c{n}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = c.spawn().expect("the plugin");
    let mut stdin = child.stdin.take().expect("stdin");
    stdin.write_all(conf(n).to_string().as_bytes()).expect("stdin");
    child
}

/// What it said on stdout; it must have succeeded.
#[track_caller]
fn end(child: Child) -> String {
    let out = child.wait_with_output().expect("the plugin ends");
    assert!(out.status.success(), "{out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn netns(n: usize) -> String {
    format!("/run/netns/c{n}")
}

/// Starts a verb about each of these at once. Every second DEL comes without namespace.
#[track_caller]
fn all(w: &World, calls: impl Iterator<Item = (&'static str, usize)>) -> Vec<String> {
    let begin = |(verb, n): (&'static str, usize)| {
        let named = verb != "DEL" || n % 2 == 1;
        call(w, verb, n, &if named { netns(n) } else { String::new() })
    };
    let children: Vec<Child> = calls.map(begin).collect();
    children.into_iter().map(end).collect()
}

/// How many elements a set or map has for containers; link-local ones are not theirs.
fn elements(at: &Ns, table: &str, set: &str) -> usize {
    let text = at.must(&format!(
        "nft -j list set {table} {set} || nft -j list map {table} {set}"
    ));
    let document: Value = serde_json::from_str(&text).expect("nft's JSON");
    let of = |o: &Value| {
        ["set", "map"]
            .iter()
            .find_map(|kind| o[*kind]["elem"].as_array().cloned())
    };
    let all = document["nftables"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(of)
        .flatten();
    all.filter(|e| !e.to_string().contains("fe80::")).count()
}

/// Records and kernel hold the same attachments, and these many.
#[track_caller]
fn counted(w: &World, count: usize) {
    w.is_clean();
    let known = w.json(&["ps", "-a"]).as_array().map_or(0, Vec::len);
    let router = fs::read_dir(&w.root)
        .expect("the root")
        .flatten()
        .map(|e| e.path().join("router"))
        .find(|p| p.exists());
    let router = Ns::at(router.expect("a router"), "lo");
    let tables = router.must("nft list tables");
    let bridge = tables
        .lines()
        .find_map(|l| l.strip_prefix("table ").filter(|t| t.starts_with("bridge")))
        .expect("a wall");
    let host = Ns::host().must("nft list tables");
    let out = host
        .lines()
        .find_map(|l| l.strip_prefix("table ").filter(|t| t.contains("out")))
        .expect("a way out");
    let ports = Ns::host();
    for (what, found) in [
        ("records", known),
        ("source4", elements(&router, bridge, "source4")),
        ("source6", elements(&router, bridge, "source6")),
        ("any4", elements(&ports, out, "any4")),
        ("any6", elements(&ports, out, "any6")),
    ] {
        assert_eq!(found, count, "{what}");
    }
}

fn hundred_at_once(mode: Mode) {
    let w = World::new(mode);
    Ns::host().must("mount -t tmpfs tmpfs /run && mkdir /run/netns");
    for n in 0..MANY {
        Ns::host().must(&format!("ip netns add c{n}"));
    }
    let results = all(&w, (0..MANY).map(|n| ("ADD", n)));
    let mut seen = BTreeSet::new();
    for text in &results {
        let result: Value = serde_json::from_str(text).expect("one JSON document");
        for ip in result["ips"].as_array().expect("addresses") {
            assert!(seen.insert(ip["address"].to_string()), "{} twice", ip["address"]);
        }
    }
    assert_eq!(seen.len(), 2 * MANY);
    counted(&w, MANY);
    // Half of them go while as many others come.
    let half = MANY / 2;
    all(&w, (0..half).map(|n| ("DEL", n)));
    counted(&w, half);
    let mixed = (0..MANY).map(|n| (if n < half { "ADD" } else { "DEL" }, n));
    all(&w, mixed);
    counted(&w, half);
    let said = all(&w, (0..MANY).map(|n| ("DEL", n)));
    assert!(said.iter().all(String::is_empty), "{said:?}");
    w.is_clean();
    assert_eq!(w.json(&["ps", "-a"]), json!([]));
    let left = Ns::host().must("nft list tables; ip -o link show type veth; ip rule | grep 520; true");
    assert_eq!(left, "", "nothing is left");
}
