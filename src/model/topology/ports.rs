//! Published ports: `[ADDR:]HOSTPORT:PORT[/PROTO]`, or a mapping.

use std::net::IpAddr;

use super::PortWish;
use crate::model::yaml::{Fault, Node, Value};
use crate::model::{Ports, Proto};

const FORM: &str = "a published port is `[ADDR:]HOSTPORT[-END]:PORT[-END][/PROTO]`";

pub fn ports(node: &Node) -> Result<Vec<PortWish>, Fault> {
    let list = node.list("`ports`")?;
    list.iter()
        .map(|item| match &item.value {
            Value::Map(_) => long(item),
            _ => short(item, item.text("a published port")?),
        })
        .collect()
}

fn short(node: &Node, text: &str) -> Result<PortWish, Fault> {
    let (rest, proto) = match text.rsplit_once('/') {
        Some((rest, proto)) => (rest, read_proto(node, proto)?),
        None => (text, Proto::Tcp),
    };
    let Some((rest, inside)) = rest.rsplit_once(':') else {
        let what = format!("a published port needs the host's port too, not: `{text}`");
        return Err(node
            .fault(what)
            .hinting(format!("write `{text}:{text}`, or another port of the host")));
    };
    let (ip, host) = match rest.rsplit_once(':') {
        Some((ip, host)) => (Some(ip.trim_start_matches('[').trim_end_matches(']')), host),
        None => (None, rest),
    };
    let host_ip = ip.map(|ip| read_ip(node, ip)).transpose()?;
    complete(
        node,
        host_ip,
        read_ports(node, host)?,
        read_ports(node, inside)?,
        proto,
    )
}

fn long(node: &Node) -> Result<PortWish, Fault> {
    let mut fields = node.fields("a published port")?;
    let inside = read_ports(node, fields.need("target")?.text("`target`")?)?;
    let host = read_ports(node, fields.need("published")?.text("`published`")?)?;
    let host_ip = match fields.take("host_ip") {
        Some(ip) => Some(read_ip(ip, ip.text("`host_ip`")?)?),
        None => None,
    };
    let proto = match fields.take("protocol") {
        Some(proto) => read_proto(proto, proto.text("`protocol`")?)?,
        None => Proto::Tcp,
    };
    fields.finish_extensible()?;
    complete(node, host_ip, host, inside, proto)
}

fn complete(
    node: &Node,
    host_ip: Option<IpAddr>,
    host: Ports,
    inside: Ports,
    proto: Proto,
) -> Result<PortWish, Fault> {
    if host.count() != inside.count() {
        return Err(node.fault("the range of the host and that inside have different lengths"));
    }
    Ok(PortWish {
        pos: node.pos,
        host_ip,
        host,
        inside,
        proto,
    })
}

fn read_ip(node: &Node, text: &str) -> Result<IpAddr, Fault> {
    text.parse()
        .map_err(|_| node.fault(format!("{FORM}; no address: `{text}`")))
}

fn read_ports(node: &Node, text: &str) -> Result<Ports, Fault> {
    text.parse().map_err(|e| node.fault(format!("{FORM}; {e}")))
}

fn read_proto(node: &Node, text: &str) -> Result<Proto, Fault> {
    match text.parse() {
        Ok(Proto::Icmp) => Err(node.fault("icmp has no ports")),
        Ok(proto) => Ok(proto),
        Err(e) => Err(node.fault(format!("{FORM}; {e}"))),
    }
}
