//! Dumps of one namespace, as objects.
//!
//! Asks rtnetlink and leaves the reading to `read`. The kernel lists neighbours, routes
//! and rules of one family at a time.

use std::io;

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::read::{self, Ifaces};
use super::rtnl::Rtnl;
use crate::plan::{Names, Object, Place};

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// A routing rule of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRule {
    /// 4 or 6.
    pub family: u8,
    pub priority: u32,
    pub table: u32,
}

impl Rtnl {
    pub fn ifaces(&mut self) -> io::Result<Ifaces> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
        let all = self.dump(&Message::GetLink(message))?;
        Ok(all
            .iter()
            .filter_map(|m| match m {
                Message::NewLink(l) => Some((l.header.index, read::iface(l))),
                _ => None,
            })
            .collect())
    }

    /// The addresses of interfaces; of one only, unless `index` is 0.
    pub fn addresses(&mut self, at: &Place, own: &Ifaces, index: u32) -> io::Result<Vec<Object>> {
        let mut out = Vec::new();
        for family in FAMILIES {
            let mut message = AddressMessage::default();
            message.header.family = family;
            message.header.index = index;
            out.extend(
                self.dump(&Message::GetAddress(message))?
                    .iter()
                    .filter_map(|m| match m {
                        Message::NewAddress(a) => read::address(at, own, a),
                        _ => None,
                    }),
            );
        }
        Ok(out)
    }

    pub fn neighbours(&mut self, at: &Place, own: &Ifaces) -> io::Result<Vec<Object>> {
        let mut out = Vec::new();
        for family in FAMILIES {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            out.extend(
                self.dump(&Message::GetNeighbour(message))?
                    .iter()
                    .filter_map(|m| match m {
                        Message::NewNeighbour(n) => read::neighbour(at, own, n),
                        _ => None,
                    }),
            );
        }
        Ok(out)
    }

    pub fn forwarding(&mut self, at: &Place, own: &Ifaces) -> io::Result<Vec<Object>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        let all = self.dump(&Message::GetNeighbour(message))?;
        Ok(all
            .iter()
            .filter_map(|m| match m {
                Message::NewNeighbour(n) => read::fdb(at, own, n),
                _ => None,
            })
            .collect())
    }

    pub fn routes(&mut self, at: &Place, own: &Ifaces) -> io::Result<Vec<Object>> {
        let all = self.all_routes()?;
        Ok(all.iter().filter_map(|r| read::route(at, own, r)).collect())
    }

    /// Every route of both families in every table.
    pub fn all_routes(&mut self) -> io::Result<Vec<RouteMessage>> {
        let mut out = Vec::new();
        for family in FAMILIES {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let all = self.dump(&Message::GetRoute(message))?;
            out.extend(all.into_iter().filter_map(|m| match m {
                Message::NewRoute(r) => Some(r),
                _ => None,
            }));
        }
        Ok(out)
    }

    pub fn rules(&mut self, at: &Place, names: &Names) -> io::Result<Vec<Object>> {
        let mut out = Vec::new();
        for family in FAMILIES {
            let mut message = RuleMessage::default();
            message.header.family = family;
            out.extend(
                self.dump(&Message::GetRule(message))?
                    .iter()
                    .filter_map(|m| match m {
                        Message::NewRule(r) => read::rule(at, names, r),
                        _ => None,
                    }),
            );
        }
        Ok(out)
    }

    /// The rules of both families that are not of this world.
    pub fn other_rules(&mut self, names: &Names) -> io::Result<Vec<OtherRule>> {
        let mut out = Vec::new();
        for (family, number) in FAMILIES.into_iter().zip([4, 6]) {
            let mut message = RuleMessage::default();
            message.header.family = family;
            let all = self.dump(&Message::GetRule(message))?;
            let others = all.iter().filter_map(|m| match m {
                Message::NewRule(r) if read::rule(&Place::Host, names, r).is_none() => Some(r),
                _ => None,
            });
            out.extend(others.map(|r| {
                let mut rule = OtherRule {
                    family: number,
                    priority: 0,
                    table: r.header.table.into(),
                };
                for attribute in &r.attributes {
                    match attribute {
                        RuleAttribute::Priority(n) => rule.priority = *n,
                        RuleAttribute::Table(n) => rule.table = *n,
                        _ => {}
                    }
                }
                rule
            }));
        }
        Ok(out)
    }

    pub fn has_port(&mut self, port: &str, bridge: &str) -> io::Result<bool> {
        let (Some(port), Some(bridge)) = (self.link(port)?, self.link(bridge)?) else {
            return Ok(false);
        };
        let port = read::iface(&port);
        Ok(port.closed && port.master == Some(bridge.header.index))
    }

    /// The number by which this namespace calls the one behind a descriptor.
    pub fn number(&mut self, fd: u32) -> io::Result<Option<i32>> {
        let mut message = NsidMessage::default();
        message.attributes = vec![NsidAttribute::Fd(fd)];
        let found = self.ask(Message::GetNsId(message))?;
        Ok(found.iter().find_map(|m| match m {
            Message::NewNsId(n) => n.attributes.iter().find_map(|a| match a {
                NsidAttribute::Id(id) => Some(*id),
                _ => None,
            }),
            _ => None,
        }))
    }
}
