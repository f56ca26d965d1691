//! What an interface carries: addresses, neighbours and forwarding entries.
//!
//! Relies on `net/ipv4/devinet.c`, `net/ipv6/addrconf.c` (`IFA_F_NOPREFIXROUTE`: no route
//! appears by itself), `net/core/neighbour.c`, and `net/bridge/br_fdb.c`, where a static
//! entry is `NUD_NOARP` and goes through the port's master.

use std::io;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::rtnl::{Mode, Rtnl};
use crate::model::Mac;

/// `NUD_NOARP | NUD_REACHABLE`: what `bridge fdb ... static` sends.
const STATIC: u16 = 0x42;

pub(super) fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

pub(super) fn add_address(here: &mut Rtnl, iface: &str, address: IpNetwork) -> io::Result<()> {
    let mut message = self::address(here, iface, address)?;
    let mut flags = AddressFlags::Noprefixroute;
    if address.is_ipv6() {
        flags |= AddressFlags::Nodad;
    }
    message.attributes.push(AddressAttribute::Flags(flags));
    here.change(Message::NewAddress(message), Mode::Create)
}

pub(super) fn remove_address(here: &mut Rtnl, iface: &str, address: IpNetwork) -> io::Result<()> {
    let message = self::address(here, iface, address)?;
    here.change(Message::DelAddress(message), Mode::Change)
}

fn address(here: &mut Rtnl, iface: &str, address: IpNetwork) -> io::Result<AddressMessage> {
    let mut message = AddressMessage::default();
    message.header.family = family(address.ip());
    message.header.prefix_len = address.prefix();
    message.header.index = here.index(iface)?;
    message.attributes = vec![
        AddressAttribute::Local(address.ip()),
        AddressAttribute::Address(address.ip()),
    ];
    Ok(message)
}

pub(super) fn add_neighbour(here: &mut Rtnl, iface: &str, ip: IpAddr, mac: Mac) -> io::Result<()> {
    let mut message = neighbour(here, iface, ip)?;
    message.header.state = NeighbourState::Permanent;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    here.change(Message::NewNeighbour(message), Mode::Replace)
}

pub(super) fn remove_neighbour(here: &mut Rtnl, iface: &str, ip: IpAddr) -> io::Result<()> {
    let message = neighbour(here, iface, ip)?;
    here.change(Message::DelNeighbour(message), Mode::Change)
}

fn neighbour(here: &mut Rtnl, iface: &str, ip: IpAddr) -> io::Result<NeighbourMessage> {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = here.index(iface)?;
    message.attributes = vec![NeighbourAttribute::Destination(match ip {
        IpAddr::V4(a) => NeighbourAddress::Inet(a),
        IpAddr::V6(a) => NeighbourAddress::Inet6(a),
    })];
    Ok(message)
}

pub(super) fn add_fdb(here: &mut Rtnl, port: &str, mac: Mac) -> io::Result<()> {
    let mut message = fdb(here, port, mac)?;
    message.header.state = NeighbourState::Other(STATIC);
    // Even a static entry moves to the port where its MAC is seen, unless it is sticky: beside
    // other plugins' ports there are some that learn (`br_fdb_update`).
    message.header.flags |= NeighbourFlags::Sticky;
    here.change(Message::NewNeighbour(message), Mode::Replace)
}

pub(super) fn remove_fdb(here: &mut Rtnl, port: &str, mac: Mac) -> io::Result<()> {
    let message = fdb(here, port, mac)?;
    here.change(Message::DelNeighbour(message), Mode::Change)
}

fn fdb(here: &mut Rtnl, port: &str, mac: Mac) -> io::Result<NeighbourMessage> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = here.index(port)?;
    message.header.flags = NeighbourFlags::Controller;
    message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())];
    Ok(message)
}
