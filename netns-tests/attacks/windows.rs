//! A12: while containers, links, networks and rules come and go, and moat is killed, somebody sends
//! without a pause to those who are here and to those who will be.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::lab::Lab;
use crate::harness::ARRIVED;
use crate::net::{Ns, until};
use crate::world::{Mode, World};

const FLOOD: &str = "mOaTf100d0";

/// On a plain bridge a container hears its neighbours from the moment in which it is plugged in.
pub fn open_on_a_bridge() {
    let mut lab = Lab::plain();
    let host = Ns::at("/run/netns/host", "br0");
    host.must("ip link set vvictim nomaster");
    lab.act("flood begins", 4, FLOOD);
    lab.seen();
    host.must("ip link set vvictim master br0");
    let heard = |lab: &mut Lab| lab.seen()[FLOOD].get("victim").is_some();
    assert!(until(Duration::from_secs(3), || heard(&mut lab)));
    lab.act("flood ends", 4, FLOOD);
}

pub fn every_change(mode: Mode) {
    if mode == Mode::Own {
        open_on_a_bridge();
    }
    let mut lab = Lab::walled(mode);
    lab.act("flood begins", 4, FLOOD);
    let w = lab.world.as_ref().expect("walls");
    for round in 0..2 {
        changes(w, &lab, round);
    }
    // A flush takes tables away one after the other.
    for _ in 0..8 {
        w.router().must("nft flush ruleset");
        w.ok(&["ps"]);
    }
    let answer = lab.act("flood ends", 4, FLOOD);
    let (sent, rate) = (&answer["got"][0], &answer["got"][1]);
    println!("{sent} frames, {rate} a second");
    assert!(sent.as_u64().is_some_and(|n| n > 20_000), "{answer}");
    lab.settle("mOaTf100e0");
    let seen = lab.seen();
    let places: Vec<&String> = seen[FLOOD]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, _)| k)
        .collect();
    // While the wall is flushed: what it took for the world goes as far as the host and no further, and
    // whoever a packet was forged as is told that it may not pass.
    let known = ["uplink", "friend-refused"];
    let inside: Vec<_> = places.iter().filter(|p| !known.contains(&p.as_str())).collect();
    assert!(inside.is_empty(), "{ARRIVED}{}", seen[FLOOD]);
    lab.tidy();
}

/// A container that counts what it is sent, from its first instruction.
fn listener<'a>(name: &'a str, ips: &'a [Value; 2]) -> Vec<&'a str> {
    let ip = |n: usize| ips[n].as_str().unwrap_or_default();
    vec![
        "run",
        "-d",
        "--name",
        name,
        "--ip",
        ip(0),
        "--ip6",
        ip(1),
        "--cap-add",
        "NET_RAW",
        "--net",
    ]
}

fn changes(w: &World, lab: &Lab, round: usize) {
    let ips = |role: &str| [lab.address(role, 4).into(), lab.address(role, 6).into()];
    let (next, yet) = (ips("next"), ips("later_yet"));
    let heard = "import socket\ns=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,socket.htons(3))\nprint('ready',flush=True)\n\
                 while True:\n d,w=s.recvfrom(2000)\n if b'mOaTf100d0' in d and w[2]!=4: print('heard',d[:60].hex(),flush=True)";
    let run = |name: &str, ips: &[Value; 2]| {
        w.ok(&[
            &listener(name, ips)[..],
            &[&w.net, "--", "/usr/bin/python3", "-c", heard],
        ]
        .concat());
        assert!(until(Duration::from_secs(5), || w
            .ok(&["logs", name])
            .contains("ready")));
    };
    run("n1", &next);
    w.ok(&["link", "n1", "victim:4001/udp"]);
    w.ok(&["link", "me", "witness:4001/udp"]);
    run("n2", &yet);
    w.ok(&["link", "victim", "n2"]);
    w.ok(&["unlink", "victim", "n2"]);
    w.ok(&["unlink", "me", "witness:4001/udp"]);
    w.ok(&["net", "create", "other", "--router", w.mode.word()]);
    // Rules are lost, a port's flag, a neighbour; commands die half-way.
    w.router().must("nft flush ruleset");
    w.ok(&["ps"]);
    for step in [3, 7, 11] {
        for command in [&["link", "friend", "n2:7/tcp"][..], &["rm", "-f", "n2"]] {
            let mut c: Command = w.command(command);
            c.env("MOAT_FAULT", format!("abort:{step}"));
            let _ = c.output();
        }
    }
    w.ok(&["ps"]);
    let logs = [w.moat(&["logs", "n1"]).stdout, w.moat(&["logs", "n2"]).stdout].concat();
    assert!(!logs.contains("heard"), "round {round}: {ARRIVED}{logs}");
    w.ok(&["net", "rm", "other"]);
    w.moat(&["rm", "-f", "n2"]);
    w.ok(&["rm", "-f", "n1"]);
    w.moat(&["fsck", "--fix"]);
}
