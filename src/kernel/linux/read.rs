//! What rtnetlink tells, as objects.
//!
//! Pure. Which of the kernel's things are ours is decided here: interfaces by their names,
//! what hangs on them by the interface, routes by `protocol static` (everybody else's are
//! `kernel`, `boot`, `dhcp` or `ra`), rules by their priority.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort, InfoData,
    InfoKind, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use super::links;
use crate::model::{Family, Mac};
use crate::plan::{Hop, Mark, Names, Object, Place, Verdict};

/// Our rules have priorities from the world's first on; no more than this many.
const PRIORITIES: u32 = 16;

/// One interface, as far as we care.
#[derive(Clone, Debug)]
pub(super) struct Iface {
    pub index: u32,
    pub name: String,
    pub alias: String,
    pub mac: Option<Mac>,
    pub mtu: u32,
    pub up: bool,
    pub master: Option<u32>,
    pub kind: Kind,
    /// Index of the other end of a veth pair, and the number of its namespace if it is another.
    pub peer: Option<(u32, Option<i32>)>,
    /// Isolated, locked and not learning.
    pub closed: bool,
    /// The settings that no object names are as we make them.
    pub plain: bool,
}

impl Iface {
    /// Whether two ends name each other. Their namespaces are the caller's business.
    pub fn is_peer_of(&self, other: &Self) -> bool {
        self.peer.map(|p| p.0) == Some(other.index) && other.peer.map(|p| p.0) == Some(self.index)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bridge,
    Veth,
    Other,
}

/// The interfaces of one namespace by index.
pub(super) type Ifaces = HashMap<u32, Iface>;

pub(super) fn iface(link: &LinkMessage) -> Iface {
    let mut out = Iface {
        index: link.header.index,
        name: String::new(),
        alias: String::new(),
        mac: None,
        mtu: 0,
        up: link.header.flags.contains(LinkFlags::Up),
        master: links::master(link),
        kind: Kind::Other,
        peer: None,
        closed: false,
        plain: true,
    };
    let (mut peer, mut namespace) = (None, None);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(n) => out.name.clone_from(n),
            LinkAttribute::IfAlias(a) => out.alias.clone_from(a),
            LinkAttribute::Address(a) => out.mac = a.as_slice().try_into().ok().map(Mac),
            LinkAttribute::Mtu(m) => out.mtu = *m,
            LinkAttribute::Link(i) => peer = Some(*i),
            LinkAttribute::LinkNetNsId(n) => namespace = Some(*n),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|i| info(&mut out, i)),
            LinkAttribute::AfSpecUnspec(specs) => out.plain &= !generates(specs),
            _ => {}
        }
    }
    if out.kind == Kind::Veth {
        out.peer = peer.map(|p| (p, namespace));
    }
    out
}

fn info(out: &mut Iface, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(InfoKind::Bridge) => out.kind = Kind::Bridge,
        LinkInfo::Kind(InfoKind::Veth) => out.kind = Kind::Veth,
        LinkInfo::Data(InfoData::Bridge(settings)) => {
            out.plain &= !settings.iter().any(|s| match s {
                InfoBridge::MulticastSnooping(on) => *on,
                InfoBridge::StpState(state) => *state != BridgeStpState::Disabled,
                _ => false,
            });
        }
        LinkInfo::PortData(InfoPortData::BridgePort(flags)) => {
            let has = |wanted: &InfoBridgePort| flags.contains(wanted);
            out.closed = has(&InfoBridgePort::Isolated(true))
                && has(&InfoBridgePort::Learning(false))
                && has(&InfoBridgePort::Locked(true));
        }
        _ => {}
    }
}

fn generates(specs: &[AfSpecUnspec]) -> bool {
    specs.iter().any(|s| match s {
        AfSpecUnspec::Inet6(settings) => settings
            .iter()
            .any(|a| matches!(a, AfSpecInet6::AddrGenMode(m) if *m != In6AddrGenMode::None)),
        _ => false,
    })
}

pub(super) fn address(at: &Place, ifaces: &Ifaces, message: &AddressMessage) -> Option<Object> {
    let iface = ifaces.get(&message.header.index)?;
    let mut ip = None;
    for attribute in &message.attributes {
        match attribute {
            // The local address differs from the address where there is a peer address.
            AddressAttribute::Local(a) => ip = Some(*a),
            AddressAttribute::Address(a) => ip = ip.or(Some(*a)),
            _ => {}
        }
    }
    Some(Object::Address {
        at: at.clone(),
        iface: iface.name.clone(),
        address: IpNetwork::new(ip?, message.header.prefix_len).ok()?,
    })
}

/// A permanent neighbour.
pub(super) fn neighbour(at: &Place, ifaces: &Ifaces, message: &NeighbourMessage) -> Option<Object> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let ip = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    })?;
    Some(Object::Neighbour {
        at: at.clone(),
        iface: ifaces.get(&message.header.ifindex)?.name.clone(),
        ip,
        mac: mac(message)?,
    })
}

/// A static forwarding entry.
pub(super) fn fdb(at: &Place, ifaces: &Ifaces, message: &NeighbourMessage) -> Option<Object> {
    let header = &message.header;
    if header.state != NeighbourState::Noarp || header.flags.contains(NeighbourFlags::Own) {
        return None;
    }
    Some(Object::Fdb {
        at: at.clone(),
        port: ifaces.get(&header.ifindex)?.name.clone(),
        mac: mac(message)?,
    })
}

fn mac(message: &NeighbourMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::LinkLayerAddress(m) => m.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}

/// A route's destination and its table.
pub(super) fn destination(message: &RouteMessage) -> Option<(IpNetwork, u32)> {
    let header = &message.header;
    let mut ip = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut table = u32::from(header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(a) => ip = to_ip(a)?,
            RouteAttribute::Table(t) => table = *t,
            _ => {}
        }
    }
    Some((IpNetwork::new(ip, header.destination_prefix_length).ok()?, table))
}

/// The index of the interface a route leads out of.
pub(super) fn out_of(message: &RouteMessage) -> Option<u32> {
    message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Oif(i) => Some(*i),
        _ => None,
    })
}

/// A static route, through one of these interfaces or refused.
pub(super) fn route(at: &Place, ifaces: &Ifaces, message: &RouteMessage) -> Option<Object> {
    if message.header.protocol != RouteProtocol::Static {
        return None;
    }
    let (to, table) = destination(message)?;
    let hop = match message.header.kind {
        RouteType::Prohibit => Hop::Prohibit,
        RouteType::Local => Hop::Local(ifaces.get(&out_of(message)?)?.name.clone()),
        RouteType::Unicast => {
            let dev = ifaces.get(&out_of(message)?)?.name.clone();
            let gateway = message.attributes.iter().find_map(|a| match a {
                RouteAttribute::Gateway(g) => to_ip(g),
                _ => None,
            });
            match gateway {
                Some(g) => Hop::Via(g, dev),
                None => Hop::Dev(dev),
            }
        }
        _ => return None,
    };
    Some(Object::Route {
        at: at.clone(),
        table,
        to,
        hop,
    })
}

fn to_ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some((*a).into()),
        RouteAddress::Inet6(a) => Some((*a).into()),
        _ => None,
    }
}

/// One of our rules. On the host another world has the same priorities, so that a rule there
/// is ours by its table or interface.
pub(super) fn rule(at: &Place, names: &Names, message: &RuleMessage) -> Option<Object> {
    let family = match message.header.family {
        AddressFamily::Inet => Family::Ip4,
        AddressFamily::Inet6 => Family::Ip6,
        _ => return None,
    };
    let (mut priority, mut mark, mut mask, mut iif) = (0, 0, None, None::<String>);
    let mut table = u32::from(message.header.table);
    let mut ours = false;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(p) => priority = *p,
            RuleAttribute::FwMark(m) => mark = *m,
            RuleAttribute::FwMask(m) => mask = Some(*m),
            RuleAttribute::Iifname(i) => iif = Some(i.clone()),
            RuleAttribute::Table(t) => table = *t,
            RuleAttribute::Protocol(p) => ours = *p == RouteProtocol::Static,
            _ => {}
        }
    }
    let then = match message.header.action {
        RuleAction::ToTable => Verdict::Lookup(table),
        RuleAction::Prohibit => Verdict::Prohibit,
        _ => return None,
    };
    ours &= (names.priority..names.priority + PRIORITIES).contains(&priority);
    if *at == Place::Host {
        let table = matches!(then, Verdict::Lookup(t) if names.owns_table(t));
        ours &= table || iif.as_deref().is_some_and(|i| names.owns(i));
    }
    ours.then(|| Object::Rule {
        at: at.clone(),
        family,
        priority,
        mark: mask.and_then(|mask| Mark::of(mark, mask)),
        iif,
        then,
    })
}
