//! Who is who: names that resolve, addresses that pass on, and what `why` says of them.

use crate::harness::{Story, everywhere};
use crate::net::Ns;
use crate::walls::gateway_mac;
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    everywhere("names::while_linked", names),
    everywhere("names::a_reused_address", a_reused_address),
    everywhere("names::why_agrees_with_packets", why_agrees_with_packets),
];

/// A name's addresses, as a program in a container finds them. No name server answers here,
/// so none is waited for.
fn resolve(w: &World, who: &str, name: &str) -> Option<String> {
    let options = ["exec", "-e", "RES_OPTIONS=timeout:1 attempts:1"];
    let out = w.moat(&[&options[..], &[who, "getent", "ahosts", name]].concat());
    assert!([0, 2].contains(&out.code), "{out:?}");
    out.ok().then_some(out.stdout)
}

/// A name resolves in a container while it is linked to who bears it, and not otherwise.
fn names(mode: Mode) {
    let w = World::new(mode);
    w.idle("web", &[]);
    w.idle("db", &[]);
    w.idle("third", &[]);
    let knows = |who: &str, name: &str| resolve(&w, who, name).is_some();
    assert!(!knows("web", "db") && !knows("third", "db"));
    w.ok(&["link", "web", "db:5432/tcp"]);
    let answer = resolve(&w, "web", "db").expect("a linked name");
    let db = w.container("db");
    assert!(answer.contains(&db.ip4) && answer.contains(&db.ip6), "{answer}");
    assert!(!knows("db", "web") && !knows("third", "db") && !knows("web", "third"));
    w.ok(&["link", "web", "db:80/tcp"]);
    w.ok(&["unlink", "web", "db:5432/tcp"]);
    assert!(knows("web", "db"), "another link is left");
    w.ok(&["rm", "-f", "db"]);
    assert!(!knows("web", "db"), "after rm");
    w.idle("db", &[]);
    assert!(!knows("web", "db"), "a new container of the same name");
    w.ok(&["link", "web", "label:app=api"]);
    w.idle("api", &["--label", "app=api"]);
    assert!(knows("web", "api"), "a new container with the label");
    w.ok(&["unlink", "web", "label:app=api"]);
    assert!(!knows("web", "api"));
}

/// Who gets a dead container's address gets nothing else of it.
fn a_reused_address(mode: Mode) {
    let w = World::new(mode);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &["-p", "8080:80"]));
    w.ok(&["link", "a", "b"]);
    w.ok(&["link", "b", "a"]);
    let (ip4, ip6, mac) = (b.ip4.clone(), b.ip6.clone(), b.mac.clone());
    let server = b.ns.serve("udp", "::", 80);
    assert!(a.ns.reaches("udp", &ip4, 80) && a.ns.reaches("udp", &ip6, 80) && b.ns.pings(&a.ip4));
    assert!(a.ns.wire(&["call", "udp", &ip4, "80", "4444"]).ok());
    drop(server);
    w.ok(&["rm", "-f", "b"]);
    let c = w.idle("c", &["--ip", &ip4, "--ip6", &ip6, "--mac", &mac]);
    assert_eq!((&c.ip4, &c.ip6), (&ip4, &ip6));
    let _server = c.ns.serve("udp", "::", 80);
    // The router's own refusals are no packets of anybody's.
    let from = |ns: &Ns, ip4: &str, ip6: &str| {
        ns.capture(&format!("src {ip4} or src {ip6} or dst port 80 or dst port 4444"))
    };
    let (at_c, at_a) = (from(&c.ns, &a.ip4, &a.ip6), from(&a.ns, &ip4, &ip6));
    // The same tuple as the flow that was, and new ones, both ways and from the host.
    assert!(!a.ns.wire(&["call", "udp", &ip4, "80", "4444"]).ok());
    assert!(!a.ns.reaches("udp", &ip6, 80) && !a.ns.pings(&ip4));
    assert!(!c.ns.pings(&a.ip4) && !c.ns.pings(&a.ip6));
    let gate = gateway_mac(&c);
    c.ns.wire(&["emit", "eth0", &gate, &mac, "udp", &ip4, &a.ip4, "4444", "80"]);
    assert!(!Ns::host().reaches("udp", "127.0.0.1", 8080));
    at_c.nothing("at the new one");
    at_a.nothing("at the old one's peer");
    assert_eq!(resolve(&w, "a", "b"), None);
    assert_eq!(resolve(&w, "a", "c"), None);
    w.ok(&["link", "a", "c"]);
    assert!(a.ns.reaches("udp", &ip4, 80));
    at_c.something("linked");
}

/// What is decided is what packets do.
fn why_agrees_with_packets(mode: Mode) {
    let w = World::new(mode);
    for name in ["a", "b", "c"] {
        w.idle(name, &["--label", &format!("app={name}")]);
    }
    w.ok(&["link", "a", "b:5432/tcp"]);
    w.ok(&["link", "b", "c"]);
    w.ok(&["link", "label:app=c", "a:8000-8010/udp"]);
    for (from, to, allowed) in [
        ("a", "b:5432/tcp", true),
        ("a", "b:5433/tcp", false),
        ("a", "b:5432/udp", false),
        ("b", "a:5432/tcp", false),
        ("b", "c:1/tcp", true),
        ("b", "c:65535/udp", true),
        ("c", "b:1/tcp", false),
        ("c", "a:8000/udp", true),
        ("c", "a:8010/udp", true),
        ("c", "a:8011/udp", false),
        ("c", "a:8000/tcp", false),
        ("a", "c:80/tcp", false),
    ] {
        let out = w.moat(&["why", from, to, "--probe", "--json"]);
        let v: serde_json::Value =
            serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}"));
        assert_eq!(v["allowed"], allowed, "{from} -> {to}: {v}");
        assert_eq!(v["probe"]["reached"], allowed, "{from} -> {to}: {v}");
        assert_eq!(out.code, i32::from(!allowed), "{from} -> {to}");
    }
}
