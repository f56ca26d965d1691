//! Address ranges, ports and the small things that all kinds of policies have.

use ipnetwork::IpNetwork;

use super::super::rule::{Block, PortMatch, PortNumbers};
use crate::model::Proto;
use crate::model::yaml::{Fault, Node};

/// What a reader finds wrong without having to stop: a cluster would refuse it.
pub type Refused = Vec<Fault>;

/// `TCP`, `UDP` or `SCTP`.
pub fn proto(node: &Node) -> Result<Proto, Fault> {
    match node.text("protocol")? {
        "TCP" => Ok(Proto::Tcp),
        "UDP" => Ok(Proto::Udp),
        "SCTP" => Ok(Proto::Sctp),
        other => {
            let fault = node.fault(format!("protocol is TCP, UDP or SCTP, not: `{other}`"));
            let upper = other.to_uppercase();
            Err(match upper.as_str() {
                "TCP" | "UDP" | "SCTP" => fault.hinting(format!("write `{upper}`")),
                _ => fault,
            })
        }
    }
}

/// A port's number, 1 to 65535.
pub fn number(node: &Node, what: &str) -> Result<u16, Fault> {
    let port: u16 = node.parse(what, "a number from 1 to 65535")?;
    if port == 0 {
        return Err(node.fault(format!("{what} is a number from 1 to 65535, not: `0`")));
    }
    Ok(port)
}

/// The name of a port (`IsValidPortName`): at most 15 of `a-z`, `0-9` and `-`, a letter among them.
pub fn port_name(node: &Node, what: &str) -> Result<String, Fault> {
    let text = node.text(what)?;
    let fits = text.len() <= 15
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && text.bytes().any(|b| b.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--");
    if fits {
        return Ok(text.to_owned());
    }
    let form = "at most 15 of a-z, 0-9 and `-` with a letter among them";
    Err(node.fault(format!(
        "{what} is a number from 1 to 65535, or {form}, not: `{text}`"
    )))
}

/// A number or a name.
pub fn port(node: &Node, what: &str) -> Result<PortNumbers, Fault> {
    let text = node.text(what)?;
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        let port = number(node, what)?;
        return Ok(PortNumbers::Range(port, port));
    }
    Ok(PortNumbers::Named(port_name(node, what)?))
}

/// A range of the admin tiers.
pub fn range(node: &Node, refused: &mut Refused) -> Result<PortNumbers, Fault> {
    let mut fields = node.fields("a range of ports")?;
    let first = number(fields.need("start")?, "start")?;
    let end = fields.need("end")?;
    let last = number(end, "end")?;
    fields.finish()?;
    if last < first {
        refused.push(backwards(end, "end", last, first));
    }
    Ok(PortNumbers::Range(first, last))
}

/// A range that ends before it begins.
pub fn backwards(node: &Node, key: &str, last: u16, first: u16) -> Fault {
    node.fault(format!("{key} {last} is smaller than the first port, {first}"))
        .hinting("the range is empty, and a cluster refuses it; exchange the two")
}

/// One of the ports of a NetworkPolicy.
pub fn network_port(node: &Node, refused: &mut Refused) -> Result<PortMatch, Fault> {
    let mut fields = node.fields("an entry of ports")?;
    // The API server writes TCP where there is nothing, so `protocol` never means all of them.
    let proto = fields.take("protocol").map(proto).transpose()?;
    let ports = fields.take("port").map(|n| port(n, "port")).transpose()?;
    let end = fields.take("endPort");
    let ports = match (ports, end) {
        (None, None) => PortNumbers::Every,
        (Some(PortNumbers::Range(first, _)), Some(node)) => {
            let last = number(node, "endPort")?;
            if last < first {
                refused.push(backwards(node, "endPort", last, first));
            }
            PortNumbers::Range(first, last)
        }
        (Some(ports), None) => ports,
        (None, Some(end)) => {
            let fault = end.fault("endPort stands without a port");
            return Err(fault.hinting("port is the first of the range, endPort the last"));
        }
        (Some(_), Some(end)) => {
            return Err(end.fault("endPort stands with a named port; it needs a number"));
        }
    };
    fields.finish()?;
    Ok(PortMatch {
        proto: Some(proto.unwrap_or(Proto::Tcp)),
        ports,
        pos: node.pos,
    })
}

/// An address range; bits behind the prefix do not count.
pub fn cidr(node: &Node, what: &str) -> Result<IpNetwork, Fault> {
    let text = node.text(what)?;
    let form = "ADDRESS/LENGTH, like `10.0.0.0/8` or `fd00::/8`";
    let network: Option<IpNetwork> = text.contains('/').then(|| text.parse().ok()).flatten();
    let wrong = || node.fault(format!("{what} is {form}, not: `{text}`"));
    let network = network.ok_or_else(wrong)?;
    IpNetwork::new(network.network(), network.prefix()).map_err(|_| wrong())
}

/// An `ipBlock`.
pub fn block(node: &Node, refused: &mut Refused) -> Result<Block, Fault> {
    let mut fields = node.fields("ipBlock")?;
    let outer = cidr(fields.need("cidr")?, "cidr")?;
    let mut except = vec![];
    if let Some(list) = fields.take("except") {
        for hole in list.list("except")? {
            let inner = cidr(hole, "except")?;
            if !(holds(&outer, &inner) && outer.prefix() < inner.prefix()) {
                let fault = hole.fault(format!("except `{inner}` is no part of `{outer}`"));
                refused.push(fault.hinting("it takes nothing out of the block, and a cluster refuses it"));
            }
            except.push(inner);
        }
    }
    fields.finish()?;
    Ok(Block { cidr: outer, except })
}

/// Whether all of `inner` lies in `outer`.
#[must_use]
pub fn holds(outer: &IpNetwork, inner: &IpNetwork) -> bool {
    outer.is_ipv4() == inner.is_ipv4() && outer.prefix() <= inner.prefix() && outer.contains(inner.network())
}
