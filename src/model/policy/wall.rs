//! What the policies say about one pod, flattened for a compiler: it needs no selector any more.

use super::cluster::PodId;
use super::engine::{Engine, RuleId};
use super::rule::{Action, Block, Direction, Peer, PortNumbers};
use super::set::PodSet;
use crate::model::{Family, Proto};

/// Whom a rule names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Everybody, in the cluster and outside of it.
    Everybody,
    /// These pods, by identity; their addresses are in the cluster.
    Pods(PodSet),
    /// What has an address of the block, pods also.
    Block(Block),
}

/// Which ports of the receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenPorts {
    /// `None` is every protocol, those without ports also.
    pub proto: Option<Proto>,
    /// First and last, `None` is every port; never empty.
    pub ports: Option<(u16, u16)>,
    /// The receivers that this is about: a name of a port stands for another number at each. `None` is all.
    pub at: Option<PodSet>,
}

/// One rule: all of `who` with all of `ports`.
#[derive(Clone, Debug)]
pub struct Opening {
    pub rule: RuleId,
    pub action: Action,
    pub who: Vec<Who>,
    /// Nothing in it: the rule matches nothing (a named port that nobody has).
    pub ports: Vec<OpenPorts>,
}

/// What holds for one pod in one direction. The tiers are asked in this order; in `admin` and `baseline` the first
/// rule that matches decides or passes on to the next tier, and if `isolated`, what no rule of `allow` matches is
/// denied and `baseline` is not asked.
#[derive(Clone, Debug, Default)]
pub struct Wall {
    pub admin: Vec<Opening>,
    pub isolated: bool,
    pub allow: Vec<Opening>,
    pub baseline: Vec<Opening>,
}

impl Engine {
    /// What the policies say about a pod in a direction; `None` for what no policy can select.
    #[must_use]
    pub fn wall(&self, pod: PodId, direction: Direction) -> Option<Wall> {
        if !self.cluster.pod(pod).is_inside() {
            return None;
        }
        let asked = self.asked(pod, direction);
        let openings = |policies: &[usize]| -> Vec<Opening> {
            let rules = self.in_order(policies, direction);
            rules.into_iter().map(|id| self.opening(id, pod)).collect()
        };
        Some(Wall {
            admin: openings(&asked.admin),
            isolated: !asked.namespaced.is_empty(),
            allow: openings(&asked.namespaced),
            baseline: openings(&asked.baseline),
        })
    }

    /// One rule for one pod that its policy selects.
    #[must_use]
    pub fn opening(&self, id: RuleId, subject: PodId) -> Opening {
        let rule = self.rule(id);
        let who = match &rule.peers {
            None => vec![Who::Everybody],
            Some(peers) => {
                let mut all: Vec<Who> = peers.iter().flat_map(|(p, _)| self.who(p)).collect();
                all.sort();
                all.dedup();
                all
            }
        };
        let ports = match &rule.ports {
            None => vec![OpenPorts {
                proto: None,
                ports: None,
                at: None,
            }],
            Some(ports) => ports
                .iter()
                .flat_map(|p| self.open_ports(p.proto, &p.ports, id.direction, subject))
                .collect(),
        };
        Opening {
            rule: id,
            action: rule.action,
            who,
            ports,
        }
    }

    fn who(&self, peer: &Peer) -> Vec<Who> {
        let cluster = &self.cluster;
        match peer {
            Peer::Pods(pods) => {
                let set = PodSet::of(cluster.pods.len(), |id| pods.select(cluster, id));
                if set.is_empty() {
                    vec![]
                } else {
                    vec![Who::Pods(set)]
                }
            }
            Peer::Block(block) => vec![Who::Block(block.clone())],
            Peer::Nodes(selector) => {
                let nodes = cluster.nodes.iter().filter(|n| selector.selects(&n.labels));
                let ips = nodes.flat_map(|n| &n.addresses);
                ips.map(|ip| {
                    let (cidr, except) = ((*ip).into(), vec![]);
                    Who::Block(Block { cidr, except })
                })
                .collect()
            }
            Peer::Domains(_) => vec![],
        }
    }

    fn open_ports(
        &self,
        proto: Option<Proto>,
        ports: &PortNumbers,
        direction: Direction,
        subject: PodId,
    ) -> Vec<OpenPorts> {
        let open = |proto, ports, at| OpenPorts { proto, ports, at };
        match ports {
            PortNumbers::Every => vec![open(proto, None, None)],
            PortNumbers::Range(first, last) if first > last => vec![],
            PortNumbers::Range(first, last) => vec![open(proto, Some((*first, *last)), None)],
            PortNumbers::Named(name) => self
                .named(name)
                .filter(|((p, _), _)| proto.is_none_or(|wanted| wanted == *p))
                .filter(|(_, pods)| direction == Direction::Egress || pods.contains(subject))
                .map(|((p, port), pods)| {
                    let at = (direction == Direction::Egress).then(|| pods.clone());
                    open(Some(p), Some((port, port)), at)
                })
                .collect(),
        }
    }
}

/// What a wall says about one flow, by itself: the tests hold it against [`Engine::row`].
impl Wall {
    #[must_use]
    pub fn allows(
        &self,
        engine: &Engine,
        peer: PodId,
        receiver: PodId,
        (port, proto, family): (u16, Proto, Family),
    ) -> bool {
        let named = |o: &Opening| {
            let address = engine.cluster.pod(peer).address(family);
            let who = o.who.iter().any(|w| match w {
                Who::Everybody => true,
                Who::Pods(pods) => pods.contains(peer),
                Who::Block(block) => address.is_some_and(|ip| block.holds(ip)),
            });
            who && o.ports.iter().any(|p| {
                p.proto.is_none_or(|x| x == proto)
                    && p.ports.is_none_or(|(a, b)| (a..=b).contains(&port))
                    && p.at.as_ref().is_none_or(|at| at.contains(receiver))
            })
        };
        let first = |openings: &[Opening]| openings.iter().find(|o| named(o)).map(|o| o.action);
        match first(&self.admin) {
            Some(Action::Allow) => return true,
            Some(Action::Deny) => return false,
            Some(Action::Pass) | None => {}
        }
        if self.isolated {
            return self.allow.iter().any(named);
        }
        first(&self.baseline) != Some(Action::Deny)
    }
}
