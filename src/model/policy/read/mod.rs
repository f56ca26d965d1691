//! Kubernetes manifests, as people write them and as `kubectl get -o yaml` prints them.
//!
//! What decides is read strictly: in a policy an unknown key is an error with line and column, and so is what
//! an API server would refuse. Of pods and workloads only what policies can see is read, and other kinds are
//! left aside and counted. What is well written but refused by a cluster is kept apart ([`Manifests::refused`]),
//! so that `lint` can name all of it.

mod admin;
mod expect;
mod gather;
mod network;
mod object;
mod outside;
mod peer;
mod pod;
mod selector;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::cluster::Cluster;
use super::expect::Expected;
use super::rule::Policy;
use crate::model::yaml::{Bounds, Error, Node, load_within};

/// A file's name, as messages show it, and its text.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: Arc<str>,
    pub text: String,
}

/// What files say.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    pub cluster: Cluster,
    pub policies: Vec<Policy>,
    pub expected: Vec<Expected>,
    /// What a cluster would refuse, in the order of the files.
    pub refused: Vec<Error>,
    /// How many objects there were of kinds that no policy is about.
    pub others: BTreeMap<String, usize>,
}

/// Reads files, in this order.
///
/// # Errors
/// The first thing that cannot be read, with its place.
pub fn read(sources: &[Source]) -> Result<Manifests, Error> {
    let mut gathered = gather::Gathered::default();
    for source in sources {
        let documents = load_within(&source.text, Bounds::PRINTED).map_err(|f| f.within(&*source.name))?;
        for document in &documents {
            gathered
                .document(document, &source.name)
                .map_err(|f| f.within(&*source.name))?;
        }
    }
    Ok(gathered.finish())
}

/// Whether a text is a manifest, and not some other JSON or YAML that lies beside manifests.
#[must_use]
pub fn is_manifest(text: &str) -> bool {
    let Ok(documents) = load_within(text, Bounds::PRINTED) else {
        return false;
    };
    let is = |node: &Node| node.get("kind").is_some() && node.get("apiVersion").is_some();
    documents.first().is_some_and(is)
}
