//! Objects of all files, put together into one cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::address;
use super::super::cluster::{Cluster, Namespace, Node as Machine, Place, Pod};
use super::super::label::{Labels, NAMESPACE_NAME};
use super::super::rule::{Kind, Policy};
use super::object::{Head, head};
use super::peer::Refused;
use super::{Manifests, admin, expect, network, outside, pod};
use crate::model::yaml::{Fault, Node};

/// Kinds that decide about traffic in words of their own: leaving them out would be a wrong answer.
const FOREIGN: [&str; 6] = [
    "CiliumNetworkPolicy",
    "CiliumClusterwideNetworkPolicy",
    "GlobalNetworkPolicy",
    "StagedNetworkPolicy",
    "MultiNetworkPolicy",
    "AuthorizationPolicy",
];

/// A pod, or several of a workload, with what they belong to.
struct Found {
    pods: Vec<Pod>,
    owners: Vec<(String, String)>,
}

/// What was read so far.
#[derive(Default)]
pub struct Gathered {
    namespaces: BTreeMap<String, Namespace>,
    pods: Vec<Pod>,
    workloads: Vec<Found>,
    /// Namespace, kind and name of what some pod or workload of the files belongs to.
    owned: BTreeSet<(String, String, String)>,
    outside: Vec<Pod>,
    nodes: Vec<Machine>,
    rest: Manifests,
}

impl Gathered {
    /// Reads one document.
    pub fn document(&mut self, node: &Node, file: &Arc<str>) -> Result<(), Fault> {
        if let Some(found) = outside::bare(node, file)? {
            self.outside.extend(found);
            return Ok(());
        }
        if let Some((expected, outside)) = expect::netassert(node, file)? {
            self.rest.expected.extend(expected);
            self.outside.extend(outside);
            return Ok(());
        }
        self.object(node, None, file)
    }

    /// Reads one object. Those of a list may leave kind and version to the list.
    fn object(&mut self, node: &Node, listed: Option<(&str, &str)>, file: &Arc<str>) -> Result<(), Fault> {
        let word = |key: &str| node.get(key).map(|n| n.text(key)).transpose();
        let (kind, version) = (word("kind")?, word("apiVersion")?);
        let (Some(kind), Some(version)) = (kind.or(listed.map(|l| l.0)), version.or(listed.map(|l| l.1)))
        else {
            node.map("a manifest")?;
            let missing = if kind.is_none() { "kind" } else { "apiVersion" };
            return Err(node.fault(format!("a manifest needs the key `{missing}`")));
        };
        if let Some(of) = kind.strip_suffix("List") {
            let Some(items) = node.get("items") else {
                return Ok(());
            };
            for item in items.list("items")? {
                self.object(item, Some((of, version)).filter(|_| !of.is_empty()), file)?;
            }
            return Ok(());
        }
        let at = node.get("apiVersion").or(node.get("kind")).unwrap_or(node);
        match known(kind, version, at)? {
            Some(Known::Policy(Kind::NetworkPolicy)) => self.policy(node, file, network::policy),
            Some(Known::Policy(kind)) => {
                self.policy(node, file, |n, f, refused| admin::policy(n, kind, f, refused))
            }
            Some(Known::Namespace) => self.namespace(node, file),
            Some(Known::Node) => self.machine(node),
            Some(Known::Pod) => self.pod(node, file),
            Some(Known::Workload) => self.workload(node, kind, file),
            Some(Known::Expected) => {
                self.rest.expected.extend(expect::reachability(node, file)?);
                Ok(())
            }
            Some(Known::Outside) => {
                self.outside.push(outside::object(node, file)?);
                Ok(())
            }
            None => {
                *self.rest.others.entry(kind.to_owned()).or_default() += 1;
                Ok(())
            }
        }
    }

    fn policy(
        &mut self,
        node: &Node,
        file: &Arc<str>,
        read: impl Fn(&Node, &Arc<str>, &mut Refused) -> Result<Policy, Fault>,
    ) -> Result<(), Fault> {
        let mut refused = vec![];
        let policy = read(node, file, &mut refused)?;
        let same =
            |p: &&Policy| p.kind == policy.kind && p.name == policy.name && p.namespace == policy.namespace;
        if let Some(before) = self.rest.policies.iter().find(same) {
            let what = format!("{policy} is at {}, too", before.place());
            let hint = "a cluster keeps the one that is applied last; give one of them another name";
            refused.insert(0, Fault::new(policy.pos, what).hinting(hint));
        }
        self.rest.policies.push(policy);
        let refused = refused.into_iter().map(|f| f.within(&**file));
        self.rest.refused.extend(refused);
        Ok(())
    }

    fn namespace(&mut self, node: &Node, file: &Arc<str>) -> Result<(), Fault> {
        let mut fields = node.fields("a Namespace")?;
        let head = head(&mut fields, "Namespace")?;
        let mut own = head.labels;
        own.insert(NAMESPACE_NAME.to_owned(), head.name.clone());
        let before = self.namespaces.get(&head.name);
        if let Some((before, place)) = before.and_then(|n| Some((n, n.place.as_ref()?)))
            && before.labels != own
        {
            let what = format!("Namespace `{}` is at {place} with other labels", head.name);
            self.refuse(Fault::new(head.pos, what), file);
        }
        let place = Some(Place::new(file, head.pos));
        let namespace = Namespace { labels: own, place };
        self.namespaces.insert(head.name, namespace);
        Ok(())
    }

    fn refuse(&mut self, fault: Fault, file: &Arc<str>) {
        self.rest.refused.push(fault.within(&**file));
    }

    fn machine(&mut self, node: &Node) -> Result<(), Fault> {
        let mut fields = node.fields("a Node")?;
        let Head { name, labels, .. } = head(&mut fields, "Node")?;
        let listed = fields.take("status").and_then(|s| s.get("addresses"));
        let mut addresses = vec![];
        for entry in listed.map_or(Ok(&[][..]), |n| n.list("addresses"))? {
            // Host names are among them.
            let text = entry.get("address").map(|n| n.text("address")).transpose()?;
            addresses.extend(text.and_then(|t| t.parse::<IpAddr>().ok()));
        }
        self.nodes.push(Machine {
            name,
            labels,
            addresses,
        });
        Ok(())
    }

    fn pod(&mut self, node: &Node, file: &Arc<str>) -> Result<(), Fault> {
        let Some((read, owners)) = pod::pod(node, file)? else {
            return Ok(());
        };
        for (kind, name) in owners {
            self.owned.insert((read.namespace.clone(), kind, name));
        }
        let same = |p: &&Pod| p.namespace == read.namespace && p.name == read.name;
        let before = self.pods.iter().find(same).and_then(|p| p.place.clone());
        if let (Some(before), Some(place)) = (before, &read.place) {
            let what = format!("Pod {read} is at {before}, too");
            self.refuse(Fault::new(place.pos, what), file);
            return Ok(());
        }
        self.pods.push(read);
        Ok(())
    }

    fn workload(&mut self, node: &Node, kind: &str, file: &Arc<str>) -> Result<(), Fault> {
        let (pods, owners) = pod::workload(node, kind, file)?;
        self.workloads.push(Found { pods, owners });
        Ok(())
    }

    /// One cluster of all.
    pub fn finish(mut self) -> Manifests {
        self.own_upwards();
        let standing = self.standing();
        for found in std::mem::take(&mut self.workloads) {
            for pod in found.pods {
                let Some(workload) = &pod.workload else { continue };
                let key = (
                    pod.namespace.clone(),
                    workload.kind.clone(),
                    workload.name.clone(),
                );
                if standing.contains(&key) {
                    self.pods.push(pod);
                }
            }
        }
        self.pods
            .sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        self.pods
            .dedup_by(|a, b| a.namespace == b.namespace && a.name == b.name);
        let used: BTreeSet<String> = (self.pods.iter().map(|p| p.namespace.clone()))
            .chain(self.rest.policies.iter().filter_map(|p| p.namespace.clone()))
            .collect();
        for name in used {
            self.namespaces.entry(name.clone()).or_insert_with(|| Namespace {
                labels: Labels::from([(NAMESPACE_NAME.to_owned(), name)]),
                place: None,
            });
        }
        address::give(&mut self.pods);
        self.outside.sort_by(|a, b| a.name.cmp(&b.name));
        self.outside.dedup_by(|a, b| a.name == b.name);
        self.pods.append(&mut self.outside);
        Manifests {
            cluster: Cluster {
                namespaces: self.namespaces,
                pods: self.pods,
                nodes: self.nodes,
            },
            ..self.rest
        }
    }

    /// What owns an owner owns, too: a pod's ReplicaSet belongs to a Deployment.
    fn own_upwards(&mut self) {
        loop {
            let mut more = vec![];
            for found in &self.workloads {
                let Some((namespace, workload)) = found
                    .pods
                    .first()
                    .and_then(|p| Some((&p.namespace, p.workload.as_ref()?)))
                else {
                    continue;
                };
                let own = (namespace.clone(), workload.kind.clone(), workload.name.clone());
                if self.owned.contains(&own) {
                    let above = found.owners.iter().cloned();
                    more.extend(above.map(|(kind, name)| (namespace.clone(), kind, name)));
                }
            }
            let before = self.owned.len();
            self.owned.extend(more);
            if self.owned.len() == before {
                return;
            }
        }
    }

    /// The workloads that pods are made for: those without pods in the files, and of an owner and what it owns
    /// the owner.
    fn standing(&self) -> BTreeSet<(String, String, String)> {
        let key = |found: &Found| {
            let pod = found.pods.first()?;
            let workload = pod.workload.as_ref()?;
            Some((
                pod.namespace.clone(),
                workload.kind.clone(),
                workload.name.clone(),
            ))
        };
        let all: BTreeSet<_> = self.workloads.iter().filter_map(key).collect();
        let owned_by_another = |found: &Found, namespace: &str| {
            found
                .owners
                .iter()
                .any(|(k, n)| all.contains(&(namespace.to_owned(), k.clone(), n.clone())))
        };
        self.workloads
            .iter()
            .filter_map(|found| Some((found, key(found)?)))
            .filter(|(found, key)| !self.owned.contains(key) && !owned_by_another(found, &key.0))
            .map(|(_, key)| key)
            .collect()
    }
}

/// What a kind is to policies.
enum Known {
    Policy(Kind),
    Namespace,
    Node,
    Pod,
    Workload,
    Outside,
    Expected,
}

/// What an object is; `None` for what no policy is about.
fn known(kind: &str, version: &str, at: &Node) -> Result<Option<Known>, Fault> {
    let wanted = |found: Known, right: &[&str]| {
        if right.contains(&version) {
            return Ok(Some(found));
        }
        let fault = at.fault(format!("{kind} of `{version}` is not supported"));
        Err(fault.hinting(format!("moat reads {kind} of {}", right.join(" and "))))
    };
    let alpha = |n| format!("policy.networking.k8s.io/v1alpha{n}");
    let workload = |known| if known { Some(Known::Workload) } else { None };
    match kind {
        "NetworkPolicy" => wanted(Known::Policy(Kind::NetworkPolicy), &["networking.k8s.io/v1"]),
        "AdminNetworkPolicy" => wanted(Known::Policy(Kind::AdminNetworkPolicy), &[&alpha(1)]),
        "BaselineAdminNetworkPolicy" => wanted(Known::Policy(Kind::BaselineAdminNetworkPolicy), &[&alpha(1)]),
        "ClusterNetworkPolicy" => wanted(Known::Policy(Kind::ClusterNetworkPolicy), &[&alpha(2)]),
        "External" if version == "moat.dev/v1" => Ok(Some(Known::Outside)),
        "Reachability" if version == "moat.dev/v1" => Ok(Some(Known::Expected)),
        _ if version == "moat.dev/v1" => {
            let what = format!("{kind} of `moat.dev/v1` is nothing that moat knows");
            Err(at.fault(what).hinting("its kinds are Reachability and External"))
        }
        kind if FOREIGN.contains(&kind) => {
            let fault = at.fault(format!(
                "{kind} of `{version}` decides, too, and is not supported"
            ));
            Err(fault.hinting("without it the answer would be wrong; leave the file out to see the rest"))
        }
        "Namespace" if version == "v1" => Ok(Some(Known::Namespace)),
        "Node" if version == "v1" => Ok(Some(Known::Node)),
        "Pod" if version == "v1" => Ok(Some(Known::Pod)),
        "ReplicationController" => Ok(workload(version == "v1")),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => {
            Ok(workload(version.starts_with("apps/")))
        }
        "Job" | "CronJob" => Ok(workload(version.starts_with("batch/"))),
        _ => Ok(None),
    }
}
