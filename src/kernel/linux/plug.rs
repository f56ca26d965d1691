//! Bridges and ports by the names that a CNI configuration gives them.
//!
//! Unlike the objects of `plan` these are not ours alone: a bridge may be the administrator's
//! or the reference plugins', so each function does one thing and leaves the rest as it is.

use std::io;
use std::os::fd::AsFd as _;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    InfoBridgePort, InfoKind, InfoPortData, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    State as OperState,
};

use super::apply::ignore;
use super::links::{self, Peer};
use super::namespace::Namespace;
use super::read::{self, Kind};
use super::rtnl::{Mode, Rtnl};
use super::{Linux, sysctl};
use crate::kernel::{Error, words};
use crate::model::Mac;
use crate::plan::Place;

/// An interface as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub index: u32,
    pub mac: Option<Mac>,
    /// Bytes.
    pub mtu: u32,
    pub up: bool,
    /// It has a carrier and, as a port, forwards.
    pub running: bool,
    pub promiscuous: bool,
    pub is_bridge: bool,
    pub is_veth: bool,
    /// The bridge it is a port of.
    pub master: Option<u32>,
    /// The index of a veth pair's other end, in that one's namespace.
    pub peer: Option<u32>,
    pub hairpin: bool,
    pub isolated: bool,
}

/// What a bridge is to be like.
#[derive(Clone, Copy, Debug)]
pub struct BridgeWish<'a> {
    pub name: &'a str,
    /// Bytes; 0 for the kernel's choice.
    pub mtu: u32,
    pub promiscuous: bool,
}

/// A veth pair that is to be made: both ends down.
#[derive(Clone, Copy, Debug)]
pub struct PairWish<'a> {
    pub host: &'a str,
    pub sandbox: &'a Place,
    pub inside: &'a str,
    pub mac: Option<Mac>,
    /// Bytes; 0 for the kernel's choice.
    pub mtu: u32,
}

impl Linux {
    /// An interface; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn see(&mut self, at: &Place, name: &str) -> Result<Option<Seen>, Error> {
        let what = failed(at, "looking at", name);
        Ok(self.rtnl(at)?.link(name).map_err(what)?.as_ref().map(seen))
    }

    /// Makes a bridge that keeps its MAC, if there is none of the name; up and taking no router
    /// advertisements in either case. Whether it was made.
    ///
    /// # Errors
    /// Another kind of interface has the name, or the kernel refuses.
    pub fn ensure_bridge(&mut self, wish: BridgeWish<'_>) -> Result<bool, Error> {
        let at = &Place::Host;
        let fail = || failed(at, "making the bridge", wish.name);
        let rtnl = self.rtnl(at)?;
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(wish.name.to_owned()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        let made = match rtnl.change(Message::NewLink(message), Mode::Create) {
            Ok(()) => true,
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => false,
            Err(e) => return Err(fail()(e)),
        };
        rtnl.forget_name(wish.name);
        let link = rtnl.link(wish.name).map_err(fail())?;
        let Some(is) = link.as_ref().map(seen).filter(|i| i.is_bridge) else {
            let other = io::Error::new(io::ErrorKind::AlreadyExists, "it is not a bridge");
            return Err(fail()(other));
        };
        let mut message = set(wish.name);
        if made {
            // Set to what it is, it does not follow the ports' any more.
            message
                .attributes
                .extend(is.mac.map(|m| LinkAttribute::Address(m.0.to_vec())));
            if wish.mtu > 0 {
                message.attributes.push(LinkAttribute::Mtu(wish.mtu));
            }
        }
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = LinkFlags::Up;
        if wish.promiscuous {
            message.header.change_mask |= LinkFlags::Promisc;
            message.header.flags |= LinkFlags::Promisc;
        }
        // Where there is no IPv6 there is nothing to set. Until its link-local address is checked
        // for duplicates the host asks for no neighbour there, for a second or two.
        let six = |key: &str| format!("net/ipv6/conf/{}/{key}", wish.name);
        let _ = self.set_value(at, &six("accept_ra"), "0");
        if made {
            let _ = self.set_value(at, &six("accept_dad"), "0");
        }
        self.rtnl(at)?
            .change(Message::SetLink(message), Mode::Change)
            .map_err(fail())?;
        Ok(made)
    }

    /// Makes a veth pair from the host into a container.
    ///
    /// # Errors
    /// One of the names is taken (`EEXIST`), or the kernel refuses.
    pub fn plug(&mut self, wish: PairWish<'_>) -> Result<(), Error> {
        let what = format!("{}` to `{}", wish.host, wish.inside);
        let fail = || failed(wish.sandbox, "making the veth pair", &what);
        let file = match &self.open(wish.sandbox)?.namespace {
            Some(ns) => ns.file.try_clone().map_err(fail())?,
            None => return Err(fail()(io::Error::from(io::ErrorKind::InvalidInput))),
        };
        let peer = Peer {
            name: wish.inside,
            mac: wish.mac,
            namespace: file.as_fd(),
        };
        let rtnl = self.rtnl(&Place::Host)?;
        rtnl.forget_name(wish.host);
        links::add_pair(rtnl, wish.host, &peer, wish.mtu).map_err(fail())?;
        self.rtnl(wish.sandbox)?.forget_name(wish.inside);
        Ok(())
    }

    /// Makes an interface a port of a bridge.
    ///
    /// # Errors
    /// The bridge has no port left (`EXFULL`), or the kernel refuses.
    pub fn join(&mut self, port: &str, bridge: &str, hairpin: bool, isolated: bool) -> Result<(), Error> {
        let fail = || failed(&Place::Host, "joining the bridge with", port);
        let rtnl = self.rtnl(&Place::Host)?;
        let master = rtnl.index(bridge).map_err(fail())?;
        let mut message = set(port);
        message.attributes.push(LinkAttribute::Controller(master));
        rtnl.change(Message::SetLink(message), Mode::Change)
            .map_err(fail())?;
        let flags = vec![
            InfoBridgePort::HairpinMode(hairpin),
            InfoBridgePort::Isolated(isolated),
        ];
        set_port(rtnl, port, flags).map_err(fail())
    }

    /// Whether a bridge has ports.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn has_ports(&mut self, bridge: u32) -> Result<bool, Error> {
        let fail = failed(&Place::Host, "reading the ports of", "a bridge");
        let all = self.rtnl(&Place::Host)?.ifaces().map_err(fail)?;
        Ok(all.values().any(|i| i.master == Some(bridge)))
    }

    /// Isolates a port of a bridge from the other isolated ones.
    ///
    /// # Errors
    /// It is no port of a bridge, or the kernel refuses.
    pub fn isolate(&mut self, port: &str) -> Result<(), Error> {
        let fail = failed(&Place::Host, "isolating the port", port);
        set_port(
            self.rtnl(&Place::Host)?,
            port,
            vec![InfoBridgePort::Isolated(true)],
        )
        .map_err(fail)
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn raise(&mut self, at: &Place, name: &str) -> Result<(), Error> {
        links::set_up(self.rtnl(at)?, name, true).map_err(failed(at, "setting up", name))
    }

    /// Takes an interface away; one that is gone is no error. A veth pair goes as a whole.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unplug(&mut self, at: &Place, name: &str) -> Result<(), Error> {
        let fail = || failed(at, "removing", name);
        let open = self.open(at)?.namespace.as_ref().map(Namespace::try_clone);
        let namespace = open.transpose().map_err(fail())?;
        let done = links::remove_unwaited(self.rtnl(at)?, namespace.as_ref(), name);
        ignore(done, &[libc::ENODEV]).map_err(fail())
    }

    /// Writes a value under `/proc/sys`.
    ///
    /// # Errors
    /// There is no such key, or the kernel refuses.
    pub fn set_value(&mut self, at: &Place, key: &str, value: &str) -> Result<(), Error> {
        let fail = || failed(at, "setting", key);
        let opened = self.open(at)?;
        let written = sysctl::write(opened.namespace.as_ref(), &[(key, value)]);
        written.and_then(|(_, outcome)| outcome).map_err(fail())
    }

    /// A value under `/proc/sys`; `None` for a key that does not exist.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get_value(&mut self, at: &Place, key: &str) -> Result<Option<String>, Error> {
        let opened = self.open(at)?;
        let read = sysctl::read(opened.namespace.as_ref(), &[key]);
        let found = read.map_err(failed(at, "reading", key))?;
        Ok(found.into_iter().flatten().next())
    }

    /// Whether a namespace is there to be entered.
    ///
    /// # Errors
    /// When its path cannot be looked at.
    pub fn lives(&mut self, at: &Place) -> Result<bool, Error> {
        self.is_there(at)
    }
}

pub(super) fn failed(at: &Place, doing: &str, what: &str) -> impl FnOnce(io::Error) -> Error + use<> {
    let what = format!("{doing} `{what}` in {}", words::place(at));
    move |source| Error::Step { what, source }
}

fn set(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn set_port(rtnl: &mut Rtnl, port: &str, flags: Vec<InfoBridgePort>) -> io::Result<()> {
    let mut message = set(port);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(flags)),
    ]));
    rtnl.change(Message::NewLink(message), Mode::Change)
}

fn seen(link: &LinkMessage) -> Seen {
    let iface = read::iface(link);
    let mut out = Seen {
        index: iface.index,
        mac: iface.mac,
        mtu: iface.mtu,
        up: iface.up,
        running: false,
        promiscuous: link.header.flags.contains(LinkFlags::Promisc),
        is_bridge: iface.kind == Kind::Bridge,
        is_veth: iface.kind == Kind::Veth,
        master: iface.master,
        peer: iface.peer.map(|p| p.0),
        hairpin: false,
        isolated: false,
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::OperState(s) => out.running = *s == OperState::Up,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::PortData(InfoPortData::BridgePort(flags)) = info {
                        out.hairpin = flags.contains(&InfoBridgePort::HairpinMode(true));
                        out.isolated = flags.contains(&InfoBridgePort::Isolated(true));
                    }
                }
            }
            _ => {}
        }
    }
    out
}
