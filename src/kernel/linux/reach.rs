//! Addresses and routes as a CNI configuration asks for them.
//!
//! An address brings its prefix route, and IPv6 makes link-local addresses, as everywhere; those
//! of our own containers (`entries.rs`) do neither.

use std::io;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};

use super::apply::ignore;
use super::plug::failed;
use super::rtnl::{Mode, Rtnl};
use super::{Linux, entries, read};
use crate::kernel::Error;
use crate::plan::{MAIN, Place};

/// A route of a container; `None` where the kernel chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteWish {
    pub to: IpNetwork,
    pub via: Option<IpAddr>,
    pub mtu: Option<u32>,
    pub advmss: Option<u32>,
    pub priority: Option<u32>,
    pub table: Option<u32>,
    pub scope: Option<u8>,
}

impl Linux {
    /// Gives an interface an address, with its prefix route. Whether it did not have it yet.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn give(&mut self, at: &Place, name: &str, address: IpNetwork, detect: bool) -> Result<bool, Error> {
        let fail = || failed(at, &format!("giving {address} to"), name);
        let rtnl = self.rtnl(at)?;
        let mut message = address_message(rtnl, name, address).map_err(fail())?;
        if let IpNetwork::V4(a) = address
            && a.prefix() < 31
        {
            message
                .attributes
                .push(AddressAttribute::Broadcast(a.broadcast()));
        }
        if address.is_ipv6() && !detect {
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            message.attributes.push(flags);
        }
        match rtnl.change(Message::NewAddress(message), Mode::Create) {
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
            other => other.map(|()| true).map_err(fail()),
        }
    }

    /// Takes an address from an interface; a missing one is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take(&mut self, at: &Place, name: &str, address: IpNetwork) -> Result<(), Error> {
        let fail = || failed(at, &format!("taking {address} from"), name);
        let rtnl = self.rtnl(at)?;
        let message = address_message(rtnl, name, address).map_err(fail())?;
        let done = rtnl.change(Message::DelAddress(message), Mode::Change);
        ignore(done, &[libc::EADDRNOTAVAIL]).map_err(fail())
    }

    /// The addresses of an interface, and whether each is still being checked for duplicates.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn addresses_of(&mut self, at: &Place, name: &str) -> Result<Vec<(IpNetwork, bool)>, Error> {
        let fail = || failed(at, "reading the addresses of", name);
        let rtnl = self.rtnl(at)?;
        let mut message = AddressMessage::default();
        message.header.index = rtnl.index(name).map_err(fail())?;
        let all = rtnl.dump(&Message::GetAddress(message)).map_err(fail())?;
        Ok(all
            .iter()
            .filter_map(|m| match m {
                Message::NewAddress(a) => address_of(a),
                _ => None,
            })
            .collect())
    }

    /// Adds a route by way of an interface; one that is there is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn lead(&mut self, at: &Place, dev: &str, wish: &RouteWish) -> Result<(), Error> {
        let fail = || failed(at, &format!("adding the route to {} by", wish.to), dev);
        let rtnl = self.rtnl(at)?;
        let message = route_message(rtnl, dev, wish).map_err(fail())?;
        ignore(
            rtnl.change(Message::NewRoute(message), Mode::Create),
            &[libc::EEXIST],
        )
        .map_err(fail())
    }

    /// The routes by way of an interface: where to, by which gateway, in which table.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn routes_of(
        &mut self,
        at: &Place,
        dev: &str,
    ) -> Result<Vec<(IpNetwork, Option<IpAddr>, u32)>, Error> {
        let fail = || failed(at, "reading the routes of", dev);
        let rtnl = self.rtnl(at)?;
        let index = rtnl.index(dev).map_err(fail())?;
        let all = rtnl.all_routes().map_err(fail())?;
        Ok(all
            .iter()
            .filter(|r| read::out_of(r) == Some(index))
            .filter_map(|r| {
                let (to, table) = read::destination(r)?;
                let via = r.attributes.iter().find_map(|a| match a {
                    RouteAttribute::Gateway(g) => ip_of(g),
                    _ => None,
                });
                Some((to, via, table))
            })
            .collect())
    }

    /// The host's interface by which an address is reached; `None` when it is not.
    pub fn way_to(&mut self, ip: IpAddr) -> Option<String> {
        let rtnl = self.rtnl(&Place::Host).ok()?;
        let mut message = RouteMessage::default();
        message.header.address_family = entries::family(ip);
        message.header.destination_prefix_length = IpNetwork::from(ip).prefix();
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::from(ip)));
        let found = rtnl.ask(Message::GetRoute(message)).ok()?;
        let index = found.iter().find_map(|m| match m {
            Message::NewRoute(r) => read::out_of(r),
            _ => None,
        })?;
        let all = rtnl.ifaces().ok()?;
        all.get(&index).map(|i| i.name.clone())
    }
}

fn address_message(rtnl: &mut Rtnl, name: &str, address: IpNetwork) -> io::Result<AddressMessage> {
    let mut message = AddressMessage::default();
    message.header.family = entries::family(address.ip());
    message.header.prefix_len = address.prefix();
    message.header.index = rtnl.index(name)?;
    message.attributes = vec![
        AddressAttribute::Local(address.ip()),
        AddressAttribute::Address(address.ip()),
    ];
    Ok(message)
}

fn address_of(message: &AddressMessage) -> Option<(IpNetwork, bool)> {
    let (mut ip, mut tentative) = (None, false);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(a) => ip = Some(*a),
            AddressAttribute::Address(a) => ip = ip.or(Some(*a)),
            AddressAttribute::Flags(f) => tentative = f.contains(AddressFlags::Tentative),
            _ => {}
        }
    }
    let network = IpNetwork::new(ip?, message.header.prefix_len).ok()?;
    Some((network, tentative))
}

fn route_message(rtnl: &mut Rtnl, dev: &str, wish: &RouteWish) -> io::Result<RouteMessage> {
    let mut message = RouteMessage::default();
    let table = wish.table.unwrap_or(MAIN);
    message.header.address_family = entries::family(wish.to.ip());
    message.header.destination_prefix_length = wish.to.prefix();
    message.header.kind = RouteType::Unicast;
    message.header.protocol = RouteProtocol::Boot;
    message.header.table = u8::try_from(table).unwrap_or_default();
    message.header.scope = match (wish.scope, wish.via) {
        (Some(s), _) => RouteScope::from(s),
        (None, None) if wish.to.is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    let mut add = |a| message.attributes.push(a);
    add(RouteAttribute::Table(table));
    add(RouteAttribute::Oif(rtnl.index(dev)?));
    if wish.to.prefix() > 0 {
        add(RouteAttribute::Destination(RouteAddress::from(wish.to.network())));
    }
    if let Some(via) = wish.via {
        add(RouteAttribute::Gateway(RouteAddress::from(via)));
    }
    if let Some(p) = wish.priority {
        add(RouteAttribute::Priority(p));
    }
    let mtu = wish.mtu.map(RouteMetric::Mtu);
    let metrics: Vec<_> = mtu
        .into_iter()
        .chain(wish.advmss.map(RouteMetric::Advmss))
        .collect();
    if !metrics.is_empty() {
        add(RouteAttribute::Metrics(metrics));
    }
    Ok(message)
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some((*a).into()),
        RouteAddress::Inet6(a) => Some((*a).into()),
        _ => None,
    }
}
