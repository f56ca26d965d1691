//! Endpoints: a container's addresses and its place on a bridge; and the ports that it publishes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::changes::PORT;
use super::{Error, Store};
use crate::model::{ExtraRoute, Family, Foreign, Mac, Name, Network, Proto, Published};

/// What a new endpoint asks for.
#[derive(Clone, Debug, Default)]
pub struct NewEndpoint {
    pub addresses: Vec<IpAddr>,
    /// Ranges from which the other addresses come, both ends included; none is all of the subnet.
    pub pools: Vec<(IpAddr, IpAddr)>,
    pub mac: Option<Mac>,
    /// The interface's name; `None` is `eth0`.
    pub iface: Option<String>,
    pub routes: Vec<ExtraRoute>,
    /// Another interface of the namespace has the default routes.
    pub further: bool,
    pub aliases: Vec<String>,
    /// By what its runtime calls the container.
    pub runtime_id: Option<String>,
    /// Where it hangs, when another plugin made its interface.
    pub foreign: Option<Foreign>,
    /// Somebody else gives addresses: there are those asked for, and no others.
    pub given: bool,
    /// Its namespace if that exists already: the path, and what tells it from a later one there.
    pub sandbox: Option<(PathBuf, String)>,
}

impl Store {
    /// Gives a container an endpoint: addresses, MAC, and a place on a bridge.
    ///
    /// # Errors
    /// Something asked for is taken, the pool is exhausted, or a database error.
    pub fn add_endpoint(
        &self,
        container: &Name,
        network: &Network,
        labels: &BTreeMap<String, String>,
        wish: &NewEndpoint,
    ) -> Result<(), Error> {
        if let Some(ip) = wish.addresses.iter().find(|ip| !network.assignable(**ip)) {
            return Err(Error::AddressUnfit {
                ip: *ip,
                network: network.name.to_string(),
            });
        }
        let mut addresses = Vec::new();
        for subnet in &network.subnets {
            let asked = wish.addresses.iter().find(|a| Family::of(**a) == subnet.family());
            addresses.push(match asked {
                Some(ip) if self.holder(*ip)?.is_some() => return Err(Error::AddressTaken { ip: *ip }),
                Some(ip) => *ip,
                None if wish.given => continue,
                None => self.free_address(network, *subnet, &wish.pools)?,
            });
        }
        let bridge = match &wish.foreign {
            Some(f) => self.join_side(&network.name, f.side())?,
            None => self.take_port(&network.name)?.0,
        };
        let text = |family| {
            addresses
                .iter()
                .find(|a| Family::of(**a) == family)
                .map(ToString::to_string)
        };
        let mac = self.choose_mac(network, wish.mac, &addresses)?;
        let (sandbox, cookie) = wish.sandbox.clone().unzip();
        self.run(
            "INSERT INTO endpoints
                (container, network, ip4, ip6, mac, bridge, labels, sandbox, cookie, iface, aliases, routes,
                 further, port)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ifnull(?10, 'eth0'), ?11, ?12, ?13, ?14)",
            (
                container.as_str(),
                network.name.as_str(),
                text(Family::Ip4),
                text(Family::Ip6),
                mac.to_string(),
                bridge,
                self.json(labels)?,
                sandbox.map(|p| p.display().to_string()),
                cookie,
                &wish.iface,
                self.json(&wish.aliases)?,
                self.json(&wish.routes)?,
                wish.further,
                wish.foreign.as_ref().map(|f| &f.port),
            ),
        )?;
        let id = wish.runtime_id.iter().map(|id| (id, true));
        for (alias, is_id) in id.chain(wish.aliases.iter().map(|a| (a, false))) {
            let sql = "INSERT INTO aliases VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            self.run(sql, (alias, container.as_str(), is_id))?;
        }
        Ok(())
    }

    fn json(&self, value: &impl serde::Serialize) -> Result<String, Error> {
        serde_json::to_string(value).map_err(|e| self.record(e))
    }

    /// The names of the containers that others call this, or whose runtime's id begins so
    /// (three letters at least). A name of its own goes before; that is not looked at here.
    ///
    /// # Errors
    /// A database error.
    pub fn called(&self, word: &str) -> Result<Vec<String>, Error> {
        let exact = "SELECT container FROM aliases WHERE alias=?1 ORDER BY container";
        let found = self.rows(exact, [word], |r| r.get(0))?;
        if !found.is_empty() || word.len() < 3 {
            return Ok(found);
        }
        // Every letter of an id comes before `~`.
        let begins =
            "SELECT container FROM aliases WHERE alias>=?1 AND alias<?1||'~' AND is_id ORDER BY container";
        self.rows(begins, [word], |r| r.get(0))
    }

    /// What tells the namespaces of containers that came through CNI from others which may
    /// have their paths by now: of one container, or of all.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn cookies(&self, container: Option<&Name>) -> Result<BTreeMap<Name, (PathBuf, String)>, Error> {
        let sql = "SELECT container, sandbox, cookie FROM endpoints
                   WHERE cookie IS NOT NULL AND ifnull(?1, container)=container";
        let rows: Vec<(String, String, String)> = self.rows(sql, [container.map(Name::as_str)], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })?;
        rows.into_iter()
            .map(|(name, path, cookie)| {
                Ok((name.parse().map_err(|e| self.record(e))?, (path.into(), cookie)))
            })
            .collect()
    }

    /// The MAC comes from the address, so it is as unique as that; where somebody asked for
    /// just this one, the second byte counts on.
    fn choose_mac(&self, network: &Network, asked: Option<Mac>, addresses: &[IpAddr]) -> Result<Mac, Error> {
        let (first, tail) = match addresses.first() {
            Some(IpAddr::V4(a)) => (0x02, a.octets()),
            Some(IpAddr::V6(a)) => {
                let [.., w, x, y, z] = a.octets();
                (0x06, [w, x, y, z])
            }
            None => (0x02, [0, 0, 0, 1]),
        };
        let [a, b, c, d] = tail;
        let derived = (0..=u8::MAX).map(|n| Mac([first, 0x6d_u8.wrapping_add(n), a, b, c, d]));
        let mut last = Mac([first, 0x6d, a, b, c, d]);
        for mac in asked.map_or_else(|| derived.collect(), |mac| vec![mac]) {
            if self.mac_is_free(&network.name, mac)? {
                return Ok(mac);
            }
            last = mac;
        }
        Err(Error::MacTaken {
            mac: last,
            network: network.name.to_string(),
        })
    }

    /// Records the network namespace of a container's endpoint.
    ///
    /// # Errors
    /// A database error.
    pub fn set_sandbox(&self, container: &Name, path: &std::path::Path) -> Result<(), Error> {
        let path = path.display().to_string();
        self.run(
            "UPDATE endpoints SET sandbox=?2 WHERE container=?1",
            (container.as_str(), path),
        )
        .map(drop)
    }

    /// Forgets a container's endpoint and published ports.
    ///
    /// # Errors
    /// A database error.
    pub fn remove_endpoint(&self, container: &Name) -> Result<(), Error> {
        self.run(
            "UPDATE bridges SET ports=ports-1 WHERE n=(SELECT bridge FROM endpoints WHERE container=?1)",
            [container.as_str()],
        )?;
        self.noting(&PORT, "container=?1", &[&container.as_str()], || {
            self.run("DELETE FROM published WHERE container=?1", [container.as_str()])
        })?;
        self.run("DELETE FROM endpoints WHERE container=?1", [container.as_str()])?;
        self.run("DELETE FROM bridges WHERE name IS NOT NULL AND ports=0", [])
            .map(drop)
    }

    /// The container that has published a port of the host.
    ///
    /// # Errors
    /// A database error.
    pub fn publisher(&self, proto: Proto, port: u16, ip: Option<IpAddr>) -> Result<Option<String>, Error> {
        // A port on every address clashes with the same port on any one of them.
        let sql = "SELECT container FROM published WHERE proto=?1 AND host_port=?2
                   AND (host_ip IS NULL OR ?3 IS NULL OR host_ip=?3 OR host_ip IN ('0.0.0.0','::') OR ?3 IN ('0.0.0.0','::'))";
        let ip = ip.map(|a| a.to_string());
        let found: Vec<String> = self.rows(sql, (proto.as_str(), port, &ip), |r| r.get(0))?;
        Ok(found.into_iter().next())
    }

    /// Records a published port.
    ///
    /// # Errors
    /// [`Error::PortTaken`], or a database error.
    pub fn publish(&self, p: &Published) -> Result<(), Error> {
        let ip = p.host_ip.map(|a| a.to_string());
        if let Some(holder) = self.publisher(p.proto, p.host_port, p.host_ip)? {
            return Err(Error::PortTaken {
                port: p.host_port,
                proto: p.proto,
                holder,
            });
        }
        let sql =
            "INSERT INTO published (container, host_ip, host_port, port, proto) VALUES (?1, ?2, ?3, ?4, ?5)";
        let (holder, proto) = (p.container.as_str(), p.proto.as_str());
        let condition = "proto=?1 AND host_port=?2 AND ifnull(host_ip, '')=ifnull(?3, '')";
        self.noting(&PORT, condition, &[&proto, &p.host_port, &ip], || {
            self.run(sql, (holder, &ip, p.host_port, p.port, proto)).map(drop)
        })
    }
}
