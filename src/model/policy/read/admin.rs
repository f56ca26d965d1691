//! The admin tiers of policy.networking.k8s.io: AdminNetworkPolicy and BaselineAdminNetworkPolicy of v1alpha1,
//! ClusterNetworkPolicy of v1alpha2.

use std::sync::Arc;

use super::super::label::Selector;
use super::super::rule::{
    Action, Block, Direction, Kind, Namespaces, Peer, Pods, Policy, PortMatch, PortNumbers, Rule, Tier,
};
use super::object::head;
use super::peer::{self, Refused};
use super::selector::selector;
use crate::model::Proto;
use crate::model::yaml::{Fault, Fields, Node, Pos};

/// Where a BaselineAdminNetworkPolicy stands, which has no priority: after all that have one.
const LAST: u32 = 1001;

/// Reads one.
pub fn policy(node: &Node, kind: Kind, file: &Arc<str>, refused: &mut Refused) -> Result<Policy, Fault> {
    let mut fields = node.fields(format!("a {}", kind.as_str()))?;
    fields.take("apiVersion");
    fields.take("kind");
    fields.take("status");
    let head = head(&mut fields, kind.as_str())?;
    if kind == Kind::BaselineAdminNetworkPolicy && head.name != "default" {
        let what = format!("a {} is named `default`, not: `{}`", kind.as_str(), head.name);
        refused.push(Fault::new(head.pos, what).hinting("a cluster has one of them"));
    }
    let spec = fields.need("spec")?;
    fields.finish()?;
    let mut spec = spec.fields(format!("the spec of a {}", kind.as_str()))?;
    let tier = tier(&mut spec, kind)?;
    let subject = subject(spec.need("subject")?)?;
    let egress = rules(&mut spec, kind, Direction::Egress, refused)?;
    let ingress = rules(&mut spec, kind, Direction::Ingress, refused)?;
    spec.finish()?;
    Ok(Policy {
        kind,
        namespace: None,
        name: head.name,
        tier,
        subject,
        // What has no rule for a direction does not affect it.
        egress: Some(egress).filter(|r| !r.is_empty()),
        ingress: Some(ingress).filter(|r| !r.is_empty()),
        ignored: None,
        file: Arc::clone(file),
        pos: head.pos,
    })
}

fn tier(spec: &mut Fields<'_>, kind: Kind) -> Result<Tier, Fault> {
    if kind == Kind::BaselineAdminNetworkPolicy {
        return Ok(Tier::Baseline(LAST));
    }
    let node = spec.need("priority")?;
    let priority: u32 = node.parse("priority", "a number from 0 to 1000")?;
    if priority > 1000 {
        let what = format!("priority is a number from 0 to 1000, not: `{priority}`");
        return Err(node.fault(what));
    }
    if kind == Kind::AdminNetworkPolicy {
        return Ok(Tier::Admin(priority));
    }
    let node = spec.need("tier")?;
    match node.text("tier")? {
        "Admin" => Ok(Tier::Admin(priority)),
        "Baseline" => Ok(Tier::Baseline(priority)),
        other => Err(node.fault(format!("tier is Admin or Baseline, not: `{other}`"))),
    }
}

fn subject(node: &Node) -> Result<Pods, Fault> {
    let mut fields = node.fields("subject")?;
    let (namespaces, both) = (fields.take("namespaces"), fields.take("pods"));
    fields.finish()?;
    match (namespaces, both) {
        (Some(node), None) => namespaces_peer(node),
        (None, Some(node)) => pods_peer(node),
        _ => Err(node.fault("subject needs one of `namespaces` and `pods`")),
    }
}

fn namespaces_peer(node: &Node) -> Result<Pods, Fault> {
    Ok(Pods {
        namespaces: Namespaces::Selected(selector(node, "namespaces")?),
        pods: Selector {
            requirements: vec![],
            pos: node.pos,
        },
    })
}

fn pods_peer(node: &Node) -> Result<Pods, Fault> {
    let mut fields = node.fields("pods")?;
    // Neither is a pointer in the API's types: what is absent is the empty selector.
    let mut one = |key| match fields.take(key) {
        Some(node) => selector(node, key),
        None => Ok(Selector {
            requirements: vec![],
            pos: node.pos,
        }),
    };
    let read = Pods {
        namespaces: Namespaces::Selected(one("namespaceSelector")?),
        pods: one("podSelector")?,
    };
    fields.finish()?;
    Ok(read)
}

fn rules(
    spec: &mut Fields<'_>,
    kind: Kind,
    direction: Direction,
    refused: &mut Refused,
) -> Result<Vec<Rule>, Fault> {
    let Some(list) = spec.take(direction.as_str()) else {
        return Ok(vec![]);
    };
    let nodes = list.list(direction.as_str())?.iter().enumerate();
    nodes
        .map(|(at, node)| rule(node, at + 1, kind, direction, refused))
        .collect()
}

fn rule(
    node: &Node,
    number: usize,
    kind: Kind,
    direction: Direction,
    refused: &mut Refused,
) -> Result<Rule, Fault> {
    let mut fields = node.fields(format!("{} rule {number}", direction.as_str()))?;
    let name = fields.take("name").map(|n| n.text("name")).transpose()?;
    let action = action(fields.need("action")?, kind)?;
    let list = fields.need(direction.peers_key())?;
    let mut peers = vec![];
    for node in list.list(direction.peers_key())? {
        for peer in named(node, direction, action)? {
            peers.push((peer, node.pos));
        }
    }
    if peers.is_empty() {
        return Err(list.fault(format!("{} needs at least one peer", direction.peers_key())));
    }
    let key = match kind {
        Kind::ClusterNetworkPolicy => "protocols",
        _ => "ports",
    };
    let ports = fields.take(key).map(|list| {
        let nodes = list.list(key)?.iter();
        let read: Result<Vec<_>, Fault> = nodes.map(|n| port(n, kind, refused)).collect();
        match read? {
            ports if ports.is_empty() => Err(list.fault(format!("{key} needs at least one entry"))),
            ports => Ok(ports),
        }
    });
    let ports = ports.transpose()?;
    fields.finish()?;
    Ok(Rule {
        number,
        name: name.map(str::to_owned),
        action,
        peers: Some(peers),
        ports,
        pos: node.pos,
    })
}

fn action(node: &Node, kind: Kind) -> Result<Action, Fault> {
    let word = node.text("action")?;
    let (allow, pass) = match kind {
        Kind::ClusterNetworkPolicy => ("Accept", true),
        Kind::BaselineAdminNetworkPolicy => ("Allow", false),
        _ => ("Allow", true),
    };
    match word {
        "Deny" => Ok(Action::Deny),
        "Pass" if pass => Ok(Action::Pass),
        word if word == allow => Ok(Action::Allow),
        other => {
            let forms = if pass {
                format!("{allow}, Deny or Pass")
            } else {
                format!("{allow} or Deny")
            };
            let what = format!("the action of a {} is {forms}, not: `{other}`", kind.as_str());
            Err(node.fault(what))
        }
    }
}

/// What one entry names: one peer, or each range of its networks.
fn named(node: &Node, direction: Direction, action: Action) -> Result<Vec<Peer>, Fault> {
    let key = direction.peers_key();
    let mut fields = node.fields(format!("an entry of {key}"))?;
    let mut found = vec![];
    if let Some(node) = fields.take("namespaces") {
        found.push(vec![Peer::Pods(namespaces_peer(node)?)]);
    }
    if let Some(node) = fields.take("pods") {
        found.push(vec![Peer::Pods(pods_peer(node)?)]);
    }
    if direction == Direction::Egress {
        if let Some(node) = fields.take("nodes") {
            found.push(vec![Peer::Nodes(selector(node, "nodes")?)]);
        }
        if let Some(list) = fields.take("networks") {
            found.push(networks(list)?);
        }
        if let Some(list) = fields.take("domainNames") {
            found.push(domains(list, action)?);
        }
    }
    fields.finish()?;
    match found.pop() {
        Some(peers) if found.is_empty() => Ok(peers),
        _ => {
            let forms = match direction {
                Direction::Ingress => "`namespaces` and `pods`",
                Direction::Egress => "`namespaces`, `pods`, `nodes`, `networks` and `domainNames`",
            };
            Err(node.fault(format!("an entry of {key} needs one of {forms}")))
        }
    }
}

fn networks(list: &Node) -> Result<Vec<Peer>, Fault> {
    let block = |n: &Node| {
        let (cidr, except) = (peer::cidr(n, "a network")?, vec![]);
        Ok(Peer::Block(Block { cidr, except }))
    };
    let all: Result<Vec<_>, Fault> = list.list("networks")?.iter().map(block).collect();
    match all? {
        all if all.is_empty() => Err(list.fault("networks needs at least one network")),
        all => Ok(all),
    }
}

fn domains(list: &Node, action: Action) -> Result<Vec<Peer>, Fault> {
    if action != Action::Allow {
        return Err(list.fault("domainNames stand only in rules that allow"));
    }
    let nodes = list.list("domainNames")?.iter();
    let names: Result<Vec<_>, Fault> = nodes
        .map(|n| n.text("a domain name").map(str::to_owned))
        .collect();
    Ok(vec![Peer::Domains(names?)])
}

fn port(node: &Node, kind: Kind, refused: &mut Refused) -> Result<PortMatch, Fault> {
    if kind == Kind::ClusterNetworkPolicy {
        return protocol(node, refused);
    }
    let mut fields = node.fields("an entry of ports")?;
    let mut found = vec![];
    if let Some(node) = fields.take("portNumber") {
        let mut inner = node.fields("portNumber")?;
        let proto = inner.take("protocol").map(peer::proto).transpose()?;
        let port = peer::number(inner.need("port")?, "port")?;
        inner.finish()?;
        found.push((Some(proto.unwrap_or(Proto::Tcp)), PortNumbers::Range(port, port)));
    }
    if let Some(node) = fields.take("portRange") {
        let mut inner = node.fields("portRange")?;
        let proto = inner.take("protocol").map(peer::proto).transpose()?;
        let first = peer::number(inner.need("start")?, "start")?;
        let end = inner.need("end")?;
        let last = peer::number(end, "end")?;
        inner.finish()?;
        if last < first {
            refused.push(peer::backwards(end, "end", last, first));
        }
        found.push((Some(proto.unwrap_or(Proto::Tcp)), PortNumbers::Range(first, last)));
    }
    if let Some(node) = fields.take("namedPort") {
        found.push((None, PortNumbers::Named(peer::port_name(node, "namedPort")?)));
    }
    fields.finish()?;
    match found.pop() {
        Some(last) if found.is_empty() => Ok(matching(last, node.pos)),
        _ => Err(node.fault("an entry of ports needs one of `portNumber`, `portRange` and `namedPort`")),
    }
}

fn matching((proto, ports): (Option<Proto>, PortNumbers), pos: Pos) -> PortMatch {
    PortMatch { proto, ports, pos }
}

fn protocol(node: &Node, refused: &mut Refused) -> Result<PortMatch, Fault> {
    let mut fields = node.fields("an entry of protocols")?;
    let mut found = vec![];
    for (key, proto) in [("tcp", Proto::Tcp), ("udp", Proto::Udp), ("sctp", Proto::Sctp)] {
        // `tcp: {}` is every port of it; the mapping may be empty, so a null one says nothing.
        if let Some(node) = fields.take(key) {
            found.push((Some(proto), destination(node, key, refused)?));
        }
    }
    if let Some(node) = fields.take("destinationNamedPort") {
        let name = peer::port_name(node, "destinationNamedPort")?;
        found.push((None, PortNumbers::Named(name)));
    }
    fields.finish()?;
    match found.pop() {
        Some(last) if found.is_empty() => Ok(matching(last, node.pos)),
        _ => {
            let forms = "`tcp`, `udp`, `sctp` and `destinationNamedPort`";
            Err(node.fault(format!("an entry of protocols needs one of {forms}")))
        }
    }
}

fn destination(node: &Node, key: &str, refused: &mut Refused) -> Result<PortNumbers, Fault> {
    let mut fields = node.fields(key)?;
    let port = fields.take("destinationPort");
    fields.finish()?;
    let Some(node) = port else {
        return Ok(PortNumbers::Every);
    };
    let mut fields = node.fields("destinationPort")?;
    let (number, range) = (fields.take("number"), fields.take("range"));
    fields.finish()?;
    match (number, range) {
        (Some(node), None) => {
            let port = peer::number(node, "number")?;
            Ok(PortNumbers::Range(port, port))
        }
        (None, Some(node)) => peer::range(node, refused),
        _ => Err(node.fault("destinationPort needs one of `number` and `range`")),
    }
}
