//! Nothing left to work with: descriptors, memory, disk; standard streams that are closed or full;
//! signals at any time. One error or none, and nothing half done.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::faulty::{says_one_error, words};
use crate::harness::{self, Story, own};
use crate::net::{Ns, Out};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("rooms::few_descriptors", few_descriptors),
    own("rooms::closed_streams", closed_streams),
    own("rooms::a_storm_of_signals", a_storm_of_signals),
    own("rooms::a_full_disk_of_layers", a_full_disk_of_layers),
    own("rooms::broken_records", broken_records),
];

/// A command line of moat in a shell, after `before`.
fn shell(w: &World, before: &str, line: &str) -> Out {
    let mut c = Command::new("sh");
    c.args([
        "-c",
        &format!("{before}; exec {} {line}", env!("CARGO_BIN_EXE_moat")),
    ])
    .env("MOAT_ROOT", &w.root)
    .env("MOAT_DATA", harness::dir().join("data"));
    Out::of(&mut c)
}

fn few_descriptors(mode: Mode) {
    let w = World::new(mode);
    w.idle("a", &[]);
    w.idle("b", &[]);
    let base = w.moment();
    let cases = [
        ("link a b:80", "unlink a b:80"),
        ("run -d --name x --link a -p 8080:80 -- sleep 1000", "rm -f x"),
    ];
    for (line, back) in cases {
        let mut worked = 0;
        for limit in 4..48 {
            let out = shell(&w, &format!("ulimit -n {limit}"), line);
            let what = format!("{limit} descriptors, `{line}`");
            if out.ok() {
                worked += 1;
                w.ok(&words(back));
            } else {
                says_one_error(&out.stderr, &what);
                w.ok(&["ps"]);
            }
            w.comes_to_be(&[&base], &what);
            if worked == 2 {
                break;
            }
        }
        assert_eq!(worked, 2, "`{line}` works with 48");
    }
    w.is_clean();
}

fn closed_streams(mode: Mode) {
    let w = World::new(mode);
    w.idle("a", &[]);
    w.idle("b", &[]);
    // A descriptor of the database that is 1 or 2 would be written to.
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        for line in [
            "ps",
            "link a b:80",
            "unlink a b:80",
            "links",
            "run --rm -- true",
            "inspect nope",
        ] {
            let out = shell(&w, &format!("exec {closed}"), line);
            let expected = if line == "inspect nope" { 2 } else { 0 };
            assert_eq!(out.code, expected, "`{line}` with {closed}: {out:?}");
        }
    }
    w.is_clean();
    // An answer that nobody got is no success; a reader that left is.
    let full = shell(&w, "exec >/dev/full", "ps");
    assert_eq!(full.code, 2, "{full:?}");
    says_one_error(&full.stderr, "a full stdout");
    let gone = Ns::host().sh(&format!(
        "MOAT_ROOT={} {} ps | true",
        w.root.display(),
        env!("CARGO_BIN_EXE_moat")
    ));
    assert!(gone.ok() && !gone.stderr.contains("panicked"), "{gone:?}");
}

/// Signals at any time: it ends by them or does its work, and the next command tidies.
fn a_storm_of_signals(mode: Mode) {
    let w = World::new(mode);
    w.idle("a", &[]);
    w.idle("b", &[]);
    let base = w.moment();
    let signals = [
        "INT", "TERM", "HUP", "QUIT", "USR1", "CHLD", "PIPE", "ALRM", "WINCH",
    ];
    let lines = [
        ("run -d --name x --link a -p 8080:80 -- sleep 1000", "rm -f x"),
        ("link a b:80 --both", "unlink a b:80"),
        ("net create n", "net rm n"),
    ];
    for round in 0..18_u64 {
        let (line, back) = lines[round as usize % lines.len()];
        let mut c = w.command(&words(line));
        let mut child = c
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("moat");
        let pid = child.id();
        std::thread::sleep(Duration::from_millis(3 + round * 7 % 60));
        for signal in signals.iter().cycle().skip(round as usize).take(4) {
            let _ = Command::new("kill")
                .args(["-s", signal, &pid.to_string()])
                .stderr(Stdio::null())
                .status();
        }
        let status = child.wait().expect("it ends");
        assert!(
            status.signal().is_some() || status.code().is_some_and(|c| c != 101),
            "{status}"
        );
        w.ok(&["ps"]);
        w.is_clean();
        w.moat(&words(back));
        w.moat(&words("unlink b a:80"));
        w.comes_to_be(&[&base], &format!("round {round} of `{line}`: {status}"));
    }
}

/// No room for layers and logs: a clear error, and what runs goes on.
fn a_full_disk_of_layers(mode: Mode) {
    let w = World::new(mode);
    let small = harness::dir().join("small");
    let dir = small.display().to_string();
    Ns::host().must(&format!("mkdir {dir} && mount -t tmpfs -o size=400k none {dir}"));
    let with = |line: &str| {
        let mut c = w.command(&words(line));
        Out::of(c.env("MOAT_DATA", small.join("data")))
    };
    // It writes all along; its layer and its log are on the small disk.
    let run = "run -d --name talks -- sh -c";
    let mut c = w.command(&words(run));
    c.arg("while :; do echo talking; echo x >> /etc/written; sleep 0.01; done")
        .env("MOAT_DATA", small.join("data"));
    assert!(Out::of(&mut c).ok());
    let before = w.moment();
    Ns::host().must(&format!("dd if=/dev/zero of={dir}/fill bs=1k 2>&1 || true"));
    // A directory may still fit where no file does.
    let out = with("run -d --name x -- sleep 1000");
    match out.code {
        0 => drop(with("rm -f x")),
        code => {
            assert_eq!(code, 125, "{out:?}");
            assert!(
                out.stderr.contains("error: ") && out.stderr.contains("hint: "),
                "{out:?}"
            );
        }
    }
    let out = with("exec talks true");
    assert!(out.ok(), "what runs goes on: {out:?}");
    Ns::host().must(&format!("rm {dir}/fill"));
    w.comes_to_be(&[&before], "after the disk was full");
    assert!(with("run --rm -- true").ok());
    assert!(with("rm -f talks").ok());
    w.is_clean();
}

/// Rows that no moat wrote: named, nothing opened, and mended by beginning anew.
fn broken_records(mode: Mode) {
    let spoils = [
        "UPDATE links SET to_end='label:'",
        "UPDATE links SET service='99999/tcp'",
        "UPDATE networks SET json='{'",
        "UPDATE endpoints SET ip4='no address' WHERE container='a'",
        "UPDATE endpoints SET mac='x' WHERE container='a'",
        "UPDATE containers SET phase='dancing'",
        "UPDATE containers SET labels='['",
        "UPDATE containers SET spec=x'ff00'",
        "UPDATE published SET host_port=-1",
        "DELETE FROM bridges; DELETE FROM networks",
        "DROP TABLE links",
    ];
    for sql in spoils {
        let w = World::new(mode);
        w.idle("a", &[]);
        let b = w.idle("b", &["-p", "8080:80", "--link", "a:80/tcp"]);
        let c = w.container("a");
        let db = rusqlite::Connection::open(w.dir().join("state.db")).expect("opens");
        db.execute_batch(&format!("PRAGMA foreign_keys=OFF; {sql}"))
            .expect("spoils");
        drop(db);
        for line in ["ps", "fsck", "links", "link a b"] {
            let out = w.moat(&words(line));
            assert!([0, 1, 2].contains(&out.code), "`{sql}`, `{line}`: {out:?}");
            assert!(!out.stderr.contains("panicked"), "`{sql}`, `{line}`: {out:?}");
            if out.code == 2 {
                says_one_error(&out.stderr, sql);
                assert!(out.stderr.contains("hint: "), "`{sql}`, `{line}`: {out:?}");
            }
        }
        let fixed = w.moat(&["fsck", "--fix"]);
        assert!(fixed.ok(), "`{sql}`: {fixed:?}");
        w.is_clean();
        assert!(!c.ns.pings(&b.ip4), "`{sql}` opened nothing");
        w.ok(&words("run --rm -- true"));
        w.ok(&words("rm -f --all"));
    }
}
