//! STATUS: would ADD work now?

use super::{NetworkWish, network, refused};
use crate::kernel::linux::nft_program;
use crate::model::Name;
use crate::ops::context::{Moat, Where};
use crate::ops::error::Result;
use crate::plan::Place;

/// The code of "cannot ADD".
const NOT_READY: u32 = 50;

/// Whether a container could be attached to a network.
///
/// # Errors
/// Why not, with code 50.
pub fn status(place: &Where, name: &Name, wish: &NetworkWish, own_addresses: bool) -> Result<()> {
    ready(place, name, wish, own_addresses).map_err(|e| {
        e.while_doing(format!("attach containers to `{name}`"))
            .coded(NOT_READY)
    })
}

fn ready(place: &Where, name: &Name, wish: &NetworkWish, own_addresses: bool) -> Result<()> {
    let mut moat = super::open(place)?;
    forwards()?;
    nft_works(&mut moat)?;
    moat.learn_host()?;
    // As ADD would: found or made, and rolled back.
    moat.store.begin()?;
    let network = network::find_or_make(&moat, &moat.store, name, wish);
    let taken = moat.store.attached_count(name);
    moat.store.roll_back()?;
    let (Some(network), taken) = (network?, u128::from(taken?)) else {
        return Ok(());
    };
    if !own_addresses {
        return Ok(());
    }
    let dead = moat.detached()?.len() as u128;
    match network
        .subnets
        .iter()
        .find(|s| taken.saturating_sub(dead) >= s.capacity())
    {
        Some(full) => {
            let what = format!("no address is free in {full}: {taken} are in use");
            Err(refused(
                what,
                "remove containers, or give the network a larger subnet",
            ))
        }
        None => Ok(()),
    }
}

/// Forwarding is on, or may be turned on.
fn forwards() -> Result<()> {
    let path = "/proc/sys/net/ipv4/ip_forward";
    let on = std::fs::read_to_string(path).is_ok_and(|v| v.trim() == "1");
    if on || std::fs::OpenOptions::new().write(true).open(path).is_ok() {
        return Ok(());
    }
    let what = format!("{path} is 0 and cannot be written: nothing would be forwarded");
    Err(refused(
        what,
        "mount /proc/sys writable, or set net.ipv4.ip_forward=1 for moat",
    ))
}

/// The kernel has nftables, and `nft` is there to load a ruleset.
fn nft_works(moat: &mut Moat) -> Result<()> {
    moat.kernel.generation(&Place::Host)?;
    if nft_program().is_file() {
        return Ok(());
    }
    Err(refused(
        "the program `nft` is not on PATH",
        "install the package nftables",
    ))
}
