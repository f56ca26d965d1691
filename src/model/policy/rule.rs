//! Policies as values: the three kinds of the admin tiers and the NetworkPolicy in one form.

use std::fmt;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::cluster::Place;
use super::label::Selector;
use crate::model::Proto;
use crate::model::yaml::Pos;

/// Seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What it sends.
    Egress,
    /// What is sent to it.
    Ingress,
}

impl Direction {
    /// In the order in which a packet meets them.
    pub const BOTH: [Self; 2] = [Self::Egress, Self::Ingress];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }

    /// The key of a rule's peers.
    #[must_use]
    pub fn peers_key(self) -> &'static str {
        match self {
            Self::Egress => "to",
            Self::Ingress => "from",
        }
    }
}

/// The kinds of objects that say who may talk to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    NetworkPolicy,
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
        }
    }
}

/// When a policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// First, the smallest number before others.
    Admin(u32),
    /// Then NetworkPolicies: whom one selects is decided here for good.
    Namespaced,
    /// Last.
    Baseline(u32),
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    Deny,
    /// On to the next tier.
    Pass,
}

/// Which namespaces.
#[derive(Clone, Debug)]
pub enum Namespaces {
    /// The policy's own.
    Own(String),
    Selected(Selector),
}

/// Pods by the labels of their namespaces and their own.
#[derive(Clone, Debug)]
pub struct Pods {
    pub namespaces: Namespaces,
    pub pods: Selector,
}

impl Pods {
    /// A text that is equal for what names the same pods in the same words.
    #[must_use]
    pub fn key(&self) -> String {
        let namespaces = match &self.namespaces {
            Namespaces::Own(name) => format!("own {name}"),
            Namespaces::Selected(selector) => selector.key(),
        };
        format!("{namespaces}\n\n{}", self.pods.key())
    }
}

/// What one entry of `from` or `to` names.
#[derive(Clone, Debug)]
pub enum Peer {
    Pods(Pods),
    /// Addresses, of pods also.
    Block(Block),
    /// The addresses of nodes.
    Nodes(Selector),
    /// Names of the DNS; moat has none to ask, so no address is known to be theirs.
    Domains(Vec<String>),
}

impl Peer {
    /// A text that is equal for what names the same peers in the same words.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Pods(pods) => format!("pods {}", pods.key()),
            Self::Block(block) => format!("block {block}"),
            Self::Nodes(selector) => format!("nodes {}", selector.key()),
            Self::Domains(names) => format!("domains {names:?}"),
        }
    }
}

/// An address range with holes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    pub cidr: IpNetwork,
    pub except: Vec<IpNetwork>,
}

/// Which ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortNumbers {
    Every,
    /// First and last; empty where the last is the smaller one.
    Range(u16, u16),
    /// What the receiving pod calls so.
    Named(String),
}

/// One entry of `ports` or `protocols`.
#[derive(Clone, Debug)]
pub struct PortMatch {
    /// `None`: whichever the name stands for.
    pub proto: Option<Proto>,
    pub ports: PortNumbers,
    pub pos: Pos,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Counted from 1 in its direction, as it stands in the file.
    pub number: usize,
    pub name: Option<String>,
    pub action: Action,
    /// `None` is everybody.
    pub peers: Option<Vec<(Peer, Pos)>>,
    /// `None` is every protocol and port.
    pub ports: Option<Vec<PortMatch>>,
    pub pos: Pos,
}

/// A policy of any kind.
#[derive(Clone, Debug)]
pub struct Policy {
    pub kind: Kind,
    /// `None` for what is of the whole cluster.
    pub namespace: Option<String>,
    pub name: String,
    pub tier: Tier,
    /// Whom it is about.
    pub subject: Pods,
    /// `None`: it says nothing about this direction.
    pub egress: Option<Vec<Rule>>,
    pub ingress: Option<Vec<Rule>>,
    /// Rules that stand in the file but do not count, because `policyTypes` leaves their direction out.
    pub ignored: Option<(Direction, Pos)>,
    pub file: Arc<str>,
    pub pos: Pos,
}

impl Policy {
    /// `None`: it says nothing about this direction.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Egress => self.egress.as_deref(),
            Direction::Ingress => self.ingress.as_deref(),
        }
    }

    #[must_use]
    pub fn place(&self) -> Place {
        self.place_of(self.pos)
    }

    /// A place in its file.
    #[must_use]
    pub fn place_of(&self, pos: Pos) -> Place {
        Place::new(&self.file, pos)
    }

    /// `shop/allow-web`, or the name alone for what is of the whole cluster.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// `NetworkPolicy shop/allow-web`.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.title())
    }
}

/// `10.0.0.0/8 except 10.1.0.0/16`.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cidr)?;
        for (i, hole) in self.except.iter().enumerate() {
            write!(f, "{} {hole}", if i == 0 { " except" } else { "," })?;
        }
        Ok(())
    }
}
