//! What people get wrong, and a cluster takes without a word.

use super::cluster::Place;
use super::engine::{Engine, RuleId};
use super::rule::{Action, Direction, Kind, Namespaces, Peer, Policy, PortMatch, PortNumbers, Tier};
use crate::model::{Family, Proto};

/// One thing, its place, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub place: Place,
    /// A word for scripts.
    pub code: &'static str,
    pub what: String,
    pub hint: &'static str,
}

/// Looks at every policy, in the order of the files.
#[must_use]
pub fn lint(engine: &Engine) -> Vec<Finding> {
    let mut found = vec![];
    for (number, policy) in engine.policies.iter().enumerate() {
        let mut say = |pos, code, what: String, hint| {
            let place = policy.place_of(pos);
            found.push(Finding {
                place,
                code,
                what,
                hint,
            });
        };
        subject(engine, number, policy, &mut say);
        if let Some((direction, pos)) = policy.ignored {
            let what = format!(
                "{policy} has {} rules, but its policyTypes leave {0} out",
                direction.as_str()
            );
            let hint = "the rules do nothing; add the direction to policyTypes";
            say(pos, "rules-ignored", what, hint);
        }
        for direction in Direction::BOTH {
            for id in engine.rules(number, direction) {
                peers(engine, policy, id, &mut say);
                ports(engine, policy, id, &mut say);
            }
        }
        if without_dns(engine, number, policy) {
            let what = format!("{policy} closes egress and opens no port 53: its pods resolve no names");
            let hint = "allow UDP and TCP 53 to the name service, for example to namespace kube-system";
            say(policy.pos, "no-dns", what, hint);
        }
        priority(engine, number, policy, &mut say);
    }
    found.sort();
    found.dedup();
    found
}

type Say<'a> = &'a mut dyn FnMut(crate::model::yaml::Pos, &'static str, String, &'static str);

fn subject(engine: &Engine, number: usize, policy: &Policy, say: Say<'_>) {
    if !engine.subject(number).is_empty() {
        return;
    }
    let cluster = &engine.cluster;
    let there = |namespace: &String| cluster.pods.iter().any(|p| p.namespace == *namespace);
    let what = match &policy.subject.namespaces {
        Namespaces::Own(namespace) if !there(namespace) => {
            format!("{policy} selects nothing: namespace `{namespace}` has no pods")
        }
        _ => format!("{policy} selects nothing: no pod is {}", policy.subject.pods),
    };
    let hint = "compare namespace and labels with those of the pods; does `matchLabels` name the template's?";
    say(policy.subject.pods.pos, "selects-nothing", what, hint);
}

fn peers(engine: &Engine, policy: &Policy, id: RuleId, say: Say<'_>) {
    let rule = engine.rule(id);
    let title = format!("{policy}, {} rule {}", id.direction.as_str(), rule.number);
    let Some(peers) = &rule.peers else { return };
    for (at, (peer, pos)) in peers.iter().enumerate() {
        match peer {
            Peer::Pods(pods) => {
                let any = engine.cluster.ids().any(|id| pods.select(&engine.cluster, id));
                if !any {
                    let whose = match &pods.namespaces {
                        Namespaces::Own(name) => format!("namespace `{name}`"),
                        Namespaces::Selected(s) => format!("namespaces {s}"),
                    };
                    let what = if pods.pods.is_everything() {
                        format!("{title} names nobody: no pod is in {whose}")
                    } else {
                        format!("{title} names nobody: no pod in {whose} is {}", pods.pods)
                    };
                    let hint = "a podSelector alone looks in the policy's own namespace";
                    say(*pos, "peer-nobody", what, hint);
                }
                if let Some((next, next_pos)) = peers.get(at + 1)
                    && is_split(peer, next)
                {
                    let what = format!(
                        "{title} names all pods of some namespaces, OR some pods of its own: two entries, where one entry is both together"
                    );
                    let hint =
                        "for pods of those namespaces write podSelector without `-`, under namespaceSelector";
                    say(*next_pos, "and-as-or", what, hint);
                }
            }
            Peer::Block(block) => {
                let whole = block.cidr.prefix() == 0;
                let pods = engine.cluster.pods.iter().filter(|p| p.is_inside());
                let inside = pods
                    .filter(|p| [p.ip4, p.ip6].into_iter().flatten().any(|ip| block.holds(ip)))
                    .count();
                if inside > 0 && policy.kind == Kind::NetworkPolicy {
                    let what = format!("{title}: ipBlock {block} holds the addresses of {inside} pods");
                    let hint = if whole {
                        "except the ranges of the pods if only the outside is meant"
                    } else {
                        "addresses of pods change with every start; name pods by their labels"
                    };
                    say(*pos, "block-over-pods", what, hint);
                }
            }
            Peer::Domains(_) => {
                let what =
                    format!("{title} names domains, which moat does not look up: they match nobody here");
                say(
                    *pos,
                    "domain-names",
                    what,
                    "name networks to see what the rule does",
                );
            }
            Peer::Nodes(_) => {}
        }
    }
}

/// Namespaces without pods, then pods without namespaces: mostly one entry was meant.
fn is_split(first: &Peer, second: &Peer) -> bool {
    let (Peer::Pods(a), Peer::Pods(b)) = (first, second) else {
        return false;
    };
    let only_namespaces =
        |p: &super::rule::Pods| matches!(p.namespaces, Namespaces::Selected(_)) && p.pods.is_everything();
    let only_pods =
        |p: &super::rule::Pods| matches!(p.namespaces, Namespaces::Own(_)) && !p.pods.is_everything();
    (only_namespaces(a) && only_pods(b)) || (only_pods(a) && only_namespaces(b))
}

fn ports(engine: &Engine, policy: &Policy, id: RuleId, say: Say<'_>) {
    let rule = engine.rule(id);
    let title = format!("{policy}, {} rule {}", id.direction.as_str(), rule.number);
    for port in rule.ports.iter().flatten() {
        let PortNumbers::Named(name) = &port.ports else {
            continue;
        };
        let fits = |proto| port.proto.is_none_or(|p| p == proto);
        let mut holders = engine.named(name).peekable();
        let known = holders.peek().is_some();
        // A port of ingress is one of the pods that the policy selects; one of egress is the peer's.
        let held = holders.any(|((proto, _), pods)| {
            let mut pods = pods.clone();
            match id.direction {
                Direction::Ingress => pods.keep(engine.subject(id.policy)),
                Direction::Egress => {
                    let mut peers = engine.peers(id, Family::Ip4).clone();
                    peers.add(engine.peers(id, Family::Ip6));
                    pods.keep(&peers);
                }
            }
            fits(proto) && !pods.is_empty()
        });
        if held {
            continue;
        }
        let what = if known {
            format!("{title}: none of its receivers has a port `{name}` of this protocol")
        } else {
            format!("{title}: nobody has a port named `{name}`")
        };
        let hint = "a named port is looked up in the containers of the receiving pod, with its protocol";
        say(port.pos, "named-port", what, hint);
    }
}

/// A policy that closes egress of pods for which nothing opens port 53, but that opens something else.
fn without_dns(engine: &Engine, number: usize, policy: &Policy) -> bool {
    let opens = policy.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    if policy.kind != Kind::NetworkPolicy || !opens {
        return false;
    }
    let dns = |p: &PortMatch| match &p.ports {
        PortNumbers::Every => p.proto == Some(Proto::Udp),
        PortNumbers::Range(first, last) => p.proto == Some(Proto::Udp) && (*first..=*last).contains(&53),
        PortNumbers::Named(name) => name.contains("dns"),
    };
    let has = |pod| {
        let policies = &engine.asked(pod, Direction::Egress).namespaced;
        let rules = engine.in_order(policies, Direction::Egress);
        rules.iter().any(|id| {
            let ports = &engine.rule(*id).ports;
            ports.as_ref().is_none_or(|p| p.iter().any(dns))
        })
    };
    engine.subject(number).iter().any(|pod| !has(pod))
}

/// Two of one tier and priority: which comes first is nobody's promise.
fn priority(engine: &Engine, number: usize, policy: &Policy, say: Say<'_>) {
    if policy.tier == Tier::Namespaced {
        return;
    }
    let conflicting = |other: &Policy| {
        let actions = |p: &Policy, d| -> Vec<Action> {
            p.rules(d).unwrap_or_default().iter().map(|r| r.action).collect()
        };
        Direction::BOTH.iter().any(|d| {
            let (a, b) = (actions(policy, *d), actions(other, *d));
            a.iter().any(|x| b.iter().any(|y| x != y))
        })
    };
    for (before, other) in engine.policies[..number].iter().enumerate() {
        let mut both = engine.subject(before).clone();
        both.keep(engine.subject(number));
        if other.tier == policy.tier && !both.is_empty() && conflicting(other) {
            let what = format!("{policy} has the priority of {other} ({})", other.place());
            let hint = "which of the two is asked first is left open; give them different priorities";
            say(policy.pos, "same-priority", what, hint);
        }
    }
}
