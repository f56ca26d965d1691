//! Pods, and workloads as the pods that they make.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::cluster::{Place, Pod, PodPort, Standing, Workload};
use super::object::{Head, head};
use super::peer::{number, port_name, proto};
use super::selector::labels;
use crate::model::Proto;
use crate::model::yaml::{Fault, Node};

/// How many pods stand for a workload at most: they are all alike, and two show what one does with another.
const ALIKE: u32 = 2;

/// Kinds and names of what an object belongs to.
type Owners = Vec<(String, String)>;

/// Reads a pod; `None` for one that has ended: it has no address any more.
pub fn pod(node: &Node, file: &Arc<str>) -> Result<Option<(Pod, Owners)>, Fault> {
    let mut fields = node.fields("a Pod")?;
    let head = head(&mut fields, "Pod")?;
    let spec = fields.need("spec")?;
    let status = fields.take("status");
    let word = |key: &str| status.and_then(|s| s.get(key));
    let phase = word("phase").map(|n| n.text("phase")).transpose()?;
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return Ok(None);
    }
    let mut pod = template(&head, spec, file)?;
    let mut addresses = vec![];
    if let Some(list) = word("podIPs") {
        for entry in list.list("podIPs")? {
            addresses.extend(entry.get("ip"));
        }
    }
    addresses.extend(word("podIP").filter(|_| addresses.is_empty()));
    for node in addresses {
        let ip: IpAddr = node.parse("the address of a pod", "an IPv4 or IPv6 address")?;
        let slot = if ip.is_ipv4() { &mut pod.ip4 } else { &mut pod.ip6 };
        if slot.replace(ip).is_some() {
            return Err(node.fault("a pod has one address of each family at most"));
        }
    }
    pod.workload = head.owners.first().map(|(kind, name)| Workload {
        kind: kind.clone(),
        name: name.clone(),
    });
    Ok(Some((pod, head.owners)))
}

/// A pod of a `PodSpec`.
fn template(head: &Head, spec: &Node, file: &Arc<str>) -> Result<Pod, Fault> {
    let host = spec
        .get("hostNetwork")
        .map(|n| n.boolean("hostNetwork"))
        .transpose()?;
    Ok(Pod {
        namespace: head.namespace(),
        name: head.name.clone(),
        labels: head.labels.clone(),
        ports: ports(spec)?,
        ip4: None,
        ip6: None,
        standing: match host {
            Some(true) => Standing::HostNetwork,
            _ => Standing::Inside,
        },
        workload: None,
        place: Some(Place::new(file, head.pos)),
    })
}

/// What the containers serve. An init container that is always restarted runs beside them.
fn ports(spec: &Node) -> Result<Vec<PodPort>, Fault> {
    let mut ports = vec![];
    for key in ["containers", "initContainers"] {
        let Some(list) = spec.get(key) else { continue };
        for container in list.list(key)? {
            let restart = container.get("restartPolicy").map(|n| n.text("restartPolicy"));
            if key == "initContainers" && restart.transpose()? != Some("Always") {
                continue;
            }
            if let Some(list) = container.get("ports") {
                for node in list.list("ports")? {
                    ports.push(port(node)?);
                }
            }
        }
    }
    Ok(ports)
}

fn port(node: &Node) -> Result<PodPort, Fault> {
    let mut fields = node.fields("a port of a container")?;
    let read = PodPort {
        port: number(fields.need("containerPort")?, "containerPort")?,
        proto: fields
            .take("protocol")
            .map(proto)
            .transpose()?
            .unwrap_or(Proto::Tcp),
        name: fields
            .take("name")
            .map(|n| port_name(n, "the name of a port"))
            .transpose()?,
    };
    fields.take("hostPort");
    fields.take("hostIP");
    fields.finish()?;
    Ok(read)
}

/// Reads a workload: its pods bear its name.
pub fn workload(node: &Node, kind: &str, file: &Arc<str>) -> Result<(Vec<Pod>, Owners), Fault> {
    let mut fields = node.fields(format!("a {kind}"))?;
    let head = head(&mut fields, kind)?;
    let spec = fields.need("spec")?;
    let wanted = spec.get(if kind == "Job" { "parallelism" } else { "replicas" });
    let wanted: Option<u32> = wanted.map(|n| n.parse("replicas", "a number")).transpose()?;
    let mut of = spec;
    if kind == "CronJob" {
        of = inside(of, "jobTemplate")?;
        of = inside(of, "spec")?;
    }
    let template_node = inside(of, "template")?;
    let spec = inside(template_node, "spec")?;
    let bare = template_node.get("metadata").and_then(|m| m.get("labels"));
    let head_of_pods = Head {
        labels: labels(bare, "labels")?,
        ..head.clone()
    };
    let mut pod = template(&head_of_pods, spec, file)?;
    pod.workload = Some(Workload {
        kind: kind.to_owned(),
        name: head.name.clone(),
    });
    let pods = (1..=wanted.unwrap_or(1).min(ALIKE)).map(|n| {
        let mut pod = pod.clone();
        if n > 1 {
            pod.name = format!("{}-{n}", head.name);
        }
        pod
    });
    Ok((pods.collect(), head.owners))
}

fn inside<'a>(node: &'a Node, key: &str) -> Result<&'a Node, Fault> {
    let missing = || node.fault(format!("this needs the key `{key}`"));
    node.get(key).ok_or_else(missing)
}
