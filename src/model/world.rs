//! What exists, as one value: the input of every decision and every plan.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::governed::Governed;
use super::{Bystander, End, Family, Link, Mac, Name, Proto, Subnet};

/// Where a network's bridges, rules and conntrack live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Router {
    /// In the router namespace of this world.
    #[default]
    Own,
    /// In the host's namespace.
    Host,
}

/// What holds between containers of a network that no link and no policy speaks of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultPolicy {
    /// Nothing passes.
    #[default]
    Isolated,
    /// Everything passes between the containers of the network.
    Open,
    /// What Kubernetes does: everything passes until a policy selects a container.
    Kubernetes,
}

/// A network: subnets, and what they may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub name: Name,
    /// At most one of each family.
    pub subnets: Vec<Subnet>,
    /// No way out.
    pub internal: bool,
    pub router: Router,
    pub default_policy: DefaultPolicy,
    /// Bytes.
    pub mtu: u32,
    /// Gateways that are not the first address of their subnet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// Whether the host hides the containers' addresses from the world.
    #[serde(default = "yes")]
    pub masquerade: bool,
    /// Another plugin made its bridges and ports, and keeps its addresses: only the wall is ours.
    #[serde(default)]
    pub foreign: bool,
}

fn yes() -> bool {
    true
}

impl Network {
    /// The address of the router on the subnet of a family.
    #[must_use]
    pub fn gateway(&self, family: Family) -> Option<IpAddr> {
        let own = self.gateways.iter().copied().find(|g| Family::of(*g) == family);
        own.or_else(|| self.subnet(family).map(Subnet::gateway))
    }

    /// Every gateway, in the order of the subnets.
    pub fn every_gateway(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.subnets.iter().filter_map(|s| self.gateway(s.family()))
    }

    /// Whether a container may have this address.
    #[must_use]
    pub fn assignable(&self, ip: IpAddr) -> bool {
        let family = Family::of(ip);
        let inside = self.subnet(family).is_some_and(|s| s.is_unicast(ip));
        inside && self.gateway(family) != Some(ip)
    }

    #[must_use]
    pub fn subnet(&self, family: Family) -> Option<Subnet> {
        self.subnets.iter().copied().find(|s| s.family() == family)
    }

    /// Whether two networks meet in one router: only there can a link join them.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        self.router == other.router
    }
}

/// A further route of a container; everything goes to the gateway anyway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExtraRoute {
    pub to: IpNetwork,
    /// The routing table; `None` is the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
}

/// Where an endpoint hangs that another plugin made, in the calling namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Foreign {
    /// The other end of the container's veth pair.
    pub port: String,
    /// The bridge it is a port of; `None` where it is routed to by itself.
    pub bridge: Option<String>,
}

impl Foreign {
    /// The interface from which the container's packets come to be routed.
    #[must_use]
    pub fn side(&self) -> &str {
        self.bridge.as_deref().unwrap_or(&self.port)
    }
}

/// The one interface of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Never used again within a boot.
    pub id: u32,
    pub container: Name,
    pub network: Name,
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
    pub mac: Mac,
    pub labels: BTreeMap<String, String>,
    /// Number of the bridge its port is on.
    pub bridge: u32,
    /// The interface's name inside.
    pub iface: String,
    /// What others call the container beside its name.
    pub aliases: Vec<String>,
    pub routes: Vec<ExtraRoute>,
    /// Set when another plugin made its interface.
    pub foreign: Option<Foreign>,
    /// Another interface of the namespace has the default routes: this one leads to its own
    /// network alone.
    pub further: bool,
}

impl Endpoint {
    #[must_use]
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|a| Family::of(*a) == family)
    }

    /// Whether a link's end names this endpoint.
    #[must_use]
    pub fn is(&self, end: &End) -> bool {
        match end {
            End::Container(name) => *name == self.container,
            End::Label(k, v) => self.labels.get(k) == Some(v),
            End::Host | End::World | End::Cidr(_) => false,
        }
    }
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    pub container: Name,
    /// One address of the host, or every one.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub port: u16,
    pub proto: Proto,
}

/// Everything that is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    pub networks: BTreeMap<Name, Network>,
    pub endpoints: BTreeMap<Name, Endpoint>,
    /// Links that have not expired.
    /// Containers without a wall, by name: for answers; nothing is made from them.
    pub bystanders: BTreeMap<Name, Bystander>,
    pub links: Vec<Link>,
    pub published: Vec<Published>,
    /// What policies govern, for each router that has a network with policies; filled in for answers and for
    /// the whole of what is wanted.
    pub governed: BTreeMap<Router, Governed>,
    /// The host's own addresses, loopback excepted, the uplink's included.
    pub host: Vec<IpAddr>,
}

impl World {
    /// The container that has an address.
    #[must_use]
    pub fn holder(&self, ip: IpAddr) -> Option<&Endpoint> {
        self.endpoints.values().find(|e| e.addresses.contains(&ip))
    }

    /// The container, with a wall or without, that has an address.
    #[must_use]
    pub fn name_of(&self, ip: IpAddr) -> Option<&Name> {
        let beside = || self.bystanders.values().find(|b| b.addresses.contains(&ip));
        let walled = self.holder(ip).map(|e| &e.container);
        walled.or_else(|| beside().map(|b| &b.container))
    }

    /// The address of a container, with a wall or without.
    #[must_use]
    pub fn address_of(&self, name: &Name, family: Family) -> Option<IpAddr> {
        let walled = self.endpoints.get(name).and_then(|e| e.address(family));
        walled.or_else(|| self.bystanders.get(name)?.address(family))
    }

    /// What governs an endpoint, where policies do.
    #[must_use]
    pub fn governed_of(&self, e: &Endpoint) -> Option<&Governed> {
        let network = self.networks.get(&e.network)?;
        let governed = self.governed.get(&network.router)?;
        governed.pod(&e.container).map(|_| governed)
    }

    /// Whether the networks of two endpoints meet in one router.
    #[must_use]
    pub fn joins(&self, a: &Endpoint, b: &Endpoint) -> bool {
        let network = |e: &Endpoint| self.networks.get(&e.network);
        matches!((network(a), network(b)), (Some(a), Some(b)) if a.meets(b))
    }

    /// Whether an address belongs to some network's range.
    #[must_use]
    pub fn is_inside(&self, ip: IpAddr) -> bool {
        self.networks
            .values()
            .flat_map(|n| &n.subnets)
            .any(|s| s.contains(ip))
    }

    /// Whether a range shares addresses with containers or the host.
    #[must_use]
    pub fn is_near(&self, range: IpNetwork) -> bool {
        let nets = self
            .networks
            .values()
            .flat_map(|n| &n.subnets)
            .map(|s| s.network());
        nets.into_iter().any(|n| super::overlaps(n, range)) || self.host.iter().any(|h| range.contains(*h))
    }
}
