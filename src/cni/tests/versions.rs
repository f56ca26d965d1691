//! Points 15, 16, 19 and 72: which versions are spoken.

use super::*;

const FIREWALL: [Version; 3] = [Version::V040, Version::V100, Version::V110];

fn firewall() -> Mute {
    Mute {
        name: "firewall",
        versions: &FIREWALL,
        ..Mute::new()
    }
}

#[test]
fn version_needs_nothing_and_echoes_what_can_be_spoken() {
    let only = Env::from([("CNI_COMMAND".into(), "VERSION".into())]);
    let dummy = [
        ("CNI_NETNS", "dummy"),
        ("CNI_CONTAINERID", ""),
        ("CNI_PATH", "dummy"),
    ];
    for env in [only, env("VERSION", &dummy)] {
        for (stdin, said) in [
            ("", "1.1.0"),
            ("garbage", "1.1.0"),
            ("{\"cniVersion\":\"9.9.9\"}", "1.1.0"),
            ("{\"cniVersion\":\"0.4.0\"}", "0.4.0"),
            ("{\"cniVersion\":\"1.0.0\"}", "1.0.0"),
        ] {
            let answer = success(&run(&Mute::new(), &env, stdin.as_bytes()));
            assert_eq!(answer["cniVersion"], said, "{stdin}");
            let all = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
            assert_eq!(answer["supportedVersions"], json!(all));
        }
    }
    let answer = success(&run(&firewall(), &env("VERSION", &[]), b""));
    assert_eq!(answer["supportedVersions"], json!(["0.4.0", "1.0.0", "1.1.0"]));
}

#[test]
fn other_versions_are_refused_with_both_sides() {
    for verb in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        let plugin = Mute::new();
        let config = json!({ "cniVersion": "1.2.0", "name": "net" });
        let error = failure(&ask(&plugin, &env(verb, &[]), &config));
        assert_eq!(error["code"], 1, "{verb}");
        let details = error["details"].as_str().unwrap();
        assert!(
            details.contains("\"1.2.0\"") && details.contains("\"0.3.1\""),
            "{details}"
        );
        assert!(plugin.asked().is_empty());
    }
    for version in [json!("0.3.1"), json!(null), json!("")] {
        let config = json!({ "cniVersion": version, "name": "net" });
        let error = failure(&ask(&firewall(), &env("ADD", &[]), &config));
        assert_eq!(error["code"], 1);
        assert!(
            !error["details"].as_str().unwrap().contains("[\"0.1.0\""),
            "{error}"
        );
    }
    let config = json!({ "cniVersion": 1, "name": "net" });
    assert_eq!(failure(&ask(&Mute::new(), &env("ADD", &[]), &config))["code"], 6);
}

#[test]
fn a_missing_version_is_the_first() {
    let answer = ask(&Mute::new(), &env("ADD", &[]), &json!({ "name": "net" }));
    let result = success(&answer);
    assert_eq!(result["cniVersion"], "0.1.0");
    assert_eq!(result["ip4"]["ip"], "10.1.2.3/16");
}

#[test]
fn verbs_are_refused_in_versions_that_lack_them() {
    for (verb, since) in [
        ("CHECK", Version::V040),
        ("GC", Version::V110),
        ("STATUS", Version::V110),
    ] {
        for version in Version::ALL {
            let plugin = Mute::new();
            let more = json!({ "prevResult": {}, "cni.dev/valid-attachments": [] });
            let answer = ask(&plugin, &env(verb, &[]), &config_with(version, more));
            assert_eq!(
                answer.code == 0,
                version >= since,
                "{verb} {version:?}: {answer:?}"
            );
            if version < since {
                let error = failure(&answer);
                assert_eq!(error["code"], 1);
                assert_eq!(error["msg"], format!("config version does not allow {verb}"));
                assert_eq!(error["cniVersion"], version.as_str());
                assert!(plugin.asked().is_empty());
            }
        }
    }
}

#[test]
fn errors_are_in_the_version_of_the_call() {
    for version in Version::ALL {
        let env = env("ADD", &[("CNI_IFNAME", "a/b")]);
        let error = failure(&ask(&Mute::new(), &env, &config(version)));
        assert_eq!(error["cniVersion"], version.as_str());
    }
}
