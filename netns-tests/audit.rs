//! The audit log: every change of links, port maps and networks, and who made it.

use serde_json::Value;

use crate::faulty::words;
use crate::harness::{self, Story, own};
use crate::net::{Ns, Running, until};
use crate::pods::{Pod, conf};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("audit::who_changed_what", who_changed_what),
    own("audit::a_full_disk", a_full_disk),
    own("audit::of_commands_that_die", of_commands_that_die),
    own("audit::of_a_runtime", of_a_runtime),
];

/// The records from the `from`th on, as `+ link a -> b any`.
fn changes(w: &World, from: usize) -> Vec<String> {
    let all = w.json(&["audit"]);
    let all = all.as_array().expect("a list");
    let sign = |r: &Value| match (r["before"].is_null(), r["after"].is_null()) {
        (true, _) => '+',
        (_, true) => '-',
        _ => '~',
    };
    let text = |r: &Value, key: &str| r[key].as_str().unwrap_or_default().to_owned();
    all[from.min(all.len())..]
        .iter()
        .map(|r| format!("{} {} {}", sign(r), text(r, "what"), text(r, "object")))
        .collect()
}

fn who_changed_what(mode: Mode) {
    let w = World::new(mode);
    let mut follower = w.command(&["audit", "-f", "--json"]);
    w.ok(&["ps"]);
    let follower = Running::start(follower.env("NO_COLOR", "1"), "");
    w.idle("a", &["-e", "PASSWORD=s3cret"]);
    w.idle("b", &["-p", "8080:80", "--link", "a:90/tcp"]);
    w.ok(&["link", "a", "b:80/tcp"]);
    let mut c = w.command(&["link", "a", "b:80/tcp", "--for", "1h"]);
    assert!(c.env("SUDO_UID", "1234").status().expect("moat").success());
    w.ok(&["link", "a", "b:81/tcp", "--dry-run"]);
    assert!(!w.moat(&["link", "a", "nope"]).ok());
    w.ok(&["unlink", "a", "b:80/tcp"]);
    w.ok(&["rm", "-f", "b"]);
    let seen = changes(&w, 0);
    let wanted = [
        "+ network moat",
        "+ link b -> a 90/tcp",
        "+ port * 8080/tcp",
        "+ link a -> b 80/tcp",
        "~ link a -> b 80/tcp",
        "- link a -> b 80/tcp",
        "- port * 8080/tcp",
        "- link b -> a 90/tcp",
    ];
    assert_eq!(seen, wanted, "all of it, in its order");
    let all = w.json(&["audit"]);
    let changed = &all[4];
    assert_eq!(changed["sudo"], 1234, "{changed}");
    assert_eq!(changed["uid"], 0);
    assert!(changed["before"]["expires"].is_null(), "{changed}");
    assert!(changed["after"]["expires"].as_str() > Some("20"), "{changed}");
    assert!(changed["pid"].as_u64() > Some(1));
    let command = changed["command"].as_str().unwrap_or_default();
    assert!(command.ends_with("moat link a b:80/tcp --for 1h"), "{command}");
    // Variables hold passwords; the log outlives the container.
    let path = harness::dir().join("data/audit.log");
    let text = std::fs::read_to_string(&path).expect("the log");
    assert!(text.contains("PASSWORD") && !text.contains("s3cret"), "{text}");
    let bits = Ns::host().must(&format!("stat -c %a {}", path.display()));
    assert_eq!(bits.trim(), "600");
    let followed = || follower.text().lines().count();
    assert!(
        until(std::time::Duration::from_secs(5), || followed() == wanted.len()),
        "{}",
        follower.text()
    );
    assert_eq!(w.ok(&["audit", "--tail", "1"]).lines().count(), 1);
    // Another root's changes are another's.
    let mut other = World::new(mode);
    other.root = w.root.with_extension("other");
    assert_eq!(other.json(&["audit"]), serde_json::json!([]));
}

/// A full disk keeps no command from its work; what the log lacks comes when there is room.
fn a_full_disk(mode: Mode) {
    let w = World::new(mode);
    w.idle("a", &[]);
    w.idle("b", &[]);
    let before = changes(&w, 0).len();
    let small = harness::dir().join("small");
    let dir = small.display();
    Ns::host().must(&format!(
        "mkdir {dir} && mount -t tmpfs -o size=16k none {dir} && mkdir {dir}/data &&
         dd if=/dev/zero of={dir}/fill bs=1k 2>&1 || true"
    ));
    // Another data root: the containers' layers stay where they are.
    let with = |line: &str| {
        let mut c = w.command(&words(line));
        crate::net::Out::of(c.env("MOAT_DATA", small.join("data")))
    };
    for line in ["link a b:80", "unlink a b:80"] {
        let out = with(line);
        assert!(out.ok(), "{line}: {out:?}");
        assert_eq!(
            out.stderr
                .matches("note: the audit log cannot be written")
                .count(),
            1,
            "{out:?}"
        );
    }
    Ns::host().must(&format!("rm {dir}/fill"));
    let out = with("link a b:81");
    assert!(out.ok() && out.stderr.is_empty(), "{out:?}");
    let log = std::fs::read_to_string(small.join("data/audit.log")).expect("the log");
    let lines: Vec<Value> = log
        .lines()
        .map(|l| serde_json::from_str(l).expect("whole lines"))
        .collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines[0]["after"].is_object() && lines[1]["after"].is_null());
    assert_eq!(changes(&w, 0).len(), before, "the other log is as it was");
}

/// Killed between the change and the log: the next command writes it, once.
fn of_commands_that_die(mode: Mode) {
    let w = World::new(mode);
    w.idle("a", &[]);
    w.idle("b", &[]);
    let before = changes(&w, 0).len();
    let mut c = w.command(&["link", "a", "b:80"]);
    let out = c.env("MOAT_FAULT", "abort:1").output().expect("moat");
    assert!(!out.status.success());
    let seen = changes(&w, before);
    assert_eq!(seen, ["+ link a -> b 80/tcp"]);
    assert_eq!(changes(&w, before), seen);
    // A failed command's change is taken back, and both are written.
    let mut c = w.command(&["unlink", "a", "b:80"]);
    let out = c.env("MOAT_FAULT", "fail:1").output().expect("moat");
    assert!(!out.status.success());
    assert_eq!(
        changes(&w, before + 1),
        ["- link a -> b 80/tcp", "+ link a -> b 80/tcp"]
    );
}

/// What a runtime asks for is its change.
fn of_a_runtime(mode: Mode) {
    let w = World::new(mode);
    w.ok(&["ps"]);
    let mapped = conf(&serde_json::json!({
        "runtimeConfig": { "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }] },
    }));
    let pod: Pod = w.pod("pod", &mapped);
    w.gone(&pod, &mapped);
    let all = w.json(&["audit"]);
    let port = |r: &&Value| r["what"] == "port";
    let ports: Vec<&Value> = all.as_array().into_iter().flatten().filter(port).collect();
    assert_eq!(ports.len(), 2, "{all}");
    let command = ports[0]["command"].as_str().unwrap_or_default();
    assert!(command.contains("CNI ADD pod"), "{command}");
    assert!(
        ports[1]["command"]
            .as_str()
            .unwrap_or_default()
            .contains("CNI DEL pod")
    );
}
