//! What changed of links, port maps and networks, until the audit log has it.
//!
//! A change is noted in the transaction that makes it, so no command that dies loses one.
//! Whatever touches these tables does it within [`Store::noting`].

use std::collections::BTreeMap;

use rusqlite::ToSql;

use super::{Error, Store};

/// A change, as the audit log is to have it. The texts but `what` and `object` are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Never given twice in one database.
    pub id: i64,
    /// Seconds since 1970.
    pub at: u64,
    pub who: String,
    pub what: String,
    pub object: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// A kind of row whose changes are noted.
pub(super) struct Kind {
    what: &'static str,
    table: &'static str,
    /// SQL for which one it is, and for what is to be known of it.
    object: &'static str,
    state: &'static str,
}

pub(super) const LINK: Kind = Kind {
    what: "link",
    table: "links",
    object: "from_end || ' -> ' || to_end || ' ' || service",
    state: "json_object('expires', expires, 'network', network)",
};

pub(super) const PORT: Kind = Kind {
    what: "port",
    table: "published",
    object: "ifnull(host_ip, '*') || ' ' || host_port || '/' || proto",
    state: "json_object('container', container, 'port', port)",
};

pub(super) const NETWORK: Kind = Kind {
    what: "network",
    table: "networks",
    object: "name",
    state: "json",
};

/// Port maps and isolation of the plugins of reference names.
pub(super) const ELEMENT: Kind = Kind {
    what: "element",
    table: "elements",
    object: "owner || ' ' || key",
    state: "json",
};

/// How many changes wait at most; the oldest go then.
const WAITING: i64 = 20_000;

impl Store {
    /// From now on what this process changes is noted as this one's: a JSON object.
    pub fn note_changes_of(&mut self, who: String) {
        self.who = Some(who);
    }

    /// Does something to rows of this kind that meet a condition, and notes what that changed.
    pub(super) fn noting<T>(
        &self,
        kind: &Kind,
        condition: &str,
        params: &[&dyn ToSql],
        change: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(who) = &self.who else { return change() };
        if self.db.is_autocommit() {
            return self.write(|s| s.noting(kind, condition, params, change));
        }
        let Kind {
            what,
            table,
            object,
            state,
        } = kind;
        let sql = format!("SELECT {object}, {state} FROM {table} WHERE {condition}");
        let look = || -> Result<BTreeMap<String, String>, Error> {
            let rows = self.rows(&sql, params, |r| Ok((r.get(0)?, r.get(1)?)))?;
            Ok(rows.into_iter().collect())
        };
        let mut before = look()?;
        let value = change()?;
        let mut differ = Vec::new();
        for (object, after) in look()? {
            let was = before.remove(&object);
            if was.as_ref() != Some(&after) {
                differ.push((object, was, Some(after)));
            }
        }
        differ.extend(before.into_iter().map(|(object, was)| (object, Some(was), None)));
        for (object, before, after) in differ {
            self.run(
                "INSERT INTO changes (at, who, what, object, before, after) VALUES (unixepoch(), ?1, ?2, ?3, ?4, ?5)",
                (who, what, object, before, after),
            )?;
        }
        Ok(value)
    }

    /// Whether changes wait for the log.
    ///
    /// # Errors
    /// A database error.
    pub fn has_changes(&self) -> Result<bool, Error> {
        let found: Vec<i64> = self.rows("SELECT id FROM changes LIMIT 1", [], |r| r.get(0))?;
        Ok(!found.is_empty())
    }

    /// The changes that wait for the log, the oldest first.
    ///
    /// # Errors
    /// A database error.
    pub fn changes(&self) -> Result<Vec<Change>, Error> {
        let sql = "SELECT id, at, who, what, object, before, after FROM changes ORDER BY id";
        self.rows(sql, [], |r| {
            Ok(Change {
                id: r.get(0)?,
                at: r.get::<_, i64>(1)?.max(0) as u64,
                who: r.get(2)?,
                what: r.get(3)?,
                object: r.get(4)?,
                before: r.get(5)?,
                after: r.get(6)?,
            })
        })
    }

    /// The log has all changes up to this one.
    ///
    /// # Errors
    /// A database error.
    pub fn forget_changes(&self, up_to: i64) -> Result<(), Error> {
        self.run("DELETE FROM changes WHERE id<=?1", [up_to]).map(drop)
    }

    /// Drops the oldest changes beyond what may wait; how many that were.
    ///
    /// # Errors
    /// A database error.
    pub fn drop_old_changes(&self) -> Result<usize, Error> {
        let sql = "DELETE FROM changes WHERE id<=(SELECT max(id) FROM changes)-?1";
        self.run(sql, [WAITING])
    }
}
