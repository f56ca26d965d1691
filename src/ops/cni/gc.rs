//! GC: which attachments of a network nobody wants any more.

use super::{PLUGIN, Via, of};
use crate::model::Name;
use crate::ops::collect::{Census, Found};
use crate::ops::context::Where;
use crate::ops::error::Result;

/// What GC finds of a network: the stale ones are to be detached, each by itself.
///
/// # Errors
/// When the world cannot be opened or the store not be read.
pub fn stale(place: &Where, network: &Name, census: &Census) -> Result<Found> {
    let moat = super::open(place)?;
    let mut found = moat.take_census(PLUGIN, network.as_str(), census)?;
    // A container whose attachment was lost is nobody's.
    for id in moat.store.containers()?.iter().filter_map(of) {
        let attached = (id.container.clone(), id.ifname.clone());
        let known = census.valid.contains(&attached) || found.spared.contains(&attached);
        let ours = id.network == *network && id.via == Via::Cni;
        if ours && !known && !found.stale.contains(&id.key()) {
            found.stale.push(id.key());
        }
    }
    Ok(found)
}
