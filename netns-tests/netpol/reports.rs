//! Reports, read by those who will: an XML parser, a browser, and the step that the documentation gives to a CI.

use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::cli::{Folder, SHOP, is};

/// Two lines hold, one does not: the second port of the database (two pods of a workload) is closed.
const REACH: &str = "\
apiVersion: moat.dev/v1
kind: Reachability
spec:
  expect:
  - {from: shop/web, to: shop/db, port: 80, allowed: true}
  - {from: shop/web, to: shop/db, port: 81, allowed: true}
  - {from: shop/db-2, to: shop/web, port: 80, allowed: true}
";

/// Prints the counts that stand in a JUnit file, those of its elements, and each failure.
const COUNT: &str = "\
import json, sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
names = ['tests', 'failures', 'errors', 'skipped']
said = lambda e: [int(e.get(n)) for n in names]
found = lambda e: [len(e.findall('.//' + n)) for n in ['testcase', 'failure', 'error', 'skipped']]
suites = root.findall('testsuite')
summed = [sum(each) for each in zip(*map(said, suites))]
failures = [dict(c.attrib, message=c.find('failure').get('message'), text=c.find('failure').text)
            for c in root.iter('testcase') if c.find('failure') is not None]
print(json.dumps({'root': said(root), 'elements': found(root), 'summed': summed,
                  'suites': [[s.get('name'), said(s) == found(s)] for s in suites], 'failures': failures}))
";

fn python(words: &[&str], dir: &Path) -> Value {
    let out = Command::new("python3")
        .args(words)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn numbers(value: &Value) -> Vec<u64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap())
        .collect()
}

fn counted(out: &Output, dir: &Path) -> Value {
    if !out.stdout.is_empty() {
        std::fs::write(dir.join("junit.xml"), &out.stdout).unwrap();
    }
    let counts = python(&["-c", COUNT, "junit.xml"], dir);
    assert_eq!(counts["root"], counts["elements"]);
    assert_eq!(counts["root"], counts["summed"]);
    for suite in counts["suites"].as_array().unwrap() {
        assert_eq!(suite[1], true, "{suite}");
    }
    counts
}

pub fn junit() -> Result<(), Failed> {
    let folder = Folder::new("junit")
        .with("shop.yaml", SHOP)
        .with("reach.yaml", REACH);
    let out = folder.moat(&["test", ".", "--format", "junit"]);
    is(&out, 1, &["30 cells", "10 expected, 4 other than expected"]);
    let counts = counted(&out, &folder.0);
    assert_eq!(numbers(&counts["root"]), [30, 4, 0, 20]);
    let failures = counts["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 4);
    for (failure, family) in failures.iter().zip(["ip4", "ip6"]) {
        assert_eq!(failure["name"], format!("shop/web -> shop/db 81/TCP {family}"));
        assert_eq!(failure["classname"], "shop/db");
        assert_eq!(
            (&failure["file"], &failure["line"]),
            (&"./reach.yaml".into(), &"6".into())
        );
        for text in [
            "expected allowed, is denied",
            "NetworkPolicy shop/db (./shop.yaml:17)",
            "rule 2 of NetworkPolicy shop/db (./shop.yaml:23) would match, but port 81 is not in 80-80",
        ] {
            let (message, body) = (
                failure["message"].as_str().unwrap(),
                failure["text"].as_str().unwrap(),
            );
            assert!(
                message.contains(text) && body.contains(text),
                "no `{text}` in {failure}"
            );
        }
    }
    // Nothing is expected: everything was decided, nothing judged.
    let folder = Folder::new("unjudged").with("shop.yaml", SHOP);
    let out = folder.moat(&["test", ".", "--format", "junit", "--out", "junit.xml"]);
    is(&out, 0, &["30 cells"]);
    assert!(out.stdout.is_empty());
    assert_eq!(numbers(&counted(&out, &folder.0)["root"]), [30, 0, 0, 30]);
    // No report of what could not be read.
    let folder = folder.with("x.yaml", "kind: NetworkPolicy\n  apiVersion: [");
    let out = folder.moat(&["test", ".", "--format", "junit", "--out", "second.xml"]);
    is(&out, 2, &["x.yaml:2:"]);
    assert!(!folder.0.join("second.xml").exists());
    Ok(())
}

pub fn has_browser() -> bool {
    Command::new("chromium").arg("--version").output().is_ok()
}

pub fn page() -> Result<(), Failed> {
    let folder = Folder::new("page")
        .with("shop.yaml", SHOP)
        .with("reach.yaml", REACH);
    let out = folder.moat(&["test", ".", "--format", "html", "--out", "page.html"]);
    is(&out, 1, &["4 other than expected"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/netns-tests/netpol/click.py");
    for theme in ["light", "dark"] {
        let read = python(&[script, "page.html", "shop/web", "shop/db", theme], &folder.0);
        assert_eq!(read["verdict"], "4 not as it should be");
        assert_eq!(read["label"], "shop/web to shop/db: not as it should be");
        let details = read["details"].as_str().unwrap();
        for text in [
            "denied 81/TCP ip4, ip6",
            "expected allowed by ./reach.yaml:6",
            "ingress of shop/db: denied: shop/db is isolated by NetworkPolicy shop/db (./shop.yaml:17)",
            "rule 2 of NetworkPolicy shop/db (./shop.yaml:23) would match, but port 81 is not in 80-80",
            "allowed 80/TCP ip4, ip6",
        ] {
            assert!(details.contains(text), "no `{text}` in:\n{details}");
        }
        assert_eq!(read["right"], "shop/web to shop/db-2: not as it should be");
        assert_eq!(read["rows"], serde_json::json!(["shop/web"]));
        assert_eq!(read["theme"], theme);
        let ground = if theme == "dark" {
            "rgb(13, 17, 23)"
        } else {
            "rgb(255, 255, 255)"
        };
        assert_eq!(read["ground"], ground);
        for none in ["fetched", "complaints"] {
            assert_eq!(read[none], serde_json::json!([]), "{none}");
        }
    }
    Ok(())
}

pub fn markdown() -> Result<(), Failed> {
    let folder = Folder::new("markdown")
        .with("shop.yaml", SHOP)
        .with("reach.yaml", REACH);
    let out = folder.moat(&["test", ".", "--format", "markdown"]);
    is(
        &out,
        1,
        &[
            "## ❌ Network policies: 4 flows are not as expected\n",
            "| `shop/web -> shop/db 81/TCP ip4` | expected allowed, is denied | ingress: denied: shop/db is isolated by",
            "| `./reach.yaml:6` |",
            "<details><summary>Who reaches whom</summary>",
        ],
    );
    Ok(())
}

/// The command of the documentation, letter by letter, where its reader would call it.
pub fn documented_step() -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/POLICY.md")).unwrap();
    let step = page.lines().find_map(|l| l.trim().strip_prefix("run: ")).unwrap();
    assert!(step.contains("--format junit --out "), "{step}");
    let folder = Folder::new("step");
    let docs = folder.0.join("docs/examples");
    std::fs::create_dir_all(&docs).unwrap();
    std::os::unix::fs::symlink(root.join("docs/examples/policy"), docs.join("policy")).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_moat")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-ec", step]).current_dir(&folder.0).env("PATH", path);
    let out = shell.output().unwrap();
    is(&out, 0, &["0 other than expected"]);
    let counts = counted(&out, &folder.0);
    let [tests, failures, errors, skipped] = numbers(&counts["root"])[..] else {
        panic!("{counts}")
    };
    assert!(
        tests > 300 && failures == 0 && errors == 0 && skipped < tests / 10,
        "{counts}"
    );
    // The same step finds what a change breaks.
    let policies = std::fs::read_to_string(root.join("docs/examples/policy/policies.yaml")).unwrap();
    let folder =
        Folder::new("broken-step").with("policies.yaml", &policies.replace("port: 6379", "port: 6380"));
    for name in ["workloads.yaml", "reach.yaml"] {
        std::fs::copy(root.join("docs/examples/policy").join(name), folder.0.join(name)).unwrap();
    }
    is(
        &folder.moat(&["test", ".", "--expect", "reach.yaml"]),
        1,
        &["shop/cart -> data/redis 6379/TCP ip4: expected allowed (./reach.yaml:"],
    );
    Ok(())
}
