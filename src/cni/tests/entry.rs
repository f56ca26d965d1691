//! The process around a call: whether it is one, who it says it is, and how it dies.

use std::ffi::OsStr;
use std::process::Command;

use super::*;
use crate::cni::dispatch::nobody;
use crate::cni::entry::answer_panics;
use crate::cni::{about, main};

/// What nerdctl does with the line: cut the prefix, read the rest as a semantic version, and
/// compare. Semantic versions ignore what follows `+`.
#[test]
fn nerdctl_finds_a_firewall_that_isolates() {
    let firewall = Mute {
        name: "firewall",
        versions: &[Version::V040, Version::V100],
        ..Mute::new()
    };
    let text = about(&firewall);
    let line = text.lines().next().unwrap();
    let version = line
        .strip_prefix("CNI firewall plugin ")
        .expect("nerdctl's prefix");
    let (numbers, ours) = version.strip_prefix('v').unwrap().split_once('+').unwrap();
    let numbers: Vec<u32> = numbers.split('.').map(|n| n.parse().unwrap()).collect();
    assert!(numbers >= vec![1, 7, 1], "{version}");
    assert!(
        ours.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
    );
    assert!(text.ends_with("\nCNI protocol versions supported: 0.4.0, 1.0.0\n"));

    let moat = Mute {
        name: "moat",
        ..Mute::new()
    };
    let own = format!("CNI moat plugin v{}\n", env!("CARGO_PKG_VERSION"));
    assert!(about(&moat).starts_with(&own));
}

#[test]
fn the_command_line_is_no_plugin() {
    let empty = Env::from([("CNI_COMMAND".into(), "".into())]);
    for env in [Env::new(), empty] {
        for called in ["moat", "/usr/bin/moat", "", "/", "moat-1.0"] {
            assert_eq!(main(OsStr::new(called), &env), None, "{called}");
        }
    }
}

#[test]
fn a_plugin_that_is_not_here_says_so() {
    for (stdin, version) in [
        ("{}", "0.1.0"),
        (r#"{"cniVersion":"1.0.0"}"#, "1.0.0"),
        ("{", "1.1.0"),
    ] {
        let answer = nobody("ptp", stdin.as_bytes());
        let error: Value = serde_json::from_str(&answer.stdout).unwrap();
        assert_eq!(
            (&error["code"], &error["cniVersion"]),
            (&json!(7), &json!(version))
        );
        assert!(answer.code == 1 && error["msg"].as_str().unwrap().contains("`ptp`"));
        assert!(error["details"].as_str().unwrap().contains("host-local"));
    }
}

/// This test is its own victim: the hook ends the process, so it is started again.
#[test]
fn a_panic_is_one_error_document() {
    const VICTIM: &str = "MOAT_TEST_PANIC";
    if std::env::var_os(VICTIM).is_some() {
        answer_panics();
        panic!("on \"purpose\"");
    }
    let name = "cni::tests::entry::a_panic_is_one_error_document";
    let victim = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(VICTIM, "1")
        .output()
        .unwrap();
    assert_eq!(victim.status.code(), Some(1));
    let stdout = String::from_utf8(victim.stdout).unwrap();
    let mut documents = stdout
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok());
    let error = documents.next().expect("a document");
    assert_eq!(
        (&error["code"], &error["cniVersion"]),
        (&json!(999), &json!("1.1.0"))
    );
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("on \"purpose\" (src/cni/tests/entry.rs:")
    );
    assert_eq!(documents.next(), None);
}
