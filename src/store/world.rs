//! The world as a value: all of it, or as much as a few containers need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Error, Store};
use crate::model::{End, Endpoint, Foreign, Link, Name, Published, World};

const ENDPOINT: &str = "id, container, network, ip4, ip6, mac, bridge, labels, sandbox, iface, aliases, \
                        routes, further, port, (SELECT name FROM bridges WHERE n=bridge)";

type Raw = (
    u32,
    String,
    String,
    Option<String>,
    Option<String>,
    String,
    u32,
    String,
    Option<String>,
    [String; 3],
    bool,
    [Option<String>; 2],
);

fn raw(r: &rusqlite::Row<'_>) -> rusqlite::Result<Raw> {
    Ok((
        r.get(0)?,
        r.get(1)?,
        r.get(2)?,
        r.get(3)?,
        r.get(4)?,
        r.get(5)?,
        r.get(6)?,
        r.get(7)?,
        r.get(8)?,
        [r.get(9)?, r.get(10)?, r.get(11)?],
        r.get(12)?,
        [r.get(13)?, r.get(14)?],
    ))
}

fn lasts(link: &Link, now: u64) -> bool {
    link.expires.is_none_or(|end| end > now)
}

/// An endpoint, and the namespace its container lives in once that is known.
pub type Placed = (Endpoint, Option<PathBuf>);

impl Store {
    fn read_endpoint(&self, r: Raw) -> Result<Placed, Error> {
        let (
            id,
            container,
            network,
            ip4,
            ip6,
            mac,
            bridge,
            labels,
            sandbox,
            [iface, aliases, routes],
            further,
            [port, side],
        ) = r;
        let addresses: Result<Vec<_>, _> = [ip4, ip6].into_iter().flatten().map(|a| a.parse()).collect();
        let endpoint = Endpoint {
            id,
            container: container.parse().map_err(|e| self.record(e))?,
            network: network.parse().map_err(|e| self.record(e))?,
            addresses: addresses.map_err(|e| self.record(e))?,
            mac: mac.parse().map_err(|e| self.record(e))?,
            labels: serde_json::from_str(&labels).map_err(|e| self.record(e))?,
            bridge,
            foreign: port.map(|port| Foreign {
                bridge: side.filter(|s| *s != port),
                port,
            }),
            iface,
            further,
            aliases: serde_json::from_str(&aliases).map_err(|e| self.record(e))?,
            routes: serde_json::from_str(&routes).map_err(|e| self.record(e))?,
        };
        Ok((endpoint, sandbox.map(PathBuf::from)))
    }

    /// The endpoint of a container.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn endpoint(&self, container: &Name) -> Result<Option<Placed>, Error> {
        let sql = format!("SELECT {ENDPOINT} FROM endpoints WHERE container=?1");
        let rows = self.rows(&sql, [container.as_str()], raw)?;
        rows.into_iter().map(|r| self.read_endpoint(r)).next().transpose()
    }

    /// Every endpoint.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn endpoints(&self) -> Result<Vec<Placed>, Error> {
        let rows = self.rows(&format!("SELECT {ENDPOINT} FROM endpoints ORDER BY id"), [], raw)?;
        rows.into_iter().map(|r| self.read_endpoint(r)).collect()
    }

    /// Everything that is recorded, links expired by `now` left out; and the namespaces.
    /// The host's addresses are not the store's to know.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn world(&self, now: u64) -> Result<(World, BTreeMap<Name, PathBuf>), Error> {
        let endpoints = self.endpoints()?;
        let links = self.links()?.into_iter().map(|l| l.link).collect();
        self.assemble(endpoints, links, self.published_of(None)?, now)
    }

    /// The part of the world that these containers can meet: themselves, every link that
    /// names them or one of their labels, and the containers at the other ends.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn around(&self, containers: &[&Name], now: u64) -> Result<(World, BTreeMap<Name, PathBuf>), Error> {
        let mut found: BTreeMap<Name, Placed> = BTreeMap::new();
        let mut ends = Vec::new();
        let mut published = Vec::new();
        for name in containers.iter().collect::<BTreeSet<_>>() {
            ends.push(End::Container((*name).clone()));
            published.extend(self.published_of(Some(name))?);
            if let Some(placed) = self.endpoint(name)? {
                ends.extend(
                    placed
                        .0
                        .labels
                        .iter()
                        .map(|(k, v)| End::Label(k.clone(), v.clone())),
                );
                found.insert((*name).clone(), placed);
            }
        }
        let rows = self.links_with(&ends)?.into_iter().map(|l| l.link);
        let links: Vec<Link> = rows.filter(|l| lasts(l, now)).collect();
        let others: BTreeSet<&End> = links.iter().flat_map(|l| [&l.from, &l.to]).collect();
        for end in others {
            for name in self.named_by(end)? {
                if let (false, Some(placed)) = (found.contains_key(&name), self.endpoint(&name)?) {
                    found.insert(name, placed);
                }
            }
        }
        self.assemble(found.into_values().collect(), links, published, now)
    }

    /// The containers that an end names, attached or not.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn named_by(&self, end: &End) -> Result<Vec<Name>, Error> {
        match end {
            End::Container(name) => Ok(vec![name.clone()]),
            End::Label(k, v) => {
                let sql = "SELECT container FROM labels WHERE key=?1 AND value=?2";
                let rows: Vec<String> = self.rows(sql, (k, v), |r| r.get(0))?;
                rows.iter()
                    .map(|n| n.parse().map_err(|e| self.record(e)))
                    .collect()
            }
            End::Host | End::World | End::Cidr(_) => Ok(vec![]),
        }
    }

    fn assemble(
        &self,
        endpoints: Vec<Placed>,
        links: Vec<Link>,
        published: Vec<Published>,
        now: u64,
    ) -> Result<(World, BTreeMap<Name, PathBuf>), Error> {
        let mut world = World {
            published,
            ..World::default()
        };
        let mut places = BTreeMap::new();
        world.links = links.into_iter().filter(|l| lasts(l, now)).collect();
        for row in self.networks()? {
            world.networks.insert(row.network.name.clone(), row.network);
        }
        for (endpoint, place) in endpoints {
            if let Some(path) = place {
                places.insert(endpoint.container.clone(), path);
            }
            world.endpoints.insert(endpoint.container.clone(), endpoint);
        }
        Ok((world, places))
    }

    /// The published ports of one container, or of all.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn published_of(&self, container: Option<&Name>) -> Result<Vec<Published>, Error> {
        type Raw = (String, Option<String>, u16, u16, String);
        let sql = "SELECT container, host_ip, host_port, port, proto FROM published
                   WHERE ?1 IS NULL OR container=?1 ORDER BY container, host_port";
        let rows: Vec<Raw> = self.rows(sql, [container.map(Name::as_str)], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
        })?;
        rows.into_iter()
            .map(|(container, host_ip, host_port, port, proto)| {
                Ok(Published {
                    container: container.parse().map_err(|e| self.record(e))?,
                    host_ip: host_ip
                        .map(|a| a.parse())
                        .transpose()
                        .map_err(|e: std::net::AddrParseError| self.record(e))?,
                    host_port,
                    port,
                    proto: proto.parse().map_err(|e| self.record(e))?,
                })
            })
            .collect()
    }
}
