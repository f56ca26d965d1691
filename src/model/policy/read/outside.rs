//! Endpoints outside of the cluster: objects of kind `External`, or a bare list of name, ip and ports.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::cluster::{OUTSIDE, Place, Pod, PodPort, Standing};
use super::super::label::Labels;
use super::object::head;
use super::peer::{number, proto};
use crate::model::Proto;
use crate::model::yaml::{Fault, Node, Value};

/// `[{name: external/internet, ip: 192.0.2.1, ports: [[80, TCP]]}]`; `None` for any other document.
pub fn bare(node: &Node, file: &Arc<str>) -> Result<Option<Vec<Pod>>, Fault> {
    let Value::List(items) = &node.value else {
        return Ok(None);
    };
    let is = |item: &Node| item.get("name").is_some() && item.get("ip").is_some();
    if items.is_empty() || !items.iter().all(is) {
        return Ok(None);
    }
    items
        .iter()
        .map(|item| one(item, file))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn one(node: &Node, file: &Arc<str>) -> Result<Pod, Fault> {
    let mut fields = node.fields("an endpoint outside")?;
    let named = fields.need("name")?;
    let name = named.text("name")?;
    let name = name
        .strip_prefix(OUTSIDE)
        .and_then(|n| n.strip_prefix('/'))
        .unwrap_or(name);
    let ips = [address(fields.need("ip")?)?];
    let mut ports = vec![];
    if let Some(list) = fields.take("ports") {
        for entry in list.list("ports")? {
            ports.push(port(entry)?);
        }
    }
    fields.finish()?;
    Ok(outside(name, &ips, ports, Place::new(file, named.pos)))
}

/// An object of kind `External`.
pub fn object(node: &Node, file: &Arc<str>) -> Result<Pod, Fault> {
    let mut fields = node.fields("an External")?;
    fields.take("apiVersion");
    fields.take("kind");
    let head = head(&mut fields, "External")?;
    let spec = fields.need("spec")?;
    fields.finish()?;
    let mut spec = spec.fields("the spec of an External")?;
    let list = spec.need("ips")?;
    let ips: Vec<IpAddr> = list.list("ips")?.iter().map(address).collect::<Result<_, _>>()?;
    let twice = |v4: bool| ips.iter().filter(|ip| ip.is_ipv4() == v4).count() > 1;
    if ips.is_empty() || twice(true) || twice(false) {
        return Err(list.fault("ips holds one address of each family, or of one"));
    }
    let mut ports = vec![];
    if let Some(list) = spec.take("ports") {
        for entry in list.list("ports")? {
            ports.push(port(entry)?);
        }
    }
    spec.finish()?;
    Ok(outside(&head.name, &ips, ports, Place::new(file, head.pos)))
}

fn address(node: &Node) -> Result<IpAddr, Fault> {
    let ip: IpAddr = node.parse("an address", "an IPv4 or IPv6 address")?;
    Ok(ip.to_canonical())
}

/// `443/TCP`, `443`, or `[443, TCP]`.
fn port(node: &Node) -> Result<PodPort, Fault> {
    let (port, proto) = match &node.value {
        Value::List(pair) if pair.len() == 2 => (number(&pair[0], "a port")?, proto(&pair[1])?),
        _ => {
            let form = "PORT or PORT/PROTOCOL";
            let text = node.text("a port")?;
            let wrong = || node.fault(format!("a port is {form}, not: `{text}`"));
            let (port, proto) = text.split_once('/').unwrap_or((text, "tcp"));
            let proto: Proto = proto.to_lowercase().parse().map_err(|_| wrong())?;
            let port: u16 = port.parse().map_err(|_| wrong())?;
            if port == 0 || proto == Proto::Icmp {
                return Err(wrong());
            }
            (port, proto)
        }
    };
    Ok(PodPort {
        port,
        proto,
        name: None,
    })
}

/// What has an address outside, named by it.
#[must_use]
pub fn at_address(ip: IpAddr, place: Place) -> Pod {
    outside(&ip.to_string(), &[ip], vec![], place)
}

fn outside(name: &str, ips: &[IpAddr], ports: Vec<PodPort>, place: Place) -> Pod {
    Pod {
        namespace: OUTSIDE.to_owned(),
        name: name.to_owned(),
        labels: Labels::new(),
        ports,
        ip4: ips.iter().find(|ip| ip.is_ipv4()).copied(),
        ip6: ips.iter().find(|ip| ip.is_ipv6()).copied(),
        standing: Standing::Outside,
        workload: None,
        place: Some(place),
    }
}
