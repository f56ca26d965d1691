//! Set elements of the kernel, and the attachments that want them.
//!
//! The texts mean nothing here: `key` says which elements are the same one in the kernel,
//! `json` is the element.

use super::changes::ELEMENT;
use super::{AttachmentKey, Error, Store};

/// An element that an attachment wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub key: String,
    pub owner: AttachmentKey,
    pub json: String,
}

/// No part may hold a slash: all are checked by the specification's patterns.
fn words(owner: &AttachmentKey) -> String {
    let AttachmentKey {
        plugin,
        network,
        container,
        ifname,
    } = owner;
    format!("{plugin}/{network}/{container}/{ifname}")
}

fn read(words: &str) -> Option<AttachmentKey> {
    let mut parts = words.split('/').map(str::to_owned);
    Some(AttachmentKey {
        plugin: parts.next()?,
        network: parts.next()?,
        container: parts.next()?,
        ifname: parts.next()?,
    })
}

impl Store {
    /// Records that an attachment wants elements: their keys and themselves.
    ///
    /// # Errors
    /// A database error.
    pub fn hold(&self, owner: &AttachmentKey, elements: &[(String, String)]) -> Result<(), Error> {
        let owner = words(owner);
        elements.iter().try_for_each(|(key, json)| {
            let sql = "INSERT OR REPLACE INTO elements VALUES (?1, ?2, ?3)";
            self.noting(&ELEMENT, "key=?1 AND owner=?2", &[key, &owner], || {
                self.run(sql, (key, &owner, json)).map(drop)
            })
        })
    }

    /// Who wants the element of this key.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn holders(&self, key: &str) -> Result<Vec<Held>, Error> {
        self.select_held("SELECT key, owner, json FROM elements WHERE key=?1", [key])
    }

    /// The elements that an attachment wants; with `alone` only those that nobody else does.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn held_by(&self, owner: &AttachmentKey, alone: bool) -> Result<Vec<Held>, Error> {
        let others = "SELECT 1 FROM elements o WHERE o.key=e.key AND o.owner<>e.owner";
        let sql = format!(
            "SELECT key, owner, json FROM elements e WHERE owner=?1 AND (?2 OR NOT EXISTS ({others}))"
        );
        self.select_held(&sql, (words(owner), !alone))
    }

    /// Every element that somebody wants, each once.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn all_held(&self) -> Result<Vec<String>, Error> {
        self.rows("SELECT json FROM elements GROUP BY key", [], |r| r.get(0))
    }

    /// Whether anybody wants any element.
    ///
    /// # Errors
    /// A database error.
    pub fn holds_any(&self) -> Result<bool, Error> {
        let found = self.rows("SELECT 1 FROM elements LIMIT 1", [], |r| r.get::<_, i64>(0))?;
        Ok(!found.is_empty())
    }

    /// An attachment wants an element no more, or (with `None`) none at all.
    ///
    /// # Errors
    /// A database error.
    pub fn release(&self, owner: &AttachmentKey, key: Option<&str>) -> Result<(), Error> {
        let condition = "owner=?1 AND ifnull(?2, key)=key";
        let owner = words(owner);
        self.noting(&ELEMENT, condition, &[&owner, &key], || {
            self.run(&format!("DELETE FROM elements WHERE {condition}"), (&owner, key))
                .map(drop)
        })
    }

    fn select_held(&self, sql: &str, of: impl rusqlite::Params) -> Result<Vec<Held>, Error> {
        let rows = self.rows(sql, of, |r| Ok((r.get(0)?, r.get::<_, String>(1)?, r.get(2)?)))?;
        rows.into_iter()
            .map(|(key, owner, json)| {
                let bad = || self.record(format!("owner `{owner}` of an element"));
                let owner = read(&owner).ok_or_else(bad)?;
                Ok(Held { key, owner, json })
            })
            .collect()
    }
}
