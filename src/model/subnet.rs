//! Subnets: which addresses of a range go to whom, and which ranges are free.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

use super::Family;

/// A range for containers: IPv4 /8 to /30, IPv6 /32 to /126, without host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "IpNetwork", into = "IpNetwork")]
pub struct Subnet(IpNetwork);

/// Why a text or range is no subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    #[error("a subnet is written ADDRESS/LENGTH, like `10.9.0.0/16` or `fd00:9::/64`, not: `{0}`")]
    Form(String),
    #[error("`{0}` has host bits set; did you mean `{1}`?")]
    HostBits(IpNetwork, IpNetwork),
    #[error("a subnet is between /8 and /30 (IPv4) or /32 and /126 (IPv6), not: `{0}`")]
    Size(IpNetwork),
    #[error("no range for containers (loopback, multicast, link-local or unspecified): `{0}`")]
    Special(IpNetwork),
}

impl Subnet {
    #[must_use]
    pub fn network(self) -> IpNetwork {
        self.0
    }

    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.0.ip())
    }

    #[must_use]
    pub fn contains(self, ip: IpAddr) -> bool {
        self.0.contains(ip)
    }

    /// The gateway: the first address.
    #[must_use]
    pub fn gateway(self) -> IpAddr {
        self.nth(1)
    }

    /// The address at `offset`, counted from the start of the range.
    #[must_use]
    pub fn nth(self, offset: u128) -> IpAddr {
        match self.0.ip() {
            IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits().wrapping_add(offset as u32)).into(),
            IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits().wrapping_add(offset)).into(),
        }
    }

    /// How many containers fit: without network, gateway and (IPv4) broadcast address.
    #[must_use]
    pub fn capacity(self) -> u128 {
        let bits = u32::from(self.family().bits() - self.0.prefix());
        match self.family() {
            Family::Ip4 => (1 << bits) - 3,
            Family::Ip6 => (1 << bits.min(96)) - 2,
        }
    }

    /// Whether an address of the range names one interface.
    #[must_use]
    pub fn is_unicast(self, ip: IpAddr) -> bool {
        let broadcast = matches!(self.0, IpNetwork::V4(n) if IpAddr::V4(n.broadcast()) == ip);
        self.contains(ip) && ip != self.0.ip() && !broadcast
    }

    /// An address as its container shows it, with the subnet's length.
    #[must_use]
    pub fn of(self, ip: IpAddr) -> IpNetwork {
        IpNetwork::new(ip, self.0.prefix()).unwrap_or(self.0)
    }
}

/// Whether two ranges share an address.
#[must_use]
pub fn overlaps(a: IpNetwork, b: IpNetwork) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

impl TryFrom<IpNetwork> for Subnet {
    type Error = SubnetError;

    fn try_from(net: IpNetwork) -> Result<Self, SubnetError> {
        let exact = match net {
            IpNetwork::V4(n) => Ipv4Network::new(n.network(), n.prefix()).map(IpNetwork::V4),
            IpNetwork::V6(n) => Ipv6Network::new(n.network(), n.prefix()).map(IpNetwork::V6),
        }
        .map_err(|_| SubnetError::Form(net.to_string()))?;
        if exact.ip() != net.ip() {
            return Err(SubnetError::HostBits(net, exact));
        }
        let sizes = if net.is_ipv4() { 8..=30 } else { 32..=126 };
        if !sizes.contains(&net.prefix()) {
            return Err(SubnetError::Size(net));
        }
        let special = match net.ip() {
            IpAddr::V4(a) => a.is_loopback() || a.is_multicast() || a.is_link_local() || a.octets()[0] == 0,
            IpAddr::V6(a) => {
                a.is_multicast() || a.is_unicast_link_local() || a.is_loopback() || a.segments()[0] == 0
            }
        };
        if special {
            Err(SubnetError::Special(net))
        } else {
            Ok(Self(net))
        }
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;
    fn from_str(s: &str) -> Result<Self, SubnetError> {
        let bad = || SubnetError::Form(s.to_owned());
        if !s.contains('/') {
            return Err(bad());
        }
        s.parse::<IpNetwork>().map_err(|_| bad())?.try_into()
    }
}

impl From<Subnet> for IpNetwork {
    fn from(s: Subnet) -> Self {
        s.0
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The first free automatic subnet of a family: `10.9.0.0/16` to `10.249.0.0/16` and then
/// `172.16.0.0/16` to `172.31.0.0/16`; `fd6d:6f61:N::/64`. `None` when all overlap with `taken`.
#[must_use]
pub fn automatic(family: Family, taken: &[IpNetwork]) -> Option<Subnet> {
    let candidates: Box<dyn Iterator<Item = IpNetwork>> = match family {
        Family::Ip4 => Box::new((9..=249).map(|b| v4(10, b)).chain((16..=31).map(|b| v4(172, b)))),
        Family::Ip6 => Box::new((1..=0x73ff_u16).map(v6)),
    };
    candidates
        .filter(|c| !taken.iter().any(|t| overlaps(*c, *t)))
        .find_map(|c| c.try_into().ok())
}

fn v4(a: u8, b: u8) -> IpNetwork {
    IpNetwork::new(Ipv4Addr::new(a, b, 0, 0).into(), 16).unwrap_or_else(|_| unreachable!("16 is a prefix"))
}

fn v6(n: u16) -> IpNetwork {
    let ip = Ipv6Addr::new(0xfd6d, 0x6f61, n, 0, 0, 0, 0, 0);
    IpNetwork::new(ip.into(), 64).unwrap_or_else(|_| unreachable!("64 is a prefix"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_checked() {
        for bad in [
            "10.9.0.0",
            "10.9.0.1/16",
            "10.0.0.0/31",
            "127.0.0.0/8",
            "224.0.0.0/8",
            "fe80::/64",
            "x/16",
            "10.0.0.0/33",
        ] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
        let s: Subnet = "10.9.0.0/29".parse().unwrap();
        assert_eq!(s.gateway().to_string(), "10.9.0.1");
        assert_eq!(s.capacity(), 5);
        assert!(!s.is_unicast("10.9.0.7".parse().unwrap()) && s.is_unicast("10.9.0.6".parse().unwrap()));
    }

    #[test]
    fn automatic_subnets_avoid_what_is_taken() {
        let taken = ["10.0.0.0/12".parse().unwrap(), "10.16.0.0/16".parse().unwrap()];
        assert_eq!(
            automatic(Family::Ip4, &taken).unwrap().to_string(),
            "10.17.0.0/16"
        );
        assert_eq!(
            automatic(Family::Ip6, &[]).unwrap().to_string(),
            "fd6d:6f61:1::/64"
        );
        assert_eq!(
            automatic(
                Family::Ip4,
                &["10.0.0.0/8".parse().unwrap(), "172.16.0.0/12".parse().unwrap()]
            ),
            None
        );
    }
}
