//! `firewall`: an ingress policy for the bridge of an attachment.
//!
//! Nothing is accepted here for others: a foreign chain that drops forwarded packets is what
//! `moat doctor` reports.

use std::path::Path;

use crate::ops::cni;
use crate::ops::context::Where;
use crate::ops::error::{Error, Result};
use crate::plan::classic::{self, Ingress};
use crate::plan::{Place, State};

use super::Key;

/// Puts the walls of a policy around a bridge. `hosts` are the attachment's interfaces on the
/// host: isolated, too, as far as they are ports of a bridge.
///
/// # Errors
/// What failed; then nothing is left behind.
pub fn add(
    place: &Where,
    key: &Key,
    netns: Option<&Path>,
    bridge: &str,
    policy: Option<Ingress>,
    hosts: &[String],
) -> Result<()> {
    let mut moat = cni::open(place)?;
    let _lock = moat.locks.classic()?;
    let mut ports = Vec::new();
    if policy == Some(Ingress::Isolated) {
        for host in hosts {
            if moat
                .kernel
                .see(&Place::Host, host)?
                .is_some_and(|i| i.master.is_some())
            {
                ports.push(host.clone());
            }
        }
    }
    let elements = policy.map_or_else(State::new, |p| classic::ingress(bridge, p, &ports));
    moat.attach_elements(key, netns, &elements)?;
    let isolated = ports.iter().try_for_each(|p| moat.kernel.isolate(p));
    isolated.map_err(|e| moat.took_back(key, e.into()))
}

/// Whether the walls stand.
///
/// # Errors
/// What is missing.
pub fn check(place: &Where, key: &Key, policy: Option<Ingress>, hosts: &[String]) -> Result<()> {
    let mut moat = cni::open(place)?;
    moat.has_wanted(key)?;
    if policy != Some(Ingress::Isolated) {
        return Ok(());
    }
    for host in hosts {
        let port = moat.kernel.see(&Place::Host, host)?;
        if port.is_some_and(|p| p.master.is_some() && !p.isolated) {
            let what = format!("the bridge port `{host}` is not isolated");
            return Err(Error::Amiss(what));
        }
    }
    Ok(())
}
