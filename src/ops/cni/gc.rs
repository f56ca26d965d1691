//! GC: which attachments of a network nobody wants any more.

use super::{Id, PLUGIN, Via, of};
use crate::model::Name;
use crate::ops::context::Where;
use crate::ops::error::Result;

/// The attachments of a network that are not among the valid ones (container and interface):
/// each is to be detached.
///
/// # Errors
/// When the world cannot be opened or the store not be read.
pub fn stale(place: &Where, network: &Name, valid: &[(String, String)]) -> Result<Vec<Id>> {
    let moat = super::open(place)?;
    let rows = moat.store.attachments(Some(PLUGIN), Some(network.as_str()))?;
    let recorded = rows.into_iter().map(|a| Id {
        network: network.clone(),
        container: a.key.container,
        ifname: a.key.ifname,
        via: Via::Cni,
    });
    let containers = moat.store.containers()?;
    let attached = containers
        .iter()
        .filter_map(of)
        .filter(|id| id.network == *network && id.via == Via::Cni);
    let mut all: Vec<Id> = Vec::new();
    for id in recorded.chain(attached) {
        let is_valid = valid
            .iter()
            .any(|(container, ifname)| *container == id.container && *ifname == id.ifname);
        if !is_valid && !all.contains(&id) {
            all.push(id);
        }
    }
    Ok(all)
}
