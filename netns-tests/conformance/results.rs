//! What a result looks like, in each version (SPEC.md section 5).

use serde_json::{Value, json};

use super::lab::{Attached, Lab, Subject};
use super::{LATEST, LISTS, Part, Row, Verdict};

pub const PART: Part = Part {
    heading: "Results",
    rows: &[
        Row::new("17", "the result has the shape of the asked version", shape),
        Row::new(
            "18",
            "prevResult is read in the shape of the version",
            prev_result,
        ),
        Row::new(
            "25",
            "all interfaces are listed; the container's has CNI_NETNS as it came for sandbox",
            interfaces,
        )
        .of(LISTS),
        Row::new("26", "a chained plugin hands on what others made", handed_on).of(LISTS),
        Row::new(
            "31",
            "bridge first, then the veth's host end without sandbox; each address points at the container's",
            order,
        )
        .of(LISTS),
        Row::new(
            "32",
            "the container's interface is there, with an address, and every MAC can be read",
            readable,
        )
        .of(LISTS),
        Row::new("67", "interfaces have name, MAC and, from 1.1.0 on, MTU", mtu)
            .of(LATEST)
            .unlike("no MTU"),
        Row::new(
            "68",
            "addresses have the container's own bits, and the gateway",
            addresses,
        ),
        Row::new(
            "69",
            "routes of the configuration are in the result and in the container",
            routes,
        ),
        Row::new("70", "dns of the configuration is in the result", dns),
        Row::new("71", "no nulls and no empty fields", no_nulls),
    ],
};

fn old(lab: &Lab) -> bool {
    ["0.1.0", "0.2.0"].contains(&lab.version)
}

fn list<'a>(of: &'a Value, key: &str) -> Vec<&'a Value> {
    of[key].as_array().into_iter().flatten().collect()
}

fn because(good: bool, a: &Attached) -> Verdict {
    good.then_some(()).ok_or_else(|| a.result.to_string())
}

fn shape(lab: &Lab) -> Verdict {
    let a = lab.add(&lab.net(), "a")?;
    let r = &a.result;
    if r["cniVersion"] != lab.version {
        return Err(r.to_string());
    }
    if old(lab) {
        let good = r["ip4"]["ip"].is_string() && r["ip6"]["ip"].is_string();
        return because(
            good && r.get("ips").is_none() && r.get("interfaces").is_none(),
            &a,
        );
    }
    let ips = list(r, "ips");
    let versioned = ips.iter().all(|ip| match ip["address"].as_str() {
        Some(address) if lab.version < "1.0.0" => {
            ip["version"] == if address.contains(':') { "6" } else { "4" }
        }
        Some(_) => ip.get("version").is_none(),
        None => false,
    });
    because(
        ips.len() == 2 && versioned && r.get("ip4").is_none() && !list(r, "interfaces").is_empty(),
        &a,
    )
}

/// A result of somebody else, in the version's shape.
fn foreign(lab: &Lab) -> Value {
    let mut prev = if old(lab) {
        json!({"ip4": {"ip": "192.0.2.7/24", "gateway": "192.0.2.1", "routes": [{"dst": "0.0.0.0/0"}]}, "dns": {}})
    } else {
        json!({
            "interfaces": [{"name": "br9", "mac": "02:00:00:00:00:01"},
                {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/a"}],
            "ips": [{"interface": 1, "address": "192.0.2.7/24", "gateway": "192.0.2.1"}],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "198.51.100.0/24", "gw": "192.0.2.9"}],
            "dns": {"nameservers": ["192.0.2.53"], "search": ["example.org"]},
        })
    };
    if !old(lab) && lab.version < "1.0.0" {
        prev["ips"][0]["version"] = json!("4");
    }
    prev["cniVersion"] = json!(lab.version);
    prev
}

/// Portmap without mappings has nothing to do.
fn passed_on(lab: &Lab, prev: &Value) -> Result<Value, String> {
    let netns = lab.netns("a");
    let conf = json!({"cniVersion": lab.version, "name": "lab", "type": "portmap",
        "capabilities": {"portMappings": true}, "prevResult": prev});
    let call = lab.about(&lab.net(), "ADD", "a", &netns).conf(&conf);
    let mut call = lab.call("portmap", "ADD").stdin(&call.stdin);
    for (key, value) in [
        ("CNI_CONTAINERID", "a"),
        ("CNI_NETNS", netns.as_str()),
        ("CNI_IFNAME", "eth0"),
    ] {
        call = call.env(key, value);
    }
    let said = call.run();
    if said.code == 0 {
        said.json()
    } else {
        Err(format!("{said:?}"))
    }
}

fn prev_result(lab: &Lab) -> Verdict {
    let mut prev = foreign(lab);
    prev.as_object_mut().expect("an object").remove("cniVersion");
    let result = passed_on(lab, &prev)?;
    let address = if old(lab) {
        &result["ip4"]["ip"]
    } else {
        &result["ips"][0]["address"]
    };
    let good = result["cniVersion"] == lab.version && address == "192.0.2.7/24";
    good.then_some(()).ok_or(result.to_string())
}

fn handed_on(lab: &Lab) -> Verdict {
    let prev = foreign(lab);
    let result = passed_on(lab, &prev)?;
    let same = ["interfaces", "ips", "routes", "dns"]
        .iter()
        .all(|key| result[key] == prev[key]);
    same.then_some(()).ok_or(result.to_string())
}

fn interfaces(lab: &Lab) -> Verdict {
    let netns = lab.netns("a");
    // The same namespace by another path: the result has the path that came.
    let path = netns.replace("/run/netns", "/run/netns/../netns");
    let a = lab.add_at(&lab.net(), "a", &path).map_err(|s| format!("{s:?}"))?;
    let all = list(&a.result, "interfaces");
    let inside: Vec<_> = all.iter().filter(|i| i["sandbox"] == path.as_str()).collect();
    let outside = all
        .iter()
        .filter(|i| i.get("sandbox").is_none_or(|s| s == ""))
        .count();
    because(
        inside.len() == 1 && inside[0]["name"] == "eth0" && outside >= 2 && all.len() == outside + 1,
        &a,
    )
}

fn order(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    let all = list(&a.result, "interfaces");
    let at = |n: usize| all.get(n).map_or("", |i| i["name"].as_str().unwrap_or_default());
    let own = all
        .iter()
        .position(|i| i["name"] == "eth0" && i["sandbox"] == a.netns.as_str());
    let pointed = list(&a.result, "ips")
        .iter()
        .all(|ip| ip["interface"].as_u64().map(|n| n as usize) == own);
    // Where bridge and host end are: the host, or moat's router.
    let place = if lab.subject == Subject::Moat {
        "nsenter --net=$(ls /run/moat/*/router)"
    } else {
        ""
    };
    let peer = lab
        .inside("a", "cat /sys/class/net/eth0/iflink; ip -o link show eth0")
        .stdout;
    let number = peer
        .split("eth0@if")
        .nth(1)
        .and_then(|r| r.split(':').next())
        .unwrap_or("none");
    let bridge = lab.sh(&format!("{place} ip -d -o link show {}", at(0))).stdout;
    let port = lab.sh(&format!("{place} ip -o link show {}", at(1))).stdout;
    let good =
        own == Some(2) && pointed && bridge.contains(" bridge ") && port.starts_with(&format!("{number}: "));
    good.then_some(())
        .ok_or(format!("{} {peer} {bridge} {port}", a.result))
}

fn readable(lab: &Lab) -> Verdict {
    let a = lab.add(&lab.net(), "a")?;
    let mac = |i: &&Value| {
        let mac = i["mac"].as_str().unwrap_or_default();
        mac.split(':').count() == 6
            && mac
                .split(':')
                .all(|b| b.len() == 2 && u8::from_str_radix(b, 16).is_ok())
    };
    let all = list(&a.result, "interfaces");
    let own = all
        .iter()
        .find(|i| i["name"] == "eth0")
        .map(|i| i["mac"].clone())
        .unwrap_or_default();
    let real = lab
        .inside("a", "cat /proc/net/dev > /dev/null; ip -o link show eth0")
        .stdout;
    let is = own
        .as_str()
        .is_some_and(|m| real.contains(&format!("link/ether {m}")));
    because(
        all.iter().all(mac) && is && !list(&a.result, "ips").is_empty(),
        &a,
    )
}

fn mtu(lab: &Lab) -> Verdict {
    let a = lab.add(&lab.net(), "a")?;
    let all = list(&a.result, "interfaces");
    let own = all
        .iter()
        .find(|i| i["name"] == "eth0")
        .ok_or(a.result.to_string())?;
    let real = lab.inside("a", "ip -o link show eth0").stdout;
    let said = own["mtu"].as_u64().unwrap_or_default();
    because(
        real.contains(&format!("mtu {said} ")) && own["mac"].is_string(),
        &a,
    )
}

fn addresses(lab: &Lab) -> Verdict {
    let a = lab.add(&lab.net(), "a")?;
    for (family, prefix, length, gateway) in [
        (4, "10.99.0.", "/24", "10.99.0.1"),
        (6, "fd99::", "/64", "fd99::1"),
    ] {
        let address = a.address(family);
        let entry = if old(lab) {
            json!({"address": a.result[format!("ip{family}")]["ip"], "gateway": a.result[format!("ip{family}")]["gateway"]})
        } else {
            let all = list(&a.result, "ips");
            let own = all
                .iter()
                .find(|ip| ip["address"].as_str().is_some_and(|s| s.starts_with(&address)));
            own.map(|v| (*v).clone()).unwrap_or_default()
        };
        let inside = lab.inside("a", "ip -o addr show dev eth0").stdout;
        let good = address.starts_with(prefix)
            && entry["address"] == format!("{address}{length}")
            && entry["gateway"] == gateway
            && inside.contains(&format!(" {address}/"));
        if !good {
            return Err(format!("{} {inside}", a.result));
        }
    }
    Ok(())
}

fn routes(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.99.0.1"}]);
    if lab.subject == Subject::Moat {
        net.plugins[0]["ipam"] = json!({ "routes": routes });
    } else {
        net.plugins[0]["ipam"]["routes"] = routes;
    }
    let a = lab.add(&net, "a")?;
    let said = if old(lab) {
        list(&a.result["ip4"], "routes")
    } else {
        list(&a.result, "routes")
    };
    let listed =
        said.iter().any(|r| r["dst"] == "192.0.2.0/24") && said.iter().any(|r| r["dst"] == "0.0.0.0/0");
    let inside = lab.inside("a", "ip route").stdout;
    let there = inside.contains("default via 10.99.0.1") && inside.contains("192.0.2.0/24 via 10.99.0.1");
    (listed && there)
        .then_some(())
        .ok_or(format!("{} {inside}", a.result))
}

fn dns(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    let dns = json!({"nameservers": ["192.0.2.53", "2001:db8::53"], "domain": "example.org", "search": ["a.example.org"],
        "options": ["ndots:2"]});
    net.plugins[0]["dns"] = dns.clone();
    let a = lab.add(&net, "a")?;
    because(a.result["dns"] == dns, &a)
}

fn no_nulls(lab: &Lab) -> Verdict {
    fn empty(of: &Value) -> bool {
        match of {
            Value::Null => true,
            Value::String(s) => s.is_empty(),
            Value::Array(all) => all.is_empty() || all.iter().any(empty),
            // `dns` is there, empty, in all versions before 1.0.0.
            Value::Object(map) => map.iter().any(|(k, v)| k != "dns" && empty(v)),
            _ => false,
        }
    }
    let a = lab.add(&lab.net(), "a")?;
    because(!empty(&a.result), &a)
}
