//! What policies are about: namespaces, pods, nodes, and what is outside of the cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::label::Labels;
use crate::model::yaml::Pos;
use crate::model::{Family, Proto};

/// The namespace under which endpoints outside of the cluster are shown.
pub const OUTSIDE: &str = "external";

/// A place in a file: `policies.yaml:12`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: Arc<str>,
    pub pos: Pos,
}

impl Place {
    #[must_use]
    pub fn new(file: &Arc<str>, pos: Pos) -> Self {
        let file = Arc::clone(file);
        Self { file, pos }
    }
}

/// File and line; with `#` the column, too.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            write!(f, "{}:{}", self.file, self.pos)
        } else {
            write!(f, "{}:{}", self.file, self.pos.line)
        }
    }
}

/// Where a pod is in [`Cluster::pods`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId(pub u32);

impl PodId {
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What policies can do with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A pod with a network of its own: policies select it, and name it by its labels.
    Inside,
    /// A pod on the network of its node. Kubernetes leaves open what policies do with it; here, as with most
    /// plugins, its traffic is the node's: no policy selects it, and only addresses name it.
    HostNetwork,
    /// Something outside of the cluster, which has an address only.
    Outside,
}

/// One port that a pod serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodPort {
    pub port: u16,
    pub proto: Proto,
    pub name: Option<String>,
}

/// The workload that a pod comes from, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// `Deployment`, `Job`, …
    pub kind: String,
    pub name: String,
}

/// A pod, or something outside of the cluster.
#[derive(Clone, Debug)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub labels: Labels,
    pub ports: Vec<PodPort>,
    pub ip4: Option<IpAddr>,
    pub ip6: Option<IpAddr>,
    pub standing: Standing,
    pub workload: Option<Workload>,
    /// `None`: no file says it.
    pub place: Option<Place>,
}

impl Pod {
    #[must_use]
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::Ip4 => self.ip4,
            Family::Ip6 => self.ip6,
        }
    }

    /// Whether policies select it, and selectors of peers name it.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.standing == Standing::Inside
    }

    /// Whether a name stands for this port of it. A name may stand for one port of each protocol.
    #[must_use]
    pub fn names(&self, name: &str, proto: Proto, port: u16) -> bool {
        let named = |p: &PodPort| p.name.as_deref() == Some(name);
        self.ports
            .iter()
            .any(|p| named(p) && p.proto == proto && p.port == port)
    }

    /// What it serves, each once, in order.
    #[must_use]
    pub fn services(&self) -> Vec<(u16, Proto)> {
        let mut all: Vec<_> = self.ports.iter().map(|p| (p.port, p.proto)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// `shop/web`.
impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// The label of its own name among them.
    pub labels: Labels,
    /// `None`: nobody declared it, something is in it.
    pub place: Option<Place>,
}

/// A node: peers of the admin tiers name it.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub labels: Labels,
    pub addresses: Vec<IpAddr>,
}

/// Everything that policies can be about.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub namespaces: BTreeMap<String, Namespace>,
    /// By namespace and name; what is outside comes last.
    pub pods: Vec<Pod>,
    pub nodes: Vec<Node>,
}

impl Cluster {
    pub fn ids(&self) -> impl Iterator<Item = PodId> + use<> {
        (0..self.pods.len() as u32).map(PodId)
    }

    #[must_use]
    pub fn pod(&self, id: PodId) -> &Pod {
        &self.pods[id.index()]
    }

    /// The pod of a name like `shop/web`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<PodId> {
        let (namespace, pod) = name.split_once('/')?;
        let found = self
            .pods
            .iter()
            .position(|p| p.namespace == namespace && p.name == pod)?;
        Some(PodId(found as u32))
    }

    /// The labels of the namespace that a pod is in.
    #[must_use]
    pub fn namespace_labels(&self, pod: &Pod) -> Option<&Labels> {
        self.namespaces.get(&pod.namespace).map(|n| &n.labels)
    }
}
