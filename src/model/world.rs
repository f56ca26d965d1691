//! What exists, as one value: the input of every decision and every plan.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{End, Family, Link, Mac, Name, Proto, Subnet};

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
}

impl Network {
    #[must_use]
    pub fn subnet(&self, family: Family) -> Option<Subnet> {
        self.subnets.iter().copied().find(|s| s.family() == family)
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
    pub links: Vec<Link>,
    pub published: Vec<Published>,
    /// The host's own addresses, loopback excepted, the uplink's included.
    pub host: Vec<IpAddr>,
}

impl World {
    /// The container that has an address.
    #[must_use]
    pub fn holder(&self, ip: IpAddr) -> Option<&Endpoint> {
        self.endpoints.values().find(|e| e.addresses.contains(&ip))
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
