//! Whole topologies from a Compose file.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::{self, Story, own};
use crate::host::snapshot;
use crate::net::{Out, until};
use crate::world::{FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[
    own("topology::links_of_the_file", links_of_the_file),
    own("topology::only_what_differs", only_what_differs),
    own("topology::order_and_health", order_and_health),
    own("topology::nothing_is_left", nothing_is_left),
    own("topology::what_fails", what_fails),
    own("topology::bad_files", bad_files),
    own("topology::rights", rights),
    own("topology::killed_anywhere", killed_anywhere),
    own("topology::logs_and_hints", logs_and_hints),
];

const SHOP: &str = "
name: shop
services:
  web:
    command: [sleep, '1000']
    scale: 2
    links: ['db:5432/tcp']
  db:
    command: [sleep, '1000']
    environment: {MODE: '${MODE:-plain}'}
    links: ['cache:6379/tcp']
  cache:
    command: [sleep, '1000']
";

fn write(text: &str) -> String {
    let path = harness::dir().join("compose.yaml");
    std::fs::write(&path, text).expect("the file");
    path.display().to_string()
}

/// `moat up` with a file of this text.
fn up(w: &World, text: &str, more: &[&str]) -> Out {
    w.moat(&[&["up", "-f", &write(text)], more].concat())
}

#[track_caller]
fn up_ok(w: &World, text: &str, more: &[&str]) -> Out {
    let out = up(w, text, more);
    assert!(out.ok(), "{out:?}");
    out
}

#[track_caller]
fn down(w: &World, text: &str, more: &[&str]) {
    w.ok(&[&["down", "-f", &write(text)], more].concat());
}

/// Containers by name, with their processes.
fn pids(w: &World) -> BTreeMap<String, u64> {
    let all = w.json(&["ps"]);
    let all = all.as_array().cloned().unwrap_or_default();
    let one = |c: &serde_json::Value| {
        let name = c["name"].as_str().unwrap_or_default().to_owned();
        (name, c["pid"].as_u64().unwrap_or_default())
    };
    all.iter().map(one).collect()
}

/// Each pair and port: decided by the file's links, and so do packets.
#[track_caller]
fn matrix(w: &World, open: &[(&str, &str, &str)]) {
    let found = w.json(&["reach", "--probe", "--port", "5432", "--port", "6379"]);
    let cells = found["cells"].as_array().expect("cells");
    assert!(!cells.is_empty());
    for cell in cells {
        let text = |key: &str| cell[key].as_str().unwrap_or_default().to_owned();
        let (from, to, port) = (text("from"), text("to"), text("port"));
        let wanted = open
            .iter()
            .any(|(a, b, p)| from.starts_with(a) && to.starts_with(b) && *p == port);
        assert_eq!(cell["observed"], wanted, "{cell}");
        assert_eq!(cell["decided"], wanted, "{cell}");
    }
}

/// Packets pass where the file has a link, and nowhere else; names go with them, also to replicas that
/// come later and to a service that was replaced.
fn links_of_the_file(_: Mode) {
    let w = World::new(Mode::Own);
    up_ok(&w, SHOP, &[]);
    let open = [("shop-web", "shop-db", "5432"), ("shop-db", "shop-cache", "6379")];
    matrix(&w, &open);
    let knows = |who: &str, name: &str| w.exec(who, &["getent", "ahosts", name]).stdout;
    for (who, name, known) in [
        ("shop-web-1", "db", true),
        ("shop-web-2", "shop-db-1", true),
        ("shop-web-1", "cache", false),
        ("shop-db-1", "web", false),
        ("shop-cache-1", "db", false),
    ] {
        assert_eq!(!knows(who, name).is_empty(), known, "{who} {name}");
    }
    up_ok(&w, SHOP, &["--scale", "web=3", "--scale", "db=2"]);
    matrix(&w, &open);
    let both = knows("shop-web-3", "db");
    for db in ["shop-db-1", "shop-db-2"] {
        let db = w.container(db);
        for family in FAMILIES {
            assert!(both.contains(db.ip(family)), "{both}");
        }
    }
    // The file has other links now: no container is replaced for that.
    let before = pids(&w);
    let other = SHOP.replace("['db:5432/tcp']", "['cache:6379/tcp']");
    up_ok(&w, &other, &["--scale", "web=3", "--scale", "db=2"]);
    assert_eq!(pids(&w), before);
    matrix(
        &w,
        &[
            ("shop-web", "shop-cache", "6379"),
            ("shop-db", "shop-cache", "6379"),
        ],
    );
    w.is_clean();
    down(&w, SHOP, &[]);
}

/// A second `up` changes nothing, a changed service is replaced with its links, numbers go up and down.
fn only_what_differs(_: Mode) {
    let w = World::new(Mode::Own);
    up_ok(&w, SHOP, &[]);
    let first = pids(&w);
    assert_eq!(first.len(), 4, "{first:?}");
    let out = up_ok(&w, SHOP, &["--json"]);
    assert!(out.stdout.contains("\"started\": []"), "{out:?}");
    assert_eq!(pids(&w), first);

    let changed = SHOP.replace(":-plain", ":-other");
    let planned = up_ok(&w, &changed, &["--dry-run"]);
    assert!(planned.stdout.contains("ip link add"), "{planned:?}");
    assert_eq!(pids(&w), first);
    up_ok(&w, &changed, &[]);
    let second = pids(&w);
    for (name, pid) in &first {
        assert_eq!(
            second[name] != *pid,
            name == "shop-db-1",
            "{name}: {first:?} {second:?}"
        );
    }
    let mode = w.exec("db", &["printenv", "MODE"]);
    assert_eq!(mode.stdout, "other\n", "{mode:?}");
    matrix(
        &w,
        &[("shop-web", "shop-db", "5432"), ("shop-db", "shop-cache", "6379")],
    );

    up_ok(&w, &changed, &["--scale", "web=1"]);
    assert_eq!(pids(&w).len(), 3);
    let without = changed.replace(
        "    links: ['cache:6379/tcp']\n  cache:\n    command: [sleep, '1000']\n",
        "",
    );
    let out = up_ok(&w, &without, &[]);
    assert!(out.stderr.contains("--remove-orphans"), "{out:?}");
    assert!(pids(&w).contains_key("shop-cache-1"));
    up_ok(&w, &without, &["--remove-orphans", "--scale", "web=1"]);
    let left = pids(&w);
    assert_eq!(left.keys().collect::<Vec<_>>(), ["shop-db-1", "shop-web-1"]);
    // What has ended starts again.
    w.ok(&["kill", "shop-web-1"]);
    assert!(until(Duration::from_secs(5), || pids(&w).len() == 1));
    up_ok(&w, &without, &["--scale", "web=1"]);
    assert_eq!(pids(&w)["shop-db-1"], left["shop-db-1"]);
    assert_eq!(pids(&w).len(), 2);
    down(&w, SHOP, &[]);
}

/// Each starts when those it depends on are as it needs them.
fn order_and_health(_: Mode) {
    let w = World::new(Mode::Own);
    let at = harness::dir().join("at");
    std::fs::create_dir(&at).expect("a directory");
    let text = format!(
        "
name: o
x-at: &at ['{}:/at']
services:
  web:
    command: [sh, -c, 'test -e /at/job && touch /at/web; exec sleep 1000']
    volumes: *at
    depends_on: {{job: {{condition: service_completed_successfully}}}}
  job:
    command: [sh, -c, 'test -e /at/db && sleep 0.2 && touch /at/job']
    volumes: *at
    depends_on: {{db: {{condition: service_healthy}}}}
  db:
    command: [sh, -c, 'sleep 0.3; touch /tmp/ok; touch /at/db; exec sleep 1000']
    volumes: *at
    healthcheck: {{test: [CMD, test, -e, /tmp/ok], interval: 50ms, start_period: 30s}}
    restart: always
",
        at.display()
    );
    // Whoever writes there is root of its own user namespace, if it has one.
    crate::net::Ns::host().must(&format!("chmod 777 {}", at.display()));
    let out = up_ok(&w, &text, &["--wait", "--timeout", "60s"]);
    assert!(out.stderr.contains("until `o-db-1` is healthy"), "{out:?}");
    assert!(
        until(Duration::from_secs(5), || at.join("web").exists()),
        "{out:?}"
    );
    let before = pids(&w);
    up_ok(&w, &text, &["--wait"]);
    assert_eq!(pids(&w), before, "a job that is done is not done again");
    down(&w, &text, &["-t", "0"]);
}

/// Ten containers, a network and a volume: gone together, and the host is what it was.
fn nothing_is_left(_: Mode) {
    let w = World::new(Mode::Own);
    let text = "
name: ten
services:
  a:
    command: [sleep, '1000']
    scale: 8
    links: [b, 'world:443', 'host:22']
    networks: [back]
  b:
    command: [sleep, '1000']
    ports: ['8080:80']
    networks: [back]
  c:
    command: [sh, -c, 'echo x > /data/x; exec sleep 1000']
    volumes: ['data:/data']
    networks: [back]
networks: {back: {internal: true}}
volumes: {data: }
";
    let before = snapshot();
    up_ok(&w, text, &[]);
    assert_eq!(pids(&w).len(), 10);
    let stored = || {
        crate::net::Ns::host().must(&format!(
            "find {}/data/volumes -name x || true",
            harness::dir().display()
        ))
    };
    assert!(until(Duration::from_secs(5), || !stored().is_empty()));
    let begun = Instant::now();
    down(&w, text, &["-t", "0"]);
    eprintln!("down of 10 containers: {:?}", begun.elapsed());
    assert!(!stored().is_empty(), "a named volume stays");
    assert!(pids(&w).is_empty());
    assert_eq!(w.ok(&["links", "--json"]).trim(), "[]");
    for ((what, then), (_, now)) in before.iter().zip(snapshot()) {
        assert_eq!(*then, now, "{what}");
    }
    down(&w, text, &["--volumes"]);
    assert!(stored().is_empty());
    w.is_clean();
}

/// Who failed and why; and what ran goes on running as it was.
fn what_fails(_: Mode) {
    let w = World::new(Mode::Own);
    up_ok(&w, SHOP, &[]);
    let first = pids(&w);
    // Found before anything is touched.
    for wrong in [
        SHOP.replacen("[sleep, '1000']", "[no-such-program]", 1),
        SHOP.replace(
            "    links: ['cache",
            "    volumes: ['/nowhere:/x']\n    links: ['cache",
        ),
        SHOP.replace(
            "    links: ['cache",
            "    image: nobody/has:it\n    links: ['cache",
        ),
    ] {
        let out = up(&w, &wrong, &[]);
        assert_eq!(out.code, 2, "{out:?}");
        assert!(out.stderr.contains("compose.yaml:"), "{out:?}");
        assert_eq!(pids(&w), first);
    }
    // Found by starting it: the mount covers what the command is in.
    let empty = harness::dir().join("empty");
    std::fs::create_dir(&empty).expect("a directory");
    let line = format!(
        "    volumes: ['{}:/usr/bin']\n    links: ['cache",
        empty.display()
    );
    let out = up(&w, &SHOP.replace("    links: ['cache", &line), &[]);
    assert_ne!(out.code, 0, "{out:?}");
    assert!(
        out.stderr.contains("service `db`") && out.stderr.contains("started again"),
        "{out:?}"
    );
    let second = pids(&w);
    assert_eq!(second.len(), 4, "{second:?}");
    assert!(
        first
            .iter()
            .all(|(name, pid)| (second[name] == *pid) != (name == "shop-db-1"))
    );
    matrix(
        &w,
        &[("shop-web", "shop-db", "5432"), ("shop-db", "shop-cache", "6379")],
    );
    // Ends at once: its last lines are shown.
    let line = "    command: [sh, -c, 'echo the reason >&2; exit 3']\n    environment:";
    let wrong = SHOP.replace("    command: [sleep, '1000']\n    environment:", line);
    let out = up(&w, &wrong, &["--wait"]);
    assert_ne!(out.code, 0);
    for said in ["service `db`", "status 3", "the reason"] {
        assert!(out.stderr.contains(said), "{said}: {out:?}");
    }
    w.is_clean();
    down(&w, SHOP, &[]);
}

/// Limits, devices, user ids and system calls are what the file says.
fn rights(_: Mode) {
    let w = World::new(Mode::Own);
    let text = "
name: r
services:
  plain: {command: sleep 1000}
  given:
    command: sleep 1000
    devices: ['/dev/zero:/dev/given']
    security_opt: ['seccomp:unconfined', 'no-new-privileges:true']
    userns_mode: host
    ulimits: {nofile: {soft: 100, hard: 200}, core: 0}
    mac_address: 02:00:00:00:00:07
    stop_signal: KILL
    deploy: {resources: {limits: {memory: 64m, pids: 50}}}
";
    up_ok(&w, text, &[]);
    let look = "cat /dev/given 2>/dev/null | head -c 3 | wc -c; sed -n 's/^Seccomp:.//p; s/^NoNewPrivs:.//p' \
                /proc/self/status; awk '{print ($2 == 0)}' /proc/self/uid_map; ulimit -n; ulimit -Hn; \
                cat /sys/class/net/eth0/address";
    let sh = |name: &str| w.exec(name, &["sh", "-c", look]).stdout;
    let given = sh("r-given-1");
    assert_eq!(given, "3\n1\n0\n1\n100\n200\n02:00:00:00:00:07\n");
    let plain = sh("r-plain-1");
    assert!(
        plain.starts_with("0\n1\n2\n0\n") && !plain.contains("02:00:00:00:00:07"),
        "{plain}"
    );
    let limits = w.json(&["inspect", "r-given-1"])["limits"].to_string();
    assert!(limits.contains("67108864") && limits.contains("50"), "{limits}");
    // At once, though `sleep` as the first process's child would be asked with TERM.
    w.ok(&["stop", "-t", "60", "r-given-1"]);
    assert_eq!(w.json(&["inspect", "r-given-1"])["exit_code"], 137);
    down(&w, text, &["-t", "0"]);
}

/// One error with file, line and column; nothing is done.
fn bad_files(_: Mode) {
    let w = World::new(Mode::Own);
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let all = vec![format!("*a{}", n - 1); 10].join(", ");
        laughs += &format!("a{n}: &a{n} [{all}]\n");
    }
    for (text, place) in [
        (
            SHOP.replace("scale: 2", "skale: 2"),
            ":6:5: unknown or unsupported key `skale`",
        ),
        (SHOP.replace("scale: 2", "scale: [2"), ": no YAML"),
        (
            SHOP.replace("scale: 2", "scale: 2\n    scale: 2"),
            ":7:5: the key `scale` stands here twice",
        ),
        (
            SHOP.replace("scale: 2", "depends_on: [db]")
                .replace("environment", "depends_on: [web]\n    environment"),
            "in a circle: web -> db -> web",
        ),
        (
            SHOP.replace("db:5432/tcp", "bd:5432/tcp"),
            "the file has no service `bd`",
        ),
        (SHOP.replace("${MODE:-plain}", "${MODE:?say which}"), "say which"),
        (laughs, "aliases counted in"),
    ] {
        let out = up(&w, &text, &[]);
        assert_eq!(out.code, 2, "{out:?}");
        assert!(
            out.stderr.contains("compose.yaml:") && out.stderr.contains(place),
            "{place}: {out:?}"
        );
        assert!(pids(&w).is_empty());
    }
    let out = Out::of(w.command(&["up"]).current_dir(harness::dir().join("..")));
    assert_eq!(out.code, 2, "{out:?}");
}

/// Killed at some steps on its way up or down, the next one goes on.
fn killed_anywhere(_: Mode) {
    let w = World::new(Mode::Own);
    let file = write(SHOP);
    let before = snapshot();
    for verb in ["up", "down"] {
        for at in [3, 9, 17, 31, 47, 77, 131] {
            let mut c = w.command(&[verb, "-f", &file]);
            Out::of(c.env("MOAT_FAULT", format!("abort:{at}")));
            up_ok(&w, SHOP, &[]);
            assert_eq!(pids(&w).len(), 4, "{verb} {at}");
            w.is_clean();
            if verb == "up" {
                down(&w, SHOP, &[]);
            }
        }
    }
    down(&w, SHOP, &[]);
    for ((what, then), (_, now)) in before.iter().zip(snapshot()) {
        assert_eq!(*then, now, "{what}");
    }
}

/// Lines of several containers with their names, and the links that a plain file needs.
fn logs_and_hints(_: Mode) {
    let w = World::new(Mode::Own);
    let text = "
name: l
services:
  a: {command: [sh, -c, 'echo from a; exec sleep 1000']}
  b: {command: [sh, -c, 'echo from b; exec sleep 1000']}
";
    up_ok(&w, text, &[]);
    let logs = |args: &[&str]| w.moat(&[&["logs"], args].concat()).stdout;
    assert!(until(Duration::from_secs(5), || {
        let said = logs(&["-p", "l"]);
        said.contains("l-a-1 | from a\n") && said.contains("l-b-1 | from b\n")
    }));
    assert_eq!(logs(&["l-a-1"]), "from a\n");
    let coloured = logs(&["--color", "always", "l-a-1", "l-b-1"]);
    assert!(
        coloured.contains("\u{1b}[36ml-a-1 |\u{1b}[0m from a"),
        "{coloured:?}"
    );
    down(&w, text, &[]);

    let plain = "
name: p
services:
  web:
    image: nginx
    build: .
    environment: {DB: 'postgres://db:5433/x'}
  db:
    image: postgres
";
    let out = up(&w, plain, &["--explain"]);
    assert!(out.ok() && out.stdout.contains("- \"db:5433/tcp\""), "{out:?}");
    assert!(out.stderr.contains("the key `build`"), "{out:?}");
    let new = harness::dir().join("new.yaml").display().to_string();
    up_ok(&w, plain, &["--explain", "-o", &new]);
    let out = w.moat(&["up", "--explain", "-f", &new]);
    assert!(out.stdout.is_empty(), "{out:?}");
    assert!(pids(&w).is_empty());
}
