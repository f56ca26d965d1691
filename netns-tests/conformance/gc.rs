//! GC and STATUS, which came with 1.1.0.

use serde_json::{Value, json};

use super::lab::{Attached, Lab, Net, Subject};
use super::{LATEST, Part, Row, Verdict};

const NOBODY: &str = "the reference plugins do not collect";

pub const PART: Part = Part {
    heading: "GC and STATUS",
    rows: &[
        Row::new(
            "53",
            "GC removes what is not in the list, and nothing else",
            subset,
        )
        .of(LATEST)
        .unlike(NOBODY),
        Row::new("54", "an empty list, or null: all of the network goes", all_of_it)
            .of(LATEST)
            .unlike(NOBODY),
        Row::new("54b", "no list: nothing goes, code 7", no_list)
            .of(LATEST)
            .unlike(NOBODY),
        Row::new("55", "GC goes on after an error and reports it", goes_on)
            .of(LATEST)
            .unlike(NOBODY),
        Row::new(
            "56",
            "GC is passed to the address plugin with the same stdin",
            forwards,
        )
        .of(LATEST)
        .unlike(NOBODY),
        Row::new("57", "another network on the same bridge is left alone", others)
            .of(LATEST)
            .unlike(NOBODY),
        Row::new("58", "GC works when the namespaces are gone", gone)
            .of(LATEST)
            .unlike(NOBODY),
        Row::new(
            "59",
            "two runtimes with one configuration: GC spares what lives and came with another CNI_PATH; `gc` says otherwise",
            shared,
        )
        .of(LATEST)
        .unlike(NOBODY),
        Row::new(
            "59b",
            "what is spared is valid for the address plugin, too",
            spared,
        )
        .of(LATEST)
        .unlike(NOBODY),
        Row::new("49", "STATUS of a full pool is code 50", full)
            .of(LATEST)
            .unlike("exits 0"),
        Row::new(
            "50",
            "STATUS asks the address plugin, and fails with it",
            status_delegates,
        )
        .of(LATEST)
        .unlike("from 1.6 on"),
        Row::new(
            "93",
            "STATUS is code 51 when those that are attached are cut off, too",
            cut_off,
        )
        .of(LATEST)
        .unlike("exits 0"),
    ],
};

fn listed(all: &[&Attached]) -> Value {
    all.iter()
        .map(|a| json!({"containerID": a.id, "ifname": "eth0"}))
        .collect()
}

fn is_there(lab: &Lab, a: &Attached) -> bool {
    !lab.traces(&[&a.address(4)]).is_empty() && lab.inside(&a.id, "ip -o link show").stdout.contains("eth0")
}

fn is_gone(lab: &Lab, a: &Attached) -> Verdict {
    let mut words = a.addresses();
    words.push(a.id.clone());
    let traces = lab.traces(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let inside = lab.inside(&a.id, "ip -o link show").stdout;
    let gone = traces.is_empty() && !inside.contains("eth0");
    gone.then_some(())
        .ok_or(format!("{} is not gone: {traces:#?} {inside}", a.id))
}

fn three(lab: &Lab) -> Result<(Net, [Attached; 3]), String> {
    let mut net = lab.net_with_ports(&json!([]));
    let mut one = |n: u32| {
        net.runtime =
            json!({"portMappings": [{"hostPort": 8080 + n, "containerPort": 80, "protocol": "tcp"}]});
        lab.add(&net, &format!("gc{n}"))
    };
    let all = [one(1)?, one(2)?, one(3)?];
    Ok((net, all))
}

fn collect(lab: &Lab, net: &Net, valid: &Value) -> Verdict {
    collect_by(lab, net, valid, None)
}

/// GC by a runtime with another `CNI_PATH`, if one is given.
fn collect_by(lab: &Lab, net: &Net, valid: &Value, path: Option<&str>) -> Verdict {
    let mut conf = Vec::new();
    for n in 0..net.plugins.len() {
        let mut c = lab.conf(net, n, None);
        c["cni.dev/valid-attachments"] = valid.clone();
        c["cni.dev/attachments"] = valid.clone();
        conf.push(c);
    }
    conf.iter().try_for_each(|c| {
        let plugin = c["type"].as_str().expect("a type");
        let call = lab.call(plugin, "GC").conf(c);
        let call = match path {
            Some(path) => call.env("CNI_PATH", path),
            None => call,
        };
        call.run().quiet()
    })
}

fn subset(lab: &Lab) -> Verdict {
    let (net, [a, b, c]) = three(lab)?;
    collect(lab, &net, &listed(&[&b]))?;
    is_gone(lab, &a)?;
    is_gone(lab, &c)?;
    is_there(lab, &b).then_some(()).ok_or("the valid one went")?;
    // Another interface of the same container is another attachment.
    collect(lab, &net, &json!([{"containerID": b.id, "ifname": "eth1"}]))?;
    is_gone(lab, &b)
}

fn all_of_it(lab: &Lab) -> Verdict {
    for none in [json!([]), json!(null)] {
        let (net, all) = three(lab)?;
        collect(lab, &net, &none)?;
        all.iter().try_for_each(|a| is_gone(lab, a))?;
        for a in &all {
            lab.sh(&format!("ip netns del {}", a.id));
        }
    }
    Ok(())
}

fn no_list(lab: &Lab) -> Verdict {
    let (net, all) = three(lab)?;
    lab.gc(&net, None).fails(&[7])?;
    all.iter()
        .all(|a| is_there(lab, a))
        .then_some(())
        .ok_or("something went".into())
}

fn goes_on(lab: &Lab) -> Verdict {
    let net = lab.net_told();
    lab.delegate_answers("10.99.0.71/24", "10.99.0.1");
    let a = lab.add(&net, "gc1")?;
    lab.delegate_answers("10.99.0.72/24", "10.99.0.1");
    let b = lab.add(&net, "gc2")?;
    lab.delegate_fails("DEL GC");
    let said = lab.gc(&net, Some(json!([])));
    said.fails(&[])?;
    for c in [&a, &b] {
        let inside = lab.inside(&c.id, "ip -o link show").stdout;
        if inside.contains("eth0") {
            return Err(format!("{} still has its interface", c.id));
        }
    }
    lab.delegate_fails("");
    lab.gc(&net, Some(json!([]))).quiet()?;
    is_gone(lab, &a)?;
    is_gone(lab, &b)
}

fn forwards(lab: &Lab) -> Verdict {
    let net = lab.net_told();
    let a = lab.add(&net, "gc1")?;
    lab.gc(&net, Some(listed(&[&a]))).quiet()?;
    let text =
        std::fs::read_to_string(format!("{}/GC.stdin", super::lab::NOTES)).map_err(|e| e.to_string())?;
    let passed: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let same = passed["cni.dev/valid-attachments"] == listed(&[&a]) && passed["ipam"]["pool"] == "blue";
    same.then_some(()).ok_or(text)
}

fn others(lab: &Lab) -> Verdict {
    let (net, [a, ..]) = three(lab)?;
    let mut other = lab.net_with_ports(&json!([{"hostPort": 9090, "containerPort": 80, "protocol": "tcp"}]));
    other.name = "other".into();
    // Of its own addresses; the reference's bridge may be shared, a network of moat's is one.
    if lab.subject == Subject::Moat {
        other.plugins[0]["subnets"] = json!(["10.98.0.0/24", "fd98::/64"]);
    } else {
        other.plugins[0]["forceAddress"] = json!(false);
        other.plugins[0]["isGateway"] = json!(false);
        other.plugins[0]["ipam"]["ranges"] = json!([[{"subnet": "10.98.0.0/24"}], [{"subnet": "fd98::/64"}]]);
    }
    let o = lab.add(&other, "o1")?;
    collect(lab, &net, &json!([]))?;
    is_gone(lab, &a)?;
    is_there(lab, &o)
        .then_some(())
        .ok_or("the other network's went")?;
    lab.del(&other, &o)?;
    is_gone(lab, &o)
}

fn gone(lab: &Lab) -> Verdict {
    let (net, all) = three(lab)?;
    lab.sh("for n in gc1 gc2 gc3; do ip netns del $n; done");
    collect(lab, &net, &json!(null))?;
    all.iter().try_for_each(|a| is_gone(lab, a))
}

/// Where the subject's plugins and the delegate are, in other words than the first runtime's.
fn second(lab: &Lab) -> String {
    let delegates = crate::harness::dir().join("delegates");
    format!("{}:{}", delegates.display(), lab.bin().display())
}

fn shared(lab: &Lab) -> Verdict {
    let (mut net, [a, b, c]) = three(lab)?;
    let path = second(lab);
    net.env.push(("CNI_PATH".into(), path.clone()));
    net.runtime = json!({"portMappings": [{"hostPort": 9090, "containerPort": 80, "protocol": "tcp"}]});
    let d = lab.add(&net, "gc4")?;
    lab.sh("ip netns del gc2");
    collect_by(lab, &net, &listed(&[&d]), Some(&path))?;
    is_gone(lab, &b)?;
    for (kept, who) in [(&a, "first"), (&c, "third"), (&d, "listed")] {
        is_there(lab, kept)
            .then_some(())
            .ok_or(format!("the {who} one went"))?;
    }
    collect(lab, &net, &listed(&[&c]))?;
    is_gone(lab, &a)?;
    if !is_there(lab, &c) || !is_there(lab, &d) {
        return Err("more went than the caller's own".into());
    }
    say(lab, &mut net, "dead");
    collect(lab, &net, &json!([]))?;
    is_there(lab, &c).then_some(()).ok_or("what lives went")?;
    say(lab, &mut net, "all");
    collect(lab, &net, &json!([]))?;
    is_gone(lab, &c)?;
    is_gone(lab, &d)
}

/// Sets `gc`, which for the reference's names is within `moat`.
fn say(lab: &Lab, net: &mut Net, word: &str) {
    for plugin in &mut net.plugins {
        if lab.subject == Subject::Moat {
            plugin["gc"] = json!(word);
        } else {
            plugin["moat"] = json!({ "gc": word });
        }
    }
}

fn spared(lab: &Lab) -> Verdict {
    let net = lab.net_told();
    let a = lab.add(&net, "gc1")?;
    collect_by(lab, &net, &json!(null), Some(&second(lab)))?;
    is_there(lab, &a)
        .then_some(())
        .ok_or("the first runtime's went")?;
    let text =
        std::fs::read_to_string(format!("{}/GC.stdin", super::lab::NOTES)).map_err(|e| e.to_string())?;
    let passed: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let valid = listed(&[&a]);
    let said = passed["cni.dev/valid-attachments"] == valid && passed["cni.dev/attachments"] == valid;
    said.then_some(()).ok_or(text)?;
    lab.del(&net, &a)?;
    is_gone(lab, &a)
}

fn cut_off(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    lab.status(&net).quiet()?;
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        lab.sh(&format!("echo 0 > /proc/sys/{key}"));
        let words = lab.status(&net).fails(&[51])?;
        if !words.contains("forward") {
            return Err(format!("`{words}` does not say why"));
        }
        lab.sh(&format!("echo 1 > /proc/sys/{key}"));
        lab.status(&net).quiet()?;
    }
    lab.del(&net, &a)
}

fn full(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    if lab.subject == Subject::Moat {
        net.plugins[0]["subnets"] = json!(["10.99.0.0/29"]);
    } else {
        net.plugins[0]["ipam"]["ranges"] = json!([[{"subnet": "10.99.0.0/29"}]]);
    }
    let all: Vec<_> = (0..5)
        .map(|n| lab.add(&net, &format!("c{n}")))
        .collect::<Result<_, _>>()?;
    lab.status(&net).fails(&[50])?;
    lab.del(&net, &all[0])?;
    lab.status(&net).quiet()
}

fn status_delegates(lab: &Lab) -> Verdict {
    let net = lab.net_told();
    lab.status(&net).quiet()?;
    lab.delegate_fails("STATUS");
    lab.status(&net).fails(&[])?;
    let asked = lab.asked();
    (asked == ["STATUS", "STATUS"])
        .then_some(())
        .ok_or(format!("{asked:?}"))
}
