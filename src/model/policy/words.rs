//! Verdicts on policies in words.

use super::{Direction, Engine, Miss, PeerMiss, PortMiss, RuleId, Ruling, Side, Tried, Verdict};
use crate::model::{Family, Proto};

/// `TCP`, as manifests write it.
#[must_use]
pub fn proto(proto: Proto) -> String {
    proto.as_str().to_uppercase()
}

/// `ip4` or `ip6`.
#[must_use]
pub fn family(family: Family) -> &'static str {
    match family {
        Family::Ip4 => "ip4",
        Family::Ip6 => "ip6",
    }
}

/// `NetworkPolicy shop/db, ingress rule 1 (shop.yaml:12)`.
#[must_use]
pub fn rule(engine: &Engine, id: RuleId) -> String {
    let (policy, rule) = (&engine.policies[id.policy], engine.rule(id));
    let name = rule.name.as_ref().map(|n| format!(" `{n}`")).unwrap_or_default();
    let (direction, number) = (id.direction.as_str(), rule.number);
    let place = policy.place_of(rule.pos);
    format!("{policy}, {direction} rule {number}{name} ({place})")
}

/// `NetworkPolicy shop/db (shop.yaml:3)`.
#[must_use]
pub fn policy(engine: &Engine, number: usize) -> String {
    let policy = &engine.policies[number];
    format!("{policy} ({})", policy.place())
}

fn several(all: impl Iterator<Item = String>) -> String {
    all.collect::<Vec<_>>().join(" and ")
}

/// What one direction says, without the direction.
#[must_use]
pub fn ruling(engine: &Engine, side: &Side) -> String {
    let subject = engine.cluster.pod(side.subject);
    match &side.ruling {
        Ruling::Beyond => format!("no policy governs {subject}"),
        Ruling::Default => "no policy says anything, so it may".to_owned(),
        Ruling::Admin { rule: id, allows } => {
            let verb = if *allows { "allowed" } else { "denied" };
            format!("{verb} by {}", rule(engine, *id))
        }
        Ruling::Rules(rules) => {
            format!("allowed by {}", several(rules.iter().map(|id| rule(engine, *id))))
        }
        Ruling::Isolated => {
            let by = several(side.isolated_by.iter().map(|p| policy(engine, *p)));
            format!("denied: {subject} is isolated by {by}, and no rule matches")
        }
    }
}

/// One line for a cell.
#[must_use]
pub fn because(engine: &Engine, verdict: &Verdict, port: (u16, Proto)) -> String {
    if verdict.own {
        return "a pod reaches itself".to_owned();
    }
    let side = verdict.deciding();
    let mut text = match side.ruling {
        Ruling::Default | Ruling::Beyond => "no policy says anything about it".to_owned(),
        _ => format!("{}: {}", side.direction.as_str(), ruling(engine, side)),
    };
    if side.ruling == Ruling::Isolated
        && let Some(nearest) = nearest(side)
    {
        text.push_str("; ");
        text.push_str(&tried(engine, nearest, port));
    }
    text
}

/// How far a rule is from matching.
#[must_use]
pub fn distance(tried: &Tried) -> u8 {
    match (&tried.miss.peer, &tried.miss.port) {
        (None, _) => 0,
        (Some(_), None) => 1,
        (Some(_), Some(_)) => 2,
    }
}

/// The rule that is nearest to matching.
fn nearest(side: &Side) -> Option<&Tried> {
    side.tried.iter().min_by_key(|t| distance(t))
}

/// Why a rule does not match: `rule 2 of NetworkPolicy x/a (f.yaml:9) would match, but …`.
#[must_use]
pub fn tried(engine: &Engine, tried: &Tried, port: (u16, Proto)) -> String {
    let (policy, rule) = (&engine.policies[tried.rule.policy], engine.rule(tried.rule));
    let place = policy.place_of(rule.pos);
    let who = match tried.rule.direction {
        Direction::Egress => "the receiver",
        Direction::Ingress => "the sender",
    };
    let head = format!("rule {} of {policy} ({place})", rule.number);
    let Miss { peer: p, port: n } = &tried.miss;
    match (
        p.as_ref().map(|m| peer(m, who)),
        n.as_ref().map(|m| ports(m, port)),
    ) {
        (None, Some(why)) => format!("{head} would match, but {why}"),
        (Some(why), None) => format!("{head} opens this port, but {why}"),
        (Some(a), Some(b)) => format!("{head} does not match: {a}, and {b}"),
        (None, None) => head,
    }
}

fn value(key: &str, has: Option<&String>) -> String {
    match has {
        Some(value) if value.is_empty() => format!("`{key}` is empty"),
        Some(value) => format!("`{key}` is `{value}`"),
        None => format!("it has no label `{key}`"),
    }
}

fn peer(miss: &PeerMiss, who: &str) -> String {
    match miss {
        PeerMiss::OtherNamespace { wanted } => format!("{who} is not in namespace `{wanted}`"),
        PeerMiss::Namespace { wanted, has } => {
            let value = value(&wanted.key, has.as_ref());
            format!("the namespace of {who} is not `{wanted}`: {value}")
        }
        PeerMiss::Labels { wanted, has } => {
            format!("{who} is not `{wanted}`: {}", value(&wanted.key, has.as_ref()))
        }
        PeerMiss::Outside { block, address } => match address {
            Some(address) => format!("{who}'s address {address} is not in {block}"),
            None => format!("{who} has no address of this family, so it is not in {block}"),
        },
        PeerMiss::Except { hole, address } => {
            format!("{who}'s address {address} is in {hole}, which is excepted")
        }
        PeerMiss::NoPod => format!("{who} is no pod that labels could name"),
        PeerMiss::NoNode => format!("{who} is none of the nodes"),
        PeerMiss::Domain => "domain names are not looked up".to_owned(),
    }
}

fn ports(miss: &PortMiss, (port, asked): (u16, Proto)) -> String {
    match miss {
        PortMiss::Protocol { wanted } => format!("{} is not {}", proto(asked), proto(*wanted)),
        PortMiss::Number { first, last } => format!("port {port} is not in {first}-{last}"),
        PortMiss::Name { name, stands_for } if stands_for.is_empty() => {
            format!("the receiver has no port named `{name}`")
        }
        PortMiss::Name { name, stands_for } => {
            let all = stands_for.iter().map(|(n, p)| format!("{n}/{}", proto(*p)));
            format!("port {port} is not `{name}`, which is {} there", several(all))
        }
    }
}
