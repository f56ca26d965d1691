//! Containers and their labels.

use std::collections::{BTreeMap, BTreeSet};

use super::changes::PORT;
use super::{Error, Store};
use crate::model::Name;

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
}
