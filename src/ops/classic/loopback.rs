//! Plugin type `loopback`: sets `lo` of a container up.

use std::path::Path;

use ipnetwork::IpNetwork;

use super::{kernel, sandbox};
use crate::ops::error::{Error, Result};
use crate::plan::Place;

/// The only interface that it is about, whatever `CNI_IFNAME` says.
pub const LO: &str = "lo";

/// Sets it up. Its addresses, as the kernel gives them: those of the families that it has.
///
/// # Errors
/// When the namespace cannot be entered, or `lo` has an address that is no loopback address;
/// then it is as it was.
pub fn up(netns: &Path) -> Result<Vec<IpNetwork>> {
    let (mut kernel, at) = (kernel()?, Place::Sandbox(netns.to_owned()));
    let was_up = is_up(netns)?;
    kernel.set_iface_up(&at, LO, true)?;
    let all = kernel.iface_addresses(&at, LO)?;
    if let Some(foreign) = all.iter().find(|a| !a.ip().is_loopback()) {
        kernel.set_iface_up(&at, LO, was_up)?;
        return Err(Error::Refused {
            what: format!("{LO} has an address that is no loopback address: `{foreign}`"),
            hint: "remove it, or leave loopback out".into(),
        });
    }
    // One of each family, as the reference tells.
    let first = |v4: bool| all.iter().find(move |a| a.is_ipv4() == v4).copied();
    Ok(first(true).into_iter().chain(first(false)).collect())
}

/// Sets it down. Where no namespace is, nothing is up.
///
/// # Errors
/// When the kernel refuses.
pub fn down(netns: Option<&Path>) -> Result<()> {
    match sandbox(netns) {
        Some(at) => Ok(kernel()?.set_iface_up(&at, LO, false)?),
        None => Ok(()),
    }
}

/// Whether it is up.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn is_up(netns: &Path) -> Result<bool> {
    let iface = kernel()?.iface(&Place::Sandbox(netns.to_owned()), LO)?;
    Ok(iface.is_some_and(|i| i.up))
}

/// # Errors
/// When it is down.
pub fn check(netns: &Path) -> Result<()> {
    if is_up(netns)? {
        return Ok(());
    }
    Err(Error::Amiss(format!(
        "interface {LO} is down in {}",
        netns.display()
    )))
}
