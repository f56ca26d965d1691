//! `static`: the addresses that the configuration or the runtime says. It keeps nothing.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{ipam, routes, sayable};
use crate::cni::Plugin;
use crate::cni::call::Call;
use crate::cni::error::{Error, Result, code};
use crate::cni::json::{Node, Object};
use crate::cni::result::{Ip, Outcome};
use crate::cni::shape;
use crate::model::Family;

/// The plugin type.
pub struct Static;

impl Plugin for Static {
    fn name(&self) -> &'static str {
        "static"
    }

    fn args(&self) -> Option<&'static [&'static str]> {
        Some(&["IP", "GATEWAY"])
    }

    fn add(&self, call: &Call) -> Result<Outcome> {
        let ipam = ipam(call)?;
        let dns = ipam.object()?.field("dns", |n| shape::dns(&n.object()?))?;
        Ok(Outcome {
            ips: addresses(call)?,
            routes: routes(&ipam)?,
            dns: dns.unwrap_or_default(),
            ..Outcome::default()
        })
    }

    fn del(&self, _: &Call) -> Result<()> {
        Ok(())
    }

    /// The result before must have every address of ours, with our gateway if we have one.
    fn check(&self, call: &Call) -> Result<()> {
        let previous = call.required_previous()?;
        let has = |own: &Ip| {
            let same = |ip: &&Ip| ip.address.ip() == own.address.ip();
            let found = previous.ips.iter().find(same);
            found.is_some_and(|ip| own.gateway.is_none() || own.gateway == ip.gateway)
        };
        match addresses(call)?.iter().find(|own| !has(own)) {
            None => Ok(()),
            Some(own) => {
                let msg = format!("prevResult has another gateway or no address {}", own.address);
                Err(Error::new(code::INTERNAL, msg))
            }
        }
    }

    fn gc(&self, call: &Call) -> Result<()> {
        call.valid_attachments().map(drop)
    }

    fn status(&self, call: &Call) -> Result<()> {
        ipam(call).map(drop)
    }
}

/// Those of the most specific source: the runtime's, those of `args.cni`, or those of the
/// configuration together with those of `CNI_ARGS`.
fn addresses(call: &Call) -> Result<Vec<Ip>> {
    let wished = match call.conf().object("runtimeConfig")? {
        Some(runtime) => ips(&runtime)?,
        None => vec![],
    };
    let args = match call.args_cni()? {
        Some(args) => ips(&args)?,
        None => vec![],
    };
    let configured = configured(call)?;
    let all = [wished, args, configured].into_iter().find(|l| !l.is_empty());
    let all = all.unwrap_or_default();
    sayable(call, all.iter().map(|ip| Family::of(ip.address.ip())))?;
    Ok(all)
}

fn ips(object: &Object<'_>) -> Result<Vec<Ip>> {
    object.list("ips", |node| Ok(ip(canonical(shape::cidr(node)?), None)))
}

/// `GATEWAY` is for the addresses that come with it, as in the reference.
fn configured(call: &Call) -> Result<Vec<Ip>> {
    let mut said = Vec::new();
    for text in words(call, "IP") {
        let network = text.contains('/').then(|| text.parse::<IpNetwork>().ok());
        let bad = || wrong("IP", "an address with its prefix length", text);
        said.push(ip(canonical(network.flatten().ok_or_else(bad)?), None));
    }
    for text in words(call, "GATEWAY") {
        let gateway: IpAddr = text.parse().map_err(|_| wrong("GATEWAY", "an address", text))?;
        let gateway = gateway.to_canonical();
        let reach = said.iter_mut().filter(|ip| ip.address.contains(gateway));
        reach.for_each(|ip| ip.gateway = Some(gateway));
    }
    let mut all = ipam(call)?.object()?.list("addresses", address)?;
    all.extend(said);
    Ok(all)
}

fn address(node: &Node<'_>) -> Result<Ip> {
    let object = node.object()?;
    let lacks = || node.bad("an object with key `address`");
    let address = object.field("address", shape::cidr)?.ok_or_else(lacks)?;
    Ok(ip(canonical(address), object.parsed("gateway", "an address")?))
}

/// An IPv4 address in IPv6's words is one of IPv4.
fn canonical(network: IpNetwork) -> IpNetwork {
    let prefix = network.prefix();
    match network.ip().to_canonical() {
        ip @ IpAddr::V4(_) if prefix >= 96 => IpNetwork::new(ip, prefix - 96).unwrap_or(network),
        _ => network,
    }
}

fn ip(address: IpNetwork, gateway: Option<IpAddr>) -> Ip {
    Ip {
        interface: None,
        address,
        gateway,
    }
}

fn words<'a>(call: &'a Call, key: &str) -> impl Iterator<Item = &'a str> {
    call.arg(key)
        .into_iter()
        .flat_map(|t| t.split(','))
        .map(str::trim)
}

fn wrong(key: &str, expected: &str, text: &str) -> Error {
    let msg = format!("CNI_ARGS: {key} must be {expected}: {text:?}");
    Error::new(code::ENVIRONMENT, msg)
}
