//! What the reference CNI plugins `bridge`, `portmap` and `firewall` make, in the host's namespace.
//!
//! Each plugin has an attachment for an interface of a container: a row in the store with the
//! set elements that it wants. Attachments may want equal elements, so that what they share
//! changes under a lock, and an element goes with the last that wants it. DEL needs nothing
//! but the row.

pub mod bridge;
pub mod fill;
pub mod firewall;
mod heal;
mod local;
pub mod portmap;
pub mod unplug;
mod want;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::context::{Moat, Where};
use super::error::{Error, Result};
use crate::plan::{Place, State};
use crate::store::Stage;

pub use crate::kernel::linux::RouteWish;
pub use crate::plan::classic::{Hidden, Ingress, Mapping};
pub use crate::store::AttachmentKey as Key;

/// The plugins whose attachments are looked after here.
const PLUGINS: [&str; 3] = ["bridge", "portmap", "firewall"];

/// The namespace at a path.
fn sandbox(path: &Path) -> Place {
    Place::Sandbox(PathBuf::from(path))
}

fn refused(what: String, hint: &str) -> Error {
    Error::Refused {
        what,
        hint: hint.to_owned(),
    }
}

/// The attachments of a plugin's network that are not among the valid ones (container,
/// interface), with their records.
///
/// # Errors
/// When the store cannot be read.
pub fn stale(
    place: &Where,
    plugin: &str,
    network: &str,
    valid: &BTreeSet<(String, String)>,
) -> Result<Vec<(Key, String)>> {
    let moat = Moat::settled(place)?;
    let all = moat.store.attachments(Some(plugin), Some(network))?;
    Ok(all
        .into_iter()
        .filter(|a| !valid.contains(&(a.key.container.clone(), a.key.ifname.clone())))
        // One that is being added is not stale, and whoever removes one does it.
        .filter(|a| a.stage == Stage::Added)
        .map(|a| (a.key, a.record))
        .collect())
}

/// Whether ADD can work here.
///
/// # Errors
/// What is missing.
pub fn ready(place: &Where) -> Result<()> {
    let mut moat = Moat::settled(place)?;
    moat.kernel.generation(&Place::Host)?;
    Ok(())
}

/// Whether an attachment is recorded and all it wants is in the kernel.
///
/// # Errors
/// What is missing.
pub fn check(place: &Where, key: &Key) -> Result<()> {
    let mut moat = Moat::settled(place)?;
    moat.has_wanted(key)
}

/// Takes away everything that an attachment of `portmap` or `firewall` wants; what is gone
/// already is no matter.
///
/// # Errors
/// What would not go; the next command tries again.
pub fn remove(place: &Where, key: &Key) -> Result<()> {
    let mut moat = Moat::settled(place)?;
    let _lock = moat.locks.classic()?;
    moat.drop_attachment(key)
}

impl Moat {
    /// Records an attachment of `portmap` or `firewall` in place of an earlier one, and makes what
    /// it wants; with nothing left behind when that fails.
    fn attach_elements(&mut self, key: &Key, netns: Option<&Path>, elements: &State) -> Result<()> {
        self.drop_attachment(key)?;
        let netns = netns.map(|p| p.display().to_string());
        self.record(key, Stage::Adding, netns.as_deref(), "{}", Some(elements))?;
        let done = super::fault::step("making the elements")
            .and_then(|()| self.make_wanted(elements))
            .and_then(|()| self.record(key, Stage::Added, netns.as_deref(), "{}", None));
        done.map_err(|e| self.took_back(key, e))
    }

    /// The error of an attachment that was taken back, or could not be.
    fn took_back(&mut self, key: &Key, e: Error) -> Error {
        match self.drop_attachment(key) {
            Ok(()) => e,
            Err(also) => e.noting(&format!("undoing it failed too ({also})")),
        }
    }
}
