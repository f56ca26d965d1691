//! Expectations: objects of kind `Reachability`, and the lists of netassert.

use std::sync::Arc;

use super::super::cluster::{OUTSIDE, Place, Pod};
use super::super::expect::{Ends, Expected, Ports};
use super::super::label::Selector;
use super::object::head;
use super::outside::at_address;
use super::selector::{labels, selector};
use crate::model::yaml::{Fault, Node, Pos, Value};
use crate::model::{Family, Proto};

/// Reads a `Reachability`.
pub fn reachability(node: &Node, file: &Arc<str>) -> Result<Vec<Expected>, Fault> {
    let mut fields = node.fields("a Reachability")?;
    fields.take("apiVersion");
    fields.take("kind");
    if fields.take("metadata").is_some() {
        head(&mut node.fields("a Reachability")?, "Reachability")?;
    }
    let spec = fields.need("spec")?;
    fields.finish()?;
    let mut spec = spec.fields("the spec of a Reachability")?;
    let mut all = vec![];
    if let Some(node) = spec.take("otherwise") {
        let allowed = match node.text("otherwise")? {
            "allowed" => true,
            "denied" => false,
            other => {
                let what = format!("otherwise is allowed or denied, not: `{other}`");
                return Err(node.fault(what).hinting("without it other flows are not judged"));
            }
        };
        let any = || {
            let (namespace, name) = ("*".to_owned(), "*".to_owned());
            vec![(Ends::Named { namespace, name }, Place::new(file, node.pos))]
        };
        all.push(Expected {
            from: any(),
            to: any(),
            ports: vec![],
            family: None,
            allowed,
            otherwise: true,
            place: Place::new(file, node.pos),
        });
    }
    if let Some(list) = spec.take("expect") {
        for node in list.list("expect")? {
            all.push(line(node, file)?);
        }
    }
    spec.finish()?;
    Ok(all)
}

fn line(node: &Node, file: &Arc<str>) -> Result<Expected, Fault> {
    let mut fields = node.fields("an expectation")?;
    let from = ends(fields.need("from")?, file)?;
    let to = ends(fields.need("to")?, file)?;
    let ports = match fields.take("port") {
        None => vec![],
        Some(node) => match &node.value {
            Value::List(nodes) => nodes.iter().map(ports).collect::<Result<_, _>>()?,
            _ => vec![ports(node)?],
        },
    };
    let family = fields.take("family").map(|n| match n.text("family")? {
        "ip4" => Ok(Family::Ip4),
        "ip6" => Ok(Family::Ip6),
        other => Err(n.fault(format!("family is ip4 or ip6, not: `{other}`"))),
    });
    let family = family.transpose()?;
    let allowed = fields.need("allowed")?.boolean("allowed")?;
    fields.finish()?;
    Ok(Expected {
        from,
        to,
        ports,
        family,
        allowed,
        otherwise: false,
        place: Place::new(file, node.pos),
    })
}

/// `shop/web`, `shop/*`, a list of such, or `{namespace: …, labels: …}`.
fn ends(node: &Node, file: &Arc<str>) -> Result<Vec<(Ends, Place)>, Fault> {
    let at = Place::new(file, node.pos);
    match &node.value {
        Value::List(nodes) if !nodes.is_empty() => {
            let each: Result<Vec<_>, Fault> = nodes.iter().map(|n| ends(n, file)).collect();
            Ok(each?.concat())
        }
        Value::Map(_) => Ok(vec![(labelled(node)?, at)]),
        _ => {
            let text = node.text("an end")?;
            let named = match text.split_once('/') {
                Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => (namespace, name),
                None if text == "*" => ("*", "*"),
                _ => {
                    let fault = node.fault(format!("an end is NAMESPACE/POD, not: `{text}`"));
                    return Err(fault.hinting("`shop/*` is every pod of a namespace, `*` every pod"));
                }
            };
            let (namespace, name) = (named.0.to_owned(), named.1.to_owned());
            Ok(vec![(Ends::Named { namespace, name }, at)])
        }
    }
}

fn labelled(node: &Node) -> Result<Ends, Fault> {
    let mut fields = node.fields("an end")?;
    let namespaces = match (fields.take("namespace"), fields.take("namespaceLabels")) {
        (Some(name), None) => {
            let name = name.text("namespace")?.to_owned();
            let label = super::super::label::NAMESPACE_NAME.to_owned();
            equal([(label, name)].into(), node.pos)
        }
        (None, Some(wanted)) => equal(labels(Some(wanted), "namespaceLabels")?, node.pos),
        (None, None) => Selector::default(),
        (Some(node), Some(_)) => {
            return Err(node.fault("namespace and namespaceLabels exclude each other"));
        }
    };
    let pods = match (fields.take("labels"), fields.take("selector")) {
        (wanted, None) => equal(labels(wanted, "labels")?, node.pos),
        (None, Some(wanted)) => selector(wanted, "selector")?,
        (Some(node), Some(_)) => return Err(node.fault("labels and selector exclude each other")),
    };
    fields.finish()?;
    Ok(Ends::Labelled { namespaces, pods })
}

fn equal(wanted: super::super::label::Labels, pos: Pos) -> Selector {
    use super::super::label::{Operator, Requirement};
    let requirement = |(key, value): (String, String)| Requirement {
        key,
        operator: Operator::In,
        values: [value].into(),
        pos,
    };
    let requirements = wanted.into_iter().map(requirement).collect();
    Selector { requirements, pos }
}

/// `80`, `80/TCP`, `8000-8100/UDP`, or a protocol alone.
fn ports(node: &Node) -> Result<Ports, Fault> {
    let text = node.text("a port")?;
    let wrong = || {
        let fault = node.fault(format!(
            "port is PORT[-END][/PROTOCOL] or PROTOCOL, not: `{text}`"
        ));
        fault.hinting("the protocols are TCP, UDP and SCTP; without one it is TCP")
    };
    let service: crate::model::Service = text.to_lowercase().parse().map_err(|_| wrong())?;
    if service.proto() == Some(Proto::Icmp) {
        return Err(wrong());
    }
    Ok(Ports {
        ports: service.ports().map(|p| (p.first, p.last)),
        proto: service.proto(),
    })
}

/// Tests, and what they name outside.
type Asserted = (Vec<Expected>, Vec<Pod>);

/// The tests of netassert (version 2), and what they name outside of the cluster; `None` for other documents.
pub fn netassert(node: &Node, file: &Arc<str>) -> Result<Option<Asserted>, Fault> {
    let Value::List(items) = &node.value else {
        return Ok(None);
    };
    let is = |item: &Node| item.get("src").is_some() && item.get("dst").is_some();
    if items.is_empty() || !items.iter().all(is) {
        return Ok(None);
    }
    let (mut all, mut outside) = (vec![], vec![]);
    for item in items {
        all.push(assertion(item, file, &mut outside)?);
    }
    Ok(Some((all, outside)))
}

fn assertion(node: &Node, file: &Arc<str>, outside: &mut Vec<Pod>) -> Result<Expected, Fault> {
    let mut fields = node.fields("a test of netassert")?;
    let name = fields.need("name")?;
    if let Some(kind) = fields.take("type")
        && kind.text("type")? != "k8s"
    {
        return Err(kind.fault("moat reads tests of the type `k8s`"));
    }
    let proto = match fields.take("protocol") {
        None => Proto::Tcp,
        Some(node) => match node.text("protocol")? {
            "tcp" => Proto::Tcp,
            "udp" => Proto::Udp,
            other => return Err(node.fault(format!("protocol is tcp or udp, not: `{other}`"))),
        },
    };
    let port = super::peer::number(fields.need("targetPort")?, "targetPort")?;
    let code: i64 = match fields.take("exitCode") {
        Some(node) => node.parse("exitCode", "a number")?,
        None => 0,
    };
    fields.take("timeoutSeconds");
    fields.take("attempts");
    let from = side(fields.need("src")?, file, outside)?;
    let to = side(fields.need("dst")?, file, outside)?;
    fields.finish()?;
    Ok(Expected {
        from: vec![from],
        to: vec![to],
        ports: vec![Ports {
            ports: Some((port, port)),
            proto: Some(proto),
        }],
        family: None,
        allowed: code == 0,
        otherwise: false,
        place: Place::new(file, name.pos),
    })
}

fn side(node: &Node, file: &Arc<str>, outside: &mut Vec<Pod>) -> Result<(Ends, Place), Fault> {
    let mut fields = node.fields("an end")?;
    let (resource, host) = (fields.take("k8sResource"), fields.take("host"));
    fields.finish()?;
    let place = Place::new(file, node.pos);
    if let Some(host) = host {
        let name = host.fields("host")?.need("name")?;
        let Ok(ip) = name.text("name")?.parse() else {
            let fault = name.fault(format!("the host `{}` is no address", name.text("name")?));
            return Err(fault.hinting("moat asks no name server; write the address"));
        };
        let pod = at_address(ip, Place::new(file, name.pos));
        let end = Ends::Named {
            namespace: OUTSIDE.to_owned(),
            name: pod.name.clone(),
        };
        if outside.iter().all(|p| p.name != pod.name) {
            outside.push(pod);
        }
        return Ok((end, place));
    }
    let Some(resource) = resource else {
        return Err(node.fault("an end needs `k8sResource` or `host`"));
    };
    let mut fields = resource.fields("k8sResource")?;
    let kind = fields.need("kind")?;
    let kind = match kind.text("kind")? {
        "deployment" => "Deployment",
        "statefulset" => "StatefulSet",
        "daemonset" => "DaemonSet",
        "pod" => "Pod",
        other => {
            let what = format!("kind is deployment, statefulset, daemonset or pod, not: `{other}`");
            return Err(kind.fault(what));
        }
    };
    let name = fields.need("name")?.text("name")?.to_owned();
    let namespace = fields
        .take("namespace")
        .map(|n| n.text("namespace"))
        .transpose()?;
    fields.take("clone");
    fields.finish()?;
    let end = Ends::Workload {
        namespace: namespace.unwrap_or("default").to_owned(),
        kind: kind.to_owned(),
        name,
    };
    Ok((end, place))
}
