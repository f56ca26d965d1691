//! Points 1 to 14, 24, 53, 54: variables, stdin, what is printed, what GC is told.

use super::*;
use crate::cni::read::LIMIT;

#[test]
fn only_add_and_version_print_when_they_succeed() {
    let plugin = Mute::new();
    for verb in ["DEL", "CHECK", "GC", "STATUS"] {
        let more = json!({ "prevResult": {}, "cni.dev/valid-attachments": [] });
        let answer = ask(&plugin, &env(verb, &[]), &config_with(Version::V110, more));
        let silent = Answer {
            stdout: String::new(),
            code: 0,
        };
        assert_eq!(answer, silent, "{verb}");
    }
    assert_eq!(plugin.asked(), ["DEL", "CHECK", "GC", "STATUS"]);
    let added = ask(&plugin, &env("ADD", &[]), &config(Version::V110));
    assert_eq!(success(&added)["ips"][0]["address"], "10.1.2.3/16");
}

#[test]
fn an_unknown_verb_is_named() {
    for verb in ["FOO", "add", "ADD "] {
        let error = failure(&ask(&Mute::new(), &env(verb, &[]), &config(Version::V100)));
        assert_eq!(error["code"], 4);
        assert_eq!(error["msg"], format!("unknown CNI_COMMAND: {verb}"));
        assert_eq!(error["cniVersion"], "1.0.0");
    }
}

#[test]
fn missing_variables_are_named_and_empty_ones_are_missing() {
    let container = "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME";
    for (verb, names) in [
        ("ADD", container),
        ("CHECK", container),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME"),
    ] {
        let empty = [("CNI_CONTAINERID", ""), ("CNI_NETNS", ""), ("CNI_IFNAME", "")];
        for env in [
            env(verb, &empty),
            Env::from([("CNI_COMMAND".into(), verb.into())]),
        ] {
            let plugin = Mute::new();
            let error = failure(&ask(&plugin, &env, &config(Version::V040)));
            assert_eq!(error["code"], 4, "{verb}");
            assert_eq!(error["msg"], format!("required env variables [{names}] missing"));
            assert!(plugin.asked().is_empty());
        }
    }
    let error = failure(&ask(&Mute::new(), &Env::new(), &config(Version::V040)));
    assert_eq!(error["msg"], "required env variables [CNI_COMMAND] missing");
}

#[test]
fn del_gc_and_status_need_no_more_than_they_must() {
    let plugin = Mute::new();
    let more = json!({ "cni.dev/valid-attachments": null });
    let config = config_with(Version::V110, more);
    for verb in ["GC", "STATUS"] {
        let env = Env::from([("CNI_COMMAND".into(), verb.into())]);
        assert_eq!(ask(&plugin, &env, &config).code, 0, "{verb}");
    }
    let env = env("DEL", &[("CNI_NETNS", ""), ("CNI_PATH", "")]);
    assert_eq!(ask(&plugin, &env, &config).code, 0);
    assert_eq!(plugin.asked(), ["GC", "STATUS", "DEL without netns"]);
}

#[test]
fn identifiers_have_the_form_of_the_specification() {
    for (key, value, is_right) in [
        ("CNI_CONTAINERID", "a", true),
        ("CNI_CONTAINERID", "0._-Z", true),
        ("CNI_CONTAINERID", "../a", false),
        ("CNI_CONTAINERID", "-a", false),
        ("CNI_CONTAINERID", "a/b", false),
        ("CNI_CONTAINERID", "ä", false),
        ("CNI_CONTAINERID", "a\n", false),
        ("CNI_IFNAME", "eth0.100-a", true),
        ("CNI_IFNAME", "fifteen-bytes15", true),
        ("CNI_IFNAME", "sixteen-bytes-16", false),
        ("CNI_IFNAME", ".", false),
        ("CNI_IFNAME", "..", false),
        ("CNI_IFNAME", "a/b", false),
        ("CNI_IFNAME", "a:b", false),
        ("CNI_IFNAME", "a b", false),
        ("CNI_IFNAME", "a\u{a0}b", false),
    ] {
        for verb in ["ADD", "DEL", "CHECK"] {
            let more = json!({ "prevResult": {} });
            let answer = ask(
                &Mute::new(),
                &env(verb, &[(key, value)]),
                &config_with(Version::V040, more),
            );
            assert_eq!(answer.code == 0, is_right, "{verb} {key}={value:?}: {answer:?}");
            if !is_right {
                assert_eq!(failure(&answer)["code"], 4, "{verb} {key}={value:?}");
            }
        }
    }
}

#[test]
fn a_network_has_a_name() {
    for (name, says) in [
        (json!(null), "missing network name"),
        (json!(""), "missing network name"),
        (json!("../x"), "invalid characters"),
        (json!("a b"), "invalid characters"),
    ] {
        let config = config_with(Version::V100, json!({ "name": name }));
        let error = failure(&ask(&Mute::new(), &env("DEL", &[]), &config));
        assert_eq!(error["code"], 7);
        assert!(error["msg"].as_str().unwrap().contains(says), "{error}");
    }
    let config = config_with(Version::V100, json!({ "name": 5 }));
    assert_eq!(failure(&ask(&Mute::new(), &env("ADD", &[]), &config))["code"], 6);
}

#[test]
fn what_is_no_json_object_has_code_6() {
    let nested = "[".repeat(100_000);
    let large = " ".repeat(LIMIT + 1);
    for stdin in [
        "",
        "[]",
        "null",
        "{",
        "\u{feff}{}",
        "{}{}",
        "{} x",
        "{\"name\":1e999}",
        &nested,
        &large,
    ] {
        let answer = run(&Mute::new(), &env("ADD", &[]), stdin.as_bytes());
        let error = failure(&answer);
        assert_eq!(error["code"], 6, "{error}");
        assert_eq!(error["cniVersion"], "1.1.0");
    }
    let answer = run(&Mute::new(), &env("ADD", &[]), b"{\"name\":\"\xff\"}");
    assert_eq!(failure(&answer)["code"], 6);
}

#[test]
fn keys_that_the_runtime_owns_and_unknown_ones_are_no_errors() {
    let more = json!({
        "capabilities": { "portMappings": true }, "args": { "cni": {}, "podman_labels": {} },
        "runtimeConfig": {}, "dns": {}, "ipam": {}, "backend": "", "cni.dev/x": 1,
        "disableGC": "x", "loadOnlyInlinedPlugins": 3, "of-the-future": [1],
    });
    for verb in ["ADD", "DEL", "STATUS"] {
        let answer = ask(
            &Mute::new(),
            &env(verb, &[]),
            &config_with(Version::V110, more.clone()),
        );
        assert_eq!(answer.code, 0, "{verb}: {answer:?}");
    }
}

#[test]
fn the_own_namespace_is_refused_before_anything_is_done() {
    let own = ("CNI_NETNS", "/proc/self/ns/net");
    let more = json!({ "prevResult": {} });
    let config = config_with(Version::V040, more);
    for verb in ["ADD", "CHECK"] {
        let plugin = Mute::new();
        assert_eq!(failure(&ask(&plugin, &env(verb, &[own]), &config))["code"], 8);
        assert!(plugin.asked().is_empty());
        for word in ["1", "TRUE", "true"] {
            let env = env(verb, &[own, ("CNI_NETNS_OVERRIDE", word)]);
            assert_eq!(ask(&plugin, &env, &config).code, 0, "{word}");
        }
    }
    let plugin = Mute::new();
    assert_eq!(ask(&plugin, &env("DEL", &[own]), &config).code, 0);
    assert_eq!(plugin.asked(), ["DEL without netns"]);
}

#[test]
fn gc_knows_nothing_valid_from_nothing_said() {
    let read = |list: Value| {
        let more = json!({ "cni.dev/valid-attachments": list });
        call(&env("GC", &[]), &config_with(Version::V110, more)).valid_attachments()
    };
    assert!(read(json!(null)).unwrap().is_empty());
    assert!(read(json!([])).unwrap().is_empty());
    let valid = read(json!([
        { "containerID": "a", "ifname": "eth0" }, { "containerID": "a", "ifname": "eth1" },
        { "containerID": "a", "ifname": "eth0" },
    ]));
    let valid: Vec<_> = valid.unwrap().into_iter().collect();
    assert_eq!(valid.len(), 2);
    assert_eq!((&*valid[1].container, &*valid[1].ifname), ("a", "eth1"));
    for wrong in [
        json!({}),
        json!([null]),
        json!([{ "containerID": "a" }]),
        json!(""),
    ] {
        assert_eq!(read(wrong.clone()).unwrap_err().code, code::CONFIG, "{wrong}");
    }

    let plugin = Mute::new();
    let error = failure(&ask(&plugin, &env("GC", &[]), &config(Version::V110)));
    assert_eq!(error["code"], 7);
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("cni.dev/valid-attachments")
    );
}
