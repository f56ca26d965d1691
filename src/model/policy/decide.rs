//! One flow's verdict, and why.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::cluster::{Pod, PodId};
use super::engine::{Engine, RuleId};
use super::label::{Labels, Requirement};
use super::rule::{Action, Direction, Namespaces, Peer, PortMatch, PortNumbers};
use crate::model::{Family, Proto};

/// What decides in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// No policy can select this end: it is outside of the cluster, or on its node's network.
    Beyond,
    /// No policy says anything: Kubernetes lets it pass.
    Default,
    /// A rule of the Admin or Baseline tier.
    Admin { rule: RuleId, allows: bool },
    /// Rules of NetworkPolicies; each of them alone would do.
    Rules(Vec<RuleId>),
    /// NetworkPolicies select the pod for this direction, and no rule of theirs matches.
    Isolated,
}

/// Why a rule does not match: one of the two, or both.
#[derive(Clone, Debug)]
pub struct Miss {
    pub peer: Option<PeerMiss>,
    pub port: Option<PortMiss>,
}

/// Why no peer of a rule is the other end; of several peers the one that is nearest to it.
#[derive(Clone, Debug)]
pub enum PeerMiss {
    /// The other end is in another namespace than the policy's.
    OtherNamespace { wanted: String },
    /// The labels of its namespace are others.
    Namespace {
        wanted: Requirement,
        has: Option<String>,
    },
    /// Its labels are others.
    Labels {
        wanted: Requirement,
        has: Option<String>,
    },
    /// Its address is not in the block.
    Outside {
        block: IpNetwork,
        address: Option<IpAddr>,
    },
    /// Its address is in a hole of the block.
    Except { hole: IpNetwork, address: IpAddr },
    /// It is no pod, or one on its node's network: selectors of pods do not name it.
    NoPod,
    /// It is no node of those that are named.
    NoNode,
    /// Names of the DNS are not looked up.
    Domain,
}

/// Why no port of a rule is the one that is asked for.
#[derive(Clone, Debug)]
pub enum PortMiss {
    Protocol {
        wanted: Proto,
    },
    Number {
        first: u16,
        last: u16,
    },
    /// The receiver calls another port so, or none (`stands_for`).
    Name {
        name: String,
        stands_for: Vec<(u16, Proto)>,
    },
}

/// A rule that was asked and did not match.
#[derive(Clone, Debug)]
pub struct Tried {
    pub rule: RuleId,
    pub miss: Miss,
}

/// What one direction says.
#[derive(Clone, Debug)]
pub struct Side {
    pub direction: Direction,
    /// The pod whose policies are asked.
    pub subject: PodId,
    pub allowed: bool,
    pub ruling: Ruling,
    /// The NetworkPolicies that select the pod for this direction.
    pub isolated_by: Vec<usize>,
    /// A rule of the Admin tier that passed it on.
    pub passed_by: Option<RuleId>,
    /// The rules that were asked before the decision, in order.
    pub tried: Vec<Tried>,
}

/// May it pass, and why.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub allowed: bool,
    /// A pod to its own address: no policy is asked.
    pub own: bool,
    pub egress: Side,
    pub ingress: Side,
}

impl Verdict {
    /// In the order in which a packet meets them.
    #[must_use]
    pub fn sides(&self) -> [&Side; 2] {
        [&self.egress, &self.ingress]
    }

    /// The direction that decides: the first that denies, or else the first in which something allows that is
    /// more than the default.
    #[must_use]
    pub fn deciding(&self) -> &Side {
        let sides = self.sides();
        let denies = sides.iter().find(|s| !s.allowed);
        let says = |s: &&&Side| !matches!(s.ruling, Ruling::Default | Ruling::Beyond);
        denies.or(sides.iter().find(says)).unwrap_or(&sides[1])
    }
}

/// A flow that is asked about.
#[derive(Clone, Copy)]
struct Asking<'a> {
    subject: PodId,
    peer: PodId,
    receiver: &'a Pod,
    port: u16,
    proto: Proto,
    family: Family,
}

impl Engine {
    /// Whether a flow may pass, and why.
    #[must_use]
    pub fn decide(&self, from: PodId, to: PodId, port: u16, proto: Proto, family: Family) -> Verdict {
        let receiver = self.cluster.pod(to);
        let asking = |subject, peer| Asking {
            subject,
            peer,
            receiver,
            port,
            proto,
            family,
        };
        let egress = self.side(Direction::Egress, asking(from, to));
        let ingress = self.side(Direction::Ingress, asking(to, from));
        let own = from == to;
        Verdict {
            allowed: own || (egress.allowed && ingress.allowed),
            own,
            egress,
            ingress,
        }
    }

    fn side(&self, direction: Direction, asking: Asking<'_>) -> Side {
        let mut side = Side {
            direction,
            subject: asking.subject,
            allowed: true,
            ruling: Ruling::Beyond,
            isolated_by: vec![],
            passed_by: None,
            tried: vec![],
        };
        if !self.cluster.pod(asking.subject).is_inside() {
            return side;
        }
        let asked = self.asked(asking.subject, direction);
        side.isolated_by.clone_from(&asked.namespaced);
        if let Some(rule) = self.first(&asked.admin, asking, &mut side) {
            match self.rule(rule).action {
                Action::Pass => side.passed_by = Some(rule),
                action => return ruled(side, rule, action),
            }
        }
        if !side.isolated_by.is_empty() {
            let mut matched = vec![];
            for rule in self.in_order(&side.isolated_by, direction) {
                match self.miss(rule, asking) {
                    None => matched.push(rule),
                    Some(miss) => side.tried.push(Tried { rule, miss }),
                }
            }
            side.allowed = !matched.is_empty();
            side.ruling = if side.allowed {
                Ruling::Rules(matched)
            } else {
                Ruling::Isolated
            };
            return side;
        }
        if let Some(rule) = self.first(&asked.baseline, asking, &mut side) {
            match self.rule(rule).action {
                Action::Pass => side.passed_by = Some(rule),
                action => return ruled(side, rule, action),
            }
        }
        side.ruling = Ruling::Default;
        side
    }

    /// The first rule of a tier that matches; those before it have been tried.
    fn first(&self, policies: &[usize], asking: Asking<'_>, side: &mut Side) -> Option<RuleId> {
        for rule in self.in_order(policies, side.direction) {
            match self.miss(rule, asking) {
                None => return Some(rule),
                Some(miss) => side.tried.push(Tried { rule, miss }),
            }
        }
        None
    }

    /// Why a rule does not match; `None` if it does.
    fn miss(&self, id: RuleId, asking: Asking<'_>) -> Option<Miss> {
        let rule = self.rule(id);
        let peer = match &rule.peers {
            Some(peers) if !self.peers(id, asking.family).contains(asking.peer) => {
                let nearest = peers
                    .iter()
                    .map(|(p, _)| self.peer_miss(p, asking))
                    .min_by_key(|m| m.0);
                Some(nearest.map_or(PeerMiss::NoPod, |m| m.1))
            }
            _ => None,
        };
        let ports = rule.ports.as_deref();
        let port = ports.and_then(|ports| port_miss(ports, asking));
        (peer.is_some() || port.is_some()).then_some(Miss { peer, port })
    }

    /// Why a peer is not the other end, and how far it is from being it.
    fn peer_miss(&self, peer: &Peer, asking: Asking<'_>) -> (usize, PeerMiss) {
        let other = self.cluster.pod(asking.peer);
        let address = other.address(asking.family);
        match peer {
            Peer::Pods(_) if !other.is_inside() => (9, PeerMiss::NoPod),
            Peer::Pods(pods) => {
                let in_namespace = match &pods.namespaces {
                    Namespaces::Own(wanted) if *wanted != other.namespace => {
                        let wanted = wanted.clone();
                        Some((4, PeerMiss::OtherNamespace { wanted }))
                    }
                    Namespaces::Own(_) => None,
                    Namespaces::Selected(selector) => {
                        let none = Labels::new();
                        let labels = self.cluster.namespace_labels(other).unwrap_or(&none);
                        let failing = failing(&selector.requirements, labels);
                        failing.map(|(n, wanted, has)| (3 + n, PeerMiss::Namespace { wanted, has }))
                    }
                };
                let by_label = failing(&pods.pods.requirements, &other.labels)
                    .map(|(n, wanted, has)| (n, PeerMiss::Labels { wanted, has }));
                match (in_namespace, by_label) {
                    (Some((far, miss)), Some((more, _))) => (far + more, miss),
                    (Some(miss), None) | (None, Some(miss)) => miss,
                    (None, None) => (9, PeerMiss::NoPod),
                }
            }
            Peer::Block(block) => {
                let hole = address.and_then(|ip| block.except.iter().find(|h| h.contains(ip)));
                if let (Some(address), Some(hole)) = (address, hole) {
                    return (1, PeerMiss::Except { hole: *hole, address });
                }
                let block = block.cidr;
                (5, PeerMiss::Outside { block, address })
            }
            Peer::Nodes(_) => (8, PeerMiss::NoNode),
            Peer::Domains(_) => (7, PeerMiss::Domain),
        }
    }
}

fn ruled(side: Side, rule: RuleId, action: Action) -> Side {
    let allows = action == Action::Allow;
    Side {
        allowed: allows,
        ruling: Ruling::Admin { rule, allows },
        ..side
    }
}

/// How many requirements fail, the first of them, and the value that is there.
fn failing(requirements: &[Requirement], labels: &Labels) -> Option<(usize, Requirement, Option<String>)> {
    let mut wrong = requirements.iter().filter(|r| !r.holds(labels));
    let first = wrong.next()?;
    let has = labels.get(&first.key).cloned();
    Some((1 + wrong.count(), first.clone(), has))
}

/// Why none of the ports is the one that is asked for: of those of its protocol the nearest number.
fn port_miss(ports: &[PortMatch], asking: Asking<'_>) -> Option<PortMiss> {
    let mut nearest: Option<(u32, PortMiss)> = None;
    for port in ports {
        let (far, miss) = match &port.ports {
            _ if port.proto.is_some_and(|p| p != asking.proto) => {
                let wanted = port.proto.unwrap_or(asking.proto);
                (1 << 20, PortMiss::Protocol { wanted })
            }
            PortNumbers::Every => return None,
            PortNumbers::Range(first, last) => {
                if (*first..=*last).contains(&asking.port) {
                    return None;
                }
                let far = first.abs_diff(asking.port).min(last.abs_diff(asking.port));
                let (first, last) = (*first, *last);
                (u32::from(far), PortMiss::Number { first, last })
            }
            PortNumbers::Named(name) => {
                if asking.receiver.names(name, asking.proto, asking.port) {
                    return None;
                }
                let named = asking
                    .receiver
                    .ports
                    .iter()
                    .filter(|p| p.name.as_ref() == Some(name));
                let stands_for = named.map(|p| (p.port, p.proto)).collect();
                let name = name.clone();
                (1 << 17, PortMiss::Name { name, stands_for })
            }
        };
        if nearest.as_ref().is_none_or(|(before, _)| far < *before) {
            nearest = Some((far, miss));
        }
    }
    nearest.map(|(_, miss)| miss)
}
