//! What the kernel should hold, from what exists.
//!
//! Pure. Each function returns the objects of one thing, so a command that adds one
//! container plans for that container alone; `everything` is their union, for `fsck`
//! and for healing.

mod endpoint;
mod foundation;
mod network;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use super::elements;
use super::names::Names;
use super::object::{Object, Place, State};
use super::set::{Element, Field, SetName, Table};
use crate::model::{Family, Name, Network, Router, World};

pub use endpoint::{endpoint, published};
pub use foundation::{BRIDGE_FILTERS, foundation, host_policy, router_policy, router_values, way_out};
pub use network::{bridge, bridge_mac, host_addresses, lone_host_addresses, net, side};

/// The gateway of every IPv6 container: link-local, so it is the same on each bridge.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// What the plan must know of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The families the kernel has.
    pub families: Vec<Family>,
    /// Bytes, for the uplink.
    pub mtu: u32,
    /// Host interfaces that take IPv6 router advertisements: these must go on doing so
    /// when the host starts to forward (`accept_ra` 2).
    pub accepts_ra: Vec<String>,
    /// `br_netfilter` is loaded. Our bridges have no use for it, and in a new namespace it takes every frame.
    pub filters_frames: bool,
}

/// Where a network's objects are made.
#[must_use]
pub fn place(network: &Network) -> Place {
    match network.router {
        Router::Own => Place::Router,
        Router::Host => Place::Host,
    }
}

fn sysctl(at: &Place, key: &str, value: &str) -> Object {
    Object::Sysctl {
        at: at.clone(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

/// A range as an element of a set of intervals.
pub(super) fn interval(at: &Place, table: Table, set: SetName, range: IpNetwork) -> Object {
    let mut e = Element::new(at, table, set, vec![Field::Ip(range.network())]);
    e.end = Some(vec![Field::Ip(range.broadcast())]);
    Object::Element(e)
}

/// Everything, for a world whose containers live in these namespaces. `bridges` are the
/// numbers of the bridges that exist although no endpoint is on them yet.
#[must_use]
pub fn everything(
    names: &Names,
    machine: &Machine,
    world: &World,
    sandboxes: &BTreeMap<Name, PathBuf>,
    bridges: &BTreeMap<u32, Name>,
) -> State {
    let mut s = State::new();
    let own = world.networks.values().any(|n| n.router == Router::Own);
    let hosted = world.networks.values().any(|n| n.router == Router::Host);
    let lone = lone_host_addresses(world);
    if own {
        s.extend(foundation(names, machine));
        s.extend(host_addresses(names, &Place::Router, &lone));
    }
    if hosted {
        s.extend(way_out(names, machine));
        s.extend(host_addresses(names, &Place::Host, &lone));
    }
    for n in world.networks.values() {
        s.extend(net(names, n));
    }
    for (n, owner) in bridges {
        if let Some(network) = world.networks.get(owner).filter(|n| !n.foreign) {
            s.extend(bridge(names, network, *n));
        }
    }
    for e in world.endpoints.values() {
        if let (Some(network), Some(path)) = (world.networks.get(&e.network), sandboxes.get(&e.container)) {
            s.extend(side(names, network, e));
            s.extend(endpoint(names, network, e, &Place::Sandbox(path.clone())));
            s.extend(elements::reach_of(names, world, e));
        }
    }
    s.extend(elements::all_pairs(world));
    s.extend(world.published.iter().flat_map(|p| published(world, p)));
    s
}
