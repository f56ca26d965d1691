//! Addresses from another plugin (SPEC.md section 4).

use std::fs;

use serde_json::{Value, json};

use super::lab::{Lab, NOTES, Subject};
use super::{LATEST, Part, Row, Verdict};

pub const PART: Part = Part {
    heading: "Delegated address management",
    rows: &[
        Row::new(
            "61",
            "the delegate gets the same variables and the complete configuration; its stderr is ours",
            same_call,
        ),
        Row::new(
            "62",
            "the delegate's result is abbreviated, and completed",
            abbreviated,
        ),
        Row::new(
            "27",
            "a delegate that fails at ADD is asked to DEL, and its error is passed on",
            undone,
        )
        .unlike("does not ask"),
        Row::new(
            "63",
            "DEL reaches the delegate, and its error is reported",
            del_reaches,
        ),
        Row::new("63b", "all six verbs but VERSION reach the delegate", verbs_reach)
            .of(LATEST)
            .unlike("no GC"),
        Row::new(
            "64",
            "no address from the delegate is an error, and nothing stays",
            no_address,
        )
        .unlike("a veth pair stays"),
        Row::new(
            "64b",
            "a delegate that does not exist is an error that names it",
            no_delegate,
        ),
        Row::new(
            "65",
            "no address management: moat has its own, `bridge` only connects",
            none,
        ),
        Row::new("66", "host-local keeps its files in its own form", host_local),
    ],
};

fn notes(name: &str) -> String {
    fs::read_to_string(format!("{NOTES}/{name}")).unwrap_or_default()
}

fn same_call(lab: &Lab) -> Verdict {
    let mut net = lab.net_told();
    net.env
        .push(("CNI_ARGS".into(), "IgnoreUnknown=1;K8S_POD_NAME=x".into()));
    net.plugins[0]["dns"] = json!({"nameservers": ["192.0.2.53"]});
    let netns = lab.netns("a");
    let conf = lab.conf(&net, 0, None);
    let call = lab
        .about(&net, "ADD", "a", &netns)
        .env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=x");
    let said = call.conf(&conf).run();
    let passed: Value = serde_json::from_str(&notes("ADD.stdin")).map_err(|e| format!("{e}: {said:?}"))?;
    let env = notes("ADD.env");
    let wanted = [
        "CNI_COMMAND=ADD",
        "CNI_CONTAINERID=a",
        "CNI_IFNAME=eth0",
        "CNI_NETNS=/run/netns/a",
        "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=x",
        "CNI_PATH=",
    ];
    let same = wanted.iter().all(|w| env.lines().any(|l| l.starts_with(w)));
    let good = said.code == 0 && passed == conf && same && said.stderr.contains("told to ADD");
    good.then_some(()).ok_or(format!("{said:?} {passed} {env}"))
}

fn abbreviated(lab: &Lab) -> Verdict {
    let net = lab.net_told();
    let a = lab.add(&net, "a")?;
    let inside = lab.inside("a", "ip -o addr show dev eth0").stdout;
    let own = if a.result["ips"].is_array() {
        let n = a.result["ips"][0]["interface"].as_u64().unwrap_or(99) as usize;
        a.result["interfaces"][n]["name"] == "eth0"
    } else {
        a.result["ip4"]["ip"] == "10.99.0.77/24"
    };
    let good = own && a.address(4) == "10.99.0.77" && inside.contains("10.99.0.77/");
    good.then_some(()).ok_or(format!("{} {inside}", a.result))
}

fn undone(lab: &Lab) -> Verdict {
    lab.delegate_fails("ADD");
    let said = lab.try_add(&lab.net_told(), "a").err().ok_or("ADD went well")?;
    let words = said.fails(&[])?;
    let asked = lab.asked();
    (asked == ["ADD", "DEL"] && words.contains("told to fail"))
        .then_some(())
        .ok_or(format!("{asked:?} {words}"))
}

fn del_reaches(lab: &Lab) -> Verdict {
    let net = lab.net_told();
    let a = lab.add(&net, "a")?;
    lab.delegate_fails("DEL");
    lab.each(&net, "DEL", (&a.id, &a.netns), Some(&a.result))[0].fails(&[])?;
    lab.delegate_fails("");
    lab.del(&net, &a)?;
    let asked = lab.asked();
    (asked == ["ADD", "DEL", "DEL"])
        .then_some(())
        .ok_or(format!("{asked:?}"))
}

fn verbs_reach(lab: &Lab) -> Verdict {
    let net = lab.net_told();
    lab.status(&net).quiet()?;
    let a = lab.add(&net, "a")?;
    lab.check(&net, &a)[0].quiet()?;
    lab.gc(&net, Some(json!([{"containerID": "a", "ifname": "eth0"}])))
        .quiet()?;
    lab.del(&net, &a)?;
    let asked = lab.asked();
    (asked == ["STATUS", "ADD", "CHECK", "GC", "DEL"])
        .then_some(())
        .ok_or(format!("{asked:?}"))
}

fn no_address(lab: &Lab) -> Verdict {
    let empty = if lab.version < "0.3.0" {
        json!({})
    } else {
        json!({"ips": []})
    };
    let mut empty = empty;
    empty["cniVersion"] = json!(lab.version);
    fs::write(format!("{NOTES}/answer"), empty.to_string()).map_err(|e| e.to_string())?;
    let said = lab.try_add(&lab.net_told(), "a").err().ok_or("ADD went well")?;
    said.fails(&[])?;
    let inside = lab.inside("a", "ip -o link show").stdout;
    (!inside.contains("eth0")).then_some(()).ok_or(inside)
}

fn no_delegate(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    net.plugins[0]["ipam"] = json!({"type": "whereabouts"});
    let said = lab.try_add(&net, "a").err().ok_or("ADD went well")?;
    let words = said.fails(&[])?;
    words.contains("whereabouts").then_some(()).ok_or(words)
}

fn none(lab: &Lab) -> Verdict {
    // A result of the old versions has no place for no address.
    let old = lab.version < "0.3.0";
    for ipam in [json!(null), json!({}), json!({"type": ""})] {
        let mut net = lab.net();
        let plugin = net.plugins[0].as_object_mut().expect("an object");
        plugin.insert("isGateway".into(), json!(false));
        match &ipam {
            Value::Null => plugin.remove("ipam"),
            some => plugin.insert("ipam".into(), some.clone()),
        };
        if lab.subject == Subject::Moat {
            plugin.remove("isGateway");
        }
        let a = match lab.try_add(&net, "a") {
            Ok(a) => a,
            Err(said) if old && lab.subject != Subject::Moat => return said.fails(&[]).map(drop),
            Err(said) => return Err(format!("{ipam}: {said:?}")),
        };
        let inside = lab.inside("a", "ip -o link show dev eth0").stdout;
        let addressed = a.addresses().len() == if lab.subject == Subject::Moat { 2 } else { 0 };
        if !addressed || !inside.contains("state UP") {
            return Err(format!("{ipam}: {} {inside}", a.result));
        }
        lab.del(&net, &a)?;
        lab.sh("ip netns del a");
    }
    Ok(())
}

fn host_local(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    net.plugins[0]["ipam"] =
        json!({"type": "host-local", "ranges": [[{"subnet": "10.99.0.0/24", "rangeStart": "10.99.0.50"}]]});
    let a = lab.add(&net, "a")?;
    let lease = || fs::read_to_string("/var/lib/cni/networks/lab/10.99.0.50").ok();
    if lease().as_deref() != Some("a\r\neth0") || a.address(4) != "10.99.0.50" {
        return Err(format!("{:?} {}", lease(), a.result));
    }
    lab.del(&net, &a)?;
    let last = fs::read_to_string("/var/lib/cni/networks/lab/last_reserved_ip.0").unwrap_or_default();
    (lease().is_none() && last == "10.99.0.50")
        .then_some(())
        .ok_or(format!("{:?} {last}", lease()))
}
