//! NetworkPolicy of networking.k8s.io/v1.

use std::sync::Arc;

use super::super::label::Selector;
use super::super::rule::{Action, Direction, Kind, Namespaces, Peer, Pods, Policy, Rule, Tier};
use super::object::head;
use super::peer::{self, Refused};
use super::selector::selector;
use crate::model::yaml::{Fault, Fields, Node, Pos};

/// Reads one.
pub fn policy(node: &Node, file: &Arc<str>, refused: &mut Refused) -> Result<Policy, Fault> {
    let mut fields = node.fields("a NetworkPolicy")?;
    fields.take("apiVersion");
    fields.take("kind");
    fields.take("status");
    let head = head(&mut fields, "NetworkPolicy")?;
    let namespace = head.namespace();
    let spec = fields.take("spec");
    fields.finish()?;
    let nothing = Node::empty(node.pos);
    let spec = spec.unwrap_or(&nothing);
    let mut spec = spec.fields("the spec of a NetworkPolicy")?;
    let pods = match spec.take("podSelector") {
        Some(node) => selector(node, "podSelector")?,
        None => everything(spec.pos),
    };
    let types = types(&mut spec)?;
    let egress = rules(&mut spec, "egress", Direction::Egress, &namespace, refused)?;
    let ingress = rules(&mut spec, "ingress", Direction::Ingress, &namespace, refused)?;
    spec.finish()?;
    // Without types it is about ingress, and about egress if it has a rule for it.
    let (about_egress, about_ingress) = match types {
        Some(types) => (
            types.contains(&Direction::Egress),
            types.contains(&Direction::Ingress),
        ),
        None => (!egress.is_empty(), true),
    };
    let ignored = |rules: &[Rule], about: bool, direction| {
        let first = rules.first().filter(|_| !about);
        first.map(|r| (direction, r.pos))
    };
    Ok(Policy {
        kind: Kind::NetworkPolicy,
        name: head.name,
        tier: Tier::Namespaced,
        subject: Pods {
            namespaces: Namespaces::Own(namespace.clone()),
            pods,
        },
        namespace: Some(namespace),
        ignored: ignored(&egress, about_egress, Direction::Egress).or(ignored(
            &ingress,
            about_ingress,
            Direction::Ingress,
        )),
        egress: about_egress.then_some(egress),
        ingress: about_ingress.then_some(ingress),
        file: Arc::clone(file),
        pos: head.pos,
    })
}

fn everything(pos: Pos) -> Selector {
    Selector {
        requirements: vec![],
        pos,
    }
}

/// The types; `None` where there are none, or an empty list.
fn types(spec: &mut Fields<'_>) -> Result<Option<Vec<Direction>>, Fault> {
    let Some(node) = spec.take("policyTypes") else {
        return Ok(None);
    };
    let one = |node: &Node| match node.text("a policy type")? {
        "Ingress" => Ok(Direction::Ingress),
        "Egress" => Ok(Direction::Egress),
        other => {
            let what = format!("a policy type is Ingress or Egress, not: `{other}`");
            Err(node.fault(what))
        }
    };
    let types: Result<Vec<_>, Fault> = node.list("policyTypes")?.iter().map(one).collect();
    Ok(Some(types?).filter(|t| !t.is_empty()))
}

fn rules(
    spec: &mut Fields<'_>,
    key: &'static str,
    direction: Direction,
    namespace: &str,
    refused: &mut Refused,
) -> Result<Vec<Rule>, Fault> {
    let Some(list) = spec.take(key) else {
        return Ok(vec![]);
    };
    let nodes = list.list(key)?.iter().enumerate();
    nodes
        .map(|(at, node)| rule(node, at + 1, direction, namespace, refused))
        .collect()
}

fn rule(
    node: &Node,
    number: usize,
    direction: Direction,
    namespace: &str,
    refused: &mut Refused,
) -> Result<Rule, Fault> {
    let mut fields = node.fields(format!("{} rule {number}", direction.as_str()))?;
    let mut peers = vec![];
    if let Some(list) = fields.take(direction.peers_key()) {
        for node in list.list(direction.peers_key())? {
            peers.push((peer(node, direction, namespace, refused)?, node.pos));
        }
    }
    let mut ports = vec![];
    if let Some(list) = fields.take("ports") {
        for node in list.list("ports")? {
            ports.push(peer::network_port(node, refused)?);
        }
    }
    fields.finish()?;
    Ok(Rule {
        number,
        name: None,
        action: Action::Allow,
        // An empty list is no list: everybody, every port.
        peers: Some(peers).filter(|p| !p.is_empty()),
        ports: Some(ports).filter(|p| !p.is_empty()),
        pos: node.pos,
    })
}

fn peer(node: &Node, direction: Direction, namespace: &str, refused: &mut Refused) -> Result<Peer, Fault> {
    let mut fields = node.fields(format!("an entry of {}", direction.peers_key()))?;
    let block = fields.take("ipBlock");
    let pods = fields.take("podSelector");
    let namespaces = fields.take("namespaceSelector");
    fields.finish()?;
    match (block, pods, namespaces) {
        (Some(block), None, None) => Ok(Peer::Block(peer::block(block, refused)?)),
        (Some(block), ..) => {
            let fault = block.fault("ipBlock stands beside a selector in one peer");
            Err(fault.hinting("write two entries, each with its own `-`"))
        }
        (None, None, None) => {
            let fault = node.fault("a peer needs podSelector, namespaceSelector or ipBlock");
            Err(fault.hinting(format!(
                "`{}: []`, or none at all, is everybody",
                direction.peers_key()
            )))
        }
        (None, pods, namespaces) => Ok(Peer::Pods(Pods {
            pods: match pods {
                Some(node) => selector(node, "podSelector")?,
                None => everything(node.pos),
            },
            namespaces: match namespaces {
                Some(node) => Namespaces::Selected(selector(node, "namespaceSelector")?),
                None => Namespaces::Own(namespace.to_owned()),
            },
        })),
    }
}
