//! Containers that `bridge` attached, in the commands: they have no wall, and nothing pretends that
//! they had one.

use serde_json::{Value, json};

use crate::chain::{Chain, bridge, container, prepare};
use crate::cni_chains::{NET4, NET6, net, web};
use crate::harness::{Story, own};
use crate::net::Ns;
use crate::world::{FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[
    own("bystanders::shown_with_what_holds", shown_with_what_holds),
    own("bystanders::walls_around_them", walls_around_them),
];

fn portmap() -> Value {
    json!({ "type": "portmap" })
}

/// In `ps`, `inspect`, `why`, `reach` and `graph`, each answer as real packets have it; links are
/// refused, with the way to get them.
fn shown_with_what_holds(_: Mode) {
    prepare();
    let w = World::new(Mode::Own);
    let mine = w.idle("mine", &[]);
    let chain = Chain::ours("pods", vec![net(), portmap()]);
    let (a, _b) = (container("a1"), container("b1"));
    let (in_a, in_b) = (chain.with(web()).add("a1"), chain.add("b1"));
    let ps = w.json(&["ps", "-a"]);
    let view = ps.as_array().unwrap().iter().find(|c| c["name"] == "cni:pods/a1");
    let view = view.unwrap_or_else(|| panic!("{ps}"));
    let facts = json!({ "id": "a1", "net": "pods", "status": "running", "without_wall_on": "cni0",
        "ips": [format!("{}/16", in_a.ip(4)), format!("{}/64", in_a.ip(6))] });
    for (key, fact) in facts.as_object().unwrap() {
        assert_eq!(&view[key], fact, "{view}");
    }
    assert_eq!(view["ports"].as_array().map(Vec::len), Some(2), "{view}");
    assert_eq!(w.json(&["inspect", "cni:pods/b1"])["port"], json!(in_b.port()));
    // As packets have it: open among themselves; the outside of those with a wall.
    let mine_at = mine.ip(4).to_owned();
    for (from, to, allowed) in [
        ("cni:pods/a1", "cni:pods/b1:80/tcp", true),
        ("cni:pods/a1", "mine:80/tcp", false),
        ("mine", "cni:pods/a1:80/tcp", true),
        ("cni:pods/a1", "host:22/tcp", true),
    ] {
        let out = w.moat(&["why", from, to]);
        assert_eq!(out.code, i32::from(!allowed), "{from} {to}: {out:?}");
    }
    let why = w.moat(&["why", "cni:pods/a1", "cni:pods/b1", "--probe"]);
    assert!(
        why.ok() && why.stdout.contains("open: bridge `cni0` has no walls"),
        "{why:?}"
    );
    for family in FAMILIES {
        assert!(a.pings(&in_b.ip(family)), "IPv{family}");
    }
    assert!(!a.pings(&mine_at) && mine.ns.pings(&in_a.ip(4)));
    let reach = w.moat(&["reach", "--probe", "--json"]);
    assert!(reach.ok(), "what is decided and what packets do: {reach:?}");
    assert!(reach.stdout.contains("cni:pods/a1"), "{reach:?}");
    let graph = w.ok(&["graph"]);
    assert!(
        graph.contains("(open: bridge cni0 has no walls of moat)"),
        "{graph}"
    );
    for (from, to) in [("cni:pods/a1", "mine"), ("mine", "cni:pods/a1:80"), ("a1", "b1")] {
        let out = w.moat(&["link", from, to]);
        let says = |word| out.stderr.contains(word);
        assert!(
            out.code == 2 && says("which has no walls of moat") && says("\"isolate\": true"),
            "{out:?}"
        );
    }
    assert_eq!(w.json(&["links"]), json!([]));
    assert_eq!(w.moat(&["rm", "-f", "cni:pods/a1"]).code, 2, "its runtime's");
    // Its namespace is gone, and DEL still to come.
    Ns::host().must("ip netns del b1");
    assert!(!w.ok(&["ps"]).contains("cni:pods/b1") && w.ok(&["ps", "-a"]).contains("cni:pods/b1"));
    chain.with(web()).del("a1", &in_a);
    chain.del_with("b1", Some(""), None);
    assert!(!w.ok(&["ps", "-a"]).contains("cni:pods"));
}

/// Isolated as their configuration asks for; and with mode `policy` they are as our own.
fn walls_around_them(_: Mode) {
    prepare();
    let w = World::new(Mode::Own);
    let mut first = net();
    first["moat"] = json!({ "isolate": true });
    let chain = Chain::ours("pods", vec![first]);
    let (a, _b) = (container("a1"), container("b1"));
    let (in_a, in_b) = (chain.add("a1"), chain.add("b1"));
    let why = w.moat(&["why", "cni:pods/a1", "cni:pods/b1", "--probe"]);
    assert!(why.code == 1 && why.stdout.contains("is isolated"), "{why:?}");
    // Another bridge without a policy is open to it, as the reference has it.
    let other = Chain::ours("others", vec![bridge("cni1", "10.89.0.0/16", "fd00:89::/64")]);
    let _c = container("c1");
    let in_c = other.add("c1");
    let why = w.moat(&["why", "cni:pods/a1", "cni:others/c1", "--probe"]);
    assert!(
        why.ok() && why.stdout.contains("the host routes between"),
        "{why:?}"
    );
    assert!(a.pings(&in_c.ip(4)) && !a.pings(&in_b.ip(4)));
    chain.del("a1", &in_a);
    chain.del("b1", &in_b);
    other.del("c1", &in_c);
    let walled = Chain::ours(
        "pods",
        vec![
            bridge("cni0", NET4, NET6),
            json!({ "type": "moat", "mode": "policy" }),
        ],
    );
    let (in_a, in_b) = (walled.add("a1"), walled.add("b1"));
    let names = |all: &Value| {
        let names = all.as_array().unwrap().iter();
        names.filter(|c| c["name"] == "cni:pods/a1").count()
    };
    let ps = w.json(&["ps", "-a"]);
    assert_eq!(names(&ps), 1, "once, though two plugins have it: {ps}");
    assert_eq!(w.moat(&["why", "cni:pods/a1", "cni:pods/b1"]).code, 1);
    w.ok(&["link", "cni:pods/a1", "cni:pods/b1"]);
    assert!(a.pings(&in_b.ip(4)) && a.pings(&in_b.ip(6)));
    walled.del("a1", &in_a);
    walled.del("b1", &in_b);
    w.is_clean();
}
