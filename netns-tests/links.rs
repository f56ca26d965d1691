//! What a link opens, and only that.

use std::time::Duration;

use crate::harness::{Story, dir, everywhere, own};
use crate::net::{Ns, until};
use crate::walls::{FROM_OTHERS, gateway_mac};
use crate::world::{FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[
    everywhere("links::one_port_one_direction", one_port_one_direction),
    everywhere("links::every_kind_of_service", every_kind_of_service),
    everywhere("links::labels", labels),
    own("links::expire", expire),
    everywhere("links::to_the_host", to_the_host),
    everywhere("links::out_of_an_internal_network", out_of_an_internal_network),
    everywhere("links::matrix", matrix),
];

/// The matrix says of every pair, port and family what packets do; probes that go both ways
/// at once are not taken for each other.
fn matrix(mode: Mode) {
    let world = World::new(mode);
    for name in ["a", "b", "c"] {
        world.idle(name, &[]);
    }
    world.ok(&["link", "a", "b:5432/tcp"]);
    world.ok(&["link", "b", "c"]);
    world.ok(&["link", "c", "a:53/udp"]);
    let open = [
        ("a", "b", "5432/tcp"),
        ("b", "c", "5432/tcp"),
        ("b", "c", "53/udp"),
        ("b", "c", "icmp"),
        ("c", "a", "53/udp"),
    ];
    let found = world.json(&["reach", "--probe"]);
    let cells = found["cells"].as_array().expect("cells");
    // Six ordered pairs, three services, two families.
    assert_eq!(cells.len(), 36, "{found}");
    for cell in cells {
        let text = |key: &str| cell[key].as_str().unwrap_or_default().to_owned();
        let service = match cell["port"].as_str() {
            Some(port) => format!("{port}/{}", text("proto")),
            None => text("proto"),
        };
        let wanted = open.contains(&(&text("from"), &text("to"), &service));
        assert_eq!(cell["decided"], wanted, "{cell}");
        assert_eq!(cell["observed"], wanted, "{cell}");
    }
    assert!(cells.iter().any(|c| c["family"] == "ip6"));
    let one = world.json(&["reach", "--port", "5432"]);
    assert_eq!(one["cells"].as_array().map(Vec::len), Some(12), "{one}");
    assert!(one["cells"][0]["observed"].is_null());
    assert_eq!(world.moat(&["reach", "--net", "nope"]).code, 2);
    page_of(&world);
}

/// The page says the same as the matrix, with reasons.
fn page_of(world: &World) {
    let file = dir().join("reach.html");
    world.ok(&["reach", "--probe", "--html", file.to_str().expect("a plain name")]);
    let page = std::fs::read_to_string(&file).expect("the page");
    let data = page.split_once("id=\"data\">").expect("its data").1;
    let data = data.split_once("</script>").expect("their end").0;
    let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
    let numbers = data["cells"].as_array().expect("cells");
    assert_eq!(numbers.len(), 36 * 6);
    // Flags: decided 1, probed 2, arrived 4.
    let flags: Vec<u64> = numbers
        .iter()
        .skip(3)
        .step_by(6)
        .filter_map(|n| n.as_u64())
        .collect();
    assert_eq!(flags.iter().filter(|f| **f == 7).count(), 10, "{flags:?}");
    assert_eq!(flags.iter().filter(|f| **f == 2).count(), 26, "{flags:?}");
    assert!(
        data["texts"].to_string().contains("no link from `a` to `c`"),
        "{data}"
    );
}

pub fn any(family: u8) -> &'static str {
    if family == 4 { "0.0.0.0" } else { "::" }
}

/// `web -> db 5432/tcp`: not back, no other port, no other protocol, nobody else.
fn one_port_one_direction(mode: Mode) {
    let w = World::new(mode);
    let (web, db, third) = (w.idle("web", &[]), w.idle("db", &[]), w.idle("third", &[]));
    let gate = gateway_mac(&web);
    w.ok(&["link", "web", "db:5432/tcp"]);
    for family in FAMILIES {
        let ip = db.ip(family);
        let _db = db.ns.serve("tcp", any(family), 5432);
        let _other = db.ns.serve("tcp", any(family), 5433);
        let _udp = db.ns.serve("udp", any(family), 5432);
        let _web = web.ns.serve("tcp", any(family), 80);
        let at_db = db.ns.capture(&format!(
            "{FROM_OTHERS} and not (tcp port 5432 and src {})",
            web.ip(family)
        ));
        assert!(web.ns.reaches("tcp", ip, 5432), "{ip}");
        assert!(!web.ns.reaches("tcp", ip, 5433));
        assert!(!web.ns.reaches("udp", ip, 5432));
        assert!(!web.ns.pings(ip));
        assert!(!third.ns.reaches("tcp", ip, 5432));
        at_db.nothing("other ports, protocols and containers");

        let at_web = web.ns.capture(FROM_OTHERS);
        let back = web.ip(family);
        assert!(!db.ns.reaches("tcp", back, 80));
        assert!(!db.ns.pings(back));
        // From the linked service's own port; and answers that nobody asked for.
        for flags in ["2", "18", "16", "4"] {
            for port in ["80", "4000"] {
                let out = db.ns.wire(&[
                    "emit", "eth0", &gate, &db.mac, "tcp", ip, back, port, "5432", flags,
                ]);
                assert!(out.ok(), "{out:?}");
            }
        }
        db.ns
            .wire(&["emit", "eth0", &gate, &db.mac, "udp", ip, back, "4000", "5432"]);
        at_web.nothing("the other way");
        w.ok(&["link", "db", "web:80/tcp"]);
        assert!(db.ns.reaches("tcp", back, 80));
        at_web.something("the other way, linked");
        w.ok(&["unlink", "db", "web:80/tcp"]);
    }
}

/// Ranges, udp, sctp, icmp, everything, both directions.
fn every_kind_of_service(mode: Mode) {
    let w = World::new(mode);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &[]));
    let gate = gateway_mac(&a);
    for family in FAMILIES {
        let ip = b.ip(family);
        let _tcp = b.ns.start(&["serve", "tcp", any(family), "7999-8003"]);
        let _udp = b.ns.start(&["serve", "udp", any(family), "52-53"]);
        let link = |to: &str| w.ok(&["link", "a", to]);
        let unlink = |to: &str| w.ok(&["unlink", "a", to]);

        link("b:8000-8002/tcp");
        for (port, open) in [
            (7999, false),
            (8000, true),
            (8001, true),
            (8002, true),
            (8003, false),
        ] {
            assert_eq!(a.ns.reaches("tcp", ip, port), open, "{ip} {port}");
        }
        unlink("b:8000-8002/tcp");
        assert!(!a.ns.reaches("tcp", ip, 8001));

        link("b:53/udp");
        assert!(a.ns.reaches("udp", ip, 53));
        assert!(!a.ns.reaches("udp", ip, 52));
        assert!(!a.ns.reaches("tcp", ip, 8000));
        unlink("b:53/udp");

        let seen = b.ns.capture("ip proto 132 or ip6 proto 132");
        let init = |port: &str| {
            let out =
                a.ns.wire(&["emit", "eth0", &gate, &a.mac, "sctp", a.ip(family), ip, port]);
            assert!(out.ok(), "{out:?}");
        };
        init("38412");
        link("b:38412/sctp");
        init("38413");
        seen.nothing("sctp");
        init("38412");
        seen.something("sctp over a link");
        unlink("b:38412/sctp");

        assert!(!a.ns.pings(ip));
        let icmp = w.moat(&["link", "a", "b:icmp"]);
        assert!(icmp.ok(), "{icmp:?}");
        assert!(a.ns.pings(ip));
        assert!(!a.ns.reaches("tcp", ip, 8000));
        assert!(!b.ns.pings(a.ip(family)));
        unlink("b:icmp");

        w.ok(&["link", "--both", "a", "b"]);
        assert!(a.ns.pings(ip) && b.ns.pings(a.ip(family)));
        assert!(a.ns.reaches("tcp", ip, 8003) && a.ns.reaches("udp", ip, 52));
        w.ok(&["unlink", "a", "b"]);
        assert!(!a.ns.pings(ip));
        assert!(b.ns.pings(a.ip(family)), "one direction was taken away, not both");
        w.ok(&["unlink", "b", "a"]);
        assert!(!b.ns.pings(a.ip(family)));
    }
    w.is_clean();
}

/// A label stands for whoever bears it, now or later.
fn labels(mode: Mode) {
    let w = World::new(mode);
    let (web, db) = (
        w.idle("web", &["--label", "app=web"]),
        w.idle("db", &["--label", "tier=data"]),
    );
    w.ok(&["link", "label:app=web", "label:tier=data"]);
    let later = w.idle("later", &["--label", "app=web"]);
    let plain = w.idle("plain", &["--label", "app=webby"]);
    let db2 = w.idle("db2", &["--label", "tier=data"]);
    for family in FAMILIES {
        let seen = db.ns.capture(&format!("src {}", plain.ip(family)));
        assert!(!plain.ns.pings(db.ip(family)));
        seen.nothing("from a container without the label");
        for from in [&web, &later] {
            for to in [&db, &db2] {
                assert!(from.ns.pings(to.ip(family)), "{} -> {}", from.name, to.name);
                assert!(!to.ns.pings(from.ip(family)), "{} -> {}", to.name, from.name);
            }
        }
    }
    w.ok(&["unlink", "label:app=web", "label:tier=data"]);
    assert!(!web.ns.pings(&db.ip4) && !later.ns.pings(&db2.ip6));
}

/// `--for 2s` ends by itself, in the kernel, for flows that exist too.
fn expire(mode: Mode) {
    let w = World::new(mode);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &[]));
    let sinks: Vec<_> = FAMILIES
        .iter()
        .map(|f| b.ns.start(&["sink", "tcp", any(*f), &format!("900{f}")]))
        .collect();
    let router = w.router();
    w.ok(&["link", "--for", "2s", "a", "b"]);
    let _pours: Vec<_> = FAMILIES
        .iter()
        .map(|f| a.ns.start(&["pour", "tcp", b.ip(*f), &format!("900{f}")]))
        .collect();
    for sink in &sinks {
        assert!(
            until(Duration::from_secs(1), || sink.count() > 10_000),
            "{}",
            sink.count()
        );
    }
    std::thread::sleep(Duration::from_millis(2500));
    let before: Vec<u64> = sinks.iter().map(super::net::Running::count).collect();
    let seen = b.ns.capture(FROM_OTHERS);
    std::thread::sleep(Duration::from_secs(1));
    seen.nothing("after the link's end");
    assert_eq!(
        before,
        sinks.iter().map(super::net::Running::count).collect::<Vec<_>>()
    );
    assert!(!a.ns.pings(&b.ip4) && !a.ns.pings(&b.ip6));
    // Nor may errors about its flows pass any more, before any command has come.
    let left = router.must("nft list ruleset | sed -n '/set p[a-z]*[46] {/,/}/p'");
    assert!(left.contains("set peer4") && !left.contains("elements"), "{left}");
    assert_eq!(w.json(&["links"]).as_array().map(Vec::len), Some(0));
    w.is_clean();
}

/// A link to `host` opens one service of the host's, at the name `host`.
fn to_the_host(mode: Mode) {
    let mut w = World::new(mode);
    let _lan = w.lan();
    let a = w.idle("a", &[]);
    let (host, proto) = (Ns::host(), "tcp");
    // A socket on [::] takes both families.
    let _open = host.serve(proto, "::", 7000);
    let _shut = host.serve(proto, "::", 7001);
    let names = |family: u8| {
        let file = w.exec("a", &["cat", "/etc/hosts"]).stdout;
        let line = file
            .lines()
            .find(|l| l.split_ascii_whitespace().any(|n| n == "host") && l.contains(':') == (family == 6));
        line.and_then(|l| l.split_ascii_whitespace().next())
            .map(str::to_owned)
    };
    assert_eq!(names(4), None, "before the link");
    w.ok(&["link", "a", "host:7000/tcp"]);
    let found = FAMILIES.map(|f| names(f).expect("the name `host`"));
    for ip in &found {
        assert!(a.ns.reaches(proto, ip, 7000), "{ip}");
        assert!(!a.ns.reaches(proto, ip, 7001), "{ip}");
    }
    w.ok(&["unlink", "a", "host:7000/tcp"]);
    assert_eq!(names(4), None, "after the link");
    for ip in &found {
        assert!(!a.ns.reaches(proto, ip, 7000), "{ip}");
    }
}

/// `--internal`: no way out but what a link opens, in both families.
fn out_of_an_internal_network(mode: Mode) {
    let mut w = World::new(mode);
    let lan = w.lan();
    let router = if mode == Mode::Own { "own" } else { "host" };
    w.ok(&["net", "create", "shut", "--internal", "--router", router]);
    let a = w.idle("a", &["--net", "shut"]);
    let open = w.idle("open", &[]);
    for (family, cidr, edge) in [
        (4, "192.168.50.2/32", "192.168.50.3"),
        (6, "fd50::2/128", "fd50::3"),
    ] {
        let ip = crate::world::Neighbour::ip(family);
        lan.ns.must(&format!(
            "ip addr add {edge}/{} dev lan0 nodad",
            if family == 4 { 24 } else { 64 }
        ));
        let _one = lan.ns.serve("tcp", any(family), 80);
        let _two = lan.ns.serve("tcp", any(family), 81);
        let seen = lan.ns.capture("tcp or udp or icmp or (icmp6 and ip6[40] == 128)");
        assert!(!a.ns.reaches("tcp", ip, 80) && !a.ns.pings(ip), "{ip}");
        seen.nothing("from an internal network");
        assert!(open.ns.reaches("tcp", ip, 80), "the other network has a way out");
        for (to, second) in [
            (format!("[{cidr}]:80/tcp"), false),
            (cidr.to_owned(), true),
            ("world".to_owned(), true),
        ] {
            w.ok(&["link", "a", &to]);
            assert!(a.ns.reaches("tcp", ip, 80), "{to}");
            assert_eq!(a.ns.reaches("tcp", ip, 81), second, "{to}");
            assert_eq!(a.ns.reaches("tcp", edge, 80), to == "world", "{to}: {edge}");
            w.ok(&["unlink", "a", &to]);
            assert!(!a.ns.reaches("tcp", ip, 80), "after unlink {to}");
        }
    }
}
