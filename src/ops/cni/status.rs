//! STATUS: would ADD work now?

use super::{NetworkWish, network, refused};
use crate::kernel::linux::nft_program;
use crate::model::{Family, Name};
use crate::ops::context::{Moat, Where};
use crate::ops::error::Result;
use crate::plan::Place;

/// The code of "cannot ADD", and of that where those who are attached are cut off, too.
const NOT_READY: u32 = 50;
const LIMITED: u32 = 51;

/// What lets the host forward, by family.
const FORWARDING: [(Family, &str); 2] = [
    (Family::Ip4, "net/ipv4/ip_forward"),
    (Family::Ip6, "net/ipv6/conf/all/forwarding"),
];

/// Whether a container could be attached to a network.
///
/// # Errors
/// Why not, with code 50 or 51.
pub fn status(place: &Where, name: &Name, wish: &NetworkWish, own_addresses: bool) -> Result<()> {
    ready(place, name, wish, own_addresses).map_err(|e| {
        let code = if e.cni_code() == LIMITED {
            LIMITED
        } else {
            NOT_READY
        };
        e.while_doing(format!("attach containers to `{name}`"))
            .coded(code)
    })
}

fn ready(place: &Where, name: &Name, wish: &NetworkWish, own_addresses: bool) -> Result<()> {
    let mut moat = super::open(place)?;
    let live = moat.store.meta("live")?.is_some();
    forwards(&if live { moat.families() } else { vec![] })?;
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

/// Forwarding is on, or the first ADD can turn it on. It was on in the families that containers
/// use: what somebody turned off since cuts them off as well.
///
/// # Errors
/// With code 51 when containers are cut off.
pub fn forwards(used: &[Family]) -> Result<()> {
    for (family, key) in FORWARDING {
        let path = format!("/proc/sys/{key}");
        // A kernel without the family has no such file.
        let Ok(value) = std::fs::read_to_string(&path) else {
            continue;
        };
        let may_write = || std::fs::OpenOptions::new().write(true).open(&path).is_ok();
        let name = key.replace('/', ".");
        if value.trim() != "0" {
            continue;
        }
        if used.contains(&family) {
            let what = format!("{name} is 0: attached containers reach nothing outside either");
            return Err(refused(what, "`moat fsck --fix` sets it, or `sysctl`").coded(LIMITED));
        }
        if !may_write() {
            let what = format!("{path} is 0 and cannot be written: nothing would be forwarded");
            let hint = format!("mount /proc/sys writable, or set {name}=1 for moat");
            return Err(refused(what, &hint));
        }
    }
    Ok(())
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
