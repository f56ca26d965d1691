//! Interfaces: veth pairs, bridges, ports, and whether they are up.
//!
//! Relies on `net/core/rtnetlink.c`: creating a link ignores `IFLA_AF_SPEC`, so address
//! generation is turned off by a second message; slave data is only taken by `RTM_NEWLINK`
//! and only of a port that has its master already; a veth peer cannot be created up.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData,
    InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::farewell;
use super::namespace::Namespace;
use super::rtnl::{Mode, Rtnl};
use crate::model::Mac;

/// The end of a pair that is made in another namespace.
pub(super) struct Peer<'a> {
    pub name: &'a str,
    pub mac: Option<Mac>,
    pub namespace: BorrowedFd<'a>,
}

/// Makes a pair: `name` here and `peer` there, both down. With an MTU of 0 the kernel chooses.
pub(super) fn add_pair(here: &mut Rtnl, name: &str, peer: &Peer<'_>, mtu: u32) -> io::Result<()> {
    let mut inner = LinkMessage::default();
    inner.attributes = vec![
        LinkAttribute::IfName(peer.name.to_owned()),
        LinkAttribute::NetNsFd(peer.namespace.as_raw_fd()),
    ];
    if let Some(mac) = peer.mac {
        inner.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    }
    let mut outer = named(name);
    if mtu > 0 {
        inner.attributes.push(LinkAttribute::Mtu(mtu));
        outer.attributes.push(LinkAttribute::Mtu(mtu));
    }
    outer.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inner))),
    ]));
    here.change(Message::NewLink(outer), Mode::Create)
}

/// Gives an end of a pair its MTU, MAC and alias, and no addresses of its own making.
pub(super) fn set_end(
    here: &mut Rtnl,
    name: &str,
    mac: Option<Mac>,
    mtu: u32,
    alias: Option<&str>,
) -> io::Result<()> {
    let mut message = named(name);
    let alias = alias.map(|a| LinkAttribute::IfAlias(a.to_owned()));
    message.attributes.extend(alias);
    message
        .attributes
        .extend([LinkAttribute::Mtu(mtu), no_generation()]);
    if let Some(mac) = mac {
        message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    }
    here.change(Message::SetLink(message), Mode::Change)
}

/// Makes a bridge, or makes an existing one like this. The MTU is set afterwards: one that
/// was only created with it falls back to 1500 when its last port leaves (`br_mtu_auto_adjust`).
pub(super) fn add_bridge(
    here: &mut Rtnl,
    name: &str,
    mac: Mac,
    mtu: u32,
    alias: Option<&str>,
) -> io::Result<()> {
    let mut message = named(name);
    message.attributes.extend([
        LinkAttribute::Address(mac.0.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![
                InfoBridge::MulticastSnooping(false),
                InfoBridge::StpState(BridgeStpState::Disabled),
            ])),
        ]),
    ]);
    match here.change(Message::NewLink(message.clone()), Mode::Create) {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
            // Setting the MAC it has would still drop every neighbour entry (`neigh_changeaddr`).
            let same = here
                .link(name)?
                .is_some_and(|l| l.attributes.contains(&LinkAttribute::Address(mac.0.to_vec())));
            if same {
                message
                    .attributes
                    .retain(|a| !matches!(a, LinkAttribute::Address(_)));
            }
            here.change(Message::NewLink(message), Mode::Change)?;
        }
        other => other?,
    }
    set_end(here, name, None, mtu, alias)
}

/// Puts a port into its bridge and closes it: isolated, locked, learning and flooding nothing.
/// A port that is up goes down meanwhile, so that it never forwards with the default flags.
pub(super) fn add_port(here: &mut Rtnl, port: &str, bridge: &str) -> io::Result<()> {
    let bridge = here.index(bridge)?;
    let link = here
        .link(port)?
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    let joined = master(&link) == Some(bridge);
    let up = link.header.flags.contains(LinkFlags::Up);
    if !joined {
        if up {
            set_up(here, port, false)?;
        }
        let mut message = named(port);
        message.attributes.push(LinkAttribute::Controller(bridge));
        here.change(Message::SetLink(message), Mode::Change)?;
    }
    close(here, port)?;
    if up && !joined {
        set_up(here, port, true)?;
    }
    Ok(())
}

/// Closes somebody else's port where it is. One that left the bridge is not there any more.
pub(super) fn close_port(here: &mut Rtnl, port: &str, bridge: &str) -> io::Result<()> {
    let bridge = here.index(bridge)?;
    match here.link(port)? {
        Some(link) if master(&link) == Some(bridge) => close(here, port),
        _ => Err(io::Error::from_raw_os_error(libc::ENODEV)),
    }
}

fn close(here: &mut Rtnl, port: &str) -> io::Result<()> {
    let mut message = named(port);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![
            InfoBridgePort::Isolated(true),
            InfoBridgePort::Learning(false),
            InfoBridgePort::Locked(true),
            InfoBridgePort::UnicastFlood(false),
            InfoBridgePort::MulticastFlood(false),
            InfoBridgePort::BroadcastFlood(false),
        ])),
    ]));
    here.change(Message::NewLink(message), Mode::Change)
}

/// Takes a port out of its bridge.
pub(super) fn remove_port(here: &mut Rtnl, port: &str) -> io::Result<()> {
    let mut message = named(port);
    message.attributes.push(LinkAttribute::Controller(0));
    here.change(Message::SetLink(message), Mode::Change)
}

pub(super) fn set_up(here: &mut Rtnl, name: &str, up: bool) -> io::Result<()> {
    let mut message = named(name);
    message.header.change_mask = LinkFlags::Up;
    if up {
        message.header.flags = LinkFlags::Up;
    }
    here.change(Message::SetLink(message), Mode::Change)
}

/// Deletes an interface. A veth pair goes as a whole; this waits for an RCU grace period.
pub(super) fn remove(here: &mut Rtnl, name: &str) -> io::Result<()> {
    here.forget();
    here.change(Message::DelLink(named(name)), Mode::Change)
}

/// Deletes an interface as [`remove`] does, but returns when its name is free. `namespace` is
/// where `here` is.
pub(super) fn remove_unwaited(here: &mut Rtnl, namespace: Option<&Namespace>, name: &str) -> io::Result<()> {
    here.forget();
    farewell::remove_link(namespace, named(name), || Ok(here.link(name)?.is_some()))
}

/// The index of the bridge a port is in.
pub(super) fn master(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn no_generation() -> LinkAttribute {
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
        In6AddrGenMode::None,
    )])])
}
