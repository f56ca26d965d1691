//! DEL: as often as wanted, from what was recorded (SPEC.md section 2).

use serde_json::json;

use super::lab::{Attached, Lab};
use super::{Part, Row, Verdict};

pub const PART: Part = Part {
    heading: "DEL",
    rows: &[
        Row::new("33", "DEL twice: success, and nothing left", twice),
        Row::new(
            "34",
            "DEL with an empty CNI_NETNS: success, and nothing left, in the namespace neither",
            without_netns,
        )
        .unlike("leaves eth0 and rules"),
        Row::new(
            "34b",
            "DEL when the namespace is gone: success, and nothing left",
            netns_gone,
        )
        .unlike("leaves rules"),
        Row::new("34c", "DEL without an ADD before it: success", without_add),
        Row::new(
            "35",
            "DEL without namespace gives the address back to its plugin",
            releases,
        ),
        Row::new(
            "36",
            "DEL without prevResult: success, and nothing left",
            without_prev,
        ),
        Row::new(
            "37",
            "DEL with a prevResult that says nothing: success, and nothing left",
            empty_prev,
        ),
        Row::new(
            "93b",
            "DEL with a prevResult that is empty, null or cannot be read: success, and nothing left",
            unreadable_prev,
        ),
        Row::new(
            "38",
            "a late DEL does not touch who has the address and port now",
            late,
        ),
        Row::new(
            "39",
            "DEL takes the last plugin's result, in reverse order",
            reverse,
        ),
        Row::new(
            "77",
            "DEL with a configuration that has changed since ADD: nothing left",
            changed,
        )
        .unlike("rules and interface of the former configuration stay"),
    ],
};

/// Nothing of it is anywhere, nor in the container.
fn nothing_of(lab: &Lab, a: &Attached) -> Verdict {
    let mut words: Vec<String> = a.addresses();
    words.push(a.id.clone());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let traces = lab.traces(&words);
    let inside = lab.inside(&a.id, "ip -o link show").stdout;
    if traces.is_empty() && !inside.contains("eth0") {
        return Ok(());
    }
    Err(format!("left: {traces:#?} {inside}"))
}

fn mapped(lab: &Lab) -> super::lab::Net {
    lab.net_with_ports(&json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]))
}

fn silently(said: Vec<super::call::Said>) -> Verdict {
    said.iter().try_for_each(super::call::Said::quiet)
}

fn twice(lab: &Lab) -> Verdict {
    let net = mapped(lab);
    let a = lab.add(&net, "a1")?;
    if lab.traces(&[&a.address(4)]).is_empty() {
        return Err("the rows about traces see none".into());
    }
    lab.del(&net, &a)?;
    nothing_of(lab, &a)?;
    lab.del(&net, &a)?;
    nothing_of(lab, &a)
}

fn without_netns(lab: &Lab) -> Verdict {
    let net = mapped(lab);
    let a = lab.add(&net, "a1")?;
    silently(lab.each(&net, "DEL", (&a.id, ""), Some(&a.result)))?;
    nothing_of(lab, &a)
}

fn netns_gone(lab: &Lab) -> Verdict {
    let net = mapped(lab);
    let a = lab.add(&net, "a1")?;
    lab.sh("ip netns del a1");
    silently(lab.each(&net, "DEL", (&a.id, &a.netns), Some(&a.result)))?;
    nothing_of(lab, &a)
}

fn without_add(lab: &Lab) -> Verdict {
    let net = mapped(lab);
    let netns = lab.netns("a1");
    for at in [netns.as_str(), "", "/run/netns/none"] {
        silently(lab.each(&net, "DEL", ("a1", at), None))?;
    }
    Ok(())
}

fn releases(lab: &Lab) -> Verdict {
    let net = lab.net_told();
    let a = lab.add(&net, "a1")?;
    silently(lab.each(&net, "DEL", (&a.id, ""), Some(&a.result)))?;
    let asked = lab.asked();
    (asked == ["ADD", "DEL"])
        .then_some(())
        .ok_or(format!("{asked:?}"))
}

fn without_prev(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a1")?;
    silently(lab.each(&net, "DEL", (&a.id, &a.netns), None))?;
    nothing_of(lab, &a)
}

fn empty_prev(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a1")?;
    let said = lab.each(
        &net,
        "DEL",
        (&a.id, &a.netns),
        Some(&json!({ "cniVersion": lab.version })),
    );
    silently(said)?;
    nothing_of(lab, &a)
}

/// What libcni's cache may come to: nothing, null, or what cannot be read.
fn unreadable_prev(lab: &Lab) -> Verdict {
    let net = lab.net();
    for (n, prev) in [
        json!({}),
        json!(null),
        json!({"ips": "?", "cniVersion": lab.version}),
    ]
    .iter()
    .enumerate()
    {
        let a = lab.add(&net, &format!("a{n}"))?;
        silently(lab.each(&net, "DEL", (&a.id, &a.netns), Some(prev)))?;
        nothing_of(lab, &a)?;
    }
    Ok(())
}

fn late(lab: &Lab) -> Verdict {
    let mut net = mapped(lab);
    net.env
        .push(("CNI_ARGS".into(), "IgnoreUnknown=1;IP=10.99.0.9".into()));
    let a = lab.add(&net, "a1")?;
    lab.del(&net, &a)?;
    let b = lab.add(&net, "b1")?;
    if a.address(4) != b.address(4) {
        return Err(format!("another address: {} {}", a.result, b.result));
    }
    let before = lab.traces(&["10.99.0.9"]);
    lab.del(&net, &a)?;
    let after = lab.traces(&["10.99.0.9"]);
    let same = before == after && !after.is_empty();
    same.then_some(()).ok_or(format!("{before:#?} {after:#?}"))?;
    lab.del(&net, &b)?;
    nothing_of(lab, &b)
}

fn reverse(lab: &Lab) -> Verdict {
    let mut net = mapped(lab);
    net.plugins
        .push(json!({"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}));
    let a = lab.add(&net, "a1")?;
    let set = lab
        .inside("a1", "cat /proc/sys/net/ipv4/conf/eth0/arp_filter")
        .stdout;
    if set.trim() != "1" {
        return Err(format!("tuning did not: {set}"));
    }
    lab.del(&net, &a)?;
    nothing_of(lab, &a)
}

fn changed(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a1")?;
    let mut other = net.clone();
    other.plugins[0]["bridge"] = json!("cx9");
    other.plugins[0]["ipMasq"] = json!(false);
    if let Some(subnets) = other.plugins[0].get_mut("subnets") {
        *subnets = json!(["10.111.0.0/24"]);
    }
    silently(lab.each(&other, "DEL", (&a.id, &a.netns), Some(&a.result)))?;
    nothing_of(lab, &a)
}
