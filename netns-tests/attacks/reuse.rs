//! A10, A11: what is over stays over: unlinked flows, and containers that others succeed.

use std::time::Duration;

use super::lab::Lab;
use super::make::ARMED;
use super::talk::Talk;
use crate::harness;
use crate::isolation::PYTHON;
use crate::net::{Ns, until};
use crate::walls::{FROM_OTHERS, gateway_mac};
use crate::world::{FAMILIES, Mode, World};

/// The usual rules, `established accept` first, keep a flow alive whose permission is gone.
pub fn alive_by_the_usual_rules() {
    let lab = Lab::plain();
    let (host, lan) = (Ns::at("/run/netns/host", "br0"), Ns::at("/run/netns/lan", "lan0"));
    let victim = lab.person("victim");
    host.must(
        "nft 'table inet usual { chain forward { type filter hook forward priority 0; policy drop; \
         ct state established,related accept; iifname lan0 udp dport 4000 accept; }; }'",
    );
    for family in FAMILIES {
        let call = || {
            lan.wire(&["call", "udp", victim.ip(family), "4000", "5500", "1"])
                .ok()
        };
        assert!(call());
    }
    host.must("nft flush chain inet usual forward; nft add rule inet usual forward ct state established,related accept");
    for family in FAMILIES {
        assert!(
            lan.wire(&["call", "udp", victim.ip(family), "4000", "5500", "1"])
                .ok(),
            "kept alive"
        );
    }
}

/// A10: flows of every protocol end with their link, in both directions; the others live; a new link
/// is a new permission.
pub fn after_unlink(mode: Mode) {
    if mode == Mode::Own {
        alive_by_the_usual_rules();
    }
    let w = World::new(mode);
    let [a, b, c] = ["a", "b", "c"].map(|n| w.idle(n, &[]));
    let gate = gateway_mac(&a);
    for family in FAMILIES {
        w.ok(&["link", "a", "b"]);
        w.ok(&["link", "a", "c"]);
        let kinds = ["udp", "echo", "sctp", "tcp"];
        let ask = |to: &str, kind: &str| {
            a.ns.wire(&["emit", "eth0", &gate, &a.mac, kind, a.ip(family), to])
        };
        let answer = |kind: &str| {
            b.ns.wire(&["emit", "eth0", &gate, &b.mac, kind, b.ip(family), a.ip(family)])
        };
        for kind in kinds {
            let seen = b.ns.capture(FROM_OTHERS);
            ask(b.ip(family), kind);
            seen.something(kind);
        }
        w.ok(&["unlink", "a", "b"]);
        // What the gateway says to whom it refuses is no packet of the other's.
        let of = |whom: &str| format!("src {whom}");
        let (at_a, at_b) = (a.ns.capture(&of(b.ip(family))), b.ns.capture(&of(a.ip(family))));
        for kind in kinds {
            ask(b.ip(family), kind);
            answer(kind);
        }
        at_b.nothing("of an unlinked flow");
        at_a.nothing("of the answers of one");
        let other = c.ns.capture(FROM_OTHERS);
        ask(c.ip(family), "udp");
        other.something("the other link lives");
        w.ok(&["link", "a", "b:4000/udp"]);
        let seen = b.ns.capture("udp");
        ask(b.ip(family), "udp");
        seen.something("linked again");
        w.ok(&["unlink", "a", "b:4000/udp"]);
        w.ok(&["unlink", "a", "c"]);
    }
    w.is_clean();
}

/// Gives its raw socket away and waits.
const GIVER: &str = "
import socket, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
while True:
    u = socket.socket(socket.AF_UNIX)
    try: u.connect('/mnt/v/give'); break
    except OSError: time.sleep(0.02)
socket.send_fds(u, [b'x'], [s.fileno()])
print('given', flush=True)
time.sleep(1000)
";

/// Takes it, and sends by it whatever frame it is told.
const TAKER: &str = "
import socket, sys, json
u = socket.socket(socket.AF_UNIX); u.bind(sys.argv[1] + '/give'); u.listen(1)
c, _ = u.accept()
_, fds, _, _ = socket.recv_fds(c, 10, 1)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0, fds[0])
for line in sys.stdin:
    n = 0
    for _ in range(20):
        try: n += bool(s.send(bytes.fromhex(line.strip())))
        except OSError as e: pass
    print(json.dumps(n), flush=True)
";

fn frame(from: (&str, &str), to: (&str, &str), family: u8) -> String {
    let line = format!(
        "from scapy.all import *; print(bytes(Ether(src='{}',dst='{}')/{}(src='{}',dst='{}')/UDP(sport=4000,dport=4000)/b'mOaT00aaaa').hex())",
        from.0,
        to.0,
        if family == 4 { "IP" } else { "IPv6" },
        from.1,
        to.1
    );
    Ns::host()
        .must(&format!("{PYTHON} -c \"{line}\""))
        .trim()
        .to_owned()
}

/// A namespace outlives `ip netns del` while somebody has a socket of it, and its port lives on.
fn sends_after_death() {
    let lab = Lab::plain();
    let dir = harness::dir().join("plain-give");
    std::fs::create_dir_all(&dir).expect("room");
    let dir = dir.display().to_string();
    let mut taker = Talk::start(std::process::Command::new(PYTHON).args(["-uc", TAKER, &dir]));
    let (friend, victim) = (lab.person("friend"), lab.person("victim"));
    let giver = GIVER.replace("/mnt/v", &dir).replace("time.sleep(1000)", "");
    let out = friend.ns.sh(&format!("{PYTHON} -c \"{giver}\""));
    assert!(out.ok(), "{out:?}");
    Ns::host().must("ip netns del friend");
    let seen = victim.ns.capture("udp port 4000");
    taker.ask(&frame((&friend.mac, &friend.ip4), (&victim.mac, &victim.ip4), 4));
    seen.something("from the dead");
}

/// A11: a name, addresses, a MAC and a published port change hands, and a socket of the dead one is
/// still held: no link, no flow, no frame goes over.
pub fn succession(mode: Mode) {
    if mode == Mode::Own {
        sends_after_death();
    }
    let w = World::new(mode);
    let dir = harness::dir().join("give");
    std::fs::create_dir_all(&dir).expect("room");
    let volume = format!("{}:/mnt/v", dir.display());
    let victim = w.idle("victim", &[]);
    let _server = victim.ns.serve("udp", "::", 4000);
    let mut taker = Talk::start(&mut w.command(&[
        "run", "-i", "--name", "x", "-v", &volume, "--net", &w.net, "--", PYTHON, "-uc", TAKER, "/mnt/v",
    ]));
    let options = [
        &ARMED[..],
        &["-v", &volume, "-p", "8080:80", "--link", "victim:4000/udp"],
    ]
    .concat();
    let old = w.run_d("c", &options, &[PYTHON, "-uc", GIVER]);
    assert!(until(Duration::from_secs(10), || w
        .ok(&["logs", "c"])
        .contains("given")));
    for family in FAMILIES {
        assert!(
            old.ns
                .wire(&["call", "udp", victim.ip(family), "4000", "4000", "2"])
                .ok()
        );
    }
    let gate = gateway_mac(&old);
    w.ok(&["rm", "-f", "c"]);
    let new = w.idle("c", &["--ip", &old.ip4, "--ip6", &old.ip6, "--mac", &old.mac]);
    let of = |ip4: &str, ip6: &str| format!("src {ip4} or src {ip6}");
    let at_victim = victim.ns.capture(&of(&old.ip4, &old.ip6));
    let at_new = new.ns.capture(&of(&victim.ip4, &victim.ip6));
    for family in FAMILIES {
        for to in [&gate, &victim.mac, &new.mac] {
            taker.ask(&frame(
                (&old.mac, old.ip(family)),
                (to, victim.ip(family)),
                family,
            ));
        }
        assert!(
            !new.ns
                .wire(&["call", "udp", victim.ip(family), "4000", "4000", "0.3"])
                .ok()
        );
        // Its answers do not come either, to a flow that was open.
        victim.ns.wire(&[
            "emit",
            "eth0",
            &gate,
            &victim.mac,
            "udp",
            victim.ip(family),
            new.ip(family),
        ]);
    }
    at_victim.nothing("from the dead one's socket, or its successor");
    at_new.nothing("for the dead one");
    assert_eq!(w.json(&["links"]).as_array().map(Vec::len), Some(0));
    let ports = &w.json(&["inspect", "c"])["ports"];
    assert!(ports.as_array().is_none_or(Vec::is_empty), "{ports}");
    assert!(!w.exec("x", &["getent", "hosts", "c"]).ok());
    w.ok(&["rm", "-f", "x"]);
    drop(taker);
    w.is_clean();
}
