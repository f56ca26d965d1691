//! What runtimes pass: capabilities, `args`, `CNI_ARGS` (CONVENTIONS.md).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lab::{Attached, Lab, Net, Subject};
use super::{ALL, LISTS, Part, Row, Verdict};
use crate::net::{Ns, until};

pub const PART: Part = Part {
    heading: "Capabilities, args, CNI_ARGS",
    rows: &[
        Row::new(
            "81",
            "port mappings: tcp and udp, by both families, on one host address only if asked",
            mappings,
        ),
        Row::new(
            "81b",
            "the same in PascalCase with nulls, as containerd sends it",
            pascal,
        ),
        Row::new("81c", "sctp too", sctp),
        Row::new(
            "81d",
            "300 port mappings at once, and gone at once, within 5 s",
            many,
        )
        .of(&["1.0.0"])
        .unlike("starts programs for each"),
        Row::new(
            "82",
            "ipRanges: an address of the first range for each list",
            ranges,
        )
        .of(ALL),
        Row::new("83", "ips: these addresses", ips),
        Row::new("84", "mac: this MAC", mac),
        Row::new(
            "85",
            "bandwidth: both directions are limited; a rate without burst is an error",
            bandwidth,
        )
        .of(LISTS),
        Row::new(
            "86",
            "dns of the runtime does not disturb; `moat` has it in the result",
            dns,
        ),
        Row::new(
            "87",
            "aliases as list and as map do not disturb; `moat` knows the container by them",
            aliases,
        ),
        Row::new(
            "88",
            "cgroupPath, deviceID and pod annotations do not disturb; `moat` takes labels from them",
            annotations,
        ),
        Row::new(
            "89",
            "unknown `args` do not disturb; `moat` takes labels from `args.cni`",
            labels,
        ),
        Row::new(
            "90",
            "CNI_ARGS: IP is honoured, the last of a repeated key wins",
            cni_args,
        ),
        Row::new(
            "90b",
            "CNI_ARGS: a pair without `=` is an error, an unknown key without IgnoreUnknown too",
            bad_cni_args,
        ),
        Row::new(
            "91",
            "MAC: the runtime's before `args.cni` before CNI_ARGS",
            precedence,
        ),
    ],
};

/// Gives the host an interface with addresses of both families, and a default route.
fn hosts(lab: &Lab) {
    lab.sh(
        "ip link add lan0 type veth peer name lan1; ip link set lan1 up; ip link set lan0 up; \
            ip addr add 192.168.50.1/24 dev lan0; ip addr add 192.168.51.1/24 dev lan0; \
            ip addr add fd50::1/64 dev lan0 nodad; ip route add default via 192.168.50.2; \
            ip -6 route add default via fd50::2",
    );
}

fn expect(what: &str, is: bool, should: bool) -> Verdict {
    (is == should)
        .then_some(())
        .ok_or(format!("{what}: reached {is}"))
}

fn published(lab: &Lab, net: &Net) -> Verdict {
    hosts(lab);
    let a = lab.add(net, "a")?;
    let inside = Ns::at(&a.netns, "eth0");
    let _tcp = inside.serve("tcp", "::", 80);
    let _udp = inside.serve("udp", "0.0.0.0", 53);
    let host = Ns::host();
    expect("tcp 4", host.reaches("tcp", "192.168.50.1", 8080), true)?;
    // Bridges of the reference find their IPv6 neighbours within seconds only (row 29).
    let found = until(Duration::from_secs(4), || host.reaches("tcp", "fd50::1", 8080));
    expect("tcp 6", found, true)?;
    expect("udp 4", host.reaches("udp", "192.168.50.1", 5353), true)?;
    expect(
        "tcp on the udp port",
        host.reaches("tcp", "192.168.50.1", 5353),
        false,
    )?;
    expect(
        "its host address",
        host.reaches("tcp", "192.168.50.1", 9090),
        true,
    )?;
    expect(
        "another host address",
        host.reaches("tcp", "192.168.51.1", 9090),
        false,
    )?;
    lab.del(net, &a)?;
    expect("tcp after DEL", host.reaches("tcp", "192.168.50.1", 8080), false)
}

fn mappings(lab: &Lab) -> Verdict {
    let net = lab.net_with_ports(&json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": ""},
        {"hostPort": 9090, "containerPort": 80, "protocol": "tcp", "hostIP": "192.168.50.1"},
    ]));
    published(lab, &net)
}

fn pascal(lab: &Lab) -> Verdict {
    let mut net = lab.net_with_ports(&json!([
        {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""},
        {"HostPort": 5353, "ContainerPort": 53, "Protocol": "udp", "HostIP": ""},
        {"HostPort": 9090, "ContainerPort": 80, "Protocol": "TCP", "HostIP": "192.168.50.1"},
    ]));
    if lab.subject == Subject::Reference {
        // Its protocols are lower case; the keys are what this is about.
        net.runtime["portMappings"][2]["Protocol"] = json!("tcp");
    }
    net.runtime["dns"] = json!({"Servers": null, "Searches": null, "Options": null});
    net.runtime["ipRanges"] = json!(null);
    published(lab, &net)
}

/// The rules of all places, as text.
fn rules(lab: &Lab) -> String {
    lab.sh("nft list ruleset; iptables-save 2>/dev/null; for r in /run/moat/*/router; do nsenter --net=$r nft list ruleset; done 2>/dev/null")
        .stdout
}

fn sctp(lab: &Lab) -> Verdict {
    let net = lab.net_with_ports(&json!([{"hostPort": 7070, "containerPort": 70, "protocol": "sctp"}]));
    let a = lab.add(&net, "a")?;
    let there = rules(lab);
    let line = there.lines().any(|l| l.contains("sctp") && l.contains("7070"));
    line.then_some(()).ok_or(format!("no mapping in {there}"))?;
    lab.del(&net, &a)?;
    let there = rules(lab);
    (!there.contains("7070")).then_some(()).ok_or(there)
}

fn many(lab: &Lab) -> Verdict {
    let all: Vec<Value> = (0..300)
        .map(|n| json!({"hostPort": 20000 + n, "containerPort": 30000 + 2 * n, "protocol": "tcp"}))
        .collect();
    let net = lab.net_with_ports(&json!(all));
    let begun = Instant::now();
    let a = lab.add(&net, "a")?;
    let there = rules(lab);
    let count = (0..300)
        .filter(|n| there.contains(&(20000 + n).to_string()))
        .count();
    lab.del(&net, &a)?;
    let took = begun.elapsed();
    let good = count == 300 && took < Duration::from_secs(5);
    good.then_some(()).ok_or(format!("{count} of 300 in {took:?}"))
}

fn has(a: &Attached, address: &str) -> Verdict {
    let there = a.addresses().iter().any(|ip| ip == address);
    there.then_some(()).ok_or(format!("no {address}: {}", a.result))
}

fn ranges(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    net.runtime = json!({"ipRanges": [[{"subnet": "10.99.0.0/24", "rangeStart": "10.99.0.40", "rangeEnd": "10.99.0.49"}]]});
    if lab.subject != Subject::Moat {
        net.plugins[0]["ipam"]
            .as_object_mut()
            .expect("ipam")
            .remove("ranges");
    }
    let a = lab.add(&net, "a")?;
    has(&a, "10.99.0.40")?;
    let b = lab.add(&net, "b")?;
    has(&b, "10.99.0.41")?;
    lab.del(&net, &a)?;
    lab.del(&net, &b)
}

fn ips(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    net.runtime = json!({"ips": ["10.99.0.33", "fd99::33/64"]});
    let a = lab.add(&net, "a")?;
    has(&a, "10.99.0.33")?;
    has(&a, "fd99::33")?;
    // It has been given away now.
    lab.try_add(&net, "b")
        .err()
        .ok_or("one address twice")?
        .fails(&[])?;
    lab.del(&net, &a)
}

fn mac_of(lab: &Lab, id: &str) -> String {
    let line = lab.inside(id, "ip -o link show eth0").stdout;
    line.split("link/ether ")
        .nth(1)
        .unwrap_or_default()
        .chars()
        .take(17)
        .collect()
}

fn mac(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    net.runtime = json!({"mac": "02:AB:cd:00:00:07"});
    let a = lab.add(&net, "a")?;
    let mac = mac_of(lab, "a");
    (mac == "02:ab:cd:00:00:07")
        .then_some(())
        .ok_or(format!("{mac} {}", a.result))?;
    net.runtime = json!({"mac": "nonsense"});
    lab.try_add(&net, "b")
        .err()
        .ok_or("nonsense is a MAC")?
        .fails(&[])
        .map(drop)
}

fn bandwidth(lab: &Lab) -> Verdict {
    let with = |limit: Value| {
        let mut net = lab.net();
        net.runtime = json!({ "bandwidth": limit });
        if lab.subject != Subject::Moat {
            net.plugins
                .push(json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}));
        }
        net
    };
    let net = with(
        json!({"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 16_000_000, "egressBurst": 4_294_967_295_u32}),
    );
    let a = lab.add(&net, "a")?;
    let look =
        "tc qdisc show; for r in /run/moat/*/router; do nsenter --net=$r tc qdisc show; done 2>/dev/null";
    let shown = lab.sh(look).stdout;
    let both = shown.contains("rate 8Mbit") && shown.contains("rate 16Mbit");
    both.then_some(()).ok_or(format!("not limited: {shown}"))?;
    lab.del(&net, &a)?;
    let shown = lab.sh(look).stdout;
    (!shown.contains("tbf"))
        .then_some(())
        .ok_or(format!("left: {shown}"))?;
    let half = with(json!({"ingressRate": 8_000_000}));
    lab.try_add(&half, "b")
        .err()
        .ok_or("a rate without burst")?
        .fails(&[])
        .map(drop)
}

fn dns(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    net.plugins[0]["capabilities"]["dns"] = json!(true);
    net.runtime = json!({"dns": {"Servers": ["192.0.2.53"], "Searches": ["example.org"], "Options": null}});
    let a = lab.add(&net, "a")?;
    if lab.subject == Subject::Moat {
        let dns = &a.result["dns"];
        let good = dns["nameservers"] == json!(["192.0.2.53"]) && dns["search"] == json!(["example.org"]);
        good.then_some(()).ok_or(a.result.to_string())?;
    }
    lab.del(&net, &a)
}

/// What `moat inspect` says of a container.
fn inspected(lab: &Lab, name: &str) -> Result<Value, String> {
    let said = lab.sh(&format!("{} inspect {name}", lab.moat()));
    serde_json::from_str(&said.stdout).map_err(|_| format!("inspect {name}: {said:?}"))
}

fn aliases(lab: &Lab) -> Verdict {
    for (id, names) in [
        ("a1a1a1", json!(["db"])),
        ("b1b1b1", json!({"lab": ["db", "b1b1b1"], "other": ["no"]})),
    ] {
        let mut net = lab.net();
        net.plugins[0]["capabilities"]["aliases"] = json!(true);
        net.runtime = json!({ "aliases": names });
        let a = lab.add(&net, id)?;
        if lab.subject == Subject::Moat {
            let c = inspected(lab, "db")?;
            (c["name"] == format!("cni:lab/{id}"))
                .then_some(())
                .ok_or(c.to_string())?;
            if inspected(lab, "no").is_ok() {
                return Err("an alias of another network".into());
            }
        }
        lab.del(&net, &a)?;
    }
    Ok(())
}

fn labelled(lab: &Lab, net: &Net) -> Verdict {
    let a = lab.add(net, "a")?;
    if lab.subject == Subject::Moat {
        let c = inspected(lab, "cni:lab/a")?;
        (c["labels"]["app"] == "web").then_some(()).ok_or(c.to_string())?;
    }
    lab.del(net, &a)
}

fn annotations(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    for capability in [
        "cgroupPath",
        "deviceID",
        "infinibandGUID",
        "io.kubernetes.cri.pod-annotations",
    ] {
        net.plugins[0]["capabilities"][capability] = json!(true);
    }
    net.runtime = json!({"cgroupPath": "/kubepods/x", "deviceID": "0000:00:1f.6",
        "io.kubernetes.cri.pod-annotations": {"moat.dev/labels": "app=web,tier=front", "else": "x"}});
    labelled(lab, &net)
}

fn labels(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    net.plugins[0]["args"] = json!({"cni": {"labels": [{"key": "app", "value": "web"}], "whatever": {"a": null}},
        "podman_labels": {"a": "b"}});
    labelled(lab, &net)
}

fn cni_args(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    let words = "IgnoreUnknown=1;K8S_POD_NAME=x;IgnoreUnknown=1;IP=10.99.0.60;IP=10.99.0.61";
    net.env.push(("CNI_ARGS".into(), words.into()));
    let a = lab.add(&net, "a")?;
    has(&a, "10.99.0.61")?;
    lab.del(&net, &a)
}

fn bad_cni_args(lab: &Lab) -> Verdict {
    for (n, words) in ["IP", "IgnoreUnknown=1;a=b=c", "NOBODYS=1"]
        .into_iter()
        .enumerate()
    {
        let mut net = lab.net();
        net.env.push(("CNI_ARGS".into(), words.into()));
        let said = lab
            .try_add(&net, &format!("a{n}"))
            .err()
            .ok_or(format!("`{words}` was taken"))?;
        said.fails(&[])?;
    }
    Ok(())
}

fn precedence(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    net.env
        .push(("CNI_ARGS".into(), "IgnoreUnknown=1;MAC=02:00:00:00:00:01".into()));
    for (id, wanted) in [
        ("a", "02:00:00:00:00:01"),
        ("b", "02:00:00:00:00:02"),
        ("c", "02:00:00:00:00:03"),
    ] {
        match id {
            "b" => net.plugins[0]["args"] = json!({"cni": {"mac": "02:00:00:00:00:02"}}),
            "c" => net.runtime = json!({"mac": "02:00:00:00:00:03"}),
            _ => {}
        }
        let a = lab.add(&net, id)?;
        let mac = mac_of(lab, id);
        (mac == wanted)
            .then_some(())
            .ok_or(format!("{id}: {mac} {}", a.result))?;
        lab.del(&net, &a)?;
    }
    Ok(())
}
