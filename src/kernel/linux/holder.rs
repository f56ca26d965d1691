//! Whose the objects on the host are that bear our names.
//!
//! Names come from a number of 14 bits, so two state roots can have the same. Each of our tables on
//! the host has a chain that says whose it is, there from the first moment because a table is
//! loaded in one transaction; each interface that we make there has the same word as its alias,
//! which a flushed ruleset leaves.

use super::observe::failed;
use super::{Linux, reading};
use crate::kernel::Error;
use crate::plan::{Names, Place, Table};

/// Whose the objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// There are none.
    Nobody,
    /// This world's root.
    Us,
    /// Another root.
    Another,
}

impl Linux {
    /// Whose the objects on the host are that bear our names.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn holder(&mut self) -> Result<Holder, Error> {
        let names = self.names.clone();
        let word = names.owner_word();
        let mut ours = Vec::new();
        for table in [Table::WayOut, Table::Classic] {
            let chains = self.nft(&Place::Host)?.chains(table);
            let chains = chains.map_err(reading("whose the tables are"))?;
            ours.extend(chains.map(|c| c.contains_key(&word)));
        }
        if ours.is_empty() {
            let all = self.rtnl(&Place::Host)?.ifaces();
            let all = all.map_err(failed("the interfaces", &Place::Host))?;
            let named = all.values().filter(|i| names.owns(&i.name));
            ours.extend(named.map(|i| i.alias == word));
        }
        Ok(match ours.iter().all(|own| *own) {
            _ if ours.is_empty() => Holder::Nobody,
            true => Holder::Us,
            false => Holder::Another,
        })
    }

    /// Whether another root's world uses the host's way out, too.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_neighbours(&mut self) -> Result<bool, Error> {
        let own = self.names.way_out();
        let nft = self.nft(&Place::Host)?;
        let all = nft.names(nft.table(Table::WayOut).0);
        let all = all.map_err(reading("whose the tables are"))?;
        Ok(all.iter().any(|name| *name != own && Names::is_way_out(name)))
    }

    /// What an interface that is made at a place has as its alias.
    pub(super) fn alias(&self, at: &Place) -> Option<String> {
        (*at == Place::Host).then(|| self.names.owner_word())
    }
}
