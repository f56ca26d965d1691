//! Kubernetes network policies: what they say, who they are about, and what follows for each flow.
//!
//! [`read`] makes values of manifests, [`Engine`] compiles them once: every selector and address range becomes a
//! set of pods. [`Engine::decide`] gives one flow's verdict with its reasons, [`Engine::row`] a whole row of the
//! matrix, [`Engine::governing`] what a compiler for the kernel needs. Nothing here prints; every rule knows its file,
//! line and column.

mod address;
mod cluster;
mod decide;
mod engine;
mod expect;
mod label;
mod lint;
mod matrix;
#[cfg(test)]
pub mod oracle;
mod read;
mod rule;
mod set;
pub mod words;

pub use cluster::{Cluster, Namespace, Node, OUTSIDE, Place, Pod, PodId, PodPort, Standing, Workload};
pub use decide::{Miss, PeerMiss, PortMiss, Ruling, Side, Tried, Verdict};
pub use engine::{Engine, Governing, RuleId};
pub use expect::{Ends, Expectations, Expected, Ports};
pub use label::{Labels, NAMESPACE_NAME, Operator, Requirement, Selector};
pub use lint::{Finding, lint};
pub use matrix::{Cell, cells};
pub use read::{Manifests, Source, is_manifest, read};
pub use rule::{
    Action, Block, Direction, Kind, Namespaces, Peer, Pods, Policy, PortMatch, PortNumbers, Rule, Tier,
};
pub use set::PodSet;
