//! The second half of `bridge`: addresses and routes inside, gateways and masquerade outside;
//! and whether all of it is there.

use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;

use crate::kernel::linux::RouteWish;
use crate::model::Mac;
use crate::ops::cni;
use crate::ops::context::{Moat, Where};
use crate::ops::error::{Error, Result};
use crate::ops::fault;
use crate::plan::{MAIN, Place, classic};
use crate::store::Stage;

use super::bridge::Adding;
use super::{Key, namespace, refused};

/// What an attachment gets from its address management.
#[derive(Clone, Debug, Default)]
pub struct Filling {
    /// Addresses with the prefix length of their subnet.
    pub addresses: Vec<IpNetwork>,
    pub routes: Vec<RouteWish>,
    /// What the bridge is to have, as the containers' gateway; the host forwards then.
    pub gateways: Vec<IpNetwork>,
    /// Another address of the bridge gives way to the gateway.
    pub force: bool,
    pub masquerade: bool,
    /// IPv6 addresses are checked for duplicates.
    pub detect: bool,
}

impl Adding {
    /// Gives the container its addresses and sets its interface up.
    ///
    /// # Errors
    /// When the bridge has another address, or the kernel refuses; the caller takes it back.
    pub fn address(&mut self, filling: &Filling) -> Result<()> {
        self.moat.share()?;
        self.record.addresses.clone_from(&filling.addresses);
        let lock = self.moat.locks.classic()?;
        if filling.masquerade {
            self.elements.extend(classic::masquerade(&filling.addresses));
        }
        self.save(Stage::Adding)?;
        fault::step("masquerading")?;
        self.moat.make_wanted(&self.elements)?;
        for gateway in &filling.gateways {
            fault::step("giving the bridge an address")?;
            self.give_bridge(*gateway, filling.force)?;
        }
        self.forward(&filling.gateways)?;
        drop(lock);
        fault::step("filling the container")?;
        self.fill(filling)?;
        self.wait_for_port()?;
        if filling.detect {
            self.wait_for_addresses()?;
        }
        Ok(())
    }

    /// As the reference: one IPv4 address, several IPv6 ones whose subnets do not meet.
    fn give_bridge(&mut self, gateway: IpNetwork, force: bool) -> Result<()> {
        let bridge = self.record.bridge.clone();
        let kernel = &mut self.moat.kernel;
        for (other, _) in kernel.addresses_of(&Place::Host, &bridge)? {
            if other == gateway {
                return Ok(());
            }
            let meet = other.contains(gateway.ip()) || gateway.contains(other.ip());
            let is_link_local = matches!(other.ip(), IpAddr::V6(a) if a.is_unicast_link_local());
            if other.is_ipv4() != gateway.is_ipv4() || (gateway.is_ipv6() && (!meet || is_link_local)) {
                continue;
            }
            if !force {
                let what = format!("`{bridge}` already has an IP address different from {gateway}: {other}");
                return Err(refused(what, "\"forceAddress\": true replaces it"));
            }
            kernel.take(&Place::Host, &bridge, other)?;
        }
        self.record.gave.push(gateway);
        self.save(Stage::Adding)?;
        self.moat.kernel.give(&Place::Host, &bridge, gateway, false)?;
        Ok(())
    }

    fn forward(&mut self, gateways: &[IpNetwork]) -> Result<()> {
        let host = &Place::Host;
        let kernel = &mut self.moat.kernel;
        if gateways.iter().any(IpNetwork::is_ipv4) {
            kernel.set_value(host, "net/ipv4/ip_forward", "1")?;
        }
        if gateways.iter().any(IpNetwork::is_ipv6) {
            // A host that forwards takes no router advertisements unless told to.
            for iface in kernel.advertised()? {
                kernel.set_value(host, &format!("net/ipv6/conf/{iface}/accept_ra"), "2")?;
            }
            kernel.set_value(host, "net/ipv6/conf/all/forwarding", "1")?;
        }
        Ok(())
    }

    fn fill(&mut self, filling: &Filling) -> Result<()> {
        let (inside, ifname) = (&self.inside, &self.request.key.ifname);
        let kernel = &mut self.moat.kernel;
        let detect = if filling.detect { "1" } else { "0" };
        if filling.addresses.iter().any(IpNetwork::is_ipv6) {
            let six = |key: &str| format!("net/ipv6/conf/{ifname}/{key}");
            kernel.set_value(inside, &six("disable_ipv6"), "0")?;
            kernel.set_value(inside, &six("accept_dad"), detect)?;
            kernel.set_value(inside, &six("ndisc_notify"), "1")?;
        }
        // Neighbours that knew the address by another MAC hear of this one.
        kernel.set_value(inside, &format!("net/ipv4/conf/{ifname}/arp_notify"), "1")?;
        for address in &filling.addresses {
            kernel.give(inside, ifname, *address, filling.detect)?;
        }
        kernel.raise(inside, ifname)?;
        for route in &filling.routes {
            kernel.lead(inside, ifname, route)?;
        }
        Ok(())
    }
}

/// What CHECK compares with.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub bridge: String,
    pub hairpin: bool,
    pub isolated: bool,
    pub promiscuous: bool,
    /// The interface inside is up.
    pub up: bool,
    /// Of the host's end, as the result says; its MAC.
    pub host: Option<(String, Option<Mac>)>,
    pub mac: Option<Mac>,
    pub addresses: Vec<IpNetwork>,
    pub routes: Vec<RouteWish>,
    pub gateways: Vec<IpNetwork>,
}

/// Whether an attachment is as it was made; further addresses and routes are no matter.
///
/// # Errors
/// The first thing that is missing or wrong.
pub fn check(place: &Where, key: &Key, netns: &Path, expected: &Expected) -> Result<()> {
    let mut moat = cni::open(place)?;
    moat.has_wanted(key)?;
    check_outside(&mut moat, key, netns, expected)?;
    check_inside(&mut moat, key, netns, expected)
}

fn check_outside(moat: &mut Moat, key: &Key, netns: &Path, expected: &Expected) -> Result<()> {
    let bridge = &expected.bridge;
    let outer = moat.kernel.see(&Place::Host, bridge)?;
    let outer = outer
        .filter(|b| b.is_bridge)
        .ok_or_else(|| Error::Amiss(format!("there is no bridge `{bridge}`")))?;
    if !outer.up || (expected.promiscuous && !outer.promiscuous) {
        return Err(Error::Amiss(format!(
            "the bridge `{bridge}` is down or not promiscuous"
        )));
    }
    let has: Vec<_> = moat.kernel.addresses_of(&Place::Host, bridge)?;
    for gateway in &expected.gateways {
        if !has.iter().any(|a| a.0 == *gateway) {
            return Err(Error::Amiss(format!("the bridge `{bridge}` has lost {gateway}")));
        }
    }
    let Some((name, mac)) = &expected.host else {
        return Err(Error::Amiss("prevResult has no interface on the host".to_owned()));
    };
    let inner = moat.kernel.see(&namespace(netns), &key.ifname)?;
    let port = moat.kernel.see(&Place::Host, name)?;
    let port = port.ok_or_else(|| Error::Amiss(format!("there is no interface `{name}`")))?;
    let wrongs = [
        (
            inner.and_then(|i| i.peer) != Some(port.index),
            "is not the other end of CNI_IFNAME",
        ),
        (port.master != Some(outer.index), "is no port of the bridge"),
        (!port.up, "is down"),
        (mac.is_some() && port.mac != *mac, "has another MAC address"),
        (expected.hairpin && !port.hairpin, "is not in hairpin mode"),
        (expected.isolated && !port.isolated, "is not isolated"),
    ];
    match wrongs.iter().find(|w| w.0) {
        Some((_, why)) => Err(Error::Amiss(format!("`{name}` {why}"))),
        None => Ok(()),
    }
}

fn check_inside(moat: &mut Moat, key: &Key, netns: &Path, expected: &Expected) -> Result<()> {
    let (inside, ifname) = (namespace(netns), &key.ifname);
    let seen = moat.kernel.see(&inside, ifname)?;
    let seen = seen.ok_or_else(|| Error::Amiss(format!("there is no `{ifname}` in {}", netns.display())))?;
    if expected.up && !seen.up {
        return Err(Error::Amiss(format!("`{ifname}` is down")));
    }
    if expected.mac.is_some() && seen.mac != expected.mac {
        return Err(Error::Amiss(format!("`{ifname}` has another MAC address")));
    }
    let has = moat.kernel.addresses_of(&inside, ifname)?;
    if let Some(lost) = expected
        .addresses
        .iter()
        .find(|a| !has.iter().any(|h| h.0 == **a))
    {
        return Err(Error::Amiss(format!("`{ifname}` has lost the address {lost}")));
    }
    let has = moat.kernel.routes_of(&inside, ifname)?;
    let is_there = |r: &RouteWish| {
        has.iter().any(|(to, via, table)| {
            let to_same = to.network() == r.to.network() && to.prefix() == r.to.prefix();
            to_same && *via == r.via && *table == r.table.unwrap_or(MAIN)
        })
    };
    match expected.routes.iter().find(|r| !is_there(r)) {
        Some(lost) => Err(Error::Amiss(format!(
            "`{ifname}` has lost the route to {}",
            lost.to
        ))),
        None => Ok(()),
    }
}
