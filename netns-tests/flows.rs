//! What `moat flows` says of packets that pass, and of packets that do not.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Story, everywhere};
use crate::links::any;
use crate::net::{Running, until};
use crate::world::{FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[
    everywhere("flows::told_by_name_as_they_happen", told_by_name),
    everywhere("flows::a_listener_leaves_nothing", leaves_nothing),
];

const PATIENCE: Duration = Duration::from_secs(20);

/// `moat flows -f` that has begun to listen.
fn listen(w: &World) -> Running {
    Running::start(&mut w.command(&["flows", "-f", "--json"]), "listening")
}

/// The tables of listeners where packets are judged.
fn tables(w: &World) -> usize {
    let text = w.router().must("nft list tables");
    text.lines().filter(|l| l.contains("_flows_")).count()
}

#[track_caller]
fn told(listener: &Running, wanted: &[(&str, &str)]) -> Value {
    let mut found = Value::Null;
    let holds = until(PATIENCE, || {
        let text = listener.text();
        let events = text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let is = |e: &Value| {
            wanted.iter().all(|(key, value)| {
                let has = &e[*key];
                has.as_str().map_or_else(|| has.to_string(), ToOwned::to_owned) == *value
            })
        };
        found = events.into_iter().find(is).unwrap_or_default();
        !found.is_null()
    });
    assert!(holds, "nobody told of {wanted:?}:\n{}", listener.text());
    found
}

fn told_by_name(mode: Mode) {
    let w = World::new(mode);
    let (web, db) = (w.idle("web", &[]), w.idle("db", &[]));
    w.ok(&["link", "web", "db:5432/tcp"]);
    let listener = listen(&w);
    assert_eq!(tables(&w), 1);
    for family in FAMILIES {
        let _db = db.ns.serve("tcp", any(family), 5432);
        let kind = format!("ip{family}");
        let of = |verdict, port: &'static str, proto: &'static str| {
            [
                ("verdict", verdict),
                ("from", "web"),
                ("to", "db"),
                ("port", port),
                ("proto", proto),
            ]
        };
        assert!(web.ns.reaches("tcp", db.ip(family), 5432));
        let e = told(
            &listener,
            &[&of("allowed", "5432", "tcp")[..], &[("family", &kind)]].concat(),
        );
        assert_eq!(e["because"], "link web -> db 5432/tcp", "{e}");
        assert_eq!(
            (e["from_ip"].as_str(), e["to_ip"].as_str()),
            (Some(web.ip(family)), Some(db.ip(family)))
        );
        for (proto, port) in [("tcp", "81"), ("udp", "53")] {
            assert!(!web.ns.reaches(proto, db.ip(family), port.parse().unwrap()));
            let e = told(
                &listener,
                &[&of("denied", port, proto)[..], &[("family", &kind)]].concat(),
            );
            assert!(
                e["because"].as_str().unwrap().contains("opens 5432/tcp, not"),
                "{e}"
            );
        }
        assert!(!web.ns.pings(db.ip(family)));
        told(
            &listener,
            &[&of("denied", "null", "icmp")[..], &[("family", &kind)]].concat(),
        );
    }
    // One that came later, and what was closed meanwhile.
    let late = w.idle("late", &[]);
    assert!(!late.ns.reaches("tcp", &db.ip4, 5432));
    told(
        &listener,
        &[("verdict", "denied"), ("from", "late"), ("to", "db")],
    );
    w.ok(&["unlink", "web", "db:5432/tcp"]);
    assert!(!web.ns.reaches("tcp", &db.ip4, 5432));
    let closed = [("verdict", "denied"), ("from", "web"), ("port", "5432")];
    let e = told(&listener, &closed);
    assert_eq!(e["because"], "no link from `web` to `db`", "{e}");
    // Nothing that passed was called denied, and the other way round.
    let text = listener.text();
    for line in text.lines().filter(|l| !l.starts_with("listening")) {
        let e: Value = serde_json::from_str(line).unwrap();
        let text = e["because"].as_str().unwrap();
        assert!(!text.contains("otherwise"), "{e}");
    }
    // What is tracked without anybody listening.
    w.ok(&["link", "late", "db:5432/tcp"]);
    let _db = db.ns.serve("tcp", "0.0.0.0", 5432);
    assert!(late.ns.reaches("tcp", &db.ip4, 5432));
    let all = w.json(&["flows"]);
    let is = |c: &&Value| c["from"] == "late" && c["to"] == "db" && c["port"] == 5432;
    assert!(all.as_array().unwrap().iter().any(|c| is(&c)), "{all}");
}

/// However it ends, the kernel is as before, and no command takes the table for damage.
fn leaves_nothing(mode: Mode) {
    let w = World::new(mode);
    let web = w.idle("web", &[]);
    let before = w.router().must("nft list tables");
    let (first, second) = (listen(&w), listen(&w));
    // Several listen at once.
    assert_eq!(tables(&w), 2);
    w.is_clean();
    assert!(!web.ns.reaches("tcp", &w.idle("db", &[]).ip4, 80));
    for listener in [&first, &second] {
        told(listener, &[("verdict", "denied"), ("from", "web"), ("to", "db")]);
    }
    for (listener, signal) in [(&first, "-KILL"), (&second, "-INT")] {
        w.router().must(&format!("kill {signal} {}", listener.pid()));
    }
    assert!(until(PATIENCE, || tables(&w) == 0));
    assert_eq!(w.router().must("nft list tables"), before);
    w.is_clean();
    // With an end of its own; without containers there is nothing to tell.
    w.ok(&["rm", "-f", "--all"]);
    let out = w.moat(&["flows", "--for", "1s"]);
    assert!(out.ok() && out.stdout.is_empty(), "{out:?}");
}
