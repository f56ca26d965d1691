//! Links.

use super::changes::LINK;
use super::{Error, Store};
use rusqlite::ToSql;

use crate::model::{End, Link, Name, Service};

/// A link with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    pub id: i64,
    pub link: Link,
}

/// One link, by its ends and its service.
const EXACTLY: &str = "from_end=?1 AND to_end=?2 AND service=?3";

const COLUMNS: &str = "id, from_end, to_end, service, expires";

type Raw = (i64, String, String, String, Option<i64>);

fn raw(r: &rusqlite::Row<'_>) -> rusqlite::Result<Raw> {
    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
}

/// A service as it is stored; the inverse of [`read_service`].
fn written(service: Service) -> String {
    service.to_string()
}

fn read_service(s: &str) -> Result<Service, crate::model::ServiceError> {
    if s == "any" { Ok(Service::Any) } else { s.parse() }
}

impl Store {
    fn read_link(&self, (id, from, to, service, expires): Raw) -> Result<LinkRow, Error> {
        let end = |s: &str| s.parse::<End>().map_err(|e| self.record(e));
        let service = read_service(&service).map_err(|e| self.record(e))?;
        let link = Link {
            from: end(&from)?,
            to: end(&to)?,
            service,
            expires: expires.map(|e| e as u64),
        };
        Ok(LinkRow { id, link })
    }

    /// Records a link; one that exists gets the new end.
    ///
    /// # Errors
    /// A database error.
    pub fn add_link(&self, link: &Link) -> Result<(), Error> {
        let (from, to, service) = (link.from.to_string(), link.to.to_string(), written(link.service));
        let expires = link.expires.map(|e| e as i64);
        self.noting(&LINK, EXACTLY, &[&from, &to, &service], || {
            self.run(
                "INSERT INTO links (from_end, to_end, service, expires) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET expires=excluded.expires, network=NULL",
                (&from, &to, &service, expires),
            )
            .map(drop)
        })
    }

    /// Records a link that a network's configuration asks for, unless there is one. Whether
    /// there was none.
    ///
    /// # Errors
    /// A database error.
    pub fn add_network_link(&self, link: &Link, network: &Name) -> Result<bool, Error> {
        let (from, to, service) = (link.from.to_string(), link.to.to_string(), written(link.service));
        let added = self.noting(&LINK, EXACTLY, &[&from, &to, &service], || {
            self.run(
                "INSERT INTO links (from_end, to_end, service, network) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
                (&from, &to, &service, network.as_str()),
            )
        })?;
        Ok(added > 0)
    }

    /// Forgets the links between two ends: of one service, or all of them. How many there were.
    ///
    /// # Errors
    /// A database error.
    pub fn remove_links(&self, from: &End, to: &End, service: Option<Service>) -> Result<usize, Error> {
        let (from, to) = (from.to_string(), to.to_string());
        match service {
            Some(s) => self.delete_links(EXACTLY, &[&from, &to, &written(s)]),
            None => self.delete_links("from_end=?1 AND to_end=?2", &[&from, &to]),
        }
    }

    /// All links, in the order in which they were made.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn links(&self) -> Result<Vec<LinkRow>, Error> {
        let rows = self.rows(&format!("SELECT {COLUMNS} FROM links ORDER BY id"), [], raw)?;
        rows.into_iter().map(|r| self.read_link(r)).collect()
    }

    /// The links that have one of these ends on either side.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn links_with(&self, ends: &[End]) -> Result<Vec<LinkRow>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM links WHERE from_end=?1 UNION SELECT {COLUMNS} FROM links WHERE to_end=?1"
        );
        let mut out: Vec<LinkRow> = Vec::new();
        for end in ends {
            for r in self.rows(&sql, [end.to_string()], raw)? {
                out.push(self.read_link(r)?);
            }
        }
        out.sort_by_key(|l| l.id);
        out.dedup_by_key(|l| l.id);
        Ok(out)
    }

    /// Forgets the links of a container, by its name.
    ///
    /// # Errors
    /// A database error.
    pub fn remove_links_of(&self, container: &Name) -> Result<usize, Error> {
        self.delete_links("from_end=?1 OR to_end=?1", &[&container.as_str()])
    }

    /// Forgets the links that meet a condition, and notes it.
    pub(super) fn delete_links(&self, condition: &str, params: &[&dyn ToSql]) -> Result<usize, Error> {
        self.noting(&LINK, condition, params, || {
            self.run(&format!("DELETE FROM links WHERE {condition}"), params)
        })
    }

    /// The links whose time is over.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn expire_due(&self, now: u64) -> Result<Vec<LinkRow>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM links WHERE expires IS NOT NULL AND expires<=?1");
        self.rows(&sql, [now as i64], raw)?
            .into_iter()
            .map(|r| self.read_link(r))
            .collect()
    }

    /// Forgets the links whose time is over; what they were.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn expire_links(&self, now: u64) -> Result<Vec<LinkRow>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM links WHERE expires IS NOT NULL AND expires<=?1");
        let rows = self.rows(&sql, [now as i64], raw)?;
        if !rows.is_empty() {
            self.delete_links("expires IS NOT NULL AND expires<=?1", &[&(now as i64)])?;
        }
        rows.into_iter().map(|r| self.read_link(r)).collect()
    }
}
