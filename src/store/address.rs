//! Address management: constant cost however many addresses are taken.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::{Error, Store};
use crate::model::{Family, Mac, Name, Network, Subnet};

impl Store {
    /// A free address of the network, in one of the ranges if any is of that family. The
    /// search goes on where the last one ended, so an address rests as long as possible before
    /// somebody else gets it.
    pub(super) fn free_address(
        &self,
        network: &Network,
        subnet: Subnet,
        pools: &[(IpAddr, IpAddr)],
    ) -> Result<IpAddr, Error> {
        let column = if subnet.family() == Family::Ip4 {
            "cursor4"
        } else {
            "cursor6"
        };
        let sql = format!("SELECT {column} FROM networks WHERE name=?1");
        let name = network.name.as_str();
        let cursor: i64 = self
            .rows(&sql, [name], |r| r.get(0))?
            .first()
            .copied()
            .unwrap_or(1);
        let ranges = offsets(subnet, pools);
        let exhausted = || Error::Exhausted {
            network: name.to_owned(),
            family: subnet.family().digit(),
        };
        let cursor = cursor as u64;
        let mut at = ranges.iter().position(|r| r.contains(&cursor)).unwrap_or(0);
        let first = ranges.get(at).ok_or_else(exhausted)?;
        let mut offset = if first.contains(&cursor) {
            cursor
        } else {
            *first.end()
        };
        if pools.is_empty() && u128::from(self.attached_count(&network.name)?) >= subnet.capacity() {
            return Err(exhausted());
        }
        let all = ranges.iter().map(|r| r.end() - r.start() + 1).sum();
        for _ in 0..all {
            if offset >= *ranges[at].end() {
                at = (at + 1) % ranges.len();
                offset = *ranges[at].start();
            } else {
                offset += 1;
            }
            let ip = subnet.nth(u128::from(offset));
            if network.assignable(ip) && self.holder(ip)?.is_none() {
                let sql = format!("UPDATE networks SET {column}=?2 WHERE name=?1");
                self.run(&sql, (name, offset as i64))?;
                return Ok(ip);
            }
        }
        Err(exhausted())
    }

    /// The container that has an address.
    ///
    /// # Errors
    /// A database error.
    pub fn holder(&self, ip: IpAddr) -> Result<Option<String>, Error> {
        let sql = match Family::of(ip) {
            Family::Ip4 => "SELECT container FROM endpoints WHERE ip4=?1",
            Family::Ip6 => "SELECT container FROM endpoints WHERE ip6=?1",
        };
        Ok(self.rows(sql, [ip.to_string()], |r| r.get(0))?.pop())
    }

    pub(super) fn mac_is_free(&self, network: &Name, mac: Mac) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM endpoints WHERE network=?1 AND mac=?2";
        Ok(self
            .rows(sql, (network.as_str(), mac.to_string()), |_| Ok(()))?
            .is_empty())
    }
}

/// Where in a subnet the addresses are that may be given away, counted from its start.
fn offsets(subnet: Subnet, pools: &[(IpAddr, IpAddr)]) -> Vec<RangeInclusive<u64>> {
    let last = u64::try_from(subnet.capacity() + 1)
        .unwrap_or(u64::MAX)
        .min(1 << 62);
    let number = |ip: IpAddr| match (ip, subnet.network().ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some(u128::from(a.to_bits().saturating_sub(b.to_bits()))),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some(a.to_bits().saturating_sub(b.to_bits())),
        _ => None,
    };
    let clip = |n: u128| u64::try_from(n).unwrap_or(u64::MAX).min(last);
    let own = pools.iter().filter_map(|(a, b)| Some((number(*a)?, number(*b)?)));
    let mut own: Vec<_> = own
        .filter(|(a, b)| a <= b && *a <= u128::from(last))
        .map(|(a, b)| clip(a).max(1)..=clip(b))
        .collect();
    if !pools.iter().any(|p| Family::of(p.0) == subnet.family()) {
        own.push(2..=last);
    }
    own
}
