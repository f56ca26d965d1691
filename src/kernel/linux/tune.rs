//! Properties of one interface in anybody's namespace: for interfaces that others made.
//!
//! Relies on `net/core/rtnetlink.c`: one `RTM_SETLINK` may carry MAC, MTU, queue length and
//! flags, which are set one after the other and not taken back when one is refused.
//! `IFF_PROMISC` is what somebody asked for; `IFLA_PROMISCUITY` counts all who did, a bridge
//! for its ports and packet sockets, too.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::rtnl::Mode;
use super::{Linux, links, reading, sysctl};
use crate::kernel::Error;
use crate::model::Mac;
use crate::plan::Place;

/// What an interface is like, or what is to be changed of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: Option<u32>,
    pub promisc: Option<bool>,
    pub allmulti: Option<bool>,
    /// Packets.
    pub tx_queue: Option<u32>,
}

/// An interface as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iface {
    pub index: u32,
    /// The index of a veth's other end, in the namespace where that is.
    pub peer: Option<u32>,
    pub up: bool,
    /// All properties that it has.
    pub tuning: Tuning,
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            self.mac.map(|m| format!("MAC {m}")),
            self.mtu.map(|n| format!("MTU {n}")),
            self.promisc.map(|b| format!("promisc {b}")),
            self.allmulti.map(|b| format!("allmulti {b}")),
            self.tx_queue.map(|n| format!("queue length {n}")),
        ];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl Linux {
    /// An interface by name; `None` when there is none.
    ///
    /// # Errors
    /// When the namespace cannot be entered or the kernel not be asked.
    pub fn iface(&mut self, at: &Place, name: &str) -> Result<Option<Iface>, Error> {
        let found = self.rtnl(at)?.link(name);
        Ok(found.map_err(reading(name))?.as_ref().map(read))
    }

    /// The addresses of an interface with their prefix lengths, IPv4 first.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel cannot be asked.
    pub fn iface_addresses(&mut self, at: &Place, name: &str) -> Result<Vec<IpNetwork>, Error> {
        let rtnl = self.rtnl(at)?;
        let index = rtnl.index(name).map_err(reading(name))?;
        let mut all = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = AddressMessage::default();
            message.header.family = family;
            message.header.index = index;
            let found = rtnl.dump(&Message::GetAddress(message)).map_err(reading(name))?;
            all.extend(found.iter().filter_map(address));
        }
        Ok(all)
    }

    /// Sets an interface up or down.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses.
    pub fn set_iface_up(&mut self, at: &Place, name: &str, up: bool) -> Result<(), Error> {
        let state = if up { "up" } else { "down" };
        links::set_up(self.rtnl(at)?, name, up).map_err(step(format!("setting interface {name} {state}")))
    }

    /// Changes what is set in `to`.
    ///
    /// # Errors
    /// When the kernel refuses; some of it may be changed then.
    pub fn tune(&mut self, at: &Place, name: &str, to: &Tuning) -> Result<(), Error> {
        if *to == Tuning::default() {
            return Ok(());
        }
        let set = self
            .rtnl(at)?
            .change(Message::SetLink(message(name, to)), Mode::Change);
        set.map_err(step(format!("giving interface {name} {to}")))
    }

    /// Values of `/proc/sys/net` in a namespace; `None` for a key that does not exist.
    ///
    /// # Errors
    /// A key elsewhere, or one that cannot be read.
    pub fn sysctls(&mut self, at: &Place, keys: &[&str]) -> Result<Vec<Option<String>>, Error> {
        let namespace = self.open(at)?.namespace.as_ref();
        sysctl::read(namespace, keys).map_err(reading(&keys.join(", ")))
    }

    /// Writes values of `/proc/sys/net` in a namespace, in order.
    ///
    /// # Errors
    /// The first that is refused; those before it are written.
    pub fn set_sysctls(&mut self, at: &Place, values: &[(&str, &str)]) -> Result<(), Error> {
        let namespace = self.open(at)?.namespace.as_ref();
        let (n, done) = sysctl::write(namespace, values).map_err(reading("a namespace"))?;
        let what = values
            .get(n)
            .map_or_else(String::new, |(k, v)| format!("setting {k} to `{v}`"));
        done.map_err(step(what))
    }
}

fn message(name: &str, to: &Tuning) -> LinkMessage {
    let mut message = LinkMessage::default();
    let all = &mut message.attributes;
    all.push(LinkAttribute::IfName(name.to_owned()));
    all.extend(to.mac.map(|m| LinkAttribute::Address(m.0.to_vec())));
    all.extend(to.mtu.map(LinkAttribute::Mtu));
    all.extend(to.tx_queue.map(LinkAttribute::TxQueueLen));
    for (flag, value) in [
        (LinkFlags::Promisc, to.promisc),
        (LinkFlags::Allmulti, to.allmulti),
    ] {
        let Some(value) = value else { continue };
        message.header.change_mask |= flag;
        if value {
            message.header.flags |= flag;
        }
    }
    message
}

fn read(link: &LinkMessage) -> Iface {
    let flags = link.header.flags;
    let mut iface = Iface {
        index: link.header.index,
        peer: None,
        up: flags.contains(LinkFlags::Up),
        tuning: Tuning {
            allmulti: Some(flags.contains(LinkFlags::Allmulti)),
            ..Tuning::default()
        },
    };
    let to = &mut iface.tuning;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => to.mac = bytes.as_slice().try_into().ok().map(Mac),
            LinkAttribute::Mtu(n) => to.mtu = Some(*n),
            LinkAttribute::TxQueueLen(n) => to.tx_queue = Some(*n),
            LinkAttribute::Promiscuity(n) => to.promisc = Some(*n > 0),
            LinkAttribute::Link(n) => iface.peer = Some(*n),
            _ => {}
        }
    }
    iface
}

/// `IFA_LOCAL` is an IPv4 interface's own address; IPv6 has `IFA_ADDRESS` alone.
fn address(message: &Message) -> Option<IpNetwork> {
    let Message::NewAddress(a) = message else {
        return None;
    };
    let own = |a: &AddressAttribute| match a {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    };
    let any = |a: &AddressAttribute| match a {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    };
    let of = &a.attributes;
    let ip: IpAddr = of.iter().find_map(own).or_else(|| of.iter().find_map(any))?;
    IpNetwork::new(ip, a.header.prefix_len).ok()
}

pub(super) fn step(what: String) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Step { what, source }
}
