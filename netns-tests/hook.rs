//! `moat hook`: containers that runc, crun and podman made without a network, behind the wall.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::{Guest, Machine, apart, linked, oci};
use crate::harness::{self, Story, own};
use crate::links::any;
use crate::net::{Ns, Out, until};
use crate::world::{FAMILIES, Neighbour, lan};

pub const STORIES: &[Story] = &[
    own("hook::runc", |_| runtime("runc")),
    own("hook::crun", |_| runtime("crun")),
    own("hook::podman", |_| podman()),
    own("hook::refusals", |_| refusals()),
];

const MOAT: &str = env!("CARGO_BIN_EXE_moat");

/// A runtime that is called with bundles, as an engine does.
struct Runtime<'a> {
    program: &'static str,
    machine: &'a Machine,
}

impl Runtime<'_> {
    fn bundle(&self, id: &str, annotations: &Value, stages: &[&str]) -> PathBuf {
        let dir = harness::dir().join(format!("bundle-{id}"));
        fs::create_dir_all(&dir).expect("the bundle");
        let mut spec = oci(&self.machine.rootfs);
        spec["annotations"] = annotations.clone();
        for stage in stages {
            spec["hooks"][*stage] = json!([{"path": MOAT, "args": ["moat", "hook"]}]);
        }
        fs::write(dir.join("config.json"), spec.to_string()).expect("config.json");
        dir
    }

    fn call(&self, words: &str) -> Out {
        let state = harness::dir().join("runtime");
        Ns::host().sh(&format!(
            "{} --root {} {words} </dev/null",
            self.program,
            state.display()
        ))
    }

    /// A container that waits; its streams are files, so that the shell's end is not waited for.
    fn start(&self, id: &str, bundle: &Path) -> Out {
        let log = harness::dir().join(format!("{id}.out"));
        let out = self.call(&format!(
            "run -d -b {} {id} >{log} 2>&1",
            bundle.display(),
            log = log.display()
        ));
        Out {
            stderr: fs::read_to_string(log).unwrap_or_default(),
            ..out
        }
    }

    #[track_caller]
    fn run(&self, id: &str, annotations: &Value, stages: &[&str]) -> Guest {
        let out = self.start(id, &self.bundle(id, annotations, stages));
        assert!(out.ok(), "{} run {id}: {out:?}", self.program);
        let state = self.call(&format!("state {id}"));
        let state: Value = serde_json::from_str(&state.stdout).expect("the state");
        Guest::of(id, &state["pid"].to_string())
    }

    #[track_caller]
    fn kill(&self, id: &str) {
        self.call(&format!("kill {id} KILL"));
        let stopped = || self.call(&format!("state {id}")).stdout.contains("\"stopped\"");
        assert!(until(Duration::from_secs(5), stopped), "{id} still runs");
    }
}

/// One of the directories that podman can be told of; the usual one is the machine's.
const HOOKS: &str = "/etc/containers/oci/hooks.d";
const BOTH: [&str; 2] = ["createRuntime", "poststop"];

/// Two containers of one runtime, and one of `moat run`.
fn runtime(program: &'static str) {
    let m = Machine::new();
    let r = Runtime { program, machine: &m };
    let a = r.run("a", &json!({"moat.dev/labels": "app=web"}), &BOTH);
    let b = r.run("b", &json!({"moat.dev/name": "db"}), &["createRuntime"]);
    let at_b = b.ns.capture(&format!("src {} or src {}", a.ip4, a.ip6));
    apart(&a, &b);
    apart(&b, &a);
    at_b.nothing("from a container that is not linked");
    let known = m.json("ps -a --json");
    assert_eq!(
        (&known[0]["name"], &known[0]["status"]),
        (&json!("oci:a"), &json!("running"))
    );
    assert_eq!(known[0]["labels"], json!({"app": "web"}));
    // By the runtime's id, and by the name it was given.
    m.ok("link a db:5432/tcp");
    linked(&a, &b);
    at_b.something("linked");
    for (line, code) in [
        ("why oci:a db:5432/tcp", 0),
        ("why oci:a db:5433/tcp", 1),
        ("reach --probe", 0),
    ] {
        let out = m.moat(line);
        assert_eq!(out.code, code, "{line}: {out:?}");
    }
    assert!(m.ok("graph").contains("oci:b"));
    m.ok("unlink a db:5432/tcp");
    apart(&a, &b);
    let rootfs = m.rootfs.display().to_string();
    m.ok(&format!("run -d --name own --rootfs {rootfs} -- sleep 1000"));
    let own = Guest::of("own", &m.json("inspect own")["pid"].to_string());
    apart(&own, &b);
    m.ok("link own db:5432/tcp");
    linked(&own, &b);
    let hosts = m.ok("exec own cat /etc/hosts");
    assert!(
        hosts.lines().any(|l| l.starts_with(&b.ip6) && l.ends_with("db")),
        "{hosts}"
    );
    m.ok("link label:app=web own:5432/tcp");
    linked(&a, &own);
    assert_eq!(m.moat("exec a true").code, 125, "its processes are not ours");
    // One whose runtime tells, and one whose runtime does not.
    r.kill("a");
    let out = r.call("delete a");
    assert!(out.ok(), "{out:?}");
    let names = |v: &Value| {
        v.as_array()
            .expect("a list")
            .iter()
            .map(|c| c["name"].to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&m.json("ps -a --json")).len(), 2, "a is gone");
    r.kill("b");
    assert_eq!(names(&m.json("ps -a --json")), ["\"own\""], "b is gone");
    r.call("delete b");
    assert_eq!(
        m.json("links --json").as_array().map(Vec::len),
        Some(1),
        "the link by label stays"
    );
    m.ok("unlink label:app=web own:5432/tcp");
    m.ok("rm -f own");
    m.is_empty();
}

/// `podman --network none`, with the hook where podman looks for it.
fn podman() {
    let m = Machine::new();
    let conf = "/etc/containers/containers.conf";
    let text = fs::read_to_string(conf).expect("the configuration");
    fs::write(
        conf,
        text.replace("[engine]", &format!("[engine]\nhooks_dir = [\"{HOOKS}\"]")),
    )
    .expect("the same");
    m.ok(&format!("hook install --dir {HOOKS}"));
    m.ok(&format!("hook install --dir {HOOKS}"));
    let (_lan, lan) = lan();
    let without = m.podman(&format!(
        "run -d --network none --rootfs {}:O sleep 1000",
        m.rootfs.display()
    ));
    let start = |name: &str, options: &str| m.run(name, &format!("--network none {options}"));
    let web = start("web", "--annotation moat.dev/labels=app=web,tier=front");
    let db = start(
        "db",
        "--annotation moat.dev/ports=8080:80 --annotation moat.dev/mac=02:00:00:00:00:07 \
         --annotation moat.dev/links=label:app=web:5432/tcp",
    );
    let known = m.json("ps -a --json");
    assert_eq!(
        known.as_array().map(Vec::len),
        Some(2),
        "{without} has no annotation: {known}"
    );
    let inspected = m.json("inspect db");
    assert_eq!(inspected["mac"], "02:00:00:00:00:07", "{inspected}");
    linked(&db, &web);
    m.ok("unlink db label:app=web:5432/tcp");
    let at_db = db.ns.capture(&format!("src {} or src {}", web.ip4, web.ip6));
    apart(&web, &db);
    at_db.nothing("from a container that is not linked");
    // By podman's names.
    let hosts = || m.podman("exec web cat /etc/hosts");
    let before = hosts();
    m.ok("link web db:5432/tcp");
    linked(&web, &db);
    let named = |l: &str| l.starts_with(&db.ip6) && l.ends_with("\tdb");
    assert!(hosts().lines().any(named), "{}", hosts());
    m.ok("unlink web db:5432/tcp");
    assert_eq!(hosts(), before);
    apart(&web, &db);
    for family in FAMILIES {
        let _server = db.ns.serve("tcp", any(family), 80);
        assert!(lan.ns.reaches("tcp", Neighbour::host(family), 8080), "published");
    }
    m.ok("link web db:5432/tcp");
    m.podman("restart -t 0 db");
    let db = m.guest("db");
    apart(&web, &db);
    let links = m.json("links --json");
    assert_eq!(
        links.as_array().map(Vec::len),
        Some(1),
        "that of its annotation alone: {links}"
    );
    linked(&db, &web);
    let again = Ns::host().sh(&format!(
        "podman run -d --network none --annotation moat.dev/name=web --rootfs {}:O sleep 9",
        m.rootfs.display()
    ));
    assert!(!again.ok(), "one name twice: {again:?}");
    m.podman("rm -f -t 0 -a");
    m.is_empty();
}

/// What cannot be walled off is refused, the runtime gives the container up, and nothing stays.
fn refusals() {
    let m = Machine::new();
    let call = |text: &str| {
        let state = harness::dir().join("state.json");
        fs::write(&state, text).expect("the state");
        let mut c = Command::new(MOAT);
        c.arg("hook")
            .env_remove("MOAT_ROOT")
            .stdin(fs::File::open(state).expect("the state"));
        let out = c
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("moat");
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let me = std::process::id();
    let state = |rest: &str| format!(r#"{{"ociVersion": "1.0.2", "id": "x", "bundle": "/b", {rest}}}"#);
    for (text, says) in [
        ("{".to_owned(), "not the state"),
        (state(r#""status": "creating""#), "names no process"),
        (state(r#""status": "creating", "pid": 4194304"#), "is gone"),
        (
            state(&format!(r#""status": "creating", "pid": {me}"#)),
            "host's network namespace",
        ),
        (
            state(r#""status": "creating", "pid": 1, "annotations": {"moat.dev/lnks": "a"}"#),
            "moat.dev/lnks",
        ),
    ] {
        let (code, said) = call(&text);
        assert!(code == Some(2) && said.contains(says), "{text}: {code:?} {said}");
        assert!(said.contains("hint:"), "{said}");
        assert_eq!(said.lines().count(), 2, "one error: {said}");
    }
    // Nothing of it was here.
    assert_eq!(call(&state(r#""status": "stopped""#)), (Some(0), String::new()));
    for program in ["runc", "crun"] {
        let r = Runtime { program, machine: &m };
        for (annotations, says) in [
            (json!({"moat.dev/network": "lab"}), "no network is named `lab`"),
            (
                json!({"moat.dev/links": "nobody:80"}),
                "no container is named `nobody`",
            ),
            (json!({"moat.dev/ip": "192.0.2.1"}), "192.0.2.1"),
        ] {
            let out = r.start("bad", &r.bundle("bad", &annotations, &BOTH));
            assert!(!out.ok(), "{program} {annotations}");
            assert!(
                program == "crun" || out.stderr.contains(says),
                "{annotations}: {out:?}"
            );
            r.call("delete -f bad");
            m.is_empty();
        }
    }
}
