//! `moat policy` as people call it: needs no corpus, and but for `probe` no rights and no network.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Failed;
use serde_json::Value;

pub const SHOP: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c, ports: [{containerPort: 80, name: http}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db, namespace: shop}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, ports: [{containerPort: 80}, {containerPort: 81}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from:
    - podSelector: {matchLabels: {app: other}}
  - from:
    - podSelector: {matchLabels: {app: web}}
    ports:
    - port: 80
";

pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub fn with(self, name: &str, text: &str) -> Self {
        std::fs::write(self.0.join(name), text).unwrap();
        self
    }

    pub fn moat(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_moat"));
        command
            .current_dir(&self.0)
            .args(["policy"])
            .args(words)
            .output()
            .unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
pub fn is(out: &Output, code: i32, texts: &[&str]) {
    let all = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!(out.status.code(), Some(code), "{all}");
    for text in texts {
        assert!(all.contains(text), "no `{text}` in:\n{all}");
    }
}

fn json(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout).unwrap()
}

pub fn test_and_expect() -> Result<(), Failed> {
    let folder = Folder::new("test").with("shop.yaml", SHOP);
    let out = folder.moat(&["test", ".", "--format", "json"]);
    is(&out, 0, &["4 policies"].map(|_| "1 policies"));
    let cells = json(&out)["cells"].as_array().unwrap().clone();
    // Three pods; the database serves two ports at each of its two, the web one.
    assert_eq!(cells.len(), 2 * 3 * (2 + 2 + 1));
    let keys: Vec<&str> = cells[0].as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted = [
        "from", "to", "port", "protocol", "family", "decided", "observed", "expected", "because",
    ];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    let cell = |from: &str, to: &str, port: u64| {
        let is = |c: &&Value| c["from"] == from && c["to"] == to && c["port"] == port && c["family"] == "ip4";
        cells.iter().find(is).unwrap()["decided"].as_bool().unwrap()
    };
    assert!(cell("shop/web", "shop/db", 80) && !cell("shop/web", "shop/db", 81));
    assert!(cell("shop/db", "shop/db", 81) && !cell("shop/db", "shop/db-2", 81));

    let reach = "apiVersion: moat.dev/v1\nkind: Reachability\nspec:\n  expect:\n  - {from: shop/web, to: shop/db, port: 80, allowed: true}\n";
    let folder = folder.with("reach.yaml", reach);
    is(
        &folder.moat(&["test", ".", "--expect", "reach.yaml"]),
        0,
        &["4 expected, 0 other"],
    );
    let more = format!("{reach}  - {{from: shop/web, to: shop/db, port: [81, 82], allowed: true}}\n");
    let folder = folder.with("reach.yaml", &more);
    let wrong = [
        "shop/web -> shop/db 81/TCP ip4: expected allowed (./reach.yaml:6), is denied",
        "82/TCP",
        "rule 2 of NetworkPolicy shop/db (./shop.yaml:23) would match, but port 81 is not in 80-80",
    ];
    is(&folder.moat(&["test", "."]), 1, &wrong);
    let unknown = reach.replace("shop/web", "shop/webb");
    let folder = folder.with("reach.yaml", &unknown);
    is(
        &folder.moat(&["test", "."]),
        2,
        &[
            "./reach.yaml:5:12: no pod is `shop/webb`",
            "did you mean `shop/web`?",
        ],
    );
    Ok(())
}

/// Every cell is tried with a packet, and what is expected is held against what packets did.
pub fn probe() -> Result<(), Failed> {
    let outside = "---\napiVersion: moat.dev/v1\nkind: External\nmetadata: {name: api}\nspec: {ips: [192.0.2.10], ports: [443/TCP, 443/SCTP]}\n";
    let folder = Folder::new("probe").with("shop.yaml", &format!("{SHOP}{outside}"));
    let out = folder.moat(&["test", ".", "--probe", "--json"]);
    is(&out, 0, &["each tried with a packet", "0 did something else"]);
    let cells = json(&out)["cells"].as_array().unwrap().clone();
    let of = |family: &str| cells.iter().filter(|c| c["family"] == family).count();
    // Three pods and what is outside, which has an address of one family and is no pod's receiver in the other.
    assert_eq!([of("ip4"), of("ip6")], [4 * 5 + 3 * 2, 3 * 5]);
    let denied = cells.iter().filter(|c| c["observed"] == false).count();
    assert!(denied > 0 && denied < cells.len());
    assert!(
        cells
            .iter()
            .all(|c| c["observed"].is_boolean() && c["observed"] == c["decided"])
    );

    let one = folder.moat(&["test", ".", "--probe", "--families", "ip6"]);
    is(&one, 0, &["15 cells", "(ip6)"]);
    let reach = "apiVersion: moat.dev/v1\nkind: Reachability\nspec:\n  expect:\n  - {from: shop/web, to: shop/db, port: 81, allowed: true}\n";
    let folder = folder.with("reach.yaml", reach);
    let wrong = ["shop/web -> shop/db 81/TCP ip4: expected allowed (./reach.yaml:5), is denied"];
    is(&folder.moat(&["test", ".", "--probe"]), 1, &wrong);
    let twins = "---\n{apiVersion: v1, kind: Pod, metadata: {name: A, namespace: x}, spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}, status: {podIP: 10.0.0.1}}\n";
    let both = format!("{}{}", twins.replace(": A", ": a"), twins.replace(": A", ": b"));
    let folder = Folder::new("twins").with("pods.yaml", &both);
    is(
        &folder.moat(&["test", ".", "--probe"]),
        2,
        &["`x/a` and `x/b` have one address", "hint: "],
    );
    Ok(())
}

pub fn netassert() -> Result<(), Failed> {
    let test = |port, code| {
        format!(
            "- name: web to db\n  type: k8s\n  protocol: tcp\n  targetPort: {port}\n  exitCode: {code}\n  src: {{k8sResource: {{kind: pod, name: web, namespace: shop}}}}\n  dst: {{k8sResource: {{kind: deployment, name: db, namespace: shop}}}}\n"
        )
    };
    let both = test(80, 0) + &test(81, 1);
    let folder = Folder::new("netassert")
        .with("shop.yaml", SHOP)
        .with("net.yaml", &both);
    is(&folder.moat(&["test", "."]), 0, &["8 expected, 0 other"]);
    let folder = folder.with("net.yaml", &test(81, 0));
    is(
        &folder.moat(&["test", "."]),
        1,
        &["expected allowed (./net.yaml:1), is denied"],
    );
    Ok(())
}

pub fn why_and_diff() -> Result<(), Failed> {
    let folder = Folder::new("why").with("shop.yaml", SHOP);
    let ask = [
        "why",
        "-f",
        "shop.yaml",
        "--from",
        "shop/web",
        "--to",
        "shop/db",
        "--port",
    ];
    is(
        &folder.moat(&[&ask[..], &["80"]].concat()),
        0,
        &["ingress rule 2 (shop.yaml:23)"],
    );
    let out = folder.moat(&[&ask[..], &["81/tcp"]].concat());
    is(
        &out,
        1,
        &[
            "isolated by NetworkPolicy shop/db (shop.yaml:17)",
            "but port 81 is not in 80-80",
            "the receiver",
            "app=other",
        ]
        .map(|t| {
            if t == "the receiver" {
                "the sender is not"
            } else {
                t
            }
        }),
    );
    let out = folder.moat(&[&ask[..], &["81", "--json"]].concat());
    let answer = json(&out);
    assert_eq!(answer["allowed"], false);
    let denied = answer["because"]
        .as_array()
        .unwrap()
        .iter()
        .find(|b| b["allowed"] == false)
        .unwrap();
    assert_eq!(
        (&denied["rule"], &denied["line"]),
        (&"NetworkPolicy shop/db".into(), &17.into())
    );
    is(
        &folder.moat(&[&ask[..6], &["shop/d", "--port", "80"]].concat()),
        2,
        &["no such pod: `shop/d`", "did you mean `shop/db`?"],
    );

    let folder = folder.with("next.yaml", &SHOP.replace("port: 80\n", "port: 81\n"));
    let changes = [
        "closed  shop/web -> shop/db 80/TCP ip4",
        "opened  shop/web -> shop/db 81/TCP ip6",
        "4 opened, 4 closed",
    ];
    is(&folder.moat(&["diff", "shop.yaml", "next.yaml"]), 1, &changes[..]);
    is(
        &folder.moat(&["diff", "shop.yaml", "shop.yaml"]),
        0,
        &["0 opened"],
    );
    Ok(())
}

pub fn wrong_input() -> Result<(), Failed> {
    let broken = [
        (
            "podSelector: {matchLabels: {app: db}}",
            "podSelecter: {}",
            "1-broken.yaml:19:3: unknown or unsupported key `podSelecter`",
        ),
        (
            "spec:\n  podSelector",
            "spec:\n  ingress: []\n  podSelector",
            "the key `ingress` stands here twice",
        ),
        (
            "port: 80\n",
            "port: 80\n      endPort: 79\n",
            "endPort 79 is smaller than the first port, 80",
        ),
        (
            "port: 80\n",
            "port: 70000\n",
            "port is a number from 1 to 65535, not: `70000`",
        ),
        (
            "networking.k8s.io/v1\nkind: NetworkPolicy",
            "cilium.io/v2\nkind: CiliumNetworkPolicy",
            "decides, too, and is not supported",
        ),
        (
            "podSelector: {matchLabels: {app: web}}",
            "ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}",
            "except `11.0.0.0/16` is no part of `10.0.0.0/8`",
        ),
        (
            "podSelector: {matchLabels: {app: web}}",
            "{}",
            "a peer needs podSelector, namespaceSelector or ipBlock",
        ),
        ("kind: Pod", "kind: [", "no YAML"),
    ];
    for (from, to, wanted) in broken {
        assert!(SHOP.contains(from), "{from}");
        let folder = Folder::new("wrong")
            .with("1-broken.yaml", &SHOP.replacen(from, to, 1))
            .with("2.yaml", SHOP);
        is(
            &folder.moat(&["test", "1-broken.yaml"]),
            2,
            &[wanted, "1-broken.yaml:"],
        );
        is(&folder.moat(&["test", "."]), 2, &[wanted]);
    }
    is(
        &Folder::new("none").moat(&["test", "missing"]),
        2,
        &["cannot be read", "hint:"],
    );
    is(
        &Folder::new("empty").moat(&["test", "."]),
        2,
        &["no pod and no workload"],
    );
    Ok(())
}

pub fn lint() -> Result<(), Failed> {
    let more = "\
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: odd, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  ingress: [{}]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {team: a}}
    - podSelector: {matchLabels: {app: db}}
    ports: [{port: postgres}]
  - to:
    - ipBlock: {cidr: 10.244.0.0/16, except: [10.0.0.0/24]}
    ports: [{port: 90, endPort: 80}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: odd, namespace: shop}
spec:
  podSelector: {matchLabels: {app: nobody}}
";
    let folder = Folder::new("lint").with("shop.yaml", &(SHOP.to_owned() + more));
    let out = folder.moat(&["lint", "."]);
    is(
        &out,
        1,
        &[
            "[and-as-or]",
            "[named-port]",
            "[no-dns]",
            "[block-over-pods]",
            "[rules-ignored]",
            "[selects-nothing]",
            "[peer-nobody]",
            "endPort 80 is smaller",
            "is no part of",
            "is at ./shop.yaml:30, too",
        ],
    );
    let out = folder.moat(&["lint", ".", "--json"]);
    for finding in json(&out)["findings"].as_array().unwrap() {
        assert!(
            finding["line"].as_u64().unwrap() > 0 && finding["hint"].is_string(),
            "{finding}"
        );
    }
    let clean = SHOP.replacen(
        "  - from:\n    - podSelector: {matchLabels: {app: other}}\n",
        "",
        1,
    );
    is(
        &folder.with("shop.yaml", &clean).moat(&["lint", "."]),
        0,
        &["0 findings"],
    );
    Ok(())
}
