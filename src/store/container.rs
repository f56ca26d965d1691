//! Containers, their endpoints, labels and published ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use super::changes::PORT;
use super::{Error, Store};
use crate::model::{ExtraRoute, Family, Foreign, Mac, Name, Network, Proto, Published};

/// How far a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A command is making it; undone when that command is dead.
    Creating,
    Running,
    Exited,
    /// A command is removing it; finished when that command is dead.
    Removing,
}

impl Phase {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Removing => "removing",
        }
    }

    fn read(s: &str) -> Option<Self> {
        [Self::Creating, Self::Running, Self::Exited, Self::Removing]
            .into_iter()
            .find(|p| p.as_str() == s)
    }
}

/// A container's record.
#[derive(Clone, Debug)]
pub struct Container {
    pub id: String,
    pub name: Name,
    pub phase: Phase,
    /// The command that creates or removes it: process and start time.
    pub owner: (i32, u64),
    /// Its first process: number and start time (clock ticks since boot).
    pub pid: Option<(i32, u64)>,
    pub exit_code: Option<i32>,
    /// Seconds since 1970.
    pub created: u64,
    pub finished: Option<u64>,
    pub auto_remove: bool,
    pub labels: BTreeMap<String, String>,
    /// The sandbox's specification, as JSON.
    pub spec: String,
}

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

/// What a container's id stands behind in `meta` while it may be held still.
const PAUSED: &str = "paused ";

const COLUMNS: &str = "id, name, phase, owner_pid, owner_started, pid, started, exit_code, created, finished, \
                       auto_remove, labels, spec";

type Raw = (String, String, String, [Option<i64>; 7], bool, String, String);

fn raw(r: &rusqlite::Row<'_>) -> rusqlite::Result<Raw> {
    let numbers = [
        r.get(3)?,
        r.get(4)?,
        r.get(5)?,
        r.get(6)?,
        r.get(7)?,
        r.get(8)?,
        r.get(9)?,
    ];
    Ok((
        r.get(0)?,
        r.get(1)?,
        r.get(2)?,
        numbers,
        r.get(10)?,
        r.get(11)?,
        r.get(12)?,
    ))
}

impl Store {
    fn read_container(&self, raw: Raw) -> Result<Container, Error> {
        let (
            id,
            name,
            phase,
            [owner_pid, owner_started, pid, started, exit, created, finished],
            auto,
            labels,
            spec,
        ) = raw;
        let process = |pid: Option<i64>, started: Option<i64>| Some((pid? as i32, started? as u64));
        Ok(Container {
            name: name.parse().map_err(|e| self.record(e))?,
            phase: Phase::read(&phase).ok_or_else(|| self.record(format!("phase `{phase}` of `{id}`")))?,
            owner: process(owner_pid, owner_started).unwrap_or_default(),
            pid: process(pid, started),
            exit_code: exit.map(|c| c as i32),
            created: created.unwrap_or_default() as u64,
            finished: finished.map(|t| t as u64),
            auto_remove: auto,
            labels: serde_json::from_str(&labels).map_err(|e| self.record(e))?,
            id,
            spec,
        })
    }

    /// Records a container.
    ///
    /// # Errors
    /// [`Error::NameTaken`], or a database error.
    pub fn add_container(&self, c: &Container) -> Result<(), Error> {
        // By name alone: a name may look like the start of another container's id.
        if self.is_container(&c.name)? {
            return Err(Error::NameTaken {
                name: c.name.to_string(),
            });
        }
        let labels = serde_json::to_string(&c.labels).map_err(|e| self.record(e))?;
        self.run(
            "INSERT INTO containers (id, name, phase, owner_pid, owner_started, created, auto_remove, labels, spec)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            (
                &c.id,
                c.name.as_str(),
                c.phase.as_str(),
                c.owner.0,
                c.owner.1 as i64,
                c.created as i64,
                c.auto_remove,
                labels,
                &c.spec,
            ),
        )?;
        for (k, v) in &c.labels {
            self.run("INSERT INTO labels VALUES (?1, ?2, ?3)", (k, v, c.name.as_str()))?;
        }
        Ok(())
    }

    /// A container by name, by an id or unambiguous start of one, or by what others call it.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn container(&self, key: &str) -> Result<Option<Container>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM containers WHERE name=?1");
        let mut rows = self.rows(&sql, [key], raw)?;
        if rows.is_empty() && key.len() >= 3 && key.bytes().all(|b| b.is_ascii_hexdigit()) {
            let sql = format!("SELECT {COLUMNS} FROM containers WHERE id>=?1 AND id<?1||'g' LIMIT 2");
            rows = self.rows(&sql, [key], raw)?;
            if rows.len() > 1 {
                rows.clear();
            }
        }
        if rows.is_empty()
            && let [only] = self.called(key)?.as_slice()
        {
            rows = self.rows(
                &format!("SELECT {COLUMNS} FROM containers WHERE name=?1"),
                [only],
                raw,
            )?;
        }
        rows.pop().map(|r| self.read_container(r)).transpose()
    }

    /// Whether a container has this very name.
    ///
    /// # Errors
    /// A database error.
    pub fn is_container(&self, name: &Name) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM containers WHERE name=?1";
        Ok(!self.rows(sql, [name.as_str()], |_| Ok(()))?.is_empty())
    }

    /// All containers, oldest first.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn containers(&self) -> Result<Vec<Container>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM containers ORDER BY created, name");
        self.rows(&sql, [], raw)?
            .into_iter()
            .map(|r| self.read_container(r))
            .collect()
    }

    /// All containers, oldest first, without the specifications of ours: for a listing of many.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn listed(&self) -> Result<Vec<Container>, Error> {
        let columns = COLUMNS.replace(" spec", " iif(instr(name, ':'), spec, '')");
        let sql = format!("SELECT {columns} FROM containers ORDER BY created, name");
        self.rows(&sql, [], raw)?
            .into_iter()
            .map(|r| self.read_container(r))
            .collect()
    }

    /// The containers that are recorded as running and whose process is ours, oldest first.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn running(&self) -> Result<Vec<Container>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM containers WHERE phase='running' AND pid IS NOT NULL ORDER BY created"
        );
        self.rows(&sql, [], raw)?
            .into_iter()
            .map(|r| self.read_container(r))
            .collect()
    }

    /// The first processes of containers that are recorded as running: at most `most` of them, from the
    /// `skip`th oldest on.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn processes(&self, most: u32, skip: u32) -> Result<Vec<(Name, i32, u64)>, Error> {
        let sql = "SELECT name, pid, started FROM containers WHERE phase='running' AND pid IS NOT NULL
                   ORDER BY created LIMIT ?1 OFFSET ?2";
        let rows: Vec<(String, i32, i64)> =
            self.rows(sql, [most, skip], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        rows.into_iter()
            .map(|(name, pid, started)| Ok((name.parse().map_err(|e| self.record(e))?, pid, started as u64)))
            .collect()
    }

    /// Records that a container may be held still, or is not.
    ///
    /// # Errors
    /// A database error.
    pub fn set_paused(&self, id: &str, paused: bool) -> Result<(), Error> {
        self.set_meta(&format!("{PAUSED}{id}"), paused.then_some(""))
    }

    /// The ids of containers that may be held still.
    ///
    /// # Errors
    /// A database error.
    pub fn paused(&self) -> Result<BTreeSet<String>, Error> {
        let sql = "SELECT substr(key, length(?1) + 1) FROM meta WHERE key GLOB ?1||'*'";
        Ok(self.rows(sql, [PAUSED], |r| r.get(0))?.into_iter().collect())
    }

    /// How many containers are recorded as running.
    ///
    /// # Errors
    /// A database error.
    pub fn process_count(&self) -> Result<u32, Error> {
        let sql = "SELECT count(*) FROM containers WHERE phase='running' AND pid IS NOT NULL";
        Ok(self
            .rows(sql, [], |r| r.get(0))?
            .first()
            .copied()
            .unwrap_or_default())
    }

    /// Moves a container to another phase of its life.
    ///
    /// # Errors
    /// A database error.
    pub fn set_phase(&self, name: &Name, phase: Phase, owner: (i32, u64)) -> Result<(), Error> {
        let sql = "UPDATE containers SET phase=?2, owner_pid=?3, owner_started=?4 WHERE name=?1";
        self.run(sql, (name.as_str(), phase.as_str(), owner.0, owner.1 as i64))
            .map(drop)
    }

    /// Records a container's first process.
    ///
    /// # Errors
    /// A database error.
    pub fn set_process(&self, name: &Name, pid: i32, started: u64) -> Result<(), Error> {
        let sql = "UPDATE containers SET pid=?2, started=?3 WHERE name=?1";
        self.run(sql, (name.as_str(), pid, started as i64)).map(drop)
    }

    /// Records that a container's command ended.
    ///
    /// # Errors
    /// A database error.
    pub fn set_exited(&self, name: &Name, code: Option<i32>, when: u64) -> Result<(), Error> {
        let sql = "UPDATE containers SET phase='exited', exit_code=?2, finished=?3 WHERE name=?1";
        self.run(sql, (name.as_str(), code, when as i64)).map(drop)
    }

    /// Corrects the exit status of a container, where it is known better.
    ///
    /// # Errors
    /// A database error.
    pub fn set_exit_code(&self, name: &Name, code: i32) -> Result<(), Error> {
        self.run(
            "UPDATE containers SET exit_code=?2 WHERE name=?1",
            (name.as_str(), code),
        )
        .map(drop)
    }

    /// From now on what policies need for a container is in the kernel, or being put there.
    ///
    /// # Errors
    /// A database error.
    pub fn set_governed(&self, name: &Name) -> Result<(), Error> {
        let sql = "UPDATE endpoints SET governed=1 WHERE container=?1";
        self.run(sql, [name.as_str()]).map(drop)
    }

    /// The containers of which policies speak; they go with their endpoints.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn governed(&self) -> Result<BTreeSet<Name>, Error> {
        let sql = "SELECT container FROM endpoints WHERE governed";
        let rows: Vec<String> = self.rows(sql, [], |r| r.get(0))?;
        let names = rows.iter().map(|n| n.parse().map_err(|e| self.record(e)));
        names.collect()
    }

    /// Gives a container other labels, which links and policies may name.
    ///
    /// # Errors
    /// A database error.
    pub fn set_labels(&self, name: &Name, labels: &BTreeMap<String, String>) -> Result<(), Error> {
        let text = serde_json::to_string(labels).map_err(|e| self.record(e))?;
        for table in [
            "containers SET labels=?2 WHERE name=?1",
            "endpoints SET labels=?2 WHERE container=?1",
        ] {
            self.run(&format!("UPDATE {table}"), (name.as_str(), &text))?;
        }
        self.run("DELETE FROM labels WHERE container=?1", [name.as_str()])?;
        for (k, v) in labels {
            self.run("INSERT INTO labels VALUES (?1, ?2, ?3)", (k, v, name.as_str()))?;
        }
        Ok(())
    }

    /// Forgets a container; its endpoint must be gone.
    ///
    /// # Errors
    /// A database error.
    pub fn remove_container(&self, name: &Name) -> Result<(), Error> {
        self.run("DELETE FROM labels WHERE container=?1", [name.as_str()])?;
        self.run("DELETE FROM aliases WHERE container=?1", [name.as_str()])?;
        self.noting(&PORT, "container=?1", &[&name.as_str()], || {
            self.run("DELETE FROM published WHERE container=?1", [name.as_str()])
        })?;
        self.run(
            "DELETE FROM meta WHERE key=?2||(SELECT id FROM containers WHERE name=?1)",
            (name.as_str(), PAUSED),
        )?;
        self.run("DELETE FROM containers WHERE name=?1", [name.as_str()])
            .map(drop)
    }

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
