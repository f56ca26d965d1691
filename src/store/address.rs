//! Address management: constant cost however many addresses are taken.

use std::net::IpAddr;

use super::{Error, Store};
use crate::model::{Family, Mac, Name, Network, Subnet};

impl Store {
    /// A free address of the network. The search goes on where the last one ended, so an
    /// address rests as long as possible before somebody else gets it.
    pub(super) fn free_address(&self, network: &Network, subnet: Subnet) -> Result<IpAddr, Error> {
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
        let last = u64::try_from(subnet.capacity() + 1)
            .unwrap_or(u64::MAX)
            .min(1 << 62);
        let mut offset = cursor as u64;
        for _ in 0..last {
            offset = if offset >= last { 2 } else { offset + 1 };
            let ip = subnet.nth(u128::from(offset));
            if self.holder(ip)?.is_none() {
                let sql = format!("UPDATE networks SET {column}=?2 WHERE name=?1");
                self.run(&sql, (name, offset as i64))?;
                return Ok(ip);
            }
        }
        Err(Error::Exhausted {
            network: name.to_owned(),
            family: subnet.family().digit(),
        })
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
