//! Who has which address, and which stretches of addresses are taken: what a directory of
//! leases does not tell without reading all of it.
//!
//! A cache: nothing in it is synced or journalled. A process that dies while it writes leaves
//! the directory changed and the index unsealed, and the next one starts a new file.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use super::{Holder, failed};
use crate::store::Error;

const TABLES: &str = "
    CREATE TABLE seal (token TEXT NOT NULL);
    CREATE TABLE leases (
        ip BLOB PRIMARY KEY, container TEXT NOT NULL, ifname TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX holders ON leases (container, ifname);
    -- Stretches of taken addresses, as long as possible: no two touch.
    CREATE TABLE runs (first BLOB PRIMARY KEY, last BLOB NOT NULL) WITHOUT ROWID;";
const PRAGMAS: &str = "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;";

/// Family and bits, so that addresses sort as numbers do.
type Key = [u8; 17];

pub(super) struct Index {
    db: Connection,
    path: PathBuf,
}

impl Index {
    /// The index that was sealed with this token, if there is one.
    pub fn open(path: &Path, token: &str) -> Option<Self> {
        if !path.exists() {
            return None;
        }
        let db = Connection::open(path).ok()?;
        db.execute_batch(PRAGMAS).ok()?;
        let sealed: String = db.query_row("SELECT token FROM seal", [], |r| r.get(0)).ok()?;
        (sealed == token).then(|| Self {
            db,
            path: path.to_owned(),
        })
    }

    /// Makes an index of these leases in a new file.
    pub fn make(path: &Path, leases: Vec<(IpAddr, Holder)>) -> Result<Self, Error> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(path, e)),
            _ => {}
        }
        let fail = |source| Error::Database {
            path: path.display().to_string(),
            source,
        };
        let db = Connection::open(path).map_err(fail)?;
        db.execute_batch(PRAGMAS).map_err(fail)?;
        let index = Self {
            db,
            path: path.to_owned(),
        };
        index.fill(leases).map_err(fail)?;
        Ok(index)
    }

    fn fill(&self, mut leases: Vec<(IpAddr, Holder)>) -> rusqlite::Result<()> {
        leases.sort_unstable_by_key(|(ip, _)| key(*ip));
        let tx = self.db.unchecked_transaction()?;
        tx.execute_batch(TABLES)?;
        let mut add = tx.prepare("INSERT OR REPLACE INTO leases VALUES (?1, ?2, ?3)")?;
        let mut runs: Vec<(Key, Key)> = Vec::new();
        for (ip, holder) in &leases {
            let ip = key(*ip);
            add.execute((ip, &holder.container, &holder.ifname))?;
            match runs.last_mut() {
                Some((_, last)) if *last == ip || next(last) == Some(ip) => *last = ip,
                _ => runs.push((ip, ip)),
            }
        }
        drop(add);
        for run in runs {
            tx.prepare_cached("INSERT INTO runs VALUES (?1, ?2)")?
                .execute(run)?;
        }
        tx.commit()
    }

    pub fn seal(&self, token: &str) -> Result<(), Error> {
        self.run("DELETE FROM seal", [])?;
        self.run("INSERT INTO seal VALUES (?1)", [token])
    }

    pub fn of(&self, holder: &Holder) -> Result<Vec<IpAddr>, Error> {
        let sql = "SELECT ip FROM leases WHERE container=?1 AND ifname=?2 ORDER BY ip";
        let read = |r: &Row<'_>| r.get(0).map(|k: Key| ip(&k));
        self.db
            .prepare_cached(sql)
            .and_then(|mut q| q.query_map([&holder.container, &holder.ifname], read)?.collect())
            .map_err(|e| self.fail(e))
    }

    /// The first address from `first` to `last` that is in no run.
    pub fn free(&self, first: IpAddr, last: IpAddr) -> Result<Option<IpAddr>, Error> {
        let first = key(first);
        let free = match self.run_of(&first)? {
            Some((_, end)) => next(&end),
            None => Some(first),
        };
        Ok(free.filter(|k| *k <= key(last)).map(|k| ip(&k)))
    }

    pub fn insert(&self, ip: IpAddr, holder: &Holder) -> Result<(), Error> {
        let ip = key(ip);
        self.run(
            "INSERT OR REPLACE INTO leases VALUES (?1, ?2, ?3)",
            (ip, &holder.container, &holder.ifname),
        )?;
        if self.run_of(&ip)?.is_some() {
            return Ok(());
        }
        let before = previous(&ip).map(|k| self.run_of(&k)).transpose()?.flatten();
        let after = next(&ip).map(|k| self.run_of(&k)).transpose()?.flatten();
        let (first, last) = (before.map_or(ip, |r| r.0), after.map_or(ip, |r| r.1));
        if let Some((first, _)) = after {
            self.run("DELETE FROM runs WHERE first=?1", [first])?;
        }
        self.run("INSERT OR REPLACE INTO runs VALUES (?1, ?2)", (first, last))
    }

    pub fn remove(&self, ip: IpAddr) -> Result<(), Error> {
        let ip = key(ip);
        self.run("DELETE FROM leases WHERE ip=?1", [ip])?;
        let Some((first, last)) = self.run_of(&ip)? else {
            return Ok(());
        };
        self.run("DELETE FROM runs WHERE first=?1", [first])?;
        let left = previous(&ip).filter(|k| *k >= first).map(|end| (first, end));
        let right = next(&ip).filter(|k| *k <= last).map(|start| (start, last));
        for run in left.into_iter().chain(right) {
            self.run("INSERT INTO runs VALUES (?1, ?2)", run)?;
        }
        Ok(())
    }

    /// The run that an address is in.
    fn run_of(&self, at: &Key) -> Result<Option<(Key, Key)>, Error> {
        let sql = "SELECT first, last FROM runs WHERE first<=?1 ORDER BY first DESC LIMIT 1";
        let found: Option<(Key, Key)> = self
            .db
            .prepare_cached(sql)
            .and_then(|mut q| q.query_row([at], |r| Ok((r.get(0)?, r.get(1)?))).optional())
            .map_err(|e| self.fail(e))?;
        Ok(found.filter(|(_, last)| last >= at))
    }

    fn run(&self, sql: &str, params: impl Params) -> Result<(), Error> {
        self.db
            .prepare_cached(sql)
            .and_then(|mut q| q.execute(params))
            .map(drop)
            .map_err(|e| self.fail(e))
    }

    fn fail(&self, source: rusqlite::Error) -> Error {
        Error::Database {
            path: self.path.display().to_string(),
            source,
        }
    }

    #[cfg(test)]
    pub fn runs(&self) -> Vec<(IpAddr, IpAddr)> {
        let mut q = self
            .db
            .prepare("SELECT first, last FROM runs ORDER BY first")
            .unwrap();
        let read = |r: &Row<'_>| Ok((ip(&r.get(0)?), ip(&r.get(1)?)));
        q.query_map([], read).unwrap().map(Result::unwrap).collect()
    }
}

fn key(ip: IpAddr) -> Key {
    match ip {
        IpAddr::V4(a) => join(4, a.to_bits().into()),
        IpAddr::V6(a) => join(6, a.to_bits()),
    }
}

fn join(family: u8, bits: u128) -> Key {
    let mut key = [family; 17];
    key[1..].copy_from_slice(&bits.to_be_bytes());
    key
}

fn bits(key: &Key) -> u128 {
    key[1..].iter().fold(0, |n, b| n << 8 | u128::from(*b))
}

fn ip(key: &Key) -> IpAddr {
    match key[0] {
        4 => Ipv4Addr::from_bits(bits(key) as u32).into(),
        _ => Ipv6Addr::from_bits(bits(key)).into(),
    }
}

fn next(key: &Key) -> Option<Key> {
    bits(key).checked_add(1).map(|n| join(key[0], n))
}

fn previous(key: &Key) -> Option<Key> {
    bits(key).checked_sub(1).map(|n| join(key[0], n))
}
