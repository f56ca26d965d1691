//! Plugin type `bandwidth`: limits the rates of the host's end of a container's veth pair.
//!
//! A row in the store says which interface and which IFB, before the first of them is touched.
//! DEL needs nothing else; without a row it takes the IFB away that the reference plugin would
//! have made, whose name follows from network and container.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};

use super::Key;
use crate::kernel::linux::limit::Limited;
use crate::model::Mac;
use crate::ops::collect::Census;
use crate::ops::context::{Moat, Where, now};
use crate::ops::error::{Error, Result};
use crate::ops::fault;
use crate::plan::Place;
use crate::sandbox::is_alive;
use crate::store::{Attachment, Stage, Store};

pub use crate::kernel::linux::limit::Limit;

/// The plugin's name in the store.
pub const PLUGIN: &str = "bandwidth";

/// What the container may receive and send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub ingress: Option<Limit>,
    pub egress: Option<Limit>,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The host's end, and its index: another interface may get the name.
    iface: String,
    index: u32,
    ifb: String,
}

/// Limits the host's end of the container's interface; it must be among `on_host`. The IFB, if
/// there is one, with its MAC.
///
/// # Errors
/// No such end, or the kernel refuses; then nothing is left behind.
pub fn add(
    place: &Where,
    key: &Key,
    netns: &Path,
    on_host: &[&str],
    limits: Limits,
) -> Result<Option<(String, Mac)>> {
    let mut moat = opened(place)?;
    if let Some(before) = moat.store.attachment(key)? {
        moat.take_away(&before)?;
    }
    let (iface, index) = host_end(&mut moat, netns, &key.ifname, on_host)?;
    let attachment = moat.store.write(|store| -> Result<Attachment> {
        let ifb = free_name(store, key)?;
        let record = Record { iface, index, ifb };
        let made = moat.attachment(key, netns, &record);
        store.put_attachment(&made)?;
        Ok(made)
    })?;
    let record = record_of(&attachment)?;
    let done = fault::step("limiting an interface")
        .and_then(|()| moat.make(&record, limits))
        .and_then(|ifb| fault::step("recording limits").map(|()| ifb));
    let ifb = match done {
        Ok(ifb) => ifb,
        Err(e) => {
            return Err(match moat.take_away(&attachment) {
                Ok(()) => e,
                Err(left) => e.noting(&format!("undoing it failed, the next call tries again: {left}")),
            });
        }
    };
    moat.store.put_attachment(&Attachment {
        stage: Stage::Added,
        ..attachment
    })?;
    Ok(ifb)
}

/// Takes the limits away.
///
/// # Errors
/// When they would not go; the next call tries again.
pub fn del(place: &Where, key: &Key) -> Result<()> {
    let mut moat = opened(place)?;
    if let Some(attachment) = moat.store.attachment(key)? {
        return moat.take_away(&attachment);
    }
    let ifb = ifb_name(&[&key.network, &key.container]);
    if !holds(&moat.store, key, &ifb)? {
        moat.kernel.remove_ifb(&Place::Host, &ifb)?;
    }
    Ok(())
}

/// Whether all limits are as wanted.
///
/// # Errors
/// What is missing or other.
pub fn check(place: &Where, key: &Key, netns: &Path, on_host: &[&str], limits: Limits) -> Result<()> {
    let mut moat = opened(place)?;
    let (iface, _) = host_end(&mut moat, netns, &key.ifname, on_host)?;
    let ifb = match moat.store.attachment(key)? {
        Some(attachment) => record_of(&attachment)?.ifb,
        None => ifb_name(&[&key.network, &key.container]),
    };
    let of = limited(&iface, &ifb);
    match moat.kernel.limits_amiss(of, limits.ingress, limits.egress)? {
        None => Ok(()),
        Some(words) => Err(Error::Amiss(words)),
    }
}

/// Takes the limits of a network's attachments away that nobody wants any more.
///
/// # Errors
/// The first that would not go, after all were tried.
pub fn gc(place: &Where, network: &str, census: &Census) -> Result<()> {
    let mut moat = opened(place)?;
    let mut first = Ok(());
    for key in moat.take_census(PLUGIN, network, census)?.stale {
        let row = moat.store.attachment(&key)?;
        // One that is being added or removed has somebody who does it.
        if let Some(row) = row.filter(|a| a.stage == Stage::Added) {
            first = first.and(moat.take_away(&row));
        }
    }
    first
}

/// The world, with what dead processes left taken away.
fn opened(place: &Where) -> Result<Moat> {
    let mut moat = Moat::open(place)?;
    let mut left = moat.store.unfinished_attachments()?;
    left.retain(|a| a.key.plugin == PLUGIN && !is_alive(a.owner.0, a.owner.1));
    for attachment in left {
        moat.take_away(&attachment)?;
    }
    Ok(moat)
}

impl Moat {
    fn attachment(&self, key: &Key, netns: &Path, record: &Record) -> Attachment {
        Attachment {
            key: key.clone(),
            stage: Stage::Adding,
            owner: self.me,
            netns: Some(netns.display().to_string()),
            created: now(),
            caller: self.caller.clone(),
            record: serde_json::json!(record).to_string(),
        }
    }

    fn make(&mut self, record: &Record, limits: Limits) -> Result<Option<(String, Mac)>> {
        let of = limited(&record.iface, &record.ifb);
        self.kernel.limit(of, limits.ingress, limits.egress)?;
        if limits.egress.is_none() {
            return Ok(None);
        }
        let ifb = self.kernel.iface(&Place::Host, &record.ifb)?;
        let mac = ifb.and_then(|i| i.tuning.mac);
        Ok(mac.map(|mac| (record.ifb.clone(), mac)))
    }

    fn take_away(&mut self, attachment: &Attachment) -> Result<()> {
        self.store.put_attachment(&Attachment {
            stage: Stage::Removing,
            owner: self.me,
            ..attachment.clone()
        })?;
        fault::step("taking limits away")?;
        let record = record_of(attachment)?;
        let found = self.kernel.iface(&Place::Host, &record.iface)?;
        if found.is_some_and(|i| i.index == record.index) {
            self.kernel.unlimit(limited(&record.iface, &record.ifb))?;
        } else {
            self.kernel.remove_ifb(&Place::Host, &record.ifb)?;
        }
        self.store.remove_attachment(&attachment.key)?;
        Ok(())
    }
}

/// The host's end of a container's pair, and its index.
fn host_end(moat: &mut Moat, netns: &Path, ifname: &str, on_host: &[&str]) -> Result<(String, u32)> {
    let inside = moat.kernel.iface(&Place::Sandbox(netns.to_owned()), ifname)?;
    let missing = || Error::Refused {
        what: format!(
            "container interface {ifname} has no veth peer among the host interfaces of prevResult"
        ),
        hint: "limits need a plugin before that makes a veth pair and lists both ends".into(),
    };
    let inside = inside.ok_or_else(missing)?;
    for name in on_host {
        let outside = moat.kernel.iface(&Place::Host, name)?;
        // Indexes of two namespaces may be equal by chance: each must name the other.
        if let Some(outside) =
            outside.filter(|o| inside.peer == Some(o.index) && o.peer == Some(inside.index))
        {
            return Ok(((*name).to_owned(), outside.index));
        }
    }
    Err(missing())
}

fn limited<'a>(iface: &'a str, ifb: &'a str) -> Limited<'a> {
    Limited {
        at: &Place::Host,
        iface,
        ifb,
    }
}

fn record_of(attachment: &Attachment) -> Result<Record> {
    serde_json::from_str(&attachment.record).map_err(|e| Error::Refused {
        what: format!(
            "the record of container {} cannot be read: {e}",
            attachment.key.container
        ),
        hint: "`moat fsck --fix` begins anew".into(),
    })
}

/// The reference's name, unless another interface of the same container has it: the reference
/// does not tell those apart.
fn free_name(store: &Store, key: &Key) -> Result<String> {
    let name = ifb_name(&[&key.network, &key.container]);
    if holds(store, key, &name)? {
        return Ok(ifb_name(&[&key.network, &key.container, &key.ifname]));
    }
    Ok(name)
}

/// Whether another interface of the container has that IFB.
fn holds(store: &Store, key: &Key, ifb: &str) -> Result<bool> {
    for other in store.attachments_of(PLUGIN, &key.network, &key.container)? {
        if other.key.ifname != key.ifname && record_of(&other)?.ifb == ifb {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `bwp` and the start of a SHA-512 sum, 15 characters (`pkg/utils/utils.go` of the reference).
fn ifb_name(of: &[&str]) -> String {
    let sum = Sha512::digest(of.concat().as_bytes());
    let digits = sum.iter().take(6).map(|b| format!("{b:02x}"));
    format!("bwp{}", digits.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf dummyabc | sha512sum`.
    #[test]
    fn the_name_is_that_of_the_reference() {
        assert_eq!(ifb_name(&["dummy", "abc"]), "bwp1a6d921a0895");
    }
}
