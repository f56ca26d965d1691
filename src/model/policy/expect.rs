//! What a person says should hold, and which line says it of a flow.

use super::cluster::{Cluster, Place, Pod, PodId};
use super::label::Selector;
use super::set::PodSet;
use crate::model::yaml::Error;
use crate::model::{Family, Proto, nearest};

/// Pods as an expectation names them.
#[derive(Clone, Debug)]
pub enum Ends {
    /// `shop/web`: a pod, or all pods of a workload; `*` is any.
    Named { namespace: String, name: String },
    /// By labels.
    Labelled { namespaces: Selector, pods: Selector },
    /// The pods of one workload, or a pod, by its kind.
    Workload {
        namespace: String,
        kind: String,
        name: String,
    },
}

/// Ports as an expectation names them; `None` is each that the receiver serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub ports: Option<(u16, u16)>,
    pub proto: Option<Proto>,
}

/// One line: these flows pass, or do not.
#[derive(Clone, Debug)]
pub struct Expected {
    pub from: Vec<(Ends, Place)>,
    pub to: Vec<(Ends, Place)>,
    /// Empty is every port that the receiver serves.
    pub ports: Vec<Ports>,
    pub family: Option<Family>,
    pub allowed: bool,
    /// Everything that no other line speaks of.
    pub otherwise: bool,
    pub place: Place,
}

/// A line for one cluster.
#[derive(Clone, Debug)]
struct Line {
    from: PodSet,
    to: PodSet,
    expected: Expected,
}

/// All lines for one cluster.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    lines: Vec<Line>,
}

impl Expectations {
    /// Finds the pods that lines name.
    ///
    /// # Errors
    /// A line names a pod that is not there.
    pub fn new(expected: Vec<Expected>, cluster: &Cluster) -> Result<Self, Error> {
        let line = |expected: Expected| {
            Ok(Line {
                from: named(&expected.from, cluster)?,
                to: named(&expected.to, cluster)?,
                expected,
            })
        };
        let (last, first): (Vec<_>, Vec<_>) = expected.into_iter().partition(|e| !e.otherwise);
        let lines: Result<_, Error> = first.into_iter().chain(last).map(line).collect();
        Ok(Self { lines: lines? })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The number of the line that speaks of a flow: the last that does.
    #[must_use]
    pub fn of(&self, from: PodId, to: PodId, port: u16, proto: Proto, family: Family) -> Option<usize> {
        self.lines.iter().rposition(|line| {
            let ports = &line.expected.ports;
            // What is general says nothing of a pod's way to itself, which no policy governs.
            (from != to || !line.expected.otherwise)
                && line.from.contains(from)
                && line.to.contains(to)
                && line.expected.family.is_none_or(|f| f == family)
                && (ports.is_empty() || ports.iter().any(|p| p.holds(port, proto)))
        })
    }

    #[must_use]
    pub fn line(&self, number: usize) -> &Expected {
        &self.lines[number].expected
    }

    /// Single ports that lines name at a receiver, whether it serves them or not.
    #[must_use]
    pub fn services(&self, to: PodId) -> Vec<(u16, Proto)> {
        let lines = self.lines.iter().filter(|l| l.to.contains(to));
        let ports = lines.flat_map(|l| &l.expected.ports);
        ports
            .filter_map(|p| p.ports.filter(|(a, b)| a == b).zip(p.proto))
            .map(|((port, _), proto)| (port, proto))
            .collect()
    }
}

impl Ports {
    fn holds(self, port: u16, proto: Proto) -> bool {
        self.proto.is_none_or(|p| p == proto) && self.ports.is_none_or(|(a, b)| (a..=b).contains(&port))
    }
}

impl Ends {
    fn name(&self, cluster: &Cluster, pod: &Pod) -> bool {
        let is = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        let workload = |n: &str| pod.workload.as_ref().is_some_and(|w| w.name == n);
        match self {
            Self::Named { namespace, name } => {
                is(namespace, &pod.namespace) && (is(name, &pod.name) || workload(name))
            }
            Self::Labelled { namespaces, pods } => {
                let labels = cluster.namespace_labels(pod);
                pod.is_inside() && labels.is_some_and(|l| namespaces.selects(l)) && pods.selects(&pod.labels)
            }
            Self::Workload {
                namespace,
                kind,
                name,
            } => {
                let of = pod.workload.as_ref().is_some_and(|w| {
                    // The pods of a Deployment belong to its ReplicaSet, named after it.
                    let below = kind == "Deployment" && w.kind == "ReplicaSet";
                    let child = w.name.rsplit_once('-').is_some_and(|(n, _)| n == name);
                    (w.kind == *kind && w.name == *name) || (below && child)
                });
                pod.namespace == *namespace && (of || (kind == "Pod" && pod.name == *name))
            }
        }
    }
}

fn named(ends: &[(Ends, Place)], cluster: &Cluster) -> Result<PodSet, Error> {
    let mut all = PodSet::none(cluster.pods.len());
    for (end, place) in ends {
        let set = PodSet::of(cluster.pods.len(), |id| end.name(cluster, cluster.pod(id)));
        if set.is_empty() {
            let names: Vec<String> = cluster.pods.iter().map(ToString::to_string).collect();
            let wanted = end.to_string();
            let near = nearest(&wanted, names.iter().map(String::as_str));
            let fault = crate::model::yaml::Fault::new(place.pos, format!("no pod is `{wanted}`"));
            let fault = match near {
                Some(near) => fault.hinting(format!("did you mean `{near}`?")),
                None => fault.hinting("an expectation names pods or workloads of the manifests"),
            };
            return Err(fault.within(&*place.file));
        }
        all.add(&set);
    }
    Ok(all)
}

impl std::fmt::Display for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Named { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Labelled { namespaces, pods } => write!(f, "{pods} in namespaces {namespaces}"),
            Self::Workload {
                namespace,
                kind,
                name,
            } => write!(f, "{namespace}/{name} ({kind})"),
        }
    }
}
