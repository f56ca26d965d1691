//! Ranges that addresses are given from, as the plugin type `host-local` configures them: a
//! set gives each container one address, from any of its ranges, in turn.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::Family;

/// Consecutive addresses of one subnet, of which the gateway is never given away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    subnet: IpNetwork,
    first: IpAddr,
    last: IpAddr,
    gateway: IpAddr,
}

/// Ranges of one family that do not overlap; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

/// Why ranges are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("the subnet is too small to give addresses from: `{0}`")]
    Small(IpNetwork),
    #[error("the subnet has host bits set, the network address is {network}: `{subnet}`")]
    HostBits { subnet: IpNetwork, network: IpAddr },
    #[error("{key} is not in the range {first} to {last} of subnet {subnet}: `{ip}`")]
    Outside {
        key: &'static str,
        ip: IpAddr,
        subnet: IpNetwork,
        first: IpAddr,
        last: IpAddr,
    },
    #[error("a set of ranges is empty")]
    Empty,
    #[error("a set has ranges of both address families: `{0}`")]
    Mixed(String),
    #[error("ranges overlap: `{0}` and `{1}`")]
    Overlap(String, String),
}

impl Range {
    /// A range; what is `None` is as large as possible: `first` and `gateway` are the first
    /// address after the network's, `last` the last one that is no IPv4 broadcast address.
    ///
    /// # Errors
    /// When it makes no sense. A gateway may be anywhere.
    pub fn new(
        subnet: IpNetwork,
        first: Option<IpAddr>,
        last: Option<IpAddr>,
        gateway: Option<IpAddr>,
    ) -> Result<Self, RangeError> {
        let canonical = |ip: Option<IpAddr>| ip.map(|ip| ip.to_canonical());
        let (first, last, gateway) = (canonical(first), canonical(last), canonical(gateway));
        let (family, network) = (Family::of(subnet.ip()), subnet.network());
        if subnet.prefix() + 2 > family.bits() {
            return Err(RangeError::Small(subnet));
        }
        if subnet.ip() != network {
            return Err(RangeError::HostBits { subnet, network });
        }
        let size = u128::MAX >> (128 - u32::from(family.bits() - subnet.prefix()));
        let end = Family::number(network) + size;
        let widest = Self {
            subnet,
            first: family.address(Family::number(network) + 1),
            last: family.address(end - u128::from(family == Family::Ip4)),
            gateway: family.address(Family::number(network) + 1),
        };
        let inside = |key, ip: IpAddr, first, last| {
            let fits = subnet.contains(ip) && first <= ip && ip <= last;
            if fits {
                Ok(ip)
            } else {
                Err(RangeError::Outside {
                    key,
                    ip,
                    subnet,
                    first,
                    last,
                })
            }
        };
        let last = match last {
            Some(ip) => inside("rangeEnd", ip, network, family.address(end))?,
            None => widest.last,
        };
        let first = match first {
            Some(ip) => inside("rangeStart", ip, network, last)?,
            None => widest.first,
        };
        Ok(Self {
            first,
            last,
            gateway: gateway.unwrap_or(widest.gateway),
            ..widest
        })
    }

    /// Whether the address lies in it; the gateway may, too.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        Family::of(ip) == self.family() && self.first <= ip && ip <= self.last
    }

    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    #[must_use]
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// An address of this range with its subnet's length.
    #[must_use]
    pub fn of(&self, ip: IpAddr) -> IpNetwork {
        IpNetwork::new(ip, self.subnet.prefix()).unwrap_or(self.subnet)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }
}

impl RangeSet {
    /// # Errors
    /// No ranges, both families, or an address in two ranges.
    pub fn new(ranges: Vec<Range>) -> Result<Self, RangeError> {
        let set = Self(ranges);
        let family = set.0.first().ok_or(RangeError::Empty)?.family();
        if set.0.iter().any(|r| r.family() != family) {
            return Err(RangeError::Mixed(set.to_string()));
        }
        for (i, a) in set.0.iter().enumerate() {
            if let Some(b) = set.0[i + 1..].iter().find(|b| a.overlaps(b)) {
                return Err(RangeError::Overlap(a.to_string(), b.to_string()));
            }
        }
        Ok(set)
    }

    /// # Errors
    /// When an address is in two of the sets.
    pub fn apart(sets: &[Self]) -> Result<(), RangeError> {
        for (i, a) in sets.iter().enumerate() {
            if let Some(b) = sets[i + 1..].iter().find(|b| a.overlaps(b)) {
                return Err(RangeError::Overlap(a.to_string(), b.to_string()));
            }
        }
        Ok(())
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|a| other.0.iter().any(|b| a.overlaps(b)))
    }

    #[must_use]
    pub fn family(&self) -> Family {
        self.0[0].family()
    }

    /// The range that an address is in.
    #[must_use]
    pub fn range_of(&self, ip: IpAddr) -> Option<&Range> {
        self.0.iter().find(|r| r.contains(ip))
    }

    /// A free address: the first after `last`, the one given last, and round to `last` itself.
    /// `free(a, b)` is asked for the first free address from a to b, both included.
    ///
    /// # Errors
    /// Those of `free`.
    pub fn next<E>(
        &self,
        last: Option<IpAddr>,
        mut free: impl FnMut(IpAddr, IpAddr) -> Result<Option<IpAddr>, E>,
    ) -> Result<Option<(&Range, IpAddr)>, E> {
        for (range, first, last) in self.in_turn(last) {
            let mut from = first;
            while from <= last {
                match free(from, last)? {
                    Some(ip) if ip == range.gateway && ip == last => break,
                    Some(ip) if ip == range.gateway => from = after(ip),
                    Some(ip) => return Ok(Some((range, ip))),
                    None => break,
                }
            }
        }
        Ok(None)
    }

    /// The stretches of addresses to look at, in order.
    fn in_turn(&self, last: Option<IpAddr>) -> Vec<(&Range, IpAddr, IpAddr)> {
        let whole = |r: &'_ Range| (r.first, r.last);
        let at = last.and_then(|ip| self.0.iter().position(|r| r.contains(ip)).map(|i| (i, ip)));
        let Some((i, ip)) = at else {
            return self.0.iter().map(|r| (r, r.first, r.last)).collect();
        };
        let mut all = Vec::with_capacity(self.0.len() + 1);
        if ip != self.0[i].last {
            all.push((&self.0[i], after(ip), self.0[i].last));
        }
        for r in self.0[i + 1..].iter().chain(&self.0[..i]) {
            let (first, last) = whole(r);
            all.push((r, first, last));
        }
        all.push((&self.0[i], self.0[i].first, ip));
        all
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            write!(f, "{}{range}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// The next address; only asked for where there is one.
fn after(ip: IpAddr) -> IpAddr {
    Family::of(ip).address(Family::number(ip).wrapping_add(1))
}

#[cfg(test)]
mod tests;
