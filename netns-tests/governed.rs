//! Kubernetes network policies upon containers that live: what packets do when policies, labels or containers change.

use std::time::Duration;

use serde_json::json;

use crate::harness::{self, Story, everywhere, own};
use crate::links::any;
use crate::net::{Out, until};
use crate::pods::{Call, conf};
use crate::world::{Container, FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[
    everywhere(
        "governed::policies_labels_and_containers_come_and_go",
        come_and_go,
    ),
    everywhere("governed::what_is_under_way_stops", under_way_stops),
    own("governed::the_way_out", the_way_out),
    own("governed::pods_of_kubernetes_runtimes", pods),
    own("governed::many_at_once", many_at_once),
    own("governed::input", input),
];

/// To `shop/db` only `app: web`, and only port 80.
pub const ONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/netns-tests/one-policy.yaml");

/// A world whose network has policies.
fn governed(mode: Mode) -> World {
    let mut world = World::new(mode);
    let router = if mode == Mode::Own { "own" } else { "host" };
    world.ok(&[
        "net",
        "create",
        "k",
        "--default-policy",
        "kubernetes",
        "--router",
        router,
    ]);
    world.net = "k".into();
    world
}

fn pod(w: &World, name: &str) -> Container {
    let label = format!("app={name}");
    let namespace = "io.kubernetes.pod.namespace=shop";
    w.idle(name, &["--label", &label, "--label", namespace])
}

/// What is decided and what packets do, for every pair, two ports and ping; who may reach `db` on port 80.
#[track_caller]
fn who_reaches_db(w: &World) -> Vec<String> {
    let found = w.json(&[
        "reach", "--probe", "--port", "80/tcp", "--port", "81/tcp", "--port", "53/udp", "--port", "icmp",
    ]);
    let cells = found["cells"].as_array().expect("cells");
    assert!(cells.iter().all(|c| c["decided"] == c["observed"]), "{found}");
    let is = |c: &&serde_json::Value| c["to"] == "db" && c["port"] == "80" && c["decided"] == true;
    let mut all: Vec<String> = cells
        .iter()
        .filter(is)
        .map(|c| c["from"].as_str().unwrap().to_owned())
        .collect();
    all.dedup();
    all.sort();
    all.dedup();
    all
}

fn come_and_go(mode: Mode) {
    let w = governed(mode);
    let (web, db, other) = (pod(&w, "web"), pod(&w, "db"), pod(&w, "other"));
    assert_eq!(
        who_reaches_db(&w),
        ["other", "web"],
        "open until a policy selects"
    );
    w.ok(&["policy", "apply", "-f", ONE]);
    assert_eq!(who_reaches_db(&w), ["web"]);
    w.is_clean();
    let why = w.moat(&["why", "other", "db:80/tcp"]);
    assert_eq!(why.code, 1);
    assert!(
        why.stdout
            .contains("one-policy.yaml:8) opens this port, but the sender is not `app=web`"),
        "{why:?}"
    );
    let ls = w.json(&["policy", "ls"]);
    assert_eq!(
        (&ls[0]["name"], &ls[0]["line"], &ls[0]["containers"]),
        (&json!("db"), &json!(4), &json!(1))
    );

    // Other labels, and back; a link by label follows, too.
    w.ok(&["label", "other", "app=web"]);
    assert_eq!(who_reaches_db(&w), ["other", "web"]);
    w.ok(&["label", "web", "app-", "tier=front"]);
    assert_eq!(who_reaches_db(&w), ["other"]);
    w.ok(&["link", "label:tier=front", "db:81/tcp"]);
    for family in FAMILIES {
        let _served = db.ns.serve("tcp", any(family), 81);
        assert!(
            web.ns.reaches("tcp", db.ip(family), 81),
            "a link opens what policies deny"
        );
        assert!(!other.ns.reaches("tcp", db.ip(family), 81));
    }
    w.ok(&["label", "web", "tier-"]);
    assert!(!w.moat(&["why", "web", "db:81/tcp"]).ok());
    assert_eq!(who_reaches_db(&w), ["other"]);
    w.ok(&["unlink", "label:tier=front", "db:81/tcp"]);
    w.ok(&["label", "other", "app=other"]);
    w.is_clean();

    // One that comes later is covered from its first packet; one that goes leaves nothing.
    pod(&w, "late");
    assert!(!w.moat(&["why", "late", "db:80/tcp", "--probe"]).ok());
    w.ok(&["label", "late", "app=web"]);
    assert_eq!(who_reaches_db(&w), ["late"]);
    w.ok(&["rm", "-f", "late", "web"]);
    w.is_clean();

    // A lost wall is closed, and made anew with its policies.
    w.router().must("nft flush ruleset");
    assert!(!other.ns.reaches("tcp", &db.ip4, 81));
    assert_eq!(who_reaches_db(&w), Vec::<String>::new());
    w.ok(&["policy", "rm", "shop/db"]);
    assert_eq!(who_reaches_db(&w), ["other"]);
    w.is_clean();
}

/// A connection that a policy no longer allows stops with its next packet.
fn under_way_stops(mode: Mode) {
    let w = governed(mode);
    let (other, db) = (pod(&w, "other"), pod(&w, "db"));
    for family in FAMILIES {
        let sink = db.ns.start(&["sink", "tcp", any(family), "7000"]);
        let _pour = other.ns.start(&["pour", "tcp", db.ip(family), "7000"]);
        assert!(
            until(Duration::from_secs(5), || sink.count() > 50_000),
            "{}",
            sink.text()
        );
        w.ok(&["policy", "apply", "-f", ONE]);
        // The receiver prints its count twenty times a second.
        std::thread::sleep(Duration::from_millis(300));
        let then = sink.count();
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(then, sink.count(), "goes on over {}", db.ip(family));
        w.ok(&["policy", "rm", "db"]);
        assert!(
            until(Duration::from_secs(20), || sink.count() > then + 10_000),
            "goes on again"
        );
    }
}

/// Containers that come, go and are relabelled at the same time leave what is recorded, and no more.
fn many_at_once(mode: Mode) {
    let w = governed(mode);
    w.ok(&["policy", "apply", "-f", ONE]);
    let at_once = |commands: Vec<Vec<String>>| {
        std::thread::scope(|scope| {
            for words in &commands {
                let w = &w;
                scope.spawn(move || w.ok(&words.iter().map(String::as_str).collect::<Vec<_>>()));
            }
        });
        w.is_clean();
    };
    let words = |line: String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let run = |n: usize, app: &str| {
        words(format!(
            "run -d --net k --name c{n} --label app={app} --label io.kubernetes.pod.namespace=shop -- sleep 1000"
        ))
    };
    at_once(
        (0..8)
            .map(|n| run(n, if n % 2 == 0 { "db" } else { "web" }))
            .collect(),
    );
    let mut mixed: Vec<_> = (0..3).map(|n| words(format!("label c{n} app=web"))).collect();
    mixed.extend((3..6).map(|n| words(format!("rm -f c{n}"))));
    mixed.extend((8..10).map(|n| run(n, "db")));
    at_once(mixed);
    let found = w.json(&["reach", "--probe", "--port", "80/tcp", "--port", "81/tcp"]);
    let cells = found["cells"].as_array().expect("cells");
    assert!(cells.iter().all(|c| c["decided"] == c["observed"]), "{found}");
    let mut last: Vec<_> = [0, 1, 2, 6, 7, 8, 9].map(|n| words(format!("rm -f c{n}"))).into();
    last.push(words("policy rm db".to_owned()));
    at_once(last);
}

/// What leaves for the world is asked for by its address.
fn the_way_out(mode: Mode) {
    let mut w = governed(mode);
    let lan = w.lan();
    let web = pod(&w, "web");
    let file = harness::dir().join("out.yaml");
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: out, namespace: shop}\nspec:\n  \
                  podSelector: {}\n  policyTypes: [Egress]\n  egress:\n  - to: [{ipBlock: {cidr: 192.168.50.0/24}}, {ipBlock: {cidr: fd50::/64}}]\n    ports: [{port: 80}]\n";
    std::fs::write(&file, policy).unwrap();
    for family in FAMILIES {
        let ip = crate::world::Neighbour::ip(family);
        let _open = lan.ns.serve("tcp", any(family), 80);
        let _shut = lan.ns.serve("tcp", any(family), 81);
        assert!(web.ns.reaches("tcp", ip, 81), "{ip} without policies");
        w.ok(&["policy", "apply", "-f", file.to_str().unwrap()]);
        assert!(web.ns.reaches("tcp", ip, 80), "{ip}");
        assert!(!web.ns.reaches("tcp", ip, 81), "{ip}");
        let to = if family == 4 {
            ip.to_owned()
        } else {
            format!("[{ip}]")
        };
        assert!(w.moat(&["why", "web", &format!("{to}:80/tcp")]).ok());
        let shut = w.moat(&["why", "web", &format!("{to}:81/tcp")]);
        assert!(
            shut.code == 1 && shut.stdout.contains("port 81 is not in 80-80"),
            "{shut:?}"
        );
        w.ok(&["policy", "rm", "out"]);
    }
    w.is_clean();
}

/// A runtime says namespace and name; labels come with its configuration.
fn pods(mode: Mode) {
    let w = World::new(mode);
    let of = |app: &str| {
        conf(
            &json!({ "defaultPolicy": "kubernetes", "args": { "cni": { "labels": [{ "key": "app", "value": app }] } } }),
        )
    };
    let add = |id: &str, app: &str, namespace: &str| {
        let pod = crate::pods::Pod::new(id);
        let call = Call {
            verb: "ADD",
            id,
            netns: &pod.netns,
            args: &format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={app}-{id}"),
            ..Call::default()
        };
        let out: Out = w.plugin(call, &of(app));
        assert!(out.ok(), "{out:?}");
        pod
    };
    let (web, _db, stranger) = (
        add("p1", "web", "shop"),
        add("p2", "db", "shop"),
        add("p3", "web", "elsewhere"),
    );
    w.ok(&["policy", "apply", "-f", ONE]);
    let found = w.json(&["reach", "--probe", "--port", "80/tcp"]);
    let cells = found["cells"].as_array().unwrap();
    assert!(cells.iter().all(|c| c["decided"] == c["observed"]), "{found}");
    let may = |from: &str| {
        let is = |c: &&serde_json::Value| c["from"] == from && c["to"] == "cni:pods/p2";
        cells.iter().filter(is).all(|c| c["decided"] == true)
    };
    assert!(may("cni:pods/p1") && !may("cni:pods/p3"), "{found}");
    let why = w.moat(&[
        "policy",
        "why",
        "--from",
        "elsewhere/web-p3",
        "--to",
        "shop/db-p2",
        "--port",
        "80",
    ]);
    assert!(
        why.code == 1 && why.stdout.contains("the sender is not in namespace `shop`"),
        "{why:?}"
    );
    w.is_clean();
    for pod in [&web, &stranger] {
        let out = w.del(&pod.id, &pod.netns, &of("web"));
        assert!(out.ok(), "{out:?}");
    }
    w.is_clean();
}

/// What is wrong is one error, and nothing changes.
fn input(mode: Mode) {
    let w = governed(mode);
    pod(&w, "db");
    let dir = harness::dir();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let broken = file(
        "broken.yaml",
        &std::fs::read_to_string(ONE)
            .unwrap()
            .replace("podSelector: {matchL", "podSelecter: {matchL"),
    );
    let nothing = file(
        "nothing.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
    );
    for (words, wanted) in [
        (
            vec!["policy", "apply", "-f", &broken],
            "broken.yaml:8:13: unknown or unsupported key `podSelecter`",
        ),
        (
            vec!["policy", "apply", "-f", &nothing],
            "no policy and no namespace",
        ),
        (vec!["policy", "rm", "nobody"], "no policy is named `nobody`"),
        (vec!["label", "db", "nonsense"], "a label is KEY=VALUE"),
        (vec!["label", "nobody", "a=b"], "no container is named `nobody`"),
    ] {
        let out = w.moat(&words);
        assert!(out.code == 2 && out.stderr.contains(wanted), "{words:?}: {out:?}");
        crate::faulty::says_one_error(&out.stderr, &format!("{words:?}"));
    }
    assert_eq!(w.json(&["policy", "ls"]), json!([]));
    // A dry run says what would change, and changes nothing.
    let plan = w.ok(&["policy", "apply", "-f", ONE, "--dry-run"]);
    assert!(plan.contains("iclass4") && plan.contains("add element"), "{plan}");
    assert_eq!(w.json(&["policy", "ls"]), json!([]));
    w.is_clean();
}
