//! `moat watch --heal`: mends at once, holds nobody up, and does not fight.

use std::time::Duration;

use crate::faults::leak::Flood;
use crate::faulty::words;
use crate::harness::{Story, own};
use crate::net::{Ns, Running, until};
use crate::world::{FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[
    own("watch::mends_at_once", mends_at_once),
    own("watch::beside_commands", beside_commands),
    own("watch::gives_way", gives_way),
];

#[track_caller]
fn watch(w: &World, options: &[&str]) -> Running {
    Running::start(&mut w.command(&[&["watch"], options].concat()), "watching")
}

fn mends_at_once(mode: Mode) {
    let w = World::new(mode);
    let (a, b, c) = (w.idle("a", &[]), w.idle("b", &[]), w.idle("c", &[]));
    w.ok(&["link", "a", "b:80/tcp"]);
    let _server = b.ns.serve("tcp", "::", 80);
    let flood = Flood::start(&c, &b);
    let finder = watch(&w, &[]);
    let path = w.json(&["net", "inspect", "moat"])["router_netns"].clone();
    let router = w.router();
    let found = "ip neigh flush all nud permanent";
    router.must(found);
    let names = || finder.text().contains("found: ");
    assert!(until(Duration::from_secs(10), names), "{}", finder.text());
    assert!(!w.moat(&["fsck"]).ok(), "without --heal nothing is mended");
    drop(finder);
    let mut watcher = watch(&w, &["--heal"]);
    assert!(
        until(Duration::from_secs(10), || watcher.text().contains("mended: ")),
        "what was amiss before: {}",
        watcher.text()
    );
    let host = Ns::host();
    let spoils = [
        (&router, "nft flush ruleset".to_owned()),
        (&router, "ip neigh flush all nud permanent".to_owned()),
        (&router, "ip rule flush; ip -6 rule flush".to_owned()),
        (&router, "for b in $(ls /sys/class/net; ip -br link show type bridge | cut -d' ' -f1); do ip link set $b down; done 2>/dev/null; true".to_owned()),
        (&host, "nft flush ruleset; ip rule del pref 5200".to_owned()),
        (&host, format!("umount {}", path.as_str().unwrap_or_default())),
    ];
    // Of the last there may be an old one as long as its interfaces go.
    let mended = || watcher.text().matches("mended: ").count();
    for (ns, line) in &spoils {
        let before = mended();
        ns.must(line);
        // No command is given.
        assert!(until(Duration::from_secs(10), || mended() > before), "`{line}`");
        for family in FAMILIES {
            let open = || a.ns.reaches("tcp", b.ip(family), 80);
            assert!(
                until(Duration::from_secs(10), open),
                "`{line}`: {}",
                watcher.text()
            );
        }
        flood.none(line);
    }
    assert!(watcher.runs());
    w.is_clean();
    let zombies = Ns::host().must("ps -eo stat=,comm= | grep -c '^Z.*moat' || true");
    assert_eq!(zombies.trim(), "0");
}

/// What commands change is nothing to mend; and the last one takes all away, watched or not.
fn beside_commands(mode: Mode) {
    let w = World::new(mode);
    w.ok(&["ps"]);
    let watcher = watch(&w, &["--heal"]);
    let empty = w.moment();
    w.idle("a", &[]);
    let all: Vec<_> = (0..6)
        .map(|n| {
            let lines = [
                format!("run -d --name x{n} --link a:80 -p {}:80 -- sleep 1000", 9000 + n),
                format!("link a x{n}:1-100"),
                format!("unlink a x{n}:1-100"),
                format!("rm -f x{n}"),
            ];
            let mut c = std::process::Command::new("sh");
            let moat = env!("CARGO_BIN_EXE_moat");
            let script: Vec<String> = lines.iter().map(|l| format!("{moat} {l}")).collect();
            c.args(["-ec", &script.join("\n")])
                .env("MOAT_ROOT", &w.root)
                .env("MOAT_DATA", crate::harness::dir().join("data"));
            c.stdout(std::process::Stdio::null()).spawn().expect("sh")
        })
        .collect();
    for mut child in all {
        assert!(child.wait().expect("sh ends").success());
    }
    assert!(
        !watcher.text().contains("mended"),
        "it found fault with what commands did: {}",
        watcher.text()
    );
    w.ok(&words("rm -f a"));
    w.comes_to_be(&[&empty], "after the last rm, watched");
}

/// Somebody undoes whatever is mended: it gives way after a while, and says so.
fn gives_way(mode: Mode) {
    let w = World::new(mode);
    w.idle("a", &[]);
    let watcher = watch(&w, &["--heal"]);
    let stubborn = "while :; do ip rule del pref 5200 2>/dev/null; sleep 0.02; done";
    let mut c = Ns::host().command("sh");
    let _stubborn = Running::start(c.args(["-c", stubborn]), "");
    let waiting = || watcher.text().contains("waiting: ");
    assert!(until(Duration::from_secs(60), waiting), "{}", watcher.text());
    let then = watcher.text().len();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(watcher.text().len(), then, "it waits");
    // Commands are not held up meanwhile.
    w.ok(&["ps"]);
}
