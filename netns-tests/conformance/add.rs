//! ADD: what it makes, and what it refuses with nothing changed (SPEC.md section 2).

use serde_json::json;

use super::lab::{Lab, Subject};
use super::{ALL, Part, Row, Verdict};

pub const PART: Part = Part {
    heading: "ADD",
    rows: &[
        Row::new(
            "21",
            "the interface is in the namespace, up, with the addresses of the result",
            makes,
        ),
        Row::new(
            "22",
            "an interface of that name there already: an error, nothing changed",
            exists,
        ),
        Row::new(
            "23",
            "a namespace that cannot be opened is code 3, 4 or 8, and nothing stays",
            no_namespace,
        )
        .unlike("code 999"),
        Row::new(
            "24",
            "the plugin's own namespace is code 8, before anything is made",
            own_namespace,
        )
        .unlike("makes the interface first"),
        Row::new("12", "CNI_NETNS_OVERRIDE=1 lifts that", override_),
        Row::new("28", "an ADD that fails leaves nothing", fails_cleanly).unlike("a veth pair stays"),
        Row::new("29", "addresses are usable at once: up, not tentative", usable)
            .not_always("the IPv6 gateway does not answer yet"),
        Row::new(
            "30",
            "the same container and interface again, without DEL, is an error",
            again,
        ),
        Row::new(
            "51",
            "a full pool is an error, and nothing stays; a DEL makes room",
            full,
        )
        .of(ALL)
        .unlike("interfaces stay"),
    ],
};

fn makes(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    let b = lab.add(&net, "b")?;
    for c in [&a, &b] {
        let inside = lab
            .inside(&c.id, "ip -o addr show dev eth0; ip -o link show dev eth0")
            .stdout;
        let there =
            c.addresses().len() == 2 && c.addresses().iter().all(|ip| inside.contains(&format!(" {ip}/")));
        if !there || !inside.contains("state UP") {
            return Err(format!("{} {inside}", c.result));
        }
        for gateway in ["10.99.0.1", "fd99::1"] {
            let route = lab.inside(&c.id, &format!("ip route get {gateway}"));
            if !route.stdout.contains("dev eth0") {
                return Err(format!("no way to {gateway}: {route:?}"));
            }
        }
    }
    if a.addresses().iter().any(|ip| b.addresses().contains(ip)) {
        return Err(format!("one address twice: {:?}", a.addresses()));
    }
    lab.del(&net, &a)?;
    lab.del(&net, &b)
}

/// The interfaces on both sides, and the addresses given.
fn look(lab: &Lab, id: &str) -> String {
    // The kernel's own link-local address is tentative for a while.
    let inside = lab
        .inside(id, "ip -o addr; ip -o link")
        .stdout
        .replace(" tentative", "");
    let leases = lab
        .sh("ls /var/lib/cni/networks/lab 2>/dev/null | grep -v last_reserved")
        .stdout;
    let outside = lab
        .sh("for n in /proc/self/ns/net /run/moat/*/router; do nsenter --net=$n ip -o link show type veth; done 2>/dev/null")
        .stdout;
    [inside, outside, leases].join("--\n")
}

fn exists(lab: &Lab) -> Verdict {
    let net = lab.net();
    let first = lab.add(&net, "a")?;
    let before = look(lab, "a");
    // Another container of the same namespace, for which the name is taken all the same.
    let said = lab
        .add_at(&net, "other", &first.netns)
        .err()
        .ok_or("a second eth0")?;
    said.fails(&[])?;
    let after = look(lab, "a");
    if before != after {
        return Err(format!("changed:\n{before}\n{after}"));
    }
    lab.del(&net, &first)
}

fn no_namespace(lab: &Lab) -> Verdict {
    let net = lab.net();
    let before = lab.traces(&["a"]);
    for path in ["/run/netns/none", "/proc/1/nothing", "/dev/null"] {
        let said = lab.about(&net, "ADD", "a", path).run();
        said.fails(&[3, 4, 8]).map_err(|e| format!("{path}: {e}"))?;
    }
    let after = lab.traces(&["a"]);
    (before == after).then_some(()).ok_or(format!("{after:?}"))
}

fn own_namespace(lab: &Lab) -> Verdict {
    let said = lab.about(&lab.net(), "ADD", "a", "/proc/self/ns/net").run();
    said.fails(&[8])?;
    let veths = lab.sh("ip -o link show type veth").stdout;
    veths.is_empty().then_some(()).ok_or(veths)
}

fn override_(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    if lab.subject != Subject::Moat {
        // A namespace cannot be its own gateway.
        net.plugins[0]["isGateway"] = json!(false);
        net.plugins[0]["ipam"]["routes"] = json!([]);
    }
    let call = |verb| {
        lab.about(&net, verb, "a", "/proc/self/ns/net")
            .env("CNI_NETNS_OVERRIDE", "1")
            .run()
    };
    let said = call("ADD");
    said.json()?;
    let there = lab.sh("ip -o addr show dev eth0").stdout;
    if said.code != 0 || !there.contains("10.99.0.") {
        return Err(format!("{said:?} {there}"));
    }
    call("DEL").quiet()
}

fn fails_cleanly(lab: &Lab) -> Verdict {
    let net = lab.net_told();
    lab.delegate_fails("ADD");
    let said = lab.try_add(&net, "a").err().ok_or("ADD went well")?;
    said.fails(&[])?;
    let inside = lab.inside("a", "ip -o link show").stdout;
    let outside = look(lab, "a");
    let clean = !inside.contains("eth0") && !outside.contains("veth") && !outside.contains("mtp");
    clean.then_some(()).ok_or(format!("{inside} {outside}"))
}

fn usable(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    let inside = lab
        .inside(
            "a",
            "ip -o addr show dev eth0 scope global; ip -o link show dev eth0",
        )
        .stdout;
    let good = inside.contains("fd99::") && !inside.contains("tentative") && inside.contains("LOWER_UP");
    good.then_some(()).ok_or(inside)?;
    for gateway in ["10.99.0.1", "fd99::1"] {
        let said = lab.inside("a", &format!("ip neigh show; ping -n -c 1 -W 2 {gateway}"));
        if !said.ok() {
            return Err(format!("{gateway}: {said:?}"));
        }
    }
    lab.del(&net, &a)
}

fn again(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    let netns = lab.netns("elsewhere");
    let said = lab.add_at(&net, "a", &netns).err().ok_or("added twice")?;
    said.fails(&[])?;
    let inside = lab.inside("a", "ip -o addr show dev eth0").stdout;
    let kept = inside.contains(&a.address(4));
    kept.then_some(())
        .ok_or(format!("the first lost its address: {inside}"))?;
    lab.del(&net, &a)
}

fn full(lab: &Lab) -> Verdict {
    let mut net = lab.net();
    // Six addresses: network, gateway and broadcast leave five.
    if lab.subject == Subject::Moat {
        net.plugins[0]["subnets"] = json!(["10.99.0.0/29"]);
    } else {
        net.plugins[0]["ipam"]["ranges"] = json!([[{"subnet": "10.99.0.0/29"}]]);
    }
    let all: Vec<_> = (0..5)
        .map(|n| lab.add(&net, &format!("c{n}")))
        .collect::<Result<_, _>>()?;
    let said = lab.try_add(&net, "late").err().ok_or("a sixth address")?;
    said.fails(&[])?;
    let inside = lab.inside("late", "ip -o link show").stdout;
    let traces = lab.traces(&["late"]);
    if inside.contains("eth0") || !traces.is_empty() {
        return Err(format!("stays: {inside} {traces:?}"));
    }
    lab.del(&net, &all[2])?;
    let netns = "/run/netns/late";
    let late = lab.add_at(&net, "late", netns).map_err(|s| format!("{s:?}"))?;
    (late.address(4) == all[2].address(4))
        .then_some(())
        .ok_or(late.result.to_string())
}
