//! The interface that another plugin made for a container: what it is, and where its other end is.
//!
//! Reads only. Relies on `IFLA_LINK` and `IFLA_LINK_NETNSID` of a veth end: the index of its peer,
//! and the number by which its own namespace calls the peer's (`net/core/rtnetlink.c`).

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;

use ipnetwork::IpNetwork;

use super::namespace::Namespace;
use super::observe::failed;
use super::read::{self, Iface, Ifaces, Kind};
use super::{Linux, reading};
use crate::kernel::Error;
use crate::model::{Foreign, Mac};
use crate::plan::{Object, Place};

/// An interface in a container, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    pub mac: Mac,
    pub addresses: Vec<IpNetwork>,
    pub other_end: OtherEnd,
}

/// Where the other end of an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtherEnd {
    /// In the calling namespace; and the addresses of the bridge, or of the port itself.
    Here(Foreign, Vec<IpAddr>),
    /// There, as a port of something that is no bridge: its name.
    In(String),
    /// Nowhere that could be walled: it is no veth pair, or ends in another namespace.
    Elsewhere,
}

impl Linux {
    /// Looks at an interface of a container; `None` when there is none of that name.
    ///
    /// # Errors
    /// When a namespace cannot be entered or the kernel not be asked.
    pub fn guest(&mut self, inside: &Place, name: &str) -> Result<Option<Guest>, Error> {
        self.refresh();
        let own = self.one(inside, name)?;
        let Some(iface) = own.values().next() else {
            return Ok(None);
        };
        let addresses = self.ranges_of(inside, &own)?;
        Ok(Some(Guest {
            mac: iface.mac.unwrap_or(Mac([0; 6])),
            other_end: self.other_end(inside, iface)?,
            addresses,
        }))
    }

    /// The interfaces of the host that are there, and the bridge each is in.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn host_ports(&mut self) -> Result<BTreeMap<String, Option<String>>, Error> {
        let all = self.rtnl(&Place::Host)?.ifaces();
        let all = all.map_err(failed("the interfaces", &Place::Host))?;
        let master = |i: &Iface| Some(all.get(&i.master?)?.name.clone());
        Ok(all.values().map(|i| (i.name.clone(), master(i))).collect())
    }

    fn other_end(&mut self, inside: &Place, iface: &Iface) -> Result<OtherEnd, Error> {
        let Some((index, Some(number))) = iface.peer else {
            return Ok(OtherEnd::Elsewhere);
        };
        if self.number_of_host(inside)? != Some(number) {
            return Ok(OtherEnd::Elsewhere);
        }
        let Some(port) = self.by_index(index)?.filter(|p| p.is_peer_of(iface)) else {
            return Ok(OtherEnd::Elsewhere);
        };
        let master = match port.master {
            Some(index) => self.by_index(index)?,
            None => None,
        };
        if let Some(other) = master.as_ref().filter(|m| m.kind != Kind::Bridge) {
            return Ok(OtherEnd::In(other.name.clone()));
        }
        let foreign = Foreign {
            port: port.name.clone(),
            bridge: master.as_ref().map(|m| m.name.clone()),
        };
        let side = master.unwrap_or(port);
        let addresses = self.ranges_of(&Place::Host, &Ifaces::from([(side.index, side)]))?;
        Ok(OtherEnd::Here(
            foreign,
            addresses.iter().map(IpNetwork::ip).collect(),
        ))
    }

    /// The number by which a namespace calls the host's.
    fn number_of_host(&mut self, at: &Place) -> Result<Option<i32>, Error> {
        let host = Namespace::open("/proc/thread-self/ns/net".as_ref());
        let host = host.map_err(reading("the host's namespace"))?;
        let fd = u32::try_from(host.file.as_raw_fd()).unwrap_or(u32::MAX);
        self.rtnl(at)?.number(fd).map_err(failed("the namespaces", at))
    }

    /// An interface of the host by its index.
    fn by_index(&mut self, index: u32) -> Result<Option<Iface>, Error> {
        let link = match self.rtnl(&Place::Host)?.link_at(index) {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => None,
            other => other.map_err(failed("an interface", &Place::Host))?,
        };
        Ok(link.as_ref().map(read::iface))
    }

    /// The addresses of one interface, link-local ones left out.
    fn ranges_of(&mut self, at: &Place, own: &Ifaces) -> Result<Vec<IpNetwork>, Error> {
        let index = own.keys().next().copied().unwrap_or_default();
        let found: io::Result<Vec<Object>> = self.rtnl(at)?.addresses(at, own, index);
        let found = found.map_err(failed("the addresses", at))?;
        let is_wide = |a: &IpNetwork| !matches!(a.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
        let addresses = found.into_iter().filter_map(|o| match o {
            Object::Address { address, .. } => Some(address),
            _ => None,
        });
        Ok(addresses.filter(is_wide).collect())
    }
}
