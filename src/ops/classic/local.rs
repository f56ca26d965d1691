//! The host's loopback as a client of published ports: `route_localnet`, and for IPv6 a local route
//! to `[::1]`, on the interface that leads to the container.
//!
//! Only while elements guard the interface, so that a neighbour there never reaches what
//! listens on loopback (CVE-2020-8558). IPv6 needs no guard: the kernel drops a packet from
//! the wire that bears `::1` before it looks up a route (`ip6_rcv_core`).

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::ops::context::Moat;
use crate::ops::error::Result;
use crate::plan::{Field, Hop, LOCAL, Object, Place, Plan, SetName, State, Step};

/// The interfaces that elements guard.
fn guarded(elements: &State) -> impl Iterator<Item = &str> {
    elements.iter().filter_map(|o| match o {
        Object::Element(e) if e.set == SetName::Guarded => match e.key.first() {
            Some(Field::Iface(name)) => Some(name.as_str()),
            _ => None,
        },
        _ => None,
    })
}

fn key(iface: &str) -> String {
    format!("net/ipv4/conf/{iface}/route_localnet")
}

fn loopback(iface: &str) -> Object {
    Object::Route {
        at: Place::Host,
        table: LOCAL,
        to: IpNetwork::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        hop: Hop::Local(iface.to_owned()),
    }
}

/// Where the value before ours is kept.
fn before(iface: &str) -> String {
    format!("route_localnet of {iface}")
}

impl Moat {
    /// Lets the host's loopback through to guarded interfaces. Needs the lock.
    pub(super) fn open_localnet(&mut self, wanted: &State) -> Result<()> {
        for iface in guarded(wanted) {
            let value = self.kernel.get_value(&Place::Host, &key(iface))?;
            let Some(value) = value else { continue };
            if self.store.meta(&before(iface))?.is_none() {
                self.store.set_meta(&before(iface), Some(&value))?;
            }
            if value != "1" {
                self.kernel.set_value(&Place::Host, &key(iface), "1")?;
            }
            if self.families().len() > 1 {
                self.apply(&Plan(vec![Step::Add(loopback(iface))]))?;
            }
        }
        Ok(())
    }

    /// Puts interfaces back that are about to lose their guard. Needs the lock.
    pub(super) fn close_localnet(&mut self, gone: &State) -> Result<()> {
        for iface in guarded(gone) {
            let value = self.store.meta(&before(iface))?;
            let exists = self.kernel.see(&Place::Host, iface)?.is_some();
            if exists && let Some(value) = value {
                self.kernel.set_value(&Place::Host, &key(iface), &value)?;
                self.apply(&Plan(vec![Step::Del(loopback(iface))]))?;
            }
            self.store.set_meta(&before(iface), None)?;
        }
        Ok(())
    }
}
