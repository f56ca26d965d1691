//! What the host has that is not ours: taken ranges, its addresses, its way out.
//!
//! Reads only. Ours is what goes through our interfaces or stands in our routing table.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType};

use super::read::{self, Ifaces};
use super::rtnl::Rtnl;
use super::{Linux, reading, sysctl};
use crate::kernel::Error;
use crate::model::Family;
use crate::plan::{MAIN, Object, Place};

const ETHERNET: u32 = 1500;

impl Linux {
    /// The ranges that the host has routes to, in every table, the default routes excepted.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn host_routes(&mut self) -> Result<Vec<IpNetwork>, Error> {
        let ours = self.host_ifaces(true)?;
        let table = self.names.route_table;
        let routes = self.host(Rtnl::all_routes)?;
        let found: BTreeSet<IpNetwork> = routes
            .iter()
            .filter(|r| !read::out_of(r).is_some_and(|i| ours.contains_key(&i)))
            .filter_map(read::destination)
            .filter(|(to, t)| to.prefix() > 0 && *t != table)
            .map(|(to, _)| to)
            .collect();
        Ok(found.into_iter().collect())
    }

    /// The host's own addresses: not those of loopback, link-local ones and ours.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn host_addresses(&mut self) -> Result<Vec<IpAddr>, Error> {
        let others = self.host_ifaces(false)?;
        let addresses = self.host(|rtnl| rtnl.addresses(&Place::Host, &others, 0))?;
        let found: BTreeSet<IpAddr> = addresses
            .into_iter()
            .filter_map(|o| match o {
                Object::Address { address, .. } => Some(address.ip()),
                _ => None,
            })
            .filter(|ip| match ip {
                IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local(),
                IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local(),
            })
            .collect();
        Ok(found.into_iter().collect())
    }

    /// The MTU of the interface of the default route, IPv4's first; 1500 without one.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn default_mtu(&mut self) -> Result<u32, Error> {
        let ifaces = self.host_ifaces(false)?;
        let routes = self.host(Rtnl::all_routes)?;
        let best = routes
            .iter()
            .filter(|r| read::destination(r).is_some_and(|(to, t)| to.prefix() == 0 && t == MAIN))
            .filter_map(|r| Some((ifaces.get(&way_out(r)?)?, r)))
            .min_by_key(|(_, r)| {
                (
                    r.header.address_family == netlink_packet_route::AddressFamily::Inet6,
                    metric(r),
                )
            });
        Ok(best.map_or(ETHERNET, |(iface, _)| iface.mtu))
    }

    /// The host's interfaces on which the kernel has learned routes from router advertisements,
    /// and will not when the host forwards (`accept_ra` is 1).
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn advertised(&mut self) -> Result<Vec<String>, Error> {
        let ifaces = self.host_ifaces(false)?;
        let routes = self.host(Rtnl::all_routes)?;
        let names: BTreeSet<&str> = routes
            .iter()
            .filter(|r| r.header.protocol == RouteProtocol::Ra)
            .filter_map(|r| Some(ifaces.get(&way_out(r)?)?.name.as_str()))
            .collect();
        let keys: Vec<String> = names
            .iter()
            .map(|n| format!("net/ipv6/conf/{n}/accept_ra"))
            .collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let values = sysctl::read(None, &keys).map_err(reading("accept_ra"))?;
        Ok(names
            .into_iter()
            .zip(values)
            .filter(|(_, v)| v.as_deref() == Some("1"))
            .map(|(n, _)| n.to_owned())
            .collect())
    }

    /// Whether a namespace has a default route of either family.
    ///
    /// # Errors
    /// When it cannot be entered or asked.
    pub fn has_default_route(&mut self, at: &Place) -> Result<bool, Error> {
        let routes = self.rtnl(at)?.all_routes();
        let routes = routes.map_err(reading("the routes of a container"))?;
        let leads_out = |r: &RouteMessage| {
            r.header.destination_prefix_length == 0
                && r.header.kind == RouteType::Unicast
                && r.header.table == RouteHeader::RT_TABLE_MAIN
        };
        Ok(routes.iter().any(leads_out))
    }

    /// The families this kernel has.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let has6 = Path::new("/proc/sys/net/ipv6/conf/all/forwarding").exists();
        if has6 {
            Family::BOTH.to_vec()
        } else {
            vec![Family::Ip4]
        }
    }

    fn host<T>(&mut self, ask: impl FnOnce(&mut Rtnl) -> io::Result<T>) -> Result<T, Error> {
        ask(self.rtnl(&Place::Host)?).map_err(reading("the host's routes and addresses"))
    }

    fn host_ifaces(&mut self, ours: bool) -> Result<Ifaces, Error> {
        let mut all = self.host(Rtnl::ifaces)?;
        all.retain(|_, i| self.names.owns(&i.name) == ours);
        Ok(all)
    }
}

/// The interface of a route, the first hop's if it has several.
fn way_out(route: &RouteMessage) -> Option<u32> {
    read::out_of(route).or_else(|| {
        route.attributes.iter().find_map(|a| match a {
            RouteAttribute::MultiPath(hops) => Some(hops.first()?.interface_index),
            _ => None,
        })
    })
}

fn metric(route: &RouteMessage) -> u32 {
    route
        .attributes
        .iter()
        .find_map(|a| match a {
            RouteAttribute::Priority(p) => Some(*p),
            _ => None,
        })
        .unwrap_or_default()
}
