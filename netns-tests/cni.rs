//! Containers that came through CNI: the walls hold for them, and nothing of them stays.

use serde_json::{Value, json};

use crate::harness::{self, Story, own};
use crate::links::any;
use crate::net::{Ns, Out, until};
use crate::pods::{Call, Pod, conf};
use crate::world::{FAMILIES, Mode, Neighbour, World};

pub const STORIES: &[Story] = &[
    own("cni::closed_until_linked", closed_until_linked),
    own("cni::with_our_own_containers", with_our_own_containers),
    own("cni::open_inside", open_inside),
    own("cni::ports_and_the_way_out", ports_and_the_way_out),
    own("cni::labels_and_annotations", labels_and_annotations),
    own("cni::refusals_change_nothing", refusals_change_nothing),
    own("cni::del_needs_nothing", del_needs_nothing),
    own("cni::gc_and_status", gc_and_status),
    own("cni::the_dead_make_room", the_dead_make_room),
    own("cni::a_delegate_gives_addresses", a_delegate_gives_addresses),
    own("cni::many_at_once", many_at_once),
    own("cni::two_interfaces", two_interfaces),
    own("cni::rates", rates),
    own("cni::check_finds_what_is_missing", check_finds_what_is_missing),
];

fn plain() -> Value {
    conf(&json!({}))
}

/// Every protocol, both families, both directions; then one port of one direction.
fn closed_until_linked(mode: Mode) {
    let w = World::new(mode);
    let before = w.moment();
    let (a, b) = (w.pod("a", &plain()), w.pod("b", &plain()));
    w.is_clean();
    for family in FAMILIES {
        let _tcp = b.ns.serve("tcp", any(family), 80);
        let _udp = b.ns.serve("udp", any(family), 53);
        let closed = |from: &Pod, to: &Pod| {
            let ip = to.ip(family);
            !from.ns.pings(ip) && !from.ns.reaches("tcp", ip, 80) && !from.ns.reaches("udp", ip, 53)
        };
        let seen = b.ns.capture(&format!("src host {}", a.ip(family)));
        assert!(closed(&a, &b) && closed(&b, &a), "IPv{family}: before the link");
        seen.nothing("before the link");
        w.ok(&["link", "a", "b:80/tcp"]);
        assert!(a.ns.reaches("tcp", b.ip(family), 80), "IPv{family}: linked");
        assert!(!a.ns.reaches("udp", b.ip(family), 53) && !b.ns.pings(a.ip(family)));
        assert!(w.moat(&["why", "a", "b:80/tcp", "--probe"]).ok());
        assert_eq!(w.moat(&["why", "b", "a:80/tcp", "--probe"]).code, 1);
        w.ok(&["unlink", "a", "b:80/tcp"]);
        assert!(closed(&a, &b), "IPv{family}: unlinked");
    }
    w.gone(&a, &plain());
    w.is_clean();
    w.gone(&b, &plain());
    w.comes_to_be(&[&before], "after both are gone");
}

/// A link joins a container of ours and one of another runtime, and gives it a name.
fn with_our_own_containers(mode: Mode) {
    let w = World::new(mode);
    let db = w.pod("db", &plain());
    let web = w.idle("web", &[]);
    for family in FAMILIES {
        let _tcp = db.ns.serve("tcp", any(family), 5432);
        assert!(!web.ns.reaches("tcp", db.ip(family), 5432), "before the link");
    }
    assert!(!w.exec("web", &["getent", "hosts", "db"]).ok());
    w.ok(&["link", "web", "db:5432"]);
    for family in FAMILIES {
        let _tcp = db.ns.serve("tcp", any(family), 5432);
        assert!(web.ns.reaches("tcp", db.ip(family), 5432), "after the link");
    }
    assert!(w.exec("web", &["getent", "hosts", "db"]).ok());
    let all = w.json(&["ps", "-a"]);
    let one = all
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["name"] == "cni:pods/db");
    assert_eq!(one.unwrap()["status"], "running");
    assert_eq!(w.json(&["inspect", "db"])["name"], "cni:pods/db");
    let out = w.moat(&["rm", "db"]);
    assert!(out.code == 2 && out.stderr.contains("runtime"), "{out:?}");
    w.gone(&db, &plain());
    assert!(!w.exec("web", &["getent", "hosts", "db"]).ok());
    assert_eq!(w.json(&["links"]), json!([]));
    w.is_clean();
}

/// `open`: all of the network, and nobody of another.
fn open_inside(mode: Mode) {
    let w = World::new(mode);
    let open = conf(&json!({ "defaultPolicy": "open" }));
    let other = conf(&json!({
        "name": "others", "subnets": ["10.89.0.0/24", "fd00:89::/64"], "defaultPolicy": "open",
    }));
    let (a, b, c) = (w.pod("a", &open), w.pod("b", &open), w.pod("c", &other));
    for family in FAMILIES {
        assert!(
            a.ns.pings(b.ip(family)) && b.ns.pings(a.ip(family)),
            "IPv{family}"
        );
        let _tcp = b.ns.serve("tcp", any(family), 80);
        assert!(a.ns.reaches("tcp", b.ip(family), 80));
        assert!(
            !c.ns.pings(b.ip(family)) && !a.ns.pings(c.ip(family)),
            "IPv{family}"
        );
    }
    assert!(w.moat(&["why", "a", "b"]).ok());
    assert_eq!(w.moat(&["why", "a", "c"]).code, 1);
    w.is_clean();
    for (pod, conf) in [(a, &open), (b, &open), (c, &other)] {
        w.gone(&pod, conf);
    }
    w.is_clean();
}

/// Published ports, masquerade or not, and no way out at all.
fn ports_and_the_way_out(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let map = |port: u16, ip: &str| json!({ "HostPort": port, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ip });
    let a = w.pod("a", &conf(&json!({
        "runtimeConfig": { "portMappings": [map(8080, ""), map(8081, "192.168.50.1"), map(8082, "0.0.0.0")] },
    })));
    let bare = conf(&json!({ "name": "bare", "subnets": ["10.89.0.0/24", "fd00:89::/64"], "ipMasq": false }));
    let b = w.pod("b", &bare);
    let inner =
        conf(&json!({ "name": "inner", "subnets": ["10.90.0.0/24", "fd00:90::/64"], "internal": true }));
    let c = w.pod("c", &inner);
    for family in FAMILIES {
        let _tcp = a.ns.serve("tcp", any(family), 80);
        let host = Neighbour::host(family);
        assert!(lan.ns.reaches("tcp", host, 8080) && Ns::host().reaches("tcp", host, 8080));
        assert_eq!(lan.ns.reaches("tcp", host, 8081), family == 4, "on one address");
        assert_eq!(
            lan.ns.reaches("tcp", host, 8082),
            family == 4,
            "on every address of one family"
        );
        let there = Neighbour::ip(family);
        for (pod, source) in [(&a, host), (&b, b.ip(family))] {
            let seen = lan.ns.capture(&format!("src host {source}"));
            pod.ns.pings(there);
            seen.something("the way out");
        }
        assert!(a.ns.pings(there) && !c.ns.pings(there), "IPv{family}");
    }
    let taken = w.add(
        &Pod::new("d"),
        &conf(&json!({ "runtimeConfig": { "portMappings": [map(8080, "")] } })),
    );
    w.refuses(&taken, 101);
    let _listener = Ns::host().serve("tcp", "192.168.50.1", 9090);
    let taken = w.add(
        &Pod::new("e"),
        &conf(&json!({ "runtimeConfig": { "portMappings": [map(9090, "")] } })),
    );
    w.refuses(&taken, 101);
    w.is_clean();
}

/// Labels and links that come with the pod, and links of the configuration.
fn labels_and_annotations(mode: Mode) {
    let w = World::new(mode);
    let links = json!([{ "from": "label:app=web", "to": "label:app=db", "port": "80/tcp" }]);
    let labelled = |app: &str, more: Value| {
        let mut annotations = json!({ "moat.dev/labels": format!("app={app},tier=x") });
        for (k, v) in more.as_object().into_iter().flatten() {
            annotations[k] = v.clone();
        }
        conf(
            &json!({ "links": links, "runtimeConfig": { "io.kubernetes.cri.pod-annotations": annotations } }),
        )
    };
    let db = w.pod("db", &labelled("db", json!({})));
    let web = w.pod("web", &labelled("web", json!({})));
    let probe = w.pod(
        "probe",
        &labelled(
            "probe",
            json!({ "moat.dev/links": "db:81/tcp,label:app=web:icmp" }),
        ),
    );
    for family in FAMILIES {
        let _tcp = db.ns.start(&["serve", "tcp", any(family), "80-81"]);
        let reached = |from: &Pod, port| from.ns.reaches("tcp", db.ip(family), port);
        assert!(reached(&web, 80) && !reached(&web, 81), "by label");
        assert!(reached(&probe, 81) && !reached(&probe, 80), "by annotation");
        assert!(probe.ns.pings(web.ip(family)) && !web.ns.pings(probe.ip(family)));
    }
    let wrong = labelled("x", json!({ "moat.dev/links": "nobody:81" }));
    w.refuses(&w.add(&Pod::new("x"), &wrong), 103);
    w.is_clean();
    for pod in [&probe, &web, &db] {
        w.gone(pod, &plain());
    }
    assert_eq!(w.json(&["links"]), json!([]), "they go with the network");
}

/// Each refusal has its code and leaves everything as it was.
fn refusals_change_nothing(mode: Mode) {
    let w = World::new(mode);
    let a = w.pod("a", &plain());
    let (b, full) = (
        Pod::new("b"),
        conf(&json!({ "name": "full", "subnets": ["10.91.0.0/30"] })),
    );
    let _only = w.pod("only", &full);
    let before = w.moment();
    let with = |more: Value| w.add(&b, &conf(&more));
    w.refuses(
        &with(json!({ "runtimeConfig": { "ips": [format!("{}/24", a.ip4)] } })),
        7,
    );
    w.refuses(&with(json!({ "runtimeConfig": { "ips": ["10.88.0.1"] } })), 7);
    w.refuses(&with(json!({ "runtimeConfig": { "ips": ["10.99.0.7"] } })), 7);
    w.refuses(&with(json!({ "subnets": ["10.77.0.0/24"] })), 7);
    w.refuses(&with(json!({ "name": "x", "subnets": ["10.88.0.0/16"] })), 7);
    w.refuses(&with(json!({ "internal": true })), 7);
    w.refuses(&with(json!({ "defaultPolicy": "kubernetes", "name": "k" })), 7);
    w.refuses(&with(json!({ "mtu": "x" })), 7);
    w.refuses(&with(json!({ "mode": "other" })), 2);
    w.refuses(&with(json!({ "mode": "policy" })), 7);
    w.refuses(&w.add(&b, &full), 100);
    w.refuses(&w.add(&a, &plain()), 4);
    let lost = Pod {
        netns: "/run/nowhere".to_owned(),
        ..b.clone()
    };
    w.refuses(&w.add(&lost, &plain()), 4);
    b.ns.must("ip link add eth0 type veth peer name other");
    w.refuses(&w.add(&b, &plain()), 4);
    assert_eq!(b.ifaces(), ["other", "eth0"], "what was there stays");
    w.comes_to_be(&[&before], "after refusals");
    w.is_clean();
}

/// DEL: without namespace, twice, never attached, with another configuration, a record that
/// cannot be read, and after all state was deleted.
fn del_needs_nothing(mode: Mode) {
    let w = World::new(mode);
    let keeper = w.pod("keeper", &plain());
    let before = w.moment();
    let ways: [&dyn Fn(&Pod) -> Out; 5] = [
        &|p| w.del(&p.id, "", &plain()),
        &|p| w.del(&p.id, "/run/nowhere", &plain()),
        &|p| {
            w.del(
                &p.id,
                &p.netns,
                &conf(&json!({ "subnets": ["10.1.0.0/16"], "internal": true })),
            )
        },
        &|p| {
            let db = rusqlite::Connection::open(w.dir().join("state.db")).unwrap();
            db.execute("UPDATE attachments SET record='{' WHERE container=?1", [&p.id])
                .unwrap();
            w.del(&p.id, "", &plain())
        },
        &|p| {
            p.end();
            w.del(&p.id, &p.netns, &plain())
        },
    ];
    for (n, way) in ways.iter().enumerate() {
        let pod = w.pod(&format!("p{n}"), &plain());
        for turn in ["first", "second"] {
            let out = if turn == "first" {
                way(&pod)
            } else {
                w.del(&pod.id, "", &plain())
            };
            assert!(out.ok() && out.stdout.is_empty(), "way {n}, {turn}: {out:?}");
        }
        if n < 4 {
            assert!(pod.ifaces().is_empty(), "way {n}");
        }
        w.is_clean();
        w.comes_to_be(&[&before], &format!("way {n}"));
    }
    // Nothing is known any more: what is there is nobody's, and goes.
    Ns::host().must(&format!("rm -r {}/state.db*", w.dir().display()));
    assert!(w.del(&keeper.id, "", &plain()).ok());
    w.is_clean();
    // It goes with the router's namespace, which the kernel takes down a moment later.
    let gone = || keeper.ifaces().is_empty();
    assert!(
        until(std::time::Duration::from_secs(1), gone),
        "after the state was deleted"
    );
}

fn gc_and_status(mode: Mode) {
    let w = World::new(mode);
    let call = |verb, conf: &Value| {
        w.plugin(
            Call {
                verb,
                ..Call::default()
            },
            conf,
        )
    };
    let gc = |valid: Value| call("GC", &conf(&json!({ "cni.dev/valid-attachments": valid })));
    let other = conf(&json!({ "name": "others", "subnets": ["10.89.0.0/29"] }));
    let kept = w.pod("kept", &other);
    let before = w.moment();
    let (a, b) = (w.pod("a", &plain()), w.pod("b", &plain()));
    w.refuses(&call("GC", &plain()), 7);
    assert_eq!(
        w.json(&["ps"]).as_array().unwrap().len(),
        3,
        "without the key nothing goes"
    );
    assert!(gc(json!([{ "containerID": "a", "ifname": "eth0" }])).ok());
    assert!(b.ifaces().is_empty() && a.ifaces() == ["eth0"], "a subset");
    w.is_clean();
    let out = gc(Value::Null);
    assert!(
        out.ok() && out.stdout.is_empty() && a.ifaces().is_empty(),
        "{out:?}"
    );
    assert_eq!(kept.ifaces(), ["eth0"], "another network");
    w.comes_to_be(&[&before], "after GC");
    assert!(call("STATUS", &other).ok() && call("STATUS", &plain()).ok());
    for n in 0..4 {
        w.pod(&format!("more{n}"), &other);
    }
    w.refuses(&call("STATUS", &other), 50);
    w.refuses(&w.add(&Pod::new("last"), &other), 100);
}

/// Whose namespace is gone gives its address up before a pool is said to be exhausted.
fn the_dead_make_room(mode: Mode) {
    let w = World::new(mode);
    let small = conf(&json!({ "subnets": ["10.91.0.0/30"] }));
    let first = w.pod("first", &small);
    w.refuses(&w.add(&Pod::new("second"), &small), 100);
    first.end();
    let third = w.pod("third", &small);
    assert_eq!(third.ip4, first.ip4);
    assert!(w.del("first", "", &small).ok());
    assert_eq!(third.ifaces(), ["eth0"], "DEL of the first is not of the third");
    w.is_clean();
}

/// A plugin that gives addresses and writes down how it was called.
const STUB: &str = r#"#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID" >> "$0.log"; cat > /dev/null
[ -e "$0.fails" ] && [ "$CNI_COMMAND" = ADD ] && { echo '{"code": 77, "msg": "no"}'; exit 1; }
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.1.0","ips":[{"address":"10.92.0.9/24","gateway":"10.92.0.254"}],
 "routes":[{"dst":"198.51.100.0/24"}]}'
exit 0
"#;

fn a_delegate_gives_addresses(mode: Mode) {
    let w = World::new(mode);
    let before = w.moment();
    let stub = harness::dir().join("stub");
    std::fs::write(&stub, STUB).unwrap();
    Ns::host().must(&format!("chmod +x {}", stub.display()));
    let log = || std::fs::read_to_string(stub.with_extension("log")).unwrap_or_default();
    let mut with = conf(&json!({ "ipam": { "type": "stub" } }));
    with.as_object_mut().unwrap().remove("subnets");
    let a = w.pod("a", &with);
    assert_eq!(a.ip4, "10.92.0.9");
    let routes = a.ns.must("ip route");
    assert!(
        routes.contains("default via 10.92.0.254") && routes.contains("198.51.100.0/24 via"),
        "{routes}"
    );
    w.is_clean();
    // The same address again: refused, and given back.
    w.refuses(&w.add(&Pod::new("b"), &with), 7);
    assert_eq!(log(), "ADD a\nADD b\nDEL b\n");
    // DEL goes by what was recorded, whatever the configuration says now.
    w.gone(&a, &plain());
    assert!(log().ends_with("DEL a\n"));
    // It is the authority: a family that it gives no address of has none.
    let both = conf(&json!({ "ipam": { "type": "stub" }, "subnets": ["10.92.0.0/24", "fd00:92::/64"] }));
    let d = Pod::new("d");
    assert!(w.add(&d, &both).ok());
    let inside = d.ns.must("ip -o addr show dev eth0 scope global");
    assert!(
        inside.contains("10.92.0.9/") && !inside.contains("inet6"),
        "{inside}"
    );
    w.is_clean();
    w.gone(&d, &both);
    std::fs::write(stub.with_extension("fails"), "").unwrap();
    w.refuses(&w.add(&Pod::new("c"), &with), 77);
    assert!(log().ends_with("ADD c\nDEL c\n"));
    w.is_clean();
    for file in ["stub", "stub.log", "stub.fails"] {
        let _ = std::fs::remove_file(harness::dir().join(file));
    }
    w.comes_to_be(&[&before], "after the delegate");
}

/// Forty at once, of two networks; no address twice, nothing left.
fn many_at_once(mode: Mode) {
    let w = World::new(mode);
    let before = w.moment();
    let confs = [
        plain(),
        conf(&json!({ "name": "others", "subnets": ["10.89.0.0/24", "fd00:89::/64"] })),
    ];
    let pods: Vec<Pod> = (0..40).map(|n| Pod::new(&format!("p{n}"))).collect();
    let all = |f: &(dyn Fn(&Pod, &Value) -> Out + Sync)| {
        std::thread::scope(|s| {
            for (n, pod) in pods.iter().enumerate() {
                let conf = &confs[n % 2];
                s.spawn(move || {
                    let out = f(pod, conf);
                    assert!(out.ok(), "{}: {out:?}", pod.id);
                });
            }
        });
    };
    all(&|pod, conf| w.add(pod, conf));
    let ps = w.json(&["ps"]);
    let mut ips: Vec<String> = ps
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["ips"].to_string())
        .collect();
    ips.sort();
    ips.dedup();
    assert_eq!(ips.len(), 40);
    w.is_clean();
    all(&|pod, conf| w.del(&pod.id, "", conf));
    w.is_clean();
    w.comes_to_be(&[&before], "after all are gone");
}

/// Two networks in one namespace: the first leads out, the second to its own.
fn two_interfaces(mode: Mode) {
    let w = World::new(mode);
    let open = conf(&json!({ "defaultPolicy": "open" }));
    let second = conf(
        &json!({ "name": "second", "subnets": ["10.89.0.0/24", "fd00:89::/64"], "defaultPolicy": "open" }),
    );
    let a = w.pod("a", &open);
    let b = w.pod("b", &second);
    let mut c = w.command(&[]);
    c.env("CNI_COMMAND", "ADD")
        .env("CNI_PATH", "/")
        .env("CNI_CONTAINERID", "a");
    c.env("CNI_IFNAME", "net1").env("CNI_NETNS", &a.netns);
    let file = harness::dir().join("second.json");
    std::fs::write(&file, second.to_string()).unwrap();
    let out = c.stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    for family in FAMILIES {
        assert!(a.ns.pings(b.ip(family)), "IPv{family}: by the second interface");
        let routes = a.ns.must(&format!("ip -{family} route show default"));
        assert!(routes.lines().count() == 1 && routes.contains("eth0"), "{routes}");
    }
    w.is_clean();
    assert!(w.del("a", "", &open).ok());
    assert_eq!(a.ifaces(), ["net1"]);
    w.is_clean();
}

/// Both directions are limited, and nothing of that stays.
fn rates(mode: Mode) {
    let w = World::new(mode);
    let keeper = w.pod("keeper", &plain());
    let before = w.moment();
    let limits = json!({ "ingressRate": 8_000_000, "ingressBurst": 80_000,
                         "egressRate": 16_000_000, "egressBurst": 160_000 });
    let slow = conf(&json!({ "runtimeConfig": { "bandwidth": limits } }));
    let a = w.pod("a", &slow);
    let router = Ns::at(w.dir().join("router"), "lo");
    let qdiscs = router.must("tc qdisc show");
    assert!(
        qdiscs.contains("rate 8Mbit") && qdiscs.contains("rate 16Mbit"),
        "{qdiscs}"
    );
    w.is_clean();
    w.gone(&a, &slow);
    assert!(!router.must("tc qdisc show").contains("tbf"));
    w.comes_to_be(&[&before], "after DEL");
    w.gone(&keeper, &plain());
}

/// CHECK after ADD, and after each of several things was taken away.
fn check_finds_what_is_missing(mode: Mode) {
    let w = World::new(mode);
    let a = Pod::new("a");
    let result: Value = serde_json::from_str(&w.add(&a, &plain()).stdout).unwrap();
    let check = |result: &Value| {
        let call = Call {
            verb: "CHECK",
            id: &a.id,
            netns: &a.netns,
            ..Call::default()
        };
        w.plugin(call, &conf(&json!({ "prevResult": result })))
    };
    let out = check(&result);
    assert!(out.ok() && out.stdout.is_empty(), "{out:?}");
    a.ns.must("ip link set eth0 address 02:00:00:00:00:99; ip route add 203.0.113.0/24 dev eth0");
    assert!(check(&result).ok(), "others may change the MAC and add routes");
    let mut other = result.clone();
    other["ips"][0]["address"] = json!("10.88.0.77/24");
    w.refuses(&check(&other), 7);
    let limited = json!({ "ingressRate": 8_000_000, "ingressBurst": 80_000 });
    let more = conf(&json!({ "prevResult": result, "runtimeConfig": { "bandwidth": limited } }));
    let call = Call {
        verb: "CHECK",
        id: &a.id,
        netns: &a.netns,
        ..Call::default()
    };
    w.refuses(&w.plugin(call, &more), 7);
    a.ns.must("ip addr flush dev eth0");
    w.refuses(&check(&result), 7);
    assert!(w.moat(&["fsck", "--fix"]).ok());
    assert!(check(&result).ok(), "mended");
    w.gone(&a, &plain());
    w.refuses(&check(&result), 3);
}
