//! The process: stdin, stdout, environment, versions (SPEC.md sections 2 and 5).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lab::{Lab, Subject};
use super::{BEFORE_CHECK, BEFORE_GC, LATEST, Part, Row, Verdict};

pub const PART: Part = Part {
    heading: "Process, environment, versions",
    rows: &[
        Row::new(
            "1",
            "stdin is read to its end; exit 0 with the result on stdout",
            reads_to_the_end,
        ),
        Row::new(
            "2",
            "an error is an object on stdout, and exit is not 0",
            errors_on_stdout,
        ),
        Row::new(
            "3",
            "exactly one JSON document on stdout, for ADD into the plugin's own namespace too",
            one_document,
        )
        .unlike("prints a result and an error"),
        Row::new(
            "4",
            "an unknown CNI_COMMAND is code 4, and named",
            unknown_command,
        ),
        Row::new("5", "missing variables are code 4, and named", missing_variables),
        Row::new("6", "a malformed CNI_CONTAINERID is code 4", container_ids),
        Row::new("7", "an impossible CNI_IFNAME is code 4", interface_names),
        Row::new(
            "8",
            "no network name is code 7, no JSON is code 6",
            names_and_json,
        ),
        Row::new(
            "9",
            "without CNI_COMMAND: name, a semantic version and the spoken versions on stderr, exit 0",
            about,
        )
        .unlike("Debian's build says `version unknown`"),
        Row::new(
            "9b",
            "called by a name that no plugin has: code 4 or 7, and named",
            other_name,
        )
        .unlike("does not look at its name"),
        Row::new("10", "an empty variable counts as unset", empty_is_unset),
        Row::new("11", "keys of others never disturb", keys_of_others),
        Row::new("13", "neither PATH nor HOME is needed", no_path).unlike("does not find iptables"),
        Row::new("14", "VERSION answers within 50 ms", fast),
        Row::new("15", "VERSION echoes the version on stdin", version_echoes)
            .unlike("always says its newest"),
        Row::new("15b", "VERSION answers without stdin", version_without_stdin),
        Row::new(
            "16",
            "the version is among the supported ones; another is code 1, with both sides named",
            versions,
        ),
        Row::new("16b", "no cniVersion means 0.1.0", no_version).of(&["0.1.0"]),
        Row::new("19", "CHECK before 0.4.0 is code 1", check_is_too_new).of(BEFORE_CHECK),
        Row::new("19b", "GC and STATUS before 1.1.0 are code 1", gc_is_too_new)
            .of(BEFORE_GC)
            .unlike("does not know the verbs: code 4"),
        Row::new(
            "48",
            "STATUS says nothing and exits 0 when ADD would work",
            status_is_quiet,
        )
        .of(LATEST),
        Row::new(
            "20",
            "fields that no version knows are ignored, wherever they are",
            unknown_fields,
        ),
        Row::new("72", "an error has cniVersion, code and msg", error_fields).unlike("no cniVersion"),
        Row::new("92", "tracing variables do not disturb", tracing),
    ],
};

fn reads_to_the_end(lab: &Lab) -> Verdict {
    let net = lab.net();
    let netns = lab.netns("a");
    let mut call = lab.about(&net, "ADD", "a", &netns);
    call.pause = Some(30);
    let said = call.run();
    let result = said.json()?;
    let good = said.code == 0 && result["cniVersion"] == lab.version;
    good.then_some(()).ok_or(format!("{said:?}"))
}

fn errors_on_stdout(lab: &Lab) -> Verdict {
    let net = lab.net();
    let said = lab.about(&net, "ADD", "a", "/run/netns/none").run();
    let words = said.fails(&[])?;
    (words.len() > 3)
        .then_some(())
        .ok_or(format!("no words: {said:?}"))
}

fn one_document(lab: &Lab) -> Verdict {
    let net = lab.net();
    let said = lab.about(&net, "ADD", "a", "/proc/self/ns/net").run();
    said.json()?;
    if said.code == 0 {
        return Err(format!("put into its own namespace: {said:?}"));
    }
    let a = lab.add(&net, "b")?;
    lab.del(&net, &a)
}

fn unknown_command(lab: &Lab) -> Verdict {
    for word in ["FOO", "add"] {
        let words = lab
            .about(&lab.net(), word, "a", "/run/netns/a")
            .run()
            .fails(&[4])?;
        if !words.contains(word) && !words.contains("CNI_COMMAND") {
            return Err(format!("`{words}` does not say which"));
        }
    }
    Ok(())
}

fn missing_variables(lab: &Lab) -> Verdict {
    let cases: [(&str, &[&str]); 4] = [
        ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
        ("ADD", &["CNI_NETNS"]),
        ("DEL", &["CNI_CONTAINERID"]),
        ("DEL", &["CNI_IFNAME"]),
    ];
    for (verb, missing) in cases {
        let mut call = lab.about(&lab.net(), verb, "a", "/run/netns/a");
        for name in missing {
            call = call.without(name);
        }
        let words = call.run().fails(&[4])?;
        if let Some(name) = missing.iter().find(|n| !words.contains(**n)) {
            return Err(format!("{verb}: `{words}` does not name {name}"));
        }
    }
    Ok(())
}

fn container_ids(lab: &Lab) -> Verdict {
    for id in ["-a", "../a", "a b", "a/b", ".a"] {
        lab.about(&lab.net(), "ADD", id, "/run/netns/a")
            .run()
            .fails(&[4])?;
    }
    Ok(())
}

fn interface_names(lab: &Lab) -> Verdict {
    let netns = lab.netns("a");
    for name in ["0123456789abcdef", ".", "..", "a/b", "a:b", "a b"] {
        let call = lab.about(&lab.net(), "ADD", "a", &netns).env("CNI_IFNAME", name);
        call.run().fails(&[4]).map_err(|e| format!("`{name}`: {e}"))?;
    }
    Ok(())
}

fn names_and_json(lab: &Lab) -> Verdict {
    let netns = lab.netns("a");
    let net = lab.net();
    let with = |name: Option<&str>| {
        let mut conf = lab.conf(&net, 0, None);
        conf.as_object_mut().expect("an object").remove("name");
        if let Some(name) = name {
            conf["name"] = json!(name);
        }
        lab.about(&net, "ADD", "a", &netns).conf(&conf).run()
    };
    for name in [None, Some(""), Some("../x"), Some("a b")] {
        with(name).fails(&[7]).map_err(|e| format!("{name:?}: {e}"))?;
    }
    for text in ["", "{", "{\"name\":}"] {
        lab.about(&net, "ADD", "a", &netns)
            .stdin(text)
            .run()
            .fails(&[6])?;
    }
    Ok(())
}

fn about(lab: &Lab) -> Verdict {
    let said = lab.call("firewall", "").without("CNI_COMMAND").run();
    let line = |start: &str| {
        said.stderr
            .lines()
            .find_map(|l| l.strip_prefix(start).map(str::to_owned))
    };
    let version = line("CNI firewall plugin v").ok_or(format!("{said:?}"))?;
    let core: Vec<&str> = version
        .split(['+', '-'])
        .next()
        .unwrap_or_default()
        .split('.')
        .collect();
    let spoken = line("CNI protocol versions supported: ").ok_or(format!("{said:?}"))?;
    let semantic = core.len() == 3 && core.iter().all(|n| n.parse::<u32>().is_ok());
    let good = said.code == 0 && said.stdout.is_empty() && semantic && spoken.contains("1.0.0");
    good.then_some(()).ok_or(format!("{said:?}"))
}

fn empty_is_unset(lab: &Lab) -> Verdict {
    let words = lab
        .about(&lab.net(), "ADD", "", "/run/netns/a")
        .run()
        .fails(&[4])?;
    let named = words.contains("CNI_CONTAINERID");
    let call = lab
        .about(&lab.net(), "VERSION", "", "dummy")
        .env("CNI_IFNAME", "dummy");
    let said = call.env("CNI_PATH", "dummy").run();
    let good = named && said.code == 0 && said.json()?["supportedVersions"].is_array();
    good.then_some(()).ok_or(format!("{words} {said:?}"))
}

fn keys_of_others(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    let plugin = net.plugins[0].as_object_mut().expect("an object");
    let more = json!({"backend": "", "x-unknown": {"a": [1]}, "args": {"podman_labels": {"a": "b"}}, "dns": {},
        "runtimeConfig": null, "cni.dev/whatever": [null], "keyOf1.9": true});
    plugin.extend(more.as_object().expect("an object").clone());
    let a = lab.add(&net, "a")?;
    lab.del(&net, &a)
}

fn no_path(lab: &Lab) -> Verdict {
    let net = lab.net();
    let netns = lab.netns("a");
    for verb in ["ADD", "DEL"] {
        let call = lab.about(&net, verb, "a", &netns).without("PATH");
        let said = call.env("XDG_RUNTIME_DIR", "").run();
        if said.code != 0 {
            return Err(format!("{verb}: {said:?}"));
        }
    }
    Ok(())
}

fn fast(lab: &Lab) -> Verdict {
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let begun = Instant::now();
            lab.call(lab.main(), "VERSION").run();
            begun.elapsed()
        })
        .collect();
    times.sort();
    let median = times[times.len() / 2];
    (median < Duration::from_millis(50))
        .then_some(())
        .ok_or(format!("median {median:?}"))
}

/// A directory that somebody filled with one binary under every name there is.
fn other_name(lab: &Lab) -> Verdict {
    let dir = "/run/names";
    std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    let from = lab.bin().join(lab.main());
    let called = |name: &str, verb: &str| {
        let path = format!("{dir}/{name}");
        let _ = std::os::unix::fs::symlink(&from, &path);
        lab.about(&lab.net(), verb, "a", "/run/netns/a")
            .program(path)
            .run()
    };
    for verb in ["ADD", "DEL", "VERSION"] {
        let words = called("ptp", verb).fails(&[4, 7])?;
        if !words.contains("ptp") {
            return Err(format!("`{words}` does not say which"));
        }
    }
    // Builds of moat lie side by side.
    if lab.subject == Subject::Moat {
        let said = called("moat-2", "VERSION");
        said.json()?;
        return (said.code == 0).then_some(()).ok_or(format!("{said:?}"));
    }
    Ok(())
}

fn unknown_fields(lab: &Lab) -> Verdict {
    let unknown = json!({"keyOf1.9": {"a": [1, null]}, "other": null});
    let mark = |object: &mut Value| {
        let fields = unknown.as_object().expect("an object").clone();
        if let Some(object) = object.as_object_mut() {
            object.extend(fields);
        }
    };
    let mut net = lab.net_with_ports(&json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "keyOf1.9": true},
    ]));
    mark(&mut net.plugins[0]);
    if lab.subject == Subject::Moat {
        net.plugins[0]["ipam"] = unknown.clone();
    } else {
        mark(&mut net.plugins[0]["ipam"]);
        mark(&mut net.plugins[0]["ipam"]["ranges"][0][0]);
    }
    net.plugins[0]["args"] = json!({"cni": {"keyOf1.9": ["a"]}});
    let mut a = lab.add(&net, "a")?;
    mark(&mut a.result);
    for key in ["interfaces", "ips", "routes"] {
        let all = a.result[key].as_array_mut();
        all.into_iter().flatten().for_each(mark);
    }
    for key in ["dns", "ip4", "ip6"] {
        if a.result.get(key).is_some() {
            mark(&mut a.result[key]);
        }
    }
    if lab.version >= "0.4.0" {
        // The reference's portmap refuses what it has made itself (row 43b).
        lab.check(&net, &a)[0].quiet()?;
    }
    lab.del(&net, &a)
}

fn version_answer(lab: &Lab, stdin: &str) -> Result<Value, String> {
    let said = lab.call(lab.main(), "VERSION").stdin(stdin).run();
    if said.code == 0 {
        said.json()
    } else {
        Err(format!("{said:?}"))
    }
}

fn version_echoes(lab: &Lab) -> Verdict {
    let answer = version_answer(lab, &json!({ "cniVersion": lab.version }).to_string())?;
    (answer["cniVersion"] == lab.version)
        .then_some(())
        .ok_or(answer.to_string())
}

fn version_without_stdin(lab: &Lab) -> Verdict {
    let answer = version_answer(lab, "")?;
    answer["cniVersion"]
        .is_string()
        .then_some(())
        .ok_or(answer.to_string())
}

fn versions(lab: &Lab) -> Verdict {
    let answer = version_answer(lab, "{}")?;
    let spoken = answer["supportedVersions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !spoken.contains(&json!(lab.version)) {
        return Err(answer.to_string());
    }
    let mut conf = lab.conf(&lab.net(), 0, None);
    conf["cniVersion"] = json!("9.9.9");
    let call = lab.about(&lab.net(), "ADD", "a", &lab.netns("a"));
    let words = call.conf(&conf).run().fails(&[1])?;
    let named = words.contains("9.9.9") && words.contains("1.0.0");
    named.then_some(()).ok_or(words)
}

fn no_version(lab: &Lab) -> Verdict {
    let net = lab.net();
    let mut conf = lab.conf(&net, 0, None);
    conf.as_object_mut().expect("an object").remove("cniVersion");
    let said = lab.about(&net, "ADD", "a", &lab.netns("a")).conf(&conf).run();
    let result = said.json()?;
    let old = result["ip4"]["ip"].is_string() && result.get("ips").is_none();
    (said.code == 0 && old).then_some(()).ok_or(format!("{said:?}"))
}

fn check_is_too_new(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    lab.check(&net, &a)[0].fails(&[1]).map(drop)
}

fn gc_is_too_new(lab: &Lab) -> Verdict {
    let net = lab.net();
    lab.gc(&net, Some(json!([]))).fails(&[1])?;
    lab.status(&net).fails(&[1]).map(drop)
}

fn status_is_quiet(lab: &Lab) -> Verdict {
    let net = lab.net();
    lab.status(&net).quiet()?;
    let a = lab.add(&net, "a")?;
    lab.status(&net).quiet()?;
    lab.del(&net, &a)
}

fn error_fields(lab: &Lab) -> Verdict {
    let said = lab.about(&lab.net(), "ADD", "a", "/run/netns/none").run();
    let e = said.json()?;
    let good = e["cniVersion"] == lab.version && e["code"].is_u64() && e["msg"].is_string();
    good.then_some(()).ok_or(format!("{said:?}"))
}

fn tracing(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    for (key, value) in [
        (
            "TRACEPARENT",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("TRACESTATE", "a=b"),
        ("BAGGAGE", "c=d"),
    ] {
        net.env.push((key.into(), value.into()));
    }
    let a = lab.add(&net, "a")?;
    lab.del(&net, &a)
}
