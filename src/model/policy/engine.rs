//! Policies compiled for one cluster: who is selected, and whom each rule names, as sets of pods.
//!
//! Pods of one namespace with the same labels are alike to every selector, so each selector is asked once for
//! each such identity, and a selector that occurs again is not asked at all.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::cluster::{Cluster, PodId};
use super::label::Labels;
use super::rule::{
    Action, Block, Direction, Namespaces, Peer, Pods, Policy, PortMatch, PortNumbers, Rule, Tier,
};
use super::set::PodSet;
use crate::model::{Family, Proto};

/// One rule of one policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// In [`Engine::policies`].
    pub policy: usize,
    pub direction: Direction,
    /// From 0, in its direction.
    pub rule: usize,
}

/// A policy for this cluster.
#[derive(Clone, Debug)]
struct Compiled {
    subject: PodSet,
    /// For each direction, then rule: whom it names with an address of each family.
    peers: [Vec<[PodSet; 2]>; 2],
}

/// The policies that select one pod in one direction, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub admin: Vec<usize>,
    pub namespaced: Vec<usize>,
    pub baseline: Vec<usize>,
}

/// The rules that speak of one pod in one direction. In `admin` and `baseline` the first that matches decides or
/// passes on to the next tier; if `isolated`, what no rule of `allow` matches is denied and `baseline` is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Governing {
    pub admin: Vec<RuleId>,
    pub isolated: bool,
    pub allow: Vec<RuleId>,
    pub baseline: Vec<RuleId>,
}

/// Everything that is needed to decide.
#[derive(Clone, Debug)]
pub struct Engine {
    pub cluster: Cluster,
    pub policies: Vec<Policy>,
    compiled: Vec<Compiled>,
    /// For each direction, then pod.
    asked: [Vec<Asked>; 2],
    /// What a name of a port stands for, and with which pods.
    named: BTreeMap<String, BTreeMap<(Proto, u16), PodSet>>,
    /// For each pod, which of the groups of pods that are alike to selectors it is in.
    identities: Vec<u32>,
}

/// One flow's service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct To {
    pub port: u16,
    pub proto: Proto,
    pub family: Family,
}

impl Engine {
    /// Compiles policies for a cluster.
    #[must_use]
    pub fn new(cluster: Cluster, policies: Vec<Policy>) -> Self {
        let mut compiler = Compiler::new(&cluster);
        let compiled: Vec<_> = policies.iter().map(|p| compiler.policy(p)).collect();
        let identities = compiler.identity_of;
        let asked = Direction::BOTH.map(|d| asked(&cluster, &policies, &compiled, d));
        let mut named: BTreeMap<String, BTreeMap<_, PodSet>> = BTreeMap::new();
        for id in cluster.ids() {
            for port in &cluster.pod(id).ports {
                let Some(name) = &port.name else { continue };
                let places = named.entry(name.clone()).or_default();
                places
                    .entry((port.proto, port.port))
                    .or_insert_with(|| PodSet::none(cluster.pods.len()))
                    .insert(id);
            }
        }
        Self {
            cluster,
            policies,
            compiled,
            asked,
            named,
            identities,
        }
    }

    #[must_use]
    pub fn rule(&self, id: RuleId) -> &Rule {
        let rules = self.policies[id.policy].rules(id.direction);
        &rules.unwrap_or_default()[id.rule]
    }

    /// Whom a policy selects.
    #[must_use]
    pub fn subject(&self, policy: usize) -> &PodSet {
        &self.compiled[policy].subject
    }

    /// Whom a rule names among those with an address of the family.
    #[must_use]
    pub fn peers(&self, id: RuleId, family: Family) -> &PodSet {
        &self.compiled[id.policy].peers[id.direction as usize][id.rule][family as usize]
    }

    /// Which pods have a port of this name, for each thing that it stands for.
    pub fn named(&self, name: &str) -> impl Iterator<Item = ((Proto, u16), &PodSet)> {
        self.named
            .get(name)
            .into_iter()
            .flatten()
            .map(|(s, set)| (*s, set))
    }

    /// The group of a pod: pods of one group are in the same sets of every selector there can be.
    #[must_use]
    pub fn identity(&self, pod: PodId) -> u32 {
        self.identities[pod.index()]
    }

    /// The policies of all tiers that select a pod in a direction.
    pub(super) fn asked(&self, pod: PodId, direction: Direction) -> &Asked {
        &self.asked[direction as usize][pod.index()]
    }

    /// The rules of a policy in one direction.
    pub fn rules(&self, policy: usize, direction: Direction) -> impl Iterator<Item = RuleId> + use<> {
        let count = self.policies[policy].rules(direction).map_or(0, <[_]>::len);
        (0..count).map(move |rule| RuleId {
            policy,
            direction,
            rule,
        })
    }

    /// The peers with which `subject` may exchange what goes to a port, as far as this direction is concerned.
    /// The port is that of the receiver: `subject`'s for ingress, the peer's for egress.
    #[must_use]
    pub fn row(
        &self,
        subject: PodId,
        direction: Direction,
        port: u16,
        proto: Proto,
        family: Family,
    ) -> PodSet {
        let to = To { port, proto, family };
        let count = self.cluster.pods.len();
        let mut open = PodSet::all(count);
        if !self.cluster.pod(subject).is_inside() {
            return open;
        }
        let asked = self.asked(subject, direction);
        let mut allowed = PodSet::none(count);
        self.tier(subject, direction, &asked.admin, to, &mut open, &mut allowed);
        if asked.namespaced.is_empty() {
            self.tier(subject, direction, &asked.baseline, to, &mut open, &mut allowed);
            allowed.add(&open);
            return allowed;
        }
        let mut rules = PodSet::none(count);
        for policy in &asked.namespaced {
            for id in self.rules(*policy, direction) {
                if let Some(matched) = self.matched(id, subject, to) {
                    rules.add(&matched);
                }
            }
        }
        rules.keep(&open);
        allowed.add(&rules);
        allowed
    }

    /// Asks the rules of a tier one after the other about those that no rule before has matched. What is left
    /// in `open` afterwards goes on to the next tier.
    fn tier(
        &self,
        subject: PodId,
        direction: Direction,
        policies: &[usize],
        to: To,
        open: &mut PodSet,
        allowed: &mut PodSet,
    ) {
        let mut passed = PodSet::none(self.cluster.pods.len());
        for policy in policies {
            for id in self.rules(*policy, direction) {
                let Some(mut matched) = self.matched(id, subject, to) else {
                    continue;
                };
                matched.keep(open);
                open.take(&matched);
                match self.rule(id).action {
                    Action::Allow => allowed.add(&matched),
                    Action::Pass => passed.add(&matched),
                    Action::Deny => {}
                }
            }
        }
        open.add(&passed);
    }

    /// The peers of a rule for which its ports match; `None` is none.
    fn matched(&self, id: RuleId, subject: PodId, to: To) -> Option<PodSet> {
        let peers = self.peers(id, to.family);
        let Some(ports) = &self.rule(id).ports else {
            return Some(peers.clone());
        };
        let ours = |m: &&PortMatch| m.proto.is_none_or(|p| p == to.proto);
        let mut by_name = PodSet::none(self.cluster.pods.len());
        for port in ports.iter().filter(ours) {
            match &port.ports {
                PortNumbers::Every => return Some(peers.clone()),
                PortNumbers::Range(first, last) if (*first..=*last).contains(&to.port) => {
                    return Some(peers.clone());
                }
                PortNumbers::Range(..) => {}
                PortNumbers::Named(name) => {
                    let pods = self.named.get(name).and_then(|n| n.get(&(to.proto, to.port)));
                    match (id.direction, pods) {
                        (Direction::Ingress, Some(pods)) if pods.contains(subject) => {
                            return Some(peers.clone());
                        }
                        (Direction::Egress, Some(pods)) => by_name.add(pods),
                        _ => {}
                    }
                }
            }
        }
        by_name.keep(peers);
        Some(by_name).filter(|s| !s.is_empty())
    }

    /// What the policies say about a pod in a direction; `None` for what no policy can select.
    #[must_use]
    pub fn governing(&self, pod: PodId, direction: Direction) -> Option<Governing> {
        let asked = self.asked(pod, direction);
        let rules = |policies: &[usize]| self.in_order(policies, direction);
        self.cluster.pod(pod).is_inside().then(|| Governing {
            admin: rules(&asked.admin),
            isolated: !asked.namespaced.is_empty(),
            allow: rules(&asked.namespaced),
            baseline: rules(&asked.baseline),
        })
    }

    /// The policies of one pod as lists of rules, in the order in which they are asked.
    pub(super) fn in_order(&self, policies: &[usize], direction: Direction) -> Vec<RuleId> {
        policies.iter().flat_map(|p| self.rules(*p, direction)).collect()
    }
}

fn asked(cluster: &Cluster, policies: &[Policy], compiled: &[Compiled], direction: Direction) -> Vec<Asked> {
    let mut order: Vec<usize> = (0..policies.len())
        .filter(|p| policies[*p].rules(direction).is_some())
        .collect();
    // Two of one priority: Kubernetes leaves the order open, names decide here.
    order.sort_by_key(|p| (policies[*p].tier, policies[*p].title()));
    cluster
        .ids()
        .map(|pod| {
            let mut asked = Asked::default();
            for policy in order.iter().filter(|p| compiled[**p].subject.contains(pod)) {
                match policies[*policy].tier {
                    Tier::Admin(_) => asked.admin.push(*policy),
                    Tier::Namespaced => asked.namespaced.push(*policy),
                    Tier::Baseline(_) => asked.baseline.push(*policy),
                }
            }
            asked
        })
        .collect()
}

/// Asks selectors, each once.
struct Compiler<'a> {
    cluster: &'a Cluster,
    /// One pod of each identity, and all of them.
    identities: Vec<(PodId, PodSet)>,
    identity_of: Vec<u32>,
    known: HashMap<String, PodSet>,
}

impl<'a> Compiler<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let count = cluster.pods.len();
        let mut numbers: BTreeMap<(&str, &Labels, bool), u32> = BTreeMap::new();
        let mut identities: Vec<(PodId, PodSet)> = vec![];
        let mut identity_of = vec![];
        for id in cluster.ids() {
            let pod = cluster.pod(id);
            let key = (pod.namespace.as_str(), &pod.labels, pod.is_inside());
            let number = *numbers.entry(key).or_insert_with(|| {
                identities.push((id, PodSet::none(count)));
                identities.len() as u32 - 1
            });
            identities[number as usize].1.insert(id);
            identity_of.push(number);
        }
        Self {
            cluster,
            identities,
            identity_of,
            known: HashMap::new(),
        }
    }

    fn policy(&mut self, policy: &Policy) -> Compiled {
        let subject = self.pods(&policy.subject);
        let peers = Direction::BOTH.map(|d| {
            let rules = policy.rules(d).unwrap_or_default();
            rules.iter().map(|r| self.rule(r)).collect()
        });
        Compiled { subject, peers }
    }

    fn rule(&mut self, rule: &Rule) -> [PodSet; 2] {
        let count = self.cluster.pods.len();
        Family::BOTH.map(|family| match &rule.peers {
            None => PodSet::all(count),
            Some(peers) => {
                let mut all = PodSet::none(count);
                for (peer, _) in peers {
                    all.add(&self.peer(peer, family));
                }
                all
            }
        })
    }

    fn peer(&mut self, peer: &Peer, family: Family) -> PodSet {
        let count = self.cluster.pods.len();
        let cluster = self.cluster;
        let address = |id: PodId| cluster.pod(id).address(family);
        match peer {
            Peer::Pods(pods) => self.pods(pods),
            Peer::Block(block) => PodSet::of(count, |id| address(id).is_some_and(|ip| block.holds(ip))),
            Peer::Nodes(selector) => {
                let nodes = cluster.nodes.iter().filter(|n| selector.selects(&n.labels));
                let ips: Vec<IpAddr> = nodes.flat_map(|n| n.addresses.iter().copied()).collect();
                PodSet::of(count, |id| address(id).is_some_and(|ip| ips.contains(&ip)))
            }
            Peer::Domains(_) => PodSet::none(count),
        }
    }

    fn pods(&mut self, pods: &Pods) -> PodSet {
        let key = pods.key();
        if let Some(set) = self.known.get(&key) {
            return set.clone();
        }
        let mut all = PodSet::none(self.cluster.pods.len());
        for (one, alike) in &self.identities {
            if pods.select(self.cluster, *one) {
                all.add(alike);
            }
        }
        self.known.insert(key, all.clone());
        all
    }
}

impl Pods {
    /// Whether they name a pod.
    #[must_use]
    pub fn select(&self, cluster: &Cluster, id: PodId) -> bool {
        let pod = cluster.pod(id);
        let in_namespace = match &self.namespaces {
            Namespaces::Own(name) => pod.namespace == *name,
            Namespaces::Selected(selector) => {
                cluster.namespace_labels(pod).is_some_and(|l| selector.selects(l))
            }
        };
        pod.is_inside() && in_namespace && self.pods.selects(&pod.labels)
    }
}

impl Block {
    #[must_use]
    pub fn holds(&self, ip: IpAddr) -> bool {
        self.cidr.contains(ip) && !self.except.iter().any(|hole| hole.contains(ip))
    }
}
