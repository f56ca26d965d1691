//! Points 57 to 66: finding, calling and undoing delegates, which are shell scripts here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::cni::call::Verb;

/// A directory with one plugin, which writes its verbs into `verbs` and its stdin into `stdin`.
struct Bin(PathBuf);

impl Bin {
    fn new(test: &str, script: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("moat-{}-{test}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let text = format!(
            "#!/bin/sh\ncd '{}'; echo \"$CNI_COMMAND\" >>verbs; cat >stdin\n{script}\n",
            dir.display()
        );
        fs::write(dir.join("lessor"), text).unwrap();
        fs::set_permissions(dir.join("lessor"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn call(&self, more: Value) -> Call {
        let path = format!("/nowhere:{}", self.0.display());
        let pairs = [
            ("CNI_PATH", &*path),
            ("PATH", "/usr/bin:/bin"),
            ("TRACEPARENT", "00-1-2-01"),
        ];
        let mut config = json!({ "ipam": { "type": "lessor" }, "unknown": [1, { "x": null }] });
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        call(&env("ADD", &pairs), &config_with(Version::V040, config))
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }
}

impl Drop for Bin {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const LEASE: &str = r#"[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.0.0.9/24","interface":3}],"interfaces":[{"name":"x"}],"dns":{"domain":"d"}}'; exit 0"#;

#[test]
fn a_lease_is_read_without_interfaces() {
    let bin = Bin::new("lease", LEASE);
    let call = bin.call(json!({}));
    let outcome = call.ipam().unwrap().unwrap().lease().unwrap();
    assert_eq!(outcome.ips[0].address.to_string(), "10.0.0.9/24");
    assert_eq!((outcome.ips[0].interface, outcome.interfaces.len()), (None, 0));
    assert_eq!(outcome.dns.domain, "d");
    assert_eq!(bin.read("verbs"), "ADD\n");
}

#[test]
fn it_gets_the_whole_configuration_and_environment() {
    let bin = Bin::new("whole", "env >env");
    let call = bin.call(json!({ "prevResult": {}, "cni.dev/valid-attachments": [] }));
    for verb in [Verb::Del, Verb::Check, Verb::Gc, Verb::Status] {
        call.ipam().unwrap().unwrap().run(verb).unwrap();
        let stdin: Value = serde_json::from_str(&bin.read("stdin")).unwrap();
        assert_eq!(stdin, Value::Object(call.config.clone()));
        let env = bin.read("env");
        for pair in [
            &*format!("CNI_COMMAND={}", verb.as_str()),
            "CNI_CONTAINERID=c1",
            "CNI_IFNAME=eth0",
            "CNI_NETNS=/nowhere/netns",
            "TRACEPARENT=00-1-2-01",
        ] {
            assert!(env.lines().any(|l| l == pair), "{pair}: {env}");
        }
        assert!(!env.contains("CARGO"), "only what we were given: {env}");
    }
    assert_eq!(bin.read("verbs"), "DEL\nCHECK\nGC\nSTATUS\n");
}

#[test]
fn its_error_is_passed_on_and_a_failed_add_undone() {
    let error = r#"echo '{"code":11,"msg":"busy","details":"later"}'; exit 1"#;
    let bin = Bin::new("error", &format!("[ $CNI_COMMAND = DEL ] && exit 0\n{error}"));
    let call = bin.call(json!({}));
    let e = call.ipam().unwrap().unwrap().lease().unwrap_err();
    assert_eq!((e.code, &*e.msg, &*e.details), (11, "busy", "later"));
    assert_eq!(bin.read("verbs"), "ADD\nDEL\n");

    let bin = Bin::new("errors", error);
    let call = bin.call(json!({}));
    let e = call.ipam().unwrap().unwrap().lease().unwrap_err();
    assert_eq!(e.details, "later; DEL of \"lessor\" failed, too: busy");
}

#[test]
fn answers_that_are_none_are_errors_and_undone() {
    for (n, (script, code, says)) in [
        ("exit 3", code::INTERNAL, "exit status: 3"),
        ("echo oops; exit 1", code::INTERNAL, "without an error object"),
        ("kill -9 $$", code::INTERNAL, "signal: 9"),
        ("echo '{}'; exit 1", code::INTERNAL, "without an error object"),
        ("echo no json", code::DECODE, "result of plugin \"lessor\""),
        ("echo '{\"ips\":[]}'", code::CONFIG, "no address"),
        (
            "echo '{\"ips\":[{\"address\":1}]}'",
            code::DECODE,
            "ips[0].address",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let script = format!("[ $CNI_COMMAND = DEL ] && exit 0\n{script}");
        let bin = Bin::new(&format!("none-{n}"), &script);
        let call = bin.call(json!({}));
        let e = call.ipam().unwrap().unwrap().lease().unwrap_err();
        assert_eq!(e.code, code, "{script}: {e:?}");
        assert!(e.msg.contains(says), "{script}: {e:?}");
        assert_eq!(bin.read("verbs"), "ADD\nDEL\n", "{script}");
    }
}

#[test]
fn full_pipes_block_nobody() {
    let filler = "x".repeat(300_000);
    let noise = "head -c 300000 /dev/zero | tr '\\0' ' '";
    // It writes more than a pipe holds before it reads, and one does not read at all.
    for (n, order) in [
        format!("{noise}; cat >/dev/null; {LEASE}"),
        format!("{noise}; {LEASE}"),
    ]
    .into_iter()
    .enumerate()
    {
        let bin = Bin::new(&format!("pipes-{n}"), "");
        fs::write(bin.0.join("lessor"), format!("#!/bin/sh\n{order}")).unwrap();
        let call = bin.call(json!({ "filler": filler }));
        let outcome = call.ipam().unwrap().unwrap().lease().unwrap();
        assert_eq!(outcome.ips.len(), 1);
    }
}

#[test]
fn no_type_is_no_address_management() {
    for ipam in [
        json!(null),
        json!({}),
        json!({ "type": "" }),
        json!({ "type": null }),
    ] {
        let config = config_with(Version::V100, json!({ "ipam": ipam }));
        assert!(call(&env("ADD", &[]), &config).ipam().unwrap().is_none());
    }
}

#[test]
fn what_cannot_be_found_is_said() {
    let find = |path: &str, name: &str| {
        let config = config_with(Version::V100, json!({ "ipam": { "type": name } }));
        let call = call(&env("ADD", &[("CNI_PATH", path)]), &config);
        call.ipam().map(drop).unwrap_err()
    };
    let e = find("/nowhere:/proc", "none");
    assert_eq!(e.code, code::CONFIG);
    assert!(e.msg.contains("failed to find plugin \"none\""), "{}", e.msg);
    assert_eq!(
        find("/proc", "self").code,
        code::CONFIG,
        "a directory is no plugin"
    );
    assert_eq!(find("/bin", "../bin/sh").code, code::CONFIG);
    let e = find("", "none");
    assert_eq!(e.code, code::ENVIRONMENT);
    assert!(e.msg.contains("CNI_PATH"));
    assert!(Path::new("/proc/self").is_dir());
}
