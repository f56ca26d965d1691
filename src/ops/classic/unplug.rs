//! Taking an attachment of `bridge` away: after DEL, after an ADD that failed or died.

use std::path::Path;

use crate::kernel::linux::Flows;
use crate::ops::cni;
use crate::ops::context::{Moat, Where};
use crate::ops::error::Result;
use crate::ops::fault;
use crate::plan::Place;
use crate::store::{Attachment, Stage};

use super::bridge::Record;
use super::{Key, namespace, refused};

/// An attachment of the same name whose interface is gone was never taken away.
pub(super) fn clear_dead(moat: &mut Moat, key: &Key) -> Result<()> {
    let Some(old) = moat.store.attachment(key)? else {
        return Ok(());
    };
    let record = read(&old);
    if host_end(moat, &record)?.is_some() && old.stage == Stage::Added {
        let what = format!("`{}` is attached to `{}` already", key.container, key.network);
        return Err(refused(what, "DEL takes the earlier attachment away"));
    }
    let _lock = moat.locks.classic()?;
    undo(moat, key)
}

/// A record that cannot be read says nothing.
pub(super) fn read(attachment: &Attachment) -> Record {
    serde_json::from_str(&attachment.record).unwrap_or_default()
}

/// The host's end, if the interface of that name is still the one that was made.
fn host_end(moat: &mut Moat, record: &Record) -> Result<Option<String>> {
    if record.host_veth.is_empty() {
        return Ok(None);
    }
    let seen = moat.kernel.see(&Place::Host, &record.host_veth)?;
    let same = |index: u32| record.index.is_none_or(|i| i == index);
    Ok(seen
        .filter(|i| i.is_veth && same(i.index))
        .map(|_| record.host_veth.clone()))
}

/// Takes an attachment away, as far as it got. Needs the lock.
pub(super) fn undo(moat: &mut Moat, key: &Key) -> Result<()> {
    if let Some(row) = moat.begin_removal(key)? {
        let record = read(&row);
        if let Some(host) = host_end(moat, &record)? {
            moat.kernel.unplug(&Place::Host, &host)?;
        }
        fault::step("forgetting the addresses")?;
        // Their next holders inherit none of their flows.
        let flows: Vec<_> = record.addresses.iter().map(|a| Flows::Of(a.ip())).collect();
        moat.kernel.forget_flows(&Place::Host, &flows)?;
        restore_bridge(moat, key, &record)?;
    }
    moat.end_removal(key)
}

/// A failed ADD leaves no bridge and no gateway address that it made, unless somebody uses it by now.
fn restore_bridge(moat: &mut Moat, key: &Key, record: &Record) -> Result<()> {
    if !record.made_bridge && record.gave.is_empty() {
        return Ok(());
    }
    let others = moat.store.attachments(Some("bridge"), None)?;
    let used = others
        .iter()
        .any(|a| a.key != *key && read(a).bridge == record.bridge);
    let Some(bridge) = moat.kernel.see(&Place::Host, &record.bridge)?.filter(|_| !used) else {
        return Ok(());
    };
    if record.made_bridge && !moat.kernel.has_ports(bridge.index)? {
        return Ok(moat.kernel.unplug(&Place::Host, &record.bridge)?);
    }
    let mut gave = record.gave.iter();
    Ok(gave.try_for_each(|a| moat.kernel.take(&Place::Host, &record.bridge, *a))?)
}

/// Takes an attachment away. What DEL of a delegate needs, if the record says.
///
/// Without a record, an interface of that name in the namespace goes if it is a veth: the
/// reference plugin may have made it.
///
/// # Errors
/// What would not go.
pub fn remove(place: &Where, key: &Key, netns: Option<&Path>) -> Result<Option<serde_json::Value>> {
    let mut moat = cni::open(place)?;
    let _lock = moat.locks.classic()?;
    let row = moat.store.attachment(key)?;
    let record = row.as_ref().map(read).unwrap_or_default();
    undo(&mut moat, key)?;
    if record.host_veth.is_empty()
        && let Some(netns) = netns
    {
        let inside = namespace(netns);
        let alive = moat.kernel.lives(&inside)?;
        if alive && moat.kernel.see(&inside, &key.ifname)?.is_some_and(|i| i.is_veth) {
            moat.kernel.unplug(&inside, &key.ifname)?;
        }
    }
    Ok(record.delegate)
}
