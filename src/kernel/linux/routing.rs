//! Routes and routing policy rules.
//!
//! Relies on `rtnetlink(7)`, `net/ipv4/fib_frontend.c` and `net/core/fib_rules.c`: a rule is
//! added twice unless `NLM_F_EXCL` says otherwise; deleting a route with scope `nowhere` and
//! no protocol takes whatever stands there.

use std::io;

use ipnetwork::IpNetwork;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::entries;
use super::rtnl::{Mode, Rtnl};
use crate::model::Family;
use crate::plan::{Hop, Mark, Verdict};

/// What IPv6 routes get that ask for no metric.
const METRIC: u32 = 1024;

pub(super) fn add_route(here: &mut Rtnl, table: u32, to: IpNetwork, hop: &Hop) -> io::Result<()> {
    let mut message = route(here, table, to, hop)?;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = match hop {
        Hop::Dev(_) if to.is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    match hop {
        Hop::Via(..) => message.header.flags = RouteFlags::Onlink,
        // Each world has one to the same address: with equal metrics one would replace the other.
        Hop::Local(dev) => message
            .attributes
            .push(RouteAttribute::Priority(METRIC + here.index(dev)?)),
        Hop::Dev(_) | Hop::Prohibit => {}
    }
    here.change(Message::NewRoute(message), Mode::Replace)
}

pub(super) fn remove_route(here: &mut Rtnl, table: u32, to: IpNetwork, hop: &Hop) -> io::Result<()> {
    let mut message = route(here, table, to, hop)?;
    message.header.scope = RouteScope::NoWhere;
    message.header.protocol = RouteProtocol::Unspec;
    here.change(Message::DelRoute(message), Mode::Change)
}

fn route(here: &mut Rtnl, table: u32, to: IpNetwork, hop: &Hop) -> io::Result<RouteMessage> {
    let mut message = RouteMessage::default();
    message.header.address_family = entries::family(to.ip());
    message.header.destination_prefix_length = to.prefix();
    message.header.kind = RouteType::Unicast;
    // Only tables below 256 fit the header; the attribute decides in both cases.
    message.header.table = u8::try_from(table).unwrap_or_default();
    message.attributes.push(RouteAttribute::Table(table));
    if to.prefix() > 0 {
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::from(to.network())));
    }
    match hop {
        Hop::Dev(dev) => message.attributes.push(RouteAttribute::Oif(here.index(dev)?)),
        Hop::Via(gateway, dev) => message.attributes.extend([
            RouteAttribute::Gateway(RouteAddress::from(*gateway)),
            RouteAttribute::Oif(here.index(dev)?),
        ]),
        Hop::Local(dev) => {
            message.header.kind = RouteType::Local;
            message.attributes.push(RouteAttribute::Oif(here.index(dev)?));
        }
        Hop::Prohibit => message.header.kind = RouteType::Prohibit,
    }
    Ok(message)
}

/// A rule's match and action.
pub(super) struct Rule<'a> {
    pub family: Family,
    pub priority: u32,
    pub mark: Option<Mark>,
    pub iif: Option<&'a str>,
    pub then: Verdict,
}

pub(super) fn add_rule(here: &mut Rtnl, rule: &Rule<'_>) -> io::Result<()> {
    here.change(Message::NewRule(message(rule)), Mode::Create)
}

pub(super) fn remove_rule(here: &mut Rtnl, rule: &Rule<'_>) -> io::Result<()> {
    here.change(Message::DelRule(message(rule)), Mode::Change)
}

fn message(rule: &Rule<'_>) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::Ip4 => AddressFamily::Inet,
        Family::Ip6 => AddressFamily::Inet6,
    };
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Protocol(RouteProtocol::Static),
    ];
    if let Some(mark) = rule.mark {
        let (value, mask) = mark.masked();
        message
            .attributes
            .extend([RuleAttribute::FwMark(value), RuleAttribute::FwMask(mask)]);
    }
    if let Some(iif) = rule.iif {
        message.attributes.push(RuleAttribute::Iifname(iif.to_owned()));
    }
    match rule.then {
        Verdict::Lookup(table) => {
            message.header.action = RuleAction::ToTable;
            message.header.table = u8::try_from(table).unwrap_or_default();
            message.attributes.push(RuleAttribute::Table(table));
        }
        Verdict::Prohibit => message.header.action = RuleAction::Prohibit,
    }
    message
}
