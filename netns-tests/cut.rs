//! `unlink` ends what is under way, and nothing else.

use std::time::Duration;

use crate::harness::{Story, everywhere};
use crate::links::any;
use crate::net::{Running, until};
use crate::world::{FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[
    everywhere("cut::unlink_in_a_transfer", unlink_in_a_transfer),
    everywhere("cut::answers_of_other_links", answers_of_other_links),
];

/// Where only the server sends any more, its datagrams are answers as long as the flow is tracked:
/// the end of another link between the same two forgets no flow but its own.
fn answers_of_other_links(mode: Mode) {
    let w = World::new(mode);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &[]));
    for family in FAMILIES {
        let ip = b.ip(family);
        w.ok(&["link", "a", "b:7000/udp"]);
        let _teller = b.ns.start(&["tell", any(family), "7000"]);
        let told = a.ns.start(&["listen", ip, "7000"]);
        let goes_on = |what: &str| {
            let then = told.count();
            let on = until(Duration::from_secs(3), || told.count() > then + 50_000);
            assert!(on, "{what}, over {ip}: {then} of {}", told.count());
        };
        goes_on("at first");
        w.ok(&["link", "a", "b:80/tcp"]);
        w.ok(&["unlink", "a", "b:80/tcp"]);
        goes_on("after the end of another service");
        w.ok(&["link", "a", "b:/udp"]);
        w.ok(&["unlink", "a", "b:/udp"]);
        goes_on("after the end of a wider service");
        w.ok(&["unlink", "a", "b:7000/udp"]);
        let stopped = until(Duration::from_secs(3), || {
            let then = told.count();
            std::thread::sleep(Duration::from_millis(300));
            told.count() == then
        });
        assert!(stopped, "over {ip} it goes on without a link");
    }
    w.is_clean();
}

/// TCP towards the server, TCP towards the client, UDP: each stops within a second; the flow
/// of another link between the same two goes on.
fn unlink_in_a_transfer(mode: Mode) {
    let w = World::new(mode);
    let (a, b) = (w.idle("a", &[]), w.idle("b", &[]));
    w.ok(&["link", "a", "b:7000/tcp"]);
    for family in FAMILIES {
        let ip = b.ip(family);
        let cut = [
            ("b:7001/tcp", "tcp"),
            ("b:7002/tcp", "source"),
            ("b:7003/udp", "udp"),
        ];
        for (to, _) in cut {
            w.ok(&["link", "a", to]);
        }
        let kept = b.ns.start(&["sink", "tcp", any(family), "7000"]);
        let up = b.ns.start(&["sink", "tcp", any(family), "7001"]);
        let datagrams = b.ns.start(&["sink", "udp", any(family), "7003"]);
        let _source = b.ns.start(&["source", any(family), "7002"]);
        let down = a.ns.start(&["drink", ip, "7002"]);
        let _pours: Vec<Running> = [("tcp", "7000"), ("tcp", "7001"), ("udp", "7003")]
            .map(|(proto, port)| a.ns.start(&["pour", proto, ip, port]))
            .into();
        for (what, r) in [("kept", &kept), ("up", &up), ("down", &down), ("udp", &datagrams)] {
            assert!(
                until(Duration::from_secs(3), || r.count() > 50_000),
                "{what}: {}",
                r.text()
            );
        }
        for ((to, what), r) in cut.iter().zip([&up, &down, &datagrams]) {
            w.ok(&["unlink", "a", to]);
            // The receiver prints its count twenty times a second.
            std::thread::sleep(Duration::from_millis(300));
            let (then, others) = (r.count(), kept.count());
            std::thread::sleep(Duration::from_millis(700));
            assert_eq!(then, r.count(), "{what} over {ip} goes on after unlink {to}");
            assert!(
                kept.count() > others + 10_000,
                "the other link's flow stopped with {to}"
            );
        }
        // Linked again, the same datagrams and the same connections go on.
        w.ok(&["link", "a", "b:7003/udp"]);
        w.ok(&["link", "a", "b:7001/tcp"]);
        let then = (datagrams.count(), up.count());
        assert!(
            until(Duration::from_secs(2), || datagrams.count() > then.0 + 10_000),
            "udp after relink"
        );
        assert!(
            until(Duration::from_secs(5), || up.count() > then.1 + 10_000),
            "tcp after relink"
        );
        w.ok(&["unlink", "a", "b:7003/udp"]);
        w.ok(&["unlink", "a", "b:7001/tcp"]);
        assert!(!a.ns.reaches("tcp", ip, 7002));
    }
    w.is_clean();
}
