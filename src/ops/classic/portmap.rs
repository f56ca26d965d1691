//! `portmap`: ports of the host that lead to a container.
//!
//! A port belongs to whoever has it while that one's namespace lives; the port of a dead one may be
//! taken over, and its late DEL leaves it alone. What listens on the host is not looked at:
//! podman and nerdctl hold the ports that they publish by listening on them.

use std::path::Path;

use ipnetwork::IpNetwork;

use crate::model::{Family, Proto};
use crate::ops::cni;
use crate::ops::collect::lives;
use crate::ops::context::{Moat, Where};
use crate::ops::error::{Error, Result};
use crate::ops::publish::PortMap;
use crate::plan::classic::{self, Hidden, Mapping};
use crate::plan::{Object, State};
use crate::store::{self, Held};

use super::Key;
use super::want::port_flow;

/// Publishes ports of a container that has these addresses, one of a family at most.
///
/// # Errors
/// A port that somebody else has, or what failed; then nothing is left behind.
pub fn add(
    place: &Where,
    key: &Key,
    netns: Option<&Path>,
    addresses: &[IpNetwork],
    maps: &[Mapping],
    hidden: Hidden,
) -> Result<()> {
    let mut moat = cni::open(place)?;
    let _lock = moat.locks.classic()?;
    let mut wanted = State::new();
    for address in addresses {
        wanted.extend(classic::published(*address, maps, hidden));
        if hidden != Hidden::Nobody
            && let Some(iface) = moat.kernel.way_to(address.ip())
        {
            wanted.extend(classic::guard(&iface));
        }
    }
    for map in maps {
        if let Some(holder) = moat.store.publisher(map.proto, map.host_port, map.host_ip)? {
            return Err(taken(map.host_port, map.proto, holder));
        }
    }
    let mut lost = Vec::new();
    for object in &wanted {
        lost.extend(claim(&mut moat, Some(key), object)?);
    }
    moat.attach_elements(key, netns, &wanted)?;
    for Held { key, owner, .. } in lost {
        moat.store.release(&owner, Some(&key))?;
    }
    let flows: Vec<_> = wanted.iter().filter_map(port_flow).collect();
    let hosts = moat.host_addresses()?;
    // Flows that went elsewhere before; that they stay is no reason to fail.
    let _ = moat.kernel.forget_port_flows(&flows, Some(&hosts));
    Ok(())
}

/// Whether these ports are published, all of them and to these addresses.
///
/// # Errors
/// What is missing.
pub fn check(place: &Where, key: &Key, addresses: &[IpNetwork], maps: &[Mapping]) -> Result<()> {
    let mut moat = cni::open(place)?;
    moat.has_wanted(key)?;
    let wanted = addresses
        .iter()
        .flat_map(|a| classic::published(*a, maps, Hidden::Nobody));
    for object in wanted {
        if let Object::Element(e) = &object
            && !moat.has(&object)
        {
            let what = format!("the port map is missing: {}", e.identity());
            return Err(Error::Amiss(what));
        }
    }
    Ok(())
}

/// Whether no attachment has these ports of the host.
///
/// # Errors
/// The first port that is taken.
pub(in crate::ops) fn check_free(moat: &mut Moat, maps: &[PortMap]) -> Result<()> {
    // Which container address they would lead to does not matter.
    let addresses = Family::BOTH.map(|f| IpNetwork::from(f.everything().ip()));
    for map in maps {
        let each: Vec<Mapping> = (map.host.first..=map.host.last)
            .map(|host_port| Mapping {
                host_ip: map.host_ip,
                host_port,
                port: host_port,
                proto: map.proto,
            })
            .collect();
        for object in addresses
            .iter()
            .flat_map(|a| classic::published(*a, &each, Hidden::Nobody))
        {
            claim(moat, None, &object)?;
        }
    }
    Ok(())
}

/// The dead holders of a port, who lose it.
fn claim(moat: &mut Moat, key: Option<&Key>, object: &Object) -> Result<Vec<Held>> {
    let (Object::Element(e), Some(flow)) = (object, port_flow(object)) else {
        return Ok(Vec::new());
    };
    let mut others = moat.store.holders(&e.identity())?;
    others.retain(|h| Some(&h.owner) != key);
    for Held { owner, .. } in &others {
        if moat.store.attachment(owner)?.is_some_and(|a| lives(&a)) {
            let proto = Proto::of_number(flow.proto).unwrap_or(Proto::Tcp);
            let holder = format!("{}/{}", owner.network, owner.container);
            return Err(taken(flow.host_port, proto, holder));
        }
    }
    Ok(others)
}

fn taken(port: u16, proto: Proto, holder: String) -> Error {
    store::Error::PortTaken { port, proto, holder }.into()
}
