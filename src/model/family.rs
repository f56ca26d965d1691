//! The two address families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    Ip4,
    Ip6,
}

impl Family {
    /// Both, for every generator of rules and tests.
    pub const BOTH: [Self; 2] = [Self::Ip4, Self::Ip6];

    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::Ip4 } else { Self::Ip6 }
    }

    /// `4` or `6`.
    #[must_use]
    pub fn digit(self) -> char {
        match self {
            Self::Ip4 => '4',
            Self::Ip6 => '6',
        }
    }

    /// The length of an address in bits.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Ip4 => 32,
            Self::Ip6 => 128,
        }
    }

    /// An address as a number, for counting and for ranges.
    #[must_use]
    pub fn number(ip: IpAddr) -> u128 {
        match ip {
            IpAddr::V4(a) => a.to_bits().into(),
            IpAddr::V6(a) => a.to_bits(),
        }
    }

    /// The address with this number; of IPv4 the lower 32 bits count.
    #[must_use]
    pub fn address(self, number: u128) -> IpAddr {
        match self {
            Self::Ip4 => Ipv4Addr::from_bits(number as u32).into(),
            Self::Ip6 => Ipv6Addr::from_bits(number).into(),
        }
    }

    /// `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn everything(self) -> ipnetwork::IpNetwork {
        match self {
            Self::Ip4 => ipnetwork::IpNetwork::V4(
                ipnetwork::Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0)
                    .unwrap_or_else(|| unreachable!("0 is a prefix")),
            ),
            Self::Ip6 => ipnetwork::IpNetwork::V6(
                ipnetwork::Ipv6Network::new_checked(Ipv6Addr::UNSPECIFIED, 0)
                    .unwrap_or_else(|| unreachable!("0 is a prefix")),
            ),
        }
    }
}
