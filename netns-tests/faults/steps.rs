//! Every step of the commands that `faulty` has no case for: killed or failed there, the next
//! command has either undone or finished it.

use std::process::Stdio;

use serde_json::json;

use crate::faulty::words;
use crate::harness::{self, Story, own};
use crate::pods::conf;
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("steps::of_processes_and_files", of_processes_and_files),
    own("steps::of_topologies", of_topologies),
    own("steps::of_collecting", of_collecting),
];

/// Whether there is time for every step of long commands, as with `make soak`.
fn every() -> bool {
    std::env::var_os("MOAT_SOAK_SECONDS").is_some()
}

/// Gives the command with each `by`th fault in turn until one has all steps behind it. `between` brings
/// back what the command needs; afterwards the world is clean each time.
#[track_caller]
fn every_step(w: &World, line: &str, by: usize, mut between: impl FnMut()) -> u32 {
    let mut steps = 0;
    for how in ["abort", "fail"] {
        for n in (1..200).step_by(by) {
            between();
            let what = format!("{how}:{n} of `{line}`");
            let mut c = w.command(&words(line));
            c.env("MOAT_FAULT", format!("{how}:{n}"));
            let out = c.stdin(Stdio::null()).output().expect("moat starts");
            let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(!stderr.contains("panicked"), "{what}: {stderr}");
            if out.status.success() {
                steps = n;
                break;
            }
            match how {
                "abort" => assert_eq!(out.status.code(), None, "{what}: {stderr}"),
                _ => assert_eq!(stderr.matches("error: ").count(), 1, "{what}: {stderr}"),
            }
            w.ok(&["ps"]);
            w.is_clean();
        }
        between();
    }
    println!("{steps} steps of `{line}`");
    steps
}

fn of_processes_and_files(mode: Mode) {
    let w = World::new(mode);
    w.idle("x", &[]);
    let base = w.moment();
    let file = harness::dir().join("file");
    std::fs::write(&file, "text").expect("writes");
    let copy = format!("cp {} x:/tmp/f", file.display());
    let back = format!("cp x:/etc/hosts {}", harness::dir().join("hosts").display());
    for line in [
        "exec x true",
        &copy,
        &back,
        "pause x",
        "kill -s WINCH x",
        "diff x",
    ] {
        every_step(&w, line, 1, || {
            w.moat(&["unpause", "x"]);
        });
    }
    std::fs::remove_file(harness::dir().join("hosts")).expect("it was copied");
    w.comes_to_be(&[&base], "after all of it");
    assert!(w.exec("x", &["true"]).ok());
}

fn of_topologies(mode: Mode) {
    let w = World::new(mode);
    w.ok(&["ps"]);
    let file = harness::dir().join("compose.yaml");
    let text = "services:\n  web: {command: sleep 1000, x-moat: {rootfs: /}, links: [\"db:80/tcp\"], ports: [\"8080:80\"]}\n  \
                db: {command: sleep 1000, x-moat: {rootfs: /}}\n";
    let text = text.replace(", x-moat: {rootfs: /}", "");
    std::fs::write(&file, text).expect("writes");
    let (up, down) = (
        format!("up -f {}", file.display()),
        format!("down -t 0 -f {}", file.display()),
    );
    let empty = w.moment();
    let some = every_step(&w, &down, if every() { 1 } else { 5 }, || {
        w.ok(&words(&up));
    });
    assert!(some > 5, "{some} steps of down");
    w.ok(&words(&down));
    w.comes_to_be(&[&empty], "after down");
}

fn of_collecting(mode: Mode) {
    let w = World::new(mode);
    w.pod("keeper", &conf(&json!({})));
    w.ok(&["ps"]);
    let base = w.moment();
    // `gc` with something to do: the directory of nobody, and a container that ended.
    let stray = || {
        let dir = w.dir().join("containers/0123456789ab");
        std::fs::create_dir_all(&dir).expect("makes");
    };
    every_step(&w, "gc", 1, stray);
    w.ok(&["gc"]);
    w.comes_to_be(&[&base], "after gc");
    // GC of the plugin, with an attachment that the runtime does not know any more.
    let mut n = 0;
    let by = if every() { 1 } else { 3 };
    for how in ["abort", "fail"] {
        for step in (1..100).step_by(by) {
            n += 1;
            let gone = w.pod(&format!("gone{n}"), &conf(&json!({})));
            let mut all = conf(&json!({}));
            all["cni.dev/valid-attachments"] = json!([{ "containerID": "keeper", "ifname": "eth0" }]);
            let fault = format!("{how}:{step}");
            let call = crate::pods::Call {
                verb: "GC",
                fault: Some(&fault),
                ..Default::default()
            };
            let out = w.plugin(call, &all);
            w.ok(&["ps"]);
            w.is_clean();
            let done = out.ok();
            let out = w.plugin(
                crate::pods::Call {
                    verb: "GC",
                    ..Default::default()
                },
                &all,
            );
            assert!(out.ok(), "GC after {fault}: {out:?}");
            assert!(gone.ifaces().is_empty(), "GC after {fault}");
            gone.end();
            w.comes_to_be(&[&base], &format!("GC after {fault}"));
            if done {
                assert!(step > 3, "the steps of GC are counted");
                break;
            }
        }
    }
}
