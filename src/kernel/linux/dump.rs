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
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::read::{self, Ifaces};
use super::rtnl::Rtnl;
use crate::plan::{Names, Object, Place};

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

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
