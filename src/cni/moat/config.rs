//! The configuration of type `moat` and what the runtime adds to it, as one request.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::Value;

use crate::cni::call::Call;
use crate::cni::delegate::Delegate;
use crate::cni::error::{Error, Result, code};
use crate::cni::json::{Node, Object};
use crate::cni::result::{Dns, Outcome, Route};
use crate::cni::runtime::{self, IpRange, PortMapping, Rate, Runtime, ip_range};
use crate::cni::shape;
use crate::model::governed::{NAMESPACE, POD};
use crate::model::{
    DefaultPolicy, End, EndError, ExtraRoute, Family, Name, Ports, Router, Service, Subnet, overlaps,
};
use crate::ops::PortMap;
use crate::ops::annotation::{self, LABELS, LABELS_FORM, LINKS};
use crate::ops::classic::bandwidth::{Limit, Limits};
use crate::ops::cni::{Id, NetworkWish, PLUGIN, Request, Via};

/// The network of a call.
///
/// # Errors
/// Code 7 for a name that no network of ours can have.
pub fn network(call: &Call) -> Result<Name> {
    call.name
        .parse()
        .map_err(|e| Error::new(code::CONFIG, format!("name: {e}")))
}

/// The address management that is not built in.
///
/// # Errors
/// As [`Call::ipam`].
pub fn delegate(call: &Call) -> Result<Option<Delegate<'_>>> {
    if call.conf().object("ipam")?.map_or(Ok(None), |i| i.text("type"))? == Some(PLUGIN) {
        return Ok(None);
    }
    call.ipam()
}

/// What ADD is to do; addresses of a delegate come later.
///
/// # Errors
/// Code 7 with key and value, 2 for what cannot be done.
pub fn request(call: &Call) -> Result<Request> {
    let (runtime, wishes) = (call.runtime()?, call.wishes()?);
    let mut labels: BTreeMap<String, String> = wishes.labels.into_iter().collect();
    labels.extend(annotated_labels(&runtime)?);
    // What network policies call it.
    for (arg, label) in [("K8S_POD_NAMESPACE", NAMESPACE), ("K8S_POD_NAME", POD)] {
        if let Some(value) = call.arg(arg) {
            labels.entry(label.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    let netns = call.netns.clone();
    Ok(Request {
        id: Id {
            network: network(call)?,
            container: call.container.clone(),
            ifname: call.ifname.clone(),
            via: Via::Cni,
        },
        netns: netns.ok_or_else(|| Error::new(code::ENVIRONMENT, "CNI_NETNS is missing"))?,
        process: None,
        hosts: None,
        network: wish(call)?,
        addresses: one_a_family(wishes.ips.iter().map(|ip| ip.address))?,
        pools: pools(call, &runtime)?,
        mac: wishes.mac,
        ports: runtime.port_mappings.iter().map(port_map).collect(),
        labels,
        aliases: call.names(&runtime),
        limits: limits(call)?,
        links: annotated_links(&runtime)?,
        network_links: call.conf().list("links", config_link)?,
        routes: routes(call)?,
        foreign: None,
        delegate: None,
    })
}

/// What the configuration says of its network.
///
/// # Errors
/// Code 7 with key and value.
pub fn wish(call: &Call) -> Result<NetworkWish> {
    let conf = call.conf();
    let built_in = delegate(call)?.is_none();
    let mut subnets = conf.list("subnets", subnet)?;
    let mut gateways = gateways(&conf)?;
    if built_in {
        for range in ranges(&conf)?.iter().flatten() {
            gateways.extend(range.gateway);
            let inside = |s: &Subnet| overlaps(s.network(), range.subnet);
            if !subnets.iter().any(inside) {
                let bad = |e| Error::new(code::CONFIG, format!("ipam: {e}"));
                subnets.push(range.subnet.try_into().map_err(bad)?);
            }
        }
    }
    gateways.sort_unstable();
    gateways.dedup();
    let flag = |key: &str| conf.field(key, Node::flag);
    Ok(NetworkWish {
        subnets,
        gateways,
        mtu: conf.number("mtu")?.filter(|mtu| *mtu > 0),
        internal: flag("internal")?,
        default_policy: conf.field("defaultPolicy", policy)?,
        masquerade: flag("ipMasq")?,
        router: conf.field("router", router)?,
        foreign: false,
    })
}

/// The resolver that the runtime or the configuration names.
///
/// # Errors
/// Code 7 when it cannot be read.
pub fn dns(call: &Call) -> Result<Dns> {
    let runtime = call.runtime()?.dns;
    if !runtime.is_empty() {
        return Ok(runtime);
    }
    let own = call.conf().object("dns")?;
    own.map_or_else(|| Ok(Dns::default()), |dns| shape::dns(&dns))
}

/// Takes what a delegate gave: addresses, their subnets and gateways, routes.
///
/// # Errors
/// Code 7 for what no network of ours can have.
pub fn take_lease(request: &mut Request, lease: &Outcome) -> Result<()> {
    request.addresses = one_a_family(lease.ips.iter().map(|ip| ip.address.ip()))?;
    let configured = !request.network.subnets.is_empty();
    for ip in &lease.ips {
        let own = ip.address;
        if !configured {
            let range = IpNetwork::new(own.network(), own.prefix()).unwrap_or(own);
            let bad = |e| Error::new(code::CONFIG, format!("the address of the IPAM plugin: {e}"));
            request.network.subnets.push(range.try_into().map_err(bad)?);
        }
        request.network.gateways.extend(ip.gateway);
    }
    for route in &lease.routes {
        request.routes.extend(extra(route)?);
    }
    Ok(())
}

/// The rates of the configuration if it has any, else the runtime's.
///
/// # Errors
/// Code 7 for a rate without a burst, or a burst without a rate.
pub fn limits(call: &Call) -> Result<Limits> {
    let own = runtime::bandwidth(&call.conf())?;
    let wanted = own.map_or_else(|| Ok(call.runtime()?.bandwidth), |own| Ok::<_, Error>(Some(own)))?;
    let limit = |r: Rate| Limit {
        rate: r.rate,
        burst: r.burst,
    };
    let wanted = wanted.unwrap_or_default();
    Ok(Limits {
        ingress: wanted.ingress.map(limit),
        egress: wanted.egress.map(limit),
    })
}

fn subnet(node: &Node<'_>) -> Result<Subnet> {
    let text = node.text()?;
    text.parse().map_err(|e| node.bad(format_args!("a subnet ({e})")))
}

/// One, or a list with one of each family.
fn gateways(conf: &Object<'_>) -> Result<Vec<IpAddr>> {
    const EXPECTED: &str = "an IP address";
    match conf.get("gateway") {
        None => Ok(vec![]),
        Some(node) if node.value.is_array() => node.items()?.iter().map(|n| n.parsed(EXPECTED)).collect(),
        Some(node) if node.value == "" => Ok(vec![]),
        Some(node) => Ok(vec![node.parsed(EXPECTED)?]),
    }
}

/// The ranges of `ipam` as host-local has them: `ranges`, and the old single form before them.
fn ranges(conf: &Object<'_>) -> Result<Vec<Vec<IpRange>>> {
    let Some(ipam) = conf.get("ipam") else {
        return Ok(vec![]);
    };
    let object = ipam.object()?;
    let mut all: Vec<Vec<IpRange>> = Vec::new();
    if object.get("subnet").is_some() {
        all.push(vec![ip_range(&ipam)?]);
    }
    all.extend(object.list("ranges", |n| {
        n.items()?.iter().map(ip_range).collect::<Result<_>>()
    })?);
    Ok(all)
}

/// The parts of the subnets from which addresses are given: the runtime's, else the
/// configuration's; a range that is all of its subnet is none.
fn pools(call: &Call, runtime: &Runtime) -> Result<Vec<(IpAddr, IpAddr)>> {
    if delegate(call)?.is_some() {
        return Ok(vec![]);
    }
    let own = ranges(&call.conf())?;
    let asked: BTreeSet<Family> = families(&runtime.ip_ranges);
    let rest = own
        .iter()
        .flatten()
        .filter(|r| !asked.contains(&Family::of(r.subnet.ip())));
    let all = runtime.ip_ranges.iter().flatten().chain(rest);
    let configured = wish(call)?.subnets;
    let pool = |r: &IpRange| {
        let whole = configured.iter().any(|s| s.network() == r.subnet);
        if whole && r.start.is_none() && r.end.is_none() {
            return None;
        }
        Some((
            r.start.unwrap_or_else(|| r.subnet.network()),
            r.end.unwrap_or_else(|| r.subnet.broadcast()),
        ))
    };
    Ok(all.filter_map(pool).collect())
}

fn families(ranges: &[Vec<IpRange>]) -> BTreeSet<Family> {
    ranges
        .iter()
        .flatten()
        .map(|r| Family::of(r.subnet.ip()))
        .collect()
}

fn policy(node: &Node<'_>) -> Result<DefaultPolicy> {
    match node.text()? {
        "isolated" => Ok(DefaultPolicy::Isolated),
        "open" => Ok(DefaultPolicy::Open),
        "kubernetes" => Ok(DefaultPolicy::Kubernetes),
        _ => Err(node.bad("isolated, open or kubernetes")),
    }
}

fn router(node: &Node<'_>) -> Result<Router> {
    match node.text()? {
        "own" => Ok(Router::Own),
        "host" => Ok(Router::Host),
        _ => Err(node.bad("own or host")),
    }
}

/// An interface has one address of each family.
fn one_a_family(ips: impl Iterator<Item = IpAddr>) -> Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = Vec::new();
    for ip in ips {
        if let Some(other) = all.iter().find(|o| o.is_ipv4() == ip.is_ipv4() && **o != ip) {
            let msg = format!("an interface has one address of each family, not both {other} and {ip}");
            return Err(Error::new(code::CONFIG, msg));
        }
        if !all.contains(&ip) {
            all.push(ip);
        }
    }
    Ok(all)
}

fn port_map(p: &PortMapping) -> PortMap {
    let one = |port| Ports {
        first: port,
        last: port,
    };
    PortMap {
        host_ip: p.host_ip,
        host: one(p.host_port),
        inside: one(p.container_port),
        proto: p.proto,
    }
}

/// The labels of the annotations.
fn annotated_labels(runtime: &Runtime) -> Result<BTreeMap<String, String>> {
    let text = runtime.annotations.get(LABELS).map_or("", String::as_str);
    annotation::labels(text).ok_or_else(|| wrong(LABELS, text, LABELS_FORM))
}

/// The links of the annotations, from the container.
fn annotated_links(runtime: &Runtime) -> Result<Vec<(End, Service)>> {
    let text = runtime.annotations.get(LINKS).map_or("", String::as_str);
    annotation::links(text).map_err(|e| wrong(LINKS, text, &e.to_string()))
}

fn wrong(key: &str, value: &str, expected: &str) -> Error {
    let msg = format!("annotation {key}: {expected}: {:?}", Value::from(value));
    Error::new(code::CONFIG, msg)
}

/// `{"from": …, "to": …, "port": "5432/tcp"}`.
fn config_link(node: &Node<'_>) -> Result<(End, End, Service)> {
    let object = node.object()?;
    let lacks = |key: &str| node.bad(format_args!("an object with key `{key}`"));
    let bad = |e: EndError| node.bad(format_args!("a link ({e})"));
    let from = object.text("from")?.ok_or_else(|| lacks("from"))?;
    let to = object.text("to")?.ok_or_else(|| lacks("to"))?;
    let service = object.parsed("port", "a service like 5432/tcp")?;
    Ok((
        End::from_end(from).map_err(bad)?,
        to.parse().map_err(bad)?,
        service.unwrap_or(Service::Any),
    ))
}

/// The routes of the configuration and of the built-in address management.
fn routes(call: &Call) -> Result<Vec<(ExtraRoute, Option<IpAddr>)>> {
    let conf = call.conf();
    let mut all = conf.list("routes", shape::route)?;
    if delegate(call)?.is_none()
        && let Some(ipam) = conf.object("ipam")?
    {
        all.extend(ipam.list("routes", shape::route)?);
    }
    let read: Result<Vec<_>> = all.iter().map(extra).collect();
    Ok(read?.into_iter().flatten().collect())
}

/// A route beside the default one, which every container has.
fn extra(route: &Route) -> Result<Option<(ExtraRoute, Option<IpAddr>)>> {
    let unsupported = [
        ("mtu", route.mtu),
        ("advmss", route.advmss),
        ("priority", route.priority),
        ("scope", route.scope.filter(|s| *s != 0).map(u32::from)),
    ];
    if let Some((key, value)) = unsupported.iter().find_map(|(k, v)| Some((k, (*v)?))) {
        let msg = format!("unsupported field: {key} = {value} of the route to {}", route.dst);
        return Err(Error::new(code::UNSUPPORTED_FIELD, msg));
    }
    let to = IpNetwork::new(route.dst.network(), route.dst.prefix()).unwrap_or(route.dst);
    let extra = ExtraRoute {
        to,
        table: route.table,
    };
    let is_default = to.prefix() == 0 && route.table.is_none();
    Ok((!is_default || route.gw.is_some()).then_some((extra, route.gw)))
}
