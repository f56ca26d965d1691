//! CHECK: everything of ours is there, and what others changed does not matter.

use serde_json::json;

use super::lab::{Attached, Lab, Net, Subject};
use super::{CHECKS, Part, Row, Verdict};

pub const PART: Part = Part {
    heading: "CHECK",
    rows: &[
        Row::new("40", "prevResult is needed, and compared", compares).of(CHECKS),
        Row::new(
            "41",
            "what chained plugins changed is tolerated: a route more, an interface more",
            tolerates,
        )
        .of(CHECKS),
        Row::new(
            "42",
            "an interface or address that is missing is an error, or mended",
            misses,
        )
        .of(CHECKS),
        Row::new(
            "43",
            "rules that are missing are an error, or mended",
            misses_rules,
        )
        .of(CHECKS)
        .unlike("does not look at masquerading"),
        Row::new(
            "43b",
            "a port mapping that is missing is an error, or mended",
            misses_mapping,
        )
        .of(CHECKS)
        .unlike("its portmap refuses what it has made itself, with an IPv6 address"),
        Row::new(
            "44",
            "right after ADD all is well, and nothing is said",
            after_add,
        )
        .of(CHECKS),
        Row::new(
            "45",
            "the address plugin is asked, and its errors passed on",
            delegates,
        )
        .of(CHECKS),
        Row::new(
            "47",
            "CHECK works with another CNI_PATH than ADD, by which the address plugin is found now",
            other_path,
        )
        .of(CHECKS),
        Row::new("46", "CHECK changes nothing", changes_nothing).of(CHECKS),
    ],
};

/// It is an error, unless CHECK itself has mended it.
fn noticed(lab: &Lab, net: &Net, a: &Attached, what: &str, mended: impl Fn() -> bool) -> Verdict {
    let refused = refused(lab, net, a, what);
    if refused.is_err() && mended() {
        Ok(())
    } else {
        refused
    }
}

fn refused(lab: &Lab, net: &Net, a: &Attached, what: &str) -> Verdict {
    let said = lab.check(net, a);
    let failed = said.iter().any(|s| s.fails(&[]).is_ok());
    failed
        .then_some(())
        .ok_or(format!("{what} not noticed: {said:?}"))
}

fn accepted(lab: &Lab, net: &Net, a: &Attached) -> Verdict {
    lab.check(net, a).iter().try_for_each(super::call::Said::quiet)
}

fn compares(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    lab.each(&net, "CHECK", (&a.id, &a.netns), None)[0].fails(&[])?;
    let mut other = Attached {
        id: a.id.clone(),
        netns: a.netns.clone(),
        result: a.result.clone(),
    };
    other.result["ips"][0]["address"] = json!("10.99.0.200/24");
    refused(lab, &net, &other, "another address")
}

fn tolerates(lab: &Lab) -> Verdict {
    let net = lab.net();
    let mut a = lab.add(&net, "a")?;
    lab.inside(
        "a",
        "ip route add 198.51.100.0/24 via 10.99.0.1; ip addr add 192.0.2.9/32 dev lo",
    );
    let all = a.result["interfaces"].as_array_mut().ok_or("no interfaces")?;
    all.push(json!({"name": "bwp0123456789a", "mac": "02:00:00:00:00:09"}));
    accepted(lab, &net, &a)
}

fn misses(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    lab.inside("a", "ip addr flush dev eth0 scope global");
    let addressed = || {
        lab.inside("a", "ip -o addr show dev eth0")
            .stdout
            .contains(&format!("{}/", a.address(4)))
    };
    noticed(lab, &net, &a, "no address", addressed)?;
    let b = lab.add(&net, "b")?;
    lab.inside("b", "ip link del eth0");
    refused(lab, &net, &b, "no interface")
}

fn flush(lab: &Lab) {
    lab.sh("nft flush ruleset; iptables -t nat -F; ip6tables -t nat -F; \
            for r in /run/moat/*/router; do nsenter --net=$r nft flush ruleset; done");
}

/// How many lines of rules have this word.
fn rules(lab: &Lab, word: &str) -> usize {
    let look = "nft list ruleset; iptables-save 2>/dev/null; \
                for r in /run/moat/*/router; do nsenter --net=$r nft list ruleset; done 2>/dev/null";
    lab.sh(look).stdout.lines().filter(|l| l.contains(word)).count()
}

fn misses_rules(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    let before = rules(lab, &a.address(4));
    flush(lab);
    noticed(lab, &net, &a, "no rules", || rules(lab, &a.address(4)) == before)
}

fn misses_mapping(lab: &Lab) -> Verdict {
    let net = lab.net_with_ports(&json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]));
    let a = lab.add(&net, "a")?;
    accepted(lab, &net, &a)?;
    let before = rules(lab, "8080");
    flush(lab);
    noticed(lab, &net, &a, "no mapping", || rules(lab, "8080") == before)
}

fn after_add(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    let b = lab.add(&net, "b")?;
    accepted(lab, &net, &a)?;
    accepted(lab, &net, &b)?;
    lab.del(&net, &a)?;
    accepted(lab, &net, &b)
}

fn delegates(lab: &Lab) -> Verdict {
    let net = lab.net_told();
    let a = lab.add(&net, "a")?;
    accepted(lab, &net, &a)?;
    lab.delegate_fails("CHECK");
    refused(lab, &net, &a, "the delegate's error")?;
    let asked = lab.asked();
    (asked == ["ADD", "CHECK", "CHECK"])
        .then_some(())
        .ok_or(format!("{asked:?}"))
}

fn other_path(lab: &Lab) -> Verdict {
    let moved = "/run/moved";
    let fill = format!(
        "mkdir -p {moved} && ln -s {}/* {}/* {moved}",
        lab.bin().display(),
        crate::harness::dir().join("delegates").display()
    );
    lab.sh(&fill);
    for (mut net, id) in [(lab.net(), "a"), (lab.net_told(), "b")] {
        if id == "b" {
            // The other network has these addresses.
            lab.sh("ip link del cx0");
        }
        let a = lab.add(&net, id)?;
        net.env.push(("CNI_PATH".into(), moved.into()));
        accepted(lab, &net, &a)?;
        lab.del(&net, &a)?;
    }
    let asked = lab.asked();
    (asked == ["ADD", "CHECK", "DEL"])
        .then_some(())
        .ok_or(format!("{asked:?}"))
}

fn changes_nothing(lab: &Lab) -> Verdict {
    let net = lab.net();
    let a = lab.add(&net, "a")?;
    let look = |lab: &Lab| {
        let place = if lab.subject == Subject::Moat {
            "nsenter --net=$(ls /run/moat/*/router)"
        } else {
            ""
        };
        lab.sh(&format!(
            "nft -s list ruleset; {place} nft -s list ruleset; {place} ip -o link"
        ))
        .stdout
    };
    let before = look(lab);
    accepted(lab, &net, &a)?;
    let after = look(lab);
    (before == after)
        .then_some(())
        .ok_or(format!("{before}\n{after}"))
}
