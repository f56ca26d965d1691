//! Who else has a say in what this host forwards: firewalls that block the way out and published
//! ports, and settings that weaken what host mode and mode `policy` rely on.
//!
//! The wall itself is in the router's namespace, where none of them has a word.

use super::{Check, Level, check};
use crate::kernel::linux::foreign::{Chain, chains};
use crate::kernel::linux::{Linux, OtherRule};
use crate::ops::context::{Where, names_of};
use crate::plan::Names;

/// What is beside moat on this host.
pub fn beside(place: &Where) -> Vec<Check> {
    let names = names_of(&place.root.canonicalize().unwrap_or_else(|_| place.root.clone()));
    let mut all = match chains() {
        Ok(chains) => firewalls(&names, &chains),
        Err(e) => vec![check("other firewalls", Level::Warning, e.to_string())],
    };
    all.extend(legacy());
    all.extend(settings());
    all.push(rules(&names));
    all
}

/// A tool, the sign by which its rules are known, and how it lets our packets through.
struct Tool {
    name: &'static str,
    is_its: fn(&Chain) -> bool,
    /// `UP` stands for the uplink's end on the host.
    way: &'static str,
}

const TOOLS: [Tool; 4] = [
    Tool {
        name: "Docker",
        is_its: |c| c.name.starts_with("DOCKER"),
        way: "`iptables -I DOCKER-USER -i UP -j ACCEPT` and the same with `-o UP`, also with ip6tables",
    },
    Tool {
        name: "firewalld",
        is_its: |c| c.table.starts_with("firewalld"),
        way: "`firewall-cmd --permanent --zone=trusted --add-interface=UP`, then `firewall-cmd --reload`",
    },
    Tool {
        name: "ufw",
        is_its: |c| c.name.starts_with("ufw"),
        way: "`ufw route allow in on UP` and `ufw route allow out on UP`",
    },
    Tool {
        name: "iptables",
        is_its: |c| c.table == "filter" && c.name == "FORWARD",
        way: "`iptables -I FORWARD -i UP -j ACCEPT` and the same with `-o UP`, also with ip6tables",
    },
];

/// The firewalls that drop or refuse what is forwarded unless a rule of theirs accepts it.
fn firewalls(names: &Names, all: &[Chain]) -> Vec<Check> {
    let drops = |c: &&Chain| c.drops && c.hook.as_deref() == Some("forward");
    let dropping: Vec<String> = all.iter().filter(drops).map(ToString::to_string).collect();
    // firewalld ends in a rule that refuses, whatever the policy of its chain.
    let refusing = all
        .iter()
        .any(|c| c.table.starts_with("firewalld") && c.hook.as_deref() == Some("forward"));
    if dropping.is_empty() && !refusing {
        let fine = "none drops what is forwarded";
        return vec![check("other firewalls", Level::Ok, fine)];
    }
    let mut found = Vec::new();
    for tool in TOOLS.iter().filter(|t| all.iter().any(t.is_its)) {
        // Docker and ufw live in the chains of iptables, which then need no word of their own.
        let blocks = dropping.iter().any(|d| d.ends_with("filter FORWARD")) || tool.name == "firewalld";
        let told = found.iter().any(|(name, _)| ["Docker", "ufw"].contains(name));
        if blocks && !(tool.name == "iptables" && told) {
            found.push((tool.name, tool.way));
        }
    }
    let uplink = names.uplink_host();
    let what = if dropping.is_empty() {
        "forwarded packets are refused".to_owned()
    } else {
        format!(
            "forwarded packets are dropped by policy in {}",
            dropping.join(", ")
        )
    };
    let ways: String = found
        .iter()
        .map(|(name, way)| format!("; {name}: {}", way.replace("UP", &uplink)))
        .collect();
    let detail = format!(
        "{what}: the way out and published ports need a rule there that accepts the interface `{uplink}`; links \
         between containers are not concerned{ways}"
    );
    vec![check("other firewalls", Level::Warning, detail)]
}

/// Tables of the old iptables, which `nft` does not show.
fn legacy() -> Option<Check> {
    let tables: Vec<String> = ["ip", "ip6"]
        .iter()
        .filter_map(|f| std::fs::read_to_string(format!("/proc/net/{f}_tables_names")).ok())
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|t| t == "filter")
        .collect();
    let detail = "the old iptables has a table `filter`, which moat cannot look into: if `iptables-legacy -S FORWARD` \
                  says DROP, the way out needs an accepting rule there";
    (!tables.is_empty()).then(|| check("legacy iptables", Level::Warning, detail))
}

/// Settings of the kernel by which others' firewalls see, or lose, packets of containers.
fn settings() -> Vec<Check> {
    let read = |key: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/{key}")).unwrap_or_default();
        text.trim().to_owned()
    };
    let mut all = Vec::new();
    let on = ["iptables", "ip6tables", "arptables"].map(|t| format!("bridge/bridge-nf-call-{t}"));
    let on: Vec<&str> = on
        .iter()
        .filter(|key| read(key) == "1")
        .filter_map(|key| key.strip_prefix("bridge/"))
        .collect();
    if !on.is_empty() {
        let detail = format!(
            "{}: in networks with `--router host` and under the reference plugins, packets on a bridge pass the \
             host's rules too, which may drop them; networks with a router of their own are not concerned",
            on.join(", ")
        );
        all.push(check("br_netfilter", Level::Warning, detail));
    }
    if read("ipv4/conf/all/rp_filter") == "1" {
        // The check asks for the way back as if the packet came in where it leaves, and without a mark.
        let detail = "net.ipv4.conf.all.rp_filter is 1 (strict): the kernel drops what containers send to the world \
                      and their answers at published ports; `sysctl -w net.ipv4.conf.all.rp_filter=2` keeps the check \
                      for forged addresses and lets them pass";
        all.push(check("reverse path filter", Level::Warning, detail));
    }
    let detail = if read("ipv4/ip_forward") == "1" {
        "on"
    } else {
        "off now; moat turns it on with its first network, and back off after the last"
    };
    all.push(check("IPv4 forwarding", Level::Ok, detail));
    all
}

/// Routing rules of others that are asked before ours.
fn rules(names: &Names) -> Check {
    let title = "routing rules of others";
    let found = Linux::new(names.clone(), "/nonexistent".into()).and_then(|mut k| k.other_rules());
    let all = match found {
        Ok(all) => all,
        Err(e) => return check(title, Level::Warning, e.to_string()),
    };
    let before = |r: &&OtherRule| r.priority > 0 && r.priority < names.priority;
    let words: Vec<String> = all
        .iter()
        .filter(before)
        .map(|r| format!("{} (IPv{}, table {})", r.priority, r.family, r.table))
        .collect();
    if words.is_empty() {
        return check(title, Level::Ok, "none comes before moat's");
    }
    let detail = format!(
        "{} come before moat's {}: where the host routes for containers (`--router host`, plugin mode `policy`) they \
         may lead packets past the refusing rules; the chains of the wall still judge them",
        words.join(", "),
        names.priority
    );
    check(title, Level::Warning, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, name: &str, hook: Option<&str>, drops: bool) -> Chain {
        Chain {
            family: "ip".to_owned(),
            table: table.to_owned(),
            name: name.to_owned(),
            hook: hook.map(str::to_owned),
            drops,
        }
    }

    fn said(chains: &[Chain]) -> String {
        let all = firewalls(&Names::of_world(0), chains);
        let word = |c: &Check| format!("{:?} {}", c.level, c.detail);
        all.iter().map(word).collect()
    }

    #[test]
    fn each_firewall_is_named_with_its_own_way() {
        let forward = |drops| chain("filter", "FORWARD", Some("forward"), drops);
        let cases: [(Vec<Chain>, &[&str], &[&str]); 6] = [
            (vec![], &["Ok none drops"], &[]),
            (vec![forward(false)], &["Ok none drops"], &[]),
            (
                vec![forward(true)],
                &["Warning", "ip filter FORWARD", "iptables -I FORWARD -i mtup"],
                &["Docker", "ufw"],
            ),
            (
                vec![forward(true), chain("filter", "DOCKER-USER", None, false)],
                &["iptables -I DOCKER-USER -i mtup"],
                &["-I FORWARD"],
            ),
            (
                vec![forward(true), chain("filter", "ufw-before-forward", None, false)],
                &["ufw route allow in on mtup"],
                &["-I FORWARD"],
            ),
            (
                vec![chain("firewalld", "filter_FORWARD", Some("forward"), false)],
                &["Warning", "refused", "--add-interface=mtup"],
                &["iptables"],
            ),
        ];
        for (chains, has, lacks) in cases {
            let text = said(&chains);
            assert!(has.iter().all(|h| text.contains(h)), "{text}");
            assert!(!lacks.iter().any(|l| text.contains(l)), "{text}");
        }
        let own = [chain("mine", "fw", Some("forward"), true)];
        assert!(said(&own).contains("ip mine fw"), "{}", said(&own));
    }
}
