//! GC: which attachments of a network go, and which are another runtime's.
//!
//! Runtimes may share one configuration, and each lists only its own attachments as valid. What
//! lives and was asked for with another `CNI_PATH` is somebody else's: it is spared.

use std::collections::BTreeSet;
use std::path::Path;

use super::context::Moat;
use super::error::Result;
use crate::kernel::linux::cookie_of;
use crate::store::{Attachment, AttachmentKey as Key};

/// Container and interface.
pub type Attached = (String, String);

/// `gc` of a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Collect {
    /// What this caller asked for, and what is dead whoever asked for it.
    #[default]
    Own,
    /// Everything that the caller does not list.
    All,
    /// What is dead: for runtimes with one `CNI_PATH`.
    Dead,
}

/// What GC is asked for.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// What must stay.
    pub valid: BTreeSet<Attached>,
    pub collect: Collect,
}

/// What GC found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// To be taken away.
    pub stale: Vec<Key>,
    /// Not listed, and left alone.
    pub spared: Vec<Attached>,
}

impl Census {
    fn lists(&self, key: &Key) -> bool {
        let attached = (key.container.clone(), key.ifname.clone());
        self.valid.contains(&attached)
    }
}

/// Whether the namespace of an attachment is still at its path: the recorded one, if the record
/// says which. One that cannot be looked at counts as there.
pub(super) fn lives(a: &Attachment) -> bool {
    let record: serde_json::Value = serde_json::from_str(&a.record).unwrap_or_default();
    let recorded = record["cookie"].as_str();
    let path = a.netns.as_deref().map(Path::new);
    match path.map(cookie_of) {
        None | Some(Ok(None)) => false,
        Some(Ok(Some(found))) => recorded.is_none_or(|c| c == found),
        Some(Err(_)) => true,
    }
}

impl Moat {
    /// Divides what a plugin has on a network.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn take_census(&self, plugin: &str, network: &str, census: &Census) -> Result<Found> {
        let mut found = Found::default();
        for a in self.store.attachments(Some(plugin), Some(network))? {
            if census.lists(&a.key) {
                continue;
            }
            let spared = match census.collect {
                Collect::All => false,
                Collect::Own => a.caller != self.caller && lives(&a),
                Collect::Dead => lives(&a),
            };
            if spared {
                found.spared.push((a.key.container, a.key.ifname));
            } else {
                found.stale.push(a.key);
            }
        }
        Ok(found)
    }
}
