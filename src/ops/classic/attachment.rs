//! Attachments of `bridge`, `portmap` and `firewall`, in the host's namespace.
//!
//! Each plugin has one for an interface of a container: a row in the store, with the set elements
//! that it wants. Attachments may want equal elements, so that what they share changes under
//! a lock, and an element goes with the last that wants it. DEL needs nothing but the row.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Key;
use crate::kernel::linux::cookie_of;
use crate::model::Family;
use crate::ops::cni;
use crate::ops::collect::{Census, Found};
use crate::ops::context::{Moat, Where};
use crate::ops::error::{Error, Result};
use crate::ops::fault;
use crate::plan::{Place, State};
use crate::store::Stage;

/// The plugins whose attachments these are.
pub(super) const PLUGINS: [&str; 3] = ["bridge", "portmap", "firewall"];

/// The record of an attachment that is nothing but elements.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Seen {
    /// Which namespace was at the path, of those that may have it one after the other.
    cookie: Option<String>,
}

/// What GC finds of a plugin's network.
///
/// # Errors
/// When the store cannot be read.
pub fn stale(place: &Where, plugin: &str, network: &str, census: &Census) -> Result<Found> {
    let moat = cni::open(place)?;
    let mut found = moat.take_census(plugin, network, census)?;
    // One that is being added is not stale, and whoever removes one does it.
    let mut kept = Vec::new();
    for key in found.stale {
        let row = moat.store.attachment(&key)?;
        kept.extend(row.filter(|a| a.stage == Stage::Added).map(|a| a.key));
    }
    found.stale = kept;
    Ok(found)
}

/// Whether ADD can work here.
///
/// # Errors
/// What is missing.
pub fn ready(place: &Where) -> Result<()> {
    let mut moat = cni::open(place)?;
    moat.kernel.generation(&Place::Host)?;
    Ok(())
}

/// Whether the host forwards for bridges that are gateways, or will.
///
/// # Errors
/// With code 51 when containers are attached that reach nothing.
pub fn forwards(place: &Where) -> Result<()> {
    let moat = cni::open(place)?;
    let mut used = Vec::new();
    for shown in moat.shown_classic()? {
        used.extend(shown.record.addresses.iter().map(|a| Family::of(a.ip())));
    }
    cni::forwards(&used)
}

/// Whether an attachment is recorded and all it wants is in the kernel.
///
/// # Errors
/// What is missing.
pub fn check(place: &Where, key: &Key) -> Result<()> {
    let mut moat = cni::open(place)?;
    moat.has_wanted(key)
}

/// Takes away everything that an attachment of `portmap` or `firewall` wants; what is gone
/// already is no matter.
///
/// # Errors
/// What would not go; the next command tries again.
pub fn remove(place: &Where, key: &Key) -> Result<()> {
    let mut moat = cni::open(place)?;
    let _lock = moat.locks.classic()?;
    moat.drop_attachment(key)
}

impl Moat {
    /// Records an attachment of `portmap` or `firewall` in place of an earlier one, and makes what
    /// it wants; with nothing left behind when that fails.
    pub(super) fn attach_elements(
        &mut self,
        key: &Key,
        netns: Option<&Path>,
        elements: &State,
    ) -> Result<()> {
        self.drop_attachment(key)?;
        let seen = Seen {
            cookie: netns.and_then(|p| cookie_of(p).ok().flatten()),
        };
        let seen = serde_json::to_string(&seen).unwrap_or_default();
        let netns = netns.map(|p| p.display().to_string());
        self.record(key, Stage::Adding, netns.as_deref(), &seen, Some(elements))?;
        let done = fault::step("making the elements")
            .and_then(|()| self.make_wanted(elements))
            .and_then(|()| self.record(key, Stage::Added, netns.as_deref(), &seen, None));
        done.map_err(|e| self.took_back(key, e))
    }

    /// The error of an attachment that was taken back, or could not be.
    pub(super) fn took_back(&mut self, key: &Key, e: Error) -> Error {
        match self.drop_attachment(key) {
            Ok(()) => e,
            Err(also) => e.noting(&format!("undoing it failed too ({also})")),
        }
    }
}
