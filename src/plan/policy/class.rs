//! What rules of one direction are to whom: classes of pods by the rules that govern them, and classes of peers by
//! the rules that name them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::IpAddr;

use super::services::{Ranges, Services};
use crate::model::policy::{Action, Direction, Engine, Governing, PodId, PodSet, PortNumbers, RuleId};
use crate::model::{Family, Proto};

/// Something that a peer is or is not; its number is its place in [`Marks::all`].
pub type Mark = usize;

/// The marks of a peer, in order.
pub type Marked = Vec<Mark>;

#[derive(Clone, Debug)]
pub enum Kind {
    /// The peers of this rule name it; rules with equal peers have one mark.
    Peers(RuleId),
    /// It calls this port so (what is sent to it is meant).
    Named(String, Proto, u16),
}

/// Everything by which peers differ in one direction.
#[derive(Default)]
pub struct Marks {
    pub all: Vec<(String, Kind)>,
    known: HashMap<String, Mark>,
    /// Of the peers of rules; what names everybody has none.
    of_rule: HashMap<RuleId, Mark>,
}

/// One rule, for the pods of a class.
#[derive(Clone, Debug)]
struct Line {
    action: Action,
    /// `None` is everybody.
    peers: Option<Mark>,
    /// What it opens, and at whom: a name stands for another number at each pod.
    ports: Vec<(Services, Option<Mark>)>,
}

/// What holds for the pods of one class, as `Governing` with the rules worked out.
#[derive(Clone, Debug, Default)]
pub struct Class {
    admin: Vec<Line>,
    isolated: bool,
    allow: Vec<Line>,
    baseline: Vec<Line>,
}

impl Marks {
    /// The marks that the rules of a direction need.
    pub fn new(engine: &Engine, direction: Direction) -> Self {
        let mut marks = Self::default();
        for id in (0..engine.policies.len()).flat_map(|p| engine.rules(p, direction)) {
            if let Some(key) = peers_key(engine, id) {
                let mark = marks.mark(key, || Kind::Peers(id));
                marks.of_rule.insert(id, mark);
            }
            let ports = engine.rule(id).ports.iter().flatten();
            for name in ports.filter_map(|p| match &p.ports {
                PortNumbers::Named(name) if direction == Direction::Egress => Some(name),
                _ => None,
            }) {
                for ((proto, port), _) in engine.named(name) {
                    let kind = || Kind::Named(name.clone(), proto, port);
                    marks.mark(named_key(name, proto, port), kind);
                }
            }
        }
        marks
    }

    fn mark(&mut self, key: String, kind: impl FnOnce() -> Kind) -> Mark {
        if let Some(mark) = self.known.get(&key) {
            return *mark;
        }
        let mark = self.all.len();
        self.known.insert(key.clone(), mark);
        self.all.push((key, kind()));
        mark
    }

    /// The marks of a pod at its address of a family.
    pub fn of_pod(&self, engine: &Engine, pod: PodId, family: Family) -> Marked {
        let is = |kind: &Kind| match kind {
            Kind::Peers(id) => engine.peers(*id, family).contains(pod),
            Kind::Named(name, proto, port) => engine.cluster.pod(pod).names(name, *proto, *port),
        };
        let all = self.all.iter().enumerate();
        all.filter(|(_, (_, kind))| is(kind)).map(|(n, _)| n).collect()
    }

    /// The same text for the same marks, whatever their numbers.
    pub fn text(&self, marked: &Marked) -> String {
        let mut keys: Vec<&str> = marked.iter().map(|m| self.all[*m].0.as_str()).collect();
        keys.sort_unstable();
        keys.join("\n\n\n")
    }
}

fn peers_key(engine: &Engine, id: RuleId) -> Option<String> {
    let peers = engine.rule(id).peers.as_ref()?;
    let keys: BTreeSet<String> = peers.iter().map(|(p, _)| p.key()).collect();
    Some(keys.into_iter().collect::<Vec<_>>().join("\nor "))
}

fn named_key(name: &str, proto: Proto, port: u16) -> String {
    format!("port {name:?} is {port}/{proto}")
}

/// The classes of a direction by their texts, and the class of each pod that policies govern.
pub fn classes(
    engine: &Engine,
    marks: &Marks,
    direction: Direction,
) -> (BTreeMap<String, Class>, BTreeMap<PodId, String>) {
    let (mut classes, mut of) = (BTreeMap::new(), BTreeMap::new());
    let names = own_names(engine, direction);
    // Pods that are governed by the same rules and call their ports the same are of one class.
    let mut known: HashMap<(Governing, Vec<bool>), String> = HashMap::new();
    for pod in engine.cluster.ids() {
        let Some(rules) = engine.governing(pod, direction) else {
            continue;
        };
        if rules.admin.is_empty() && !rules.isolated && rules.baseline.is_empty() {
            continue;
        }
        let calls = names.iter().map(|pods| pods.contains(pod)).collect();
        let text = known.entry((rules, calls)).or_insert_with_key(|(rules, _)| {
            let lines = |ids: &[RuleId]| -> Vec<Line> {
                let line = |id: &RuleId| line(engine, marks, *id, pod);
                ids.iter().map(line).collect()
            };
            let class = Class {
                admin: lines(&rules.admin),
                isolated: rules.isolated,
                allow: lines(&rules.allow),
                baseline: lines(&rules.baseline),
            };
            let text = format!("{} {}", direction.as_str(), class.text(marks));
            classes.entry(text.clone()).or_insert(class);
            text
        });
        of.insert(pod, text.clone());
    }
    (classes, of)
}

/// Who has which of the ports that rules about what is sent to a pod call by name.
fn own_names(engine: &Engine, direction: Direction) -> Vec<&PodSet> {
    if direction == Direction::Egress {
        return vec![];
    }
    let ids = (0..engine.policies.len()).flat_map(|p| engine.rules(p, direction));
    let ports = ids.filter_map(|id| engine.rule(id).ports.as_ref()).flatten();
    let names: BTreeSet<&str> = ports
        .filter_map(|p| match &p.ports {
            PortNumbers::Named(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let of = |name| engine.named(name).map(|(_, pods)| pods);
    names.into_iter().flat_map(of).collect()
}

fn line(engine: &Engine, marks: &Marks, id: RuleId, pod: PodId) -> Line {
    let rule = engine.rule(id);
    let peers = marks.of_rule.get(&id).copied();
    let Some(matches) = &rule.ports else {
        return Line {
            action: rule.action,
            peers,
            ports: vec![(Services::all(), None)],
        };
    };
    let mut ports = vec![];
    for m in matches {
        match &m.ports {
            PortNumbers::Every => ports.push((Services::of(m.proto, &Ranges::all()), None)),
            PortNumbers::Range(a, b) => ports.push((Services::of(m.proto, &Ranges::of(*a, *b)), None)),
            PortNumbers::Named(name) => {
                let meant = |p: Proto| m.proto.is_none_or(|wanted| wanted == p);
                for ((proto, port), pods) in engine.named(name).filter(|((p, _), _)| meant(*p)) {
                    let services = Services::of(Some(proto), &Ranges::of(port, port));
                    match id.direction {
                        Direction::Egress => {
                            let at = marks.known.get(&named_key(name, proto, port));
                            ports.push((services, at.copied()));
                        }
                        Direction::Ingress if pods.contains(pod) => ports.push((services, None)),
                        Direction::Ingress => {}
                    }
                }
            }
        }
    }
    Line {
        action: rule.action,
        peers,
        ports,
    }
}

impl Line {
    /// What of it is about a peer with these marks.
    fn about(&self, marked: &[Mark]) -> Services {
        let mut services = Services::default();
        if self.peers.is_none_or(|m| marked.contains(&m)) {
            let ports = self.ports.iter();
            ports
                .filter(|(_, at)| at.is_none_or(|m| marked.contains(&m)))
                .for_each(|(s, _)| services.add(s));
        }
        services
    }

    fn text(&self, marks: &Marks) -> String {
        let key = |m: &Mark| marks.all[*m].0.as_str();
        let mut text = format!("{:?} {:?}", self.action, self.peers.as_ref().map(key));
        for (services, at) in &self.ports {
            // Writing to a String cannot fail.
            let _ = write!(text, " {:?} {services:?}", at.as_ref().map(key));
        }
        text
    }
}

impl Class {
    fn lines(&self) -> impl Iterator<Item = &Line> {
        [&self.admin, &self.allow, &self.baseline].into_iter().flatten()
    }

    /// The marks that make a difference to it.
    pub fn relevant(&self) -> BTreeSet<Mark> {
        let of = |l: &Line| {
            l.peers
                .into_iter()
                .chain(l.ports.iter().filter_map(|(_, at)| *at))
                .collect::<Vec<_>>()
        };
        self.lines().flat_map(of).collect()
    }

    /// What may pass between its pods and a peer with these marks.
    pub fn allows(&self, marked: &[Mark]) -> Services {
        let (mut open, mut allowed) = (Services::all(), Services::default());
        tier(&self.admin, marked, &mut open, &mut allowed);
        if self.isolated {
            for line in &self.allow {
                allowed.add(&open.and(&line.about(marked)));
            }
        } else {
            tier(&self.baseline, marked, &mut open, &mut allowed);
            allowed.add(&open);
        }
        allowed
    }

    /// The same for classes that allow the same, for the order in which rules that only allow stand does not count.
    fn text(&self, marks: &Marks) -> String {
        let texts = |lines: &[Line]| lines.iter().map(|l| l.text(marks)).collect::<Vec<_>>();
        let allow: BTreeSet<String> = texts(&self.allow).into_iter().collect();
        let (admin, baseline) = (texts(&self.admin), texts(&self.baseline));
        format!("{admin:?} {} {allow:?} {baseline:?}", self.isolated)
    }
}

/// Asks the rules of a tier one after the other about what no rule before has matched. What is left in `open`
/// afterwards goes on to the next tier.
fn tier(lines: &[Line], marked: &[Mark], open: &mut Services, allowed: &mut Services) {
    let mut passed = Services::default();
    for line in lines {
        let matched = open.and(&line.about(marked));
        open.take(&matched);
        match line.action {
            Action::Allow => allowed.add(&matched),
            Action::Pass => passed.add(&matched),
            Action::Deny => {}
        }
    }
    open.add(&passed);
}

/// The marks of all pods, by their addresses of a family. What shares an address is told apart by nobody: each is
/// what any of them is.
pub fn of_pods(engine: &Engine, marks: &Marks, family: Family) -> BTreeMap<IpAddr, Marked> {
    let mut all: BTreeMap<IpAddr, Marked> = BTreeMap::new();
    for pod in engine.cluster.ids() {
        if let Some(ip) = engine.cluster.pod(pod).address(family) {
            let marked = all.entry(ip).or_default();
            marked.extend(marks.of_pod(engine, pod, family));
            marked.sort_unstable();
            marked.dedup();
        }
    }
    all
}
