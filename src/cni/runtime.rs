//! `runtimeConfig`: what the runtime wants for one container, by capability.
//!
//! Source: CONVENTIONS.md of the specification. go-cni (containerd, nerdctl) writes its keys as
//! `HostPort`, and `null` for empty lists.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::call::Call;
use super::error::{Error, Result, code};
use super::json::{IP, MAC, Node, Object};
use super::result::Dns;
use super::shape;
use crate::model::{Mac, Name, Proto};

/// Bits that a burst may have: the kernel counts its bytes in 32 bits.
const MOST_BURST: u64 = (u32::MAX as u64) * 8 - 1;

/// What the runtime wants. Capabilities that say nothing are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// Each of them once, in the order of their first appearance.
    pub port_mappings: Vec<PortMapping>,
    pub ips: Vec<WantedIp>,
    pub mac: Option<Mac>,
    /// One address from each outer item; the inner ones are its pools.
    pub ip_ranges: Vec<Vec<IpRange>>,
    pub bandwidth: Option<Bandwidth>,
    pub dns: Dns,
    /// Further names of the container in this network.
    pub aliases: Vec<String>,
    /// `io.kubernetes.cri.pod-annotations`.
    pub annotations: BTreeMap<String, String>,
}

/// A port of the host that leads to one of the container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortMapping {
    /// 1 to 65535.
    pub host_port: u16,
    /// 1 to 65535.
    pub container_port: u16,
    /// TCP, UDP or SCTP.
    pub proto: Proto,
    /// `None` is every address of the host; an unspecified one is every address of its family.
    pub host_ip: Option<IpAddr>,
}

/// An address that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedIp {
    pub address: IpAddr,
    /// Prefix length in bits, when it was said.
    pub prefix: Option<u8>,
}

/// A pool of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange {
    pub subnet: IpNetwork,
    pub start: Option<IpAddr>,
    pub end: Option<IpAddr>,
    pub gateway: Option<IpAddr>,
}

/// Limits; `ingress` is what the container receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    pub ingress: Option<Rate>,
    pub egress: Option<Rate>,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bits a second.
    pub rate: u64,
    /// Bits.
    pub burst: u64,
}

impl Call {
    /// What the runtime calls the container: names that can be used on the command line.
    #[must_use]
    pub fn names(&self, runtime: &Runtime) -> Vec<String> {
        let pod = self.arg("K8S_POD_NAME");
        let with_namespace = pod.zip(self.arg("K8S_POD_NAMESPACE"));
        let mut all: Vec<String> = Vec::new();
        let words = (runtime.aliases.iter().cloned())
            .chain(pod.map(str::to_owned))
            .chain(with_namespace.map(|(pod, namespace)| format!("{pod}.{namespace}")));
        for word in words.filter(|w| w.parse::<Name>().is_ok_and(|n| !n.is_anothers())) {
            if !all.contains(&word) {
                all.push(word);
            }
        }
        all
    }

    /// What the runtime wants.
    ///
    /// # Errors
    /// Code 7, with the key and its value.
    pub fn runtime(&self) -> Result<Runtime> {
        let Some(runtime) = self.conf().object("runtimeConfig")? else {
            return Ok(Runtime::default());
        };
        let mut seen = HashSet::new();
        let mut port_mappings = runtime.list("portMappings", port_mapping)?;
        port_mappings.retain(|p| seen.insert(p.clone()));
        let aliases = runtime.field("aliases", |n| aliases(n, &self.name))?;
        let annotations = runtime.object("io.kubernetes.cri.pod-annotations")?;
        Ok(Runtime {
            port_mappings,
            ips: wanted_ips(&runtime)?,
            mac: runtime.parsed("mac", MAC)?,
            ip_ranges: runtime.list("ipRanges", |n| n.items()?.iter().map(ip_range).collect())?,
            bandwidth: runtime.field("bandwidth", |n| bandwidth(&n.object()?))?.flatten(),
            dns: runtime.field("dns", |n| dns(&n.object()?))?.unwrap_or_default(),
            aliases: aliases.unwrap_or_default(),
            annotations: annotations.map_or_else(|| Ok(BTreeMap::new()), |a| texts(&a))?,
        })
    }
}

fn port_mapping(node: &Node<'_>) -> Result<PortMapping> {
    let object = node.object()?;
    let port = |key| {
        let port = object.field(key, |n| match n.number::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(n.bad("a port, 1 to 65535")),
        })?;
        port.ok_or_else(|| node.bad(format_args!("an object with key `{key}`")))
    };
    let proto = object.field("protocol", |n| match n.text()?.to_ascii_lowercase().as_str() {
        "" | "tcp" => Ok(Proto::Tcp),
        "udp" => Ok(Proto::Udp),
        "sctp" => Ok(Proto::Sctp),
        _ => Err(n.bad("tcp, udp or sctp")),
    })?;
    Ok(PortMapping {
        host_port: port("hostPort")?,
        container_port: port("containerPort")?,
        proto: proto.unwrap_or(Proto::Tcp),
        host_ip: object.parsed("hostIP", IP)?,
    })
}

/// The list `ips` of an object: addresses, each with or without its prefix length.
///
/// # Errors
/// When one is anything else.
pub fn wanted_ips(object: &Object<'_>) -> Result<Vec<WantedIp>> {
    let mut ips = object.list("ips", |n| match n.text()? {
        "" => Ok(None),
        text => WantedIp::read(text).map(Some).ok_or_else(|| n.bad(IP)),
    })?;
    Ok(ips.drain(..).flatten().collect())
}

impl WantedIp {
    /// `ADDRESS` or `ADDRESS/PREFIX`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
            None => (text, None),
        };
        let address = address.parse().ok()?;
        if let Some(prefix) = prefix {
            IpNetwork::new(address, prefix).ok()?;
        }
        Some(Self { address, prefix })
    }
}

/// A pool as host-local writes it.
///
/// # Errors
/// When something in it is wrong, or `subnet` is missing.
pub fn ip_range(node: &Node<'_>) -> Result<IpRange> {
    let object = node.object()?;
    let lacks = || node.bad("an object with key `subnet`");
    Ok(IpRange {
        subnet: object.field("subnet", shape::cidr)?.ok_or_else(lacks)?,
        start: object.parsed("rangeStart", IP)?,
        end: object.parsed("rangeEnd", IP)?,
        gateway: object.parsed("gateway", IP)?,
    })
}

/// Limits, inline or as a capability; `None` when all are zero.
///
/// # Errors
/// When a rate comes without burst or a burst without rate, or a burst is above 4 GiB.
pub fn bandwidth(object: &Object<'_>) -> Result<Option<Bandwidth>> {
    let rate = |rate_key: &str, burst_key: &str| {
        let number = |key| Ok::<u64, Error>(object.number(key)?.unwrap_or(0));
        let wrong = |what| Err(Error::new(code::CONFIG, what));
        match (number(rate_key)?, number(burst_key)?) {
            (0, 0) => Ok(None),
            (rate, 0) => wrong(format!("{rate_key} needs {burst_key} beside it: {rate}")),
            (0, burst) => wrong(format!("{burst_key} needs {rate_key} beside it: {burst}")),
            (_, burst) if burst > MOST_BURST => {
                wrong(format!("{burst_key} must be less than 4 GiB in bits: {burst}"))
            }
            (rate, burst) => Ok(Some(Rate { rate, burst })),
        }
    };
    let limits = Bandwidth {
        ingress: rate("ingressRate", "ingressBurst")?,
        egress: rate("egressRate", "egressBurst")?,
    };
    Ok(Some(limits).filter(|l| *l != Bandwidth::default()))
}

/// The capability's words for what a result calls `nameservers` and `search`.
fn dns(object: &Object<'_>) -> Result<Dns> {
    Ok(Dns {
        nameservers: object.texts("servers")?,
        domain: String::new(),
        search: object.texts("searches")?,
        options: object.texts("options")?,
    })
}

/// A list, or as podman and ocicni have it, lists by network.
fn aliases(node: &Node<'_>, network: &str) -> Result<Vec<String>> {
    let names = |n: &Node<'_>| n.items()?.iter().map(|n| Ok(n.text()?.to_owned())).collect();
    if node.value.is_array() {
        return names(node);
    }
    let by_network = node
        .object()
        .map_err(|_| node.bad("a list, or lists by network"))?;
    match by_network.map.get_key_value(network) {
        Some((_, value)) if !value.is_null() => names(&Node::new(
            value,
            &format!("{}.{network}", node.path),
            code::CONFIG,
        )),
        _ => Ok(Vec::new()),
    }
}

fn texts(object: &Object<'_>) -> Result<BTreeMap<String, String>> {
    let text = |(key, n): (&str, Node<'_>)| Ok((key.to_owned(), n.text()?.to_owned()));
    object.entries().map(text).collect()
}
