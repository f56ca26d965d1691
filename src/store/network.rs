//! Networks and their bridges.

use super::changes::NETWORK;
use super::{Error, Store};
use crate::model::{Foreign, Name, Network};

/// A network with what only the store knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRow {
    pub network: Network,
    /// Made by somebody, and there until somebody removes it.
    pub kept: bool,
}

/// Ports to a bridge: the kernel's limit is 1,023.
const PORTS: u32 = 1000;

impl Store {
    /// Records a network.
    ///
    /// # Errors
    /// [`Error::NetworkExists`], or a database error.
    pub fn add_network(&self, network: &Network, kept: bool) -> Result<(), Error> {
        let name = network.name.as_str();
        if self.network(&network.name)?.is_some() {
            return Err(Error::NetworkExists {
                name: name.to_owned(),
            });
        }
        let json = serde_json::to_string(network).map_err(|e| self.record(e))?;
        self.noting(&NETWORK, "name=?1", &[&name], || {
            self.run(
                "INSERT INTO networks (name, json, kept) VALUES (?1, ?2, ?3)",
                (name, json, kept),
            )
            .map(drop)
        })
    }

    /// Forgets a network, its bridges, and the links of its configuration.
    ///
    /// # Errors
    /// A database error; also when endpoints use it.
    pub fn remove_network(&self, name: &Name) -> Result<(), Error> {
        self.run("DELETE FROM bridges WHERE network=?1", [name.as_str()])?;
        self.delete_links("network=?1", &[&name.as_str()])?;
        self.noting(&NETWORK, "name=?1", &[&name.as_str()], || {
            self.run("DELETE FROM networks WHERE name=?1", [name.as_str()])
                .map(drop)
        })
    }

    /// One network.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn network(&self, name: &Name) -> Result<Option<NetworkRow>, Error> {
        let rows = self.rows(
            "SELECT json, kept FROM networks WHERE name=?1",
            [name.as_str()],
            row,
        )?;
        rows.into_iter().map(|r| self.read_network(r)).next().transpose()
    }

    /// All networks, by name.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn networks(&self) -> Result<Vec<NetworkRow>, Error> {
        let rows = self.rows("SELECT json, kept FROM networks ORDER BY name", [], row)?;
        rows.into_iter().map(|r| self.read_network(r)).collect()
    }

    fn read_network(&self, (json, kept): (String, bool)) -> Result<NetworkRow, Error> {
        Ok(NetworkRow {
            network: serde_json::from_str(&json).map_err(|e| self.record(e))?,
            kept,
        })
    }

    /// The bridges: number and network.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn bridges(&self) -> Result<std::collections::BTreeMap<u32, Name>, Error> {
        let rows = self.rows("SELECT n, network FROM bridges", [], |r| {
            Ok((r.get(0)?, r.get::<_, String>(1)?))
        })?;
        rows.into_iter()
            .map(|(n, name)| Ok((n, name.parse().map_err(|e| self.record(e))?)))
            .collect()
    }

    /// A bridge of the network with a free port, and whether it was made just now.
    pub(super) fn take_port(&self, network: &Name) -> Result<(u32, bool), Error> {
        let sql = "SELECT n FROM bridges WHERE network=?1 AND ports<?2 ORDER BY n LIMIT 1";
        let free: Vec<u32> = self.rows(sql, (network.as_str(), PORTS), |r| r.get(0))?;
        if let Some(n) = free.first() {
            self.run("UPDATE bridges SET ports=ports+1 WHERE n=?1", [n])?;
            return Ok((*n, false));
        }
        let n = self.add_bridge(network)?;
        self.run("UPDATE bridges SET ports=1 WHERE n=?1", [n])?;
        Ok((n, true))
    }

    /// One more port behind an interface that another plugin made; its number.
    pub(super) fn join_side(&self, network: &Name, side: &str) -> Result<u32, Error> {
        let sql = "SELECT n FROM bridges WHERE network=?1 AND name=?2";
        let known: Vec<u32> = self.rows(sql, (network.as_str(), side), |r| r.get(0))?;
        let n = match known.first() {
            Some(n) => *n,
            None => self.add_bridge(network)?,
        };
        self.run("UPDATE bridges SET ports=ports+1, name=?2 WHERE n=?1", (n, side))?;
        Ok(n)
    }

    /// The interfaces that other plugins made and behind which containers with a wall are, with
    /// their networks: bridges, or ports without one.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn sides(&self) -> Result<Vec<(Name, Foreign)>, Error> {
        let sql = "SELECT network, name, EXISTS (SELECT 1 FROM endpoints WHERE bridge=n AND port=name)
                   FROM bridges WHERE name IS NOT NULL";
        let rows: Vec<(String, String, bool)> =
            self.rows(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        rows.into_iter()
            .map(|(network, side, alone)| {
                let bridge = (!alone).then(|| side.clone());
                let network = network.parse().map_err(|e| self.record(e))?;
                Ok((network, Foreign { port: side, bridge }))
            })
            .collect()
    }

    /// Notes that a bridge is on its way out of the kernel.
    ///
    /// # Errors
    /// A database error.
    pub fn set_bridge_down(&self, n: u32) -> Result<(), Error> {
        self.run("UPDATE bridges SET up=0 WHERE n=?1", [n]).map(drop)
    }

    /// How many ports a bridge has.
    ///
    /// # Errors
    /// A database error.
    pub fn ports_of(&self, n: u32) -> Result<u32, Error> {
        let sql = "SELECT ports FROM bridges WHERE n=?1";
        Ok(self.rows(sql, [n], |r| r.get(0))?.pop().unwrap_or_default())
    }

    /// Records a further bridge; its number.
    ///
    /// # Errors
    /// A database error.
    pub fn add_bridge(&self, network: &Name) -> Result<u32, Error> {
        self.run("INSERT INTO bridges (network) VALUES (?1)", [network.as_str()])?;
        u32::try_from(self.db.last_insert_rowid()).map_err(|e| self.record(e))
    }

    /// Whether a bridge is known to be in the kernel.
    ///
    /// # Errors
    /// A database error.
    pub fn bridge_is_up(&self, n: u32) -> Result<bool, Error> {
        Ok(self
            .rows("SELECT up FROM bridges WHERE n=?1", [n], |r| r.get(0))?
            .pop()
            .unwrap_or(false))
    }

    /// Notes that bridges are in the kernel: one, or all.
    ///
    /// # Errors
    /// A database error.
    pub fn set_bridges_up(&self, n: Option<u32>) -> Result<(), Error> {
        self.run("UPDATE bridges SET up=1 WHERE ?1 IS NULL OR n=?1", [n])
            .map(drop)
    }

    /// The containers attached to a network.
    ///
    /// # Errors
    /// A database error.
    pub fn attached(&self, network: &Name) -> Result<Vec<String>, Error> {
        let sql = "SELECT container FROM endpoints WHERE network=?1 ORDER BY container";
        self.rows(sql, [network.as_str()], |r| r.get(0))
    }

    /// How many containers are attached to a network.
    ///
    /// # Errors
    /// A database error.
    pub fn attached_count(&self, network: &Name) -> Result<u64, Error> {
        let sql = "SELECT ifnull(sum(ports), 0) FROM bridges WHERE network=?1";
        Ok(self
            .rows(sql, [network.as_str()], |r| r.get::<_, i64>(0))?
            .first()
            .copied()
            .unwrap_or(0) as u64)
    }
}

fn row(r: &rusqlite::Row<'_>) -> rusqlite::Result<(String, bool)> {
    Ok((r.get(0)?, r.get(1)?))
}
