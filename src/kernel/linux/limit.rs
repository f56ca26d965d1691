//! Rates of an interface: a token bucket for what it sends, and one on an intermediate
//! functional block (IFB) for what it receives.
//!
//! The same shape as the reference plugin `bandwidth` makes, so that either takes the other's
//! away: `tbf` 1: at the root; the ingress qdisc with a `u32` filter that sends everything on to
//! the IFB, and `tbf` 1: there. Relies on `net/sched/sch_tbf.c`, `cls_u32.c` and `act_mirred.c`.
//! An IFB that goes leaves the filter behind, which then drops: what hangs on the interface is
//! taken away first.

use std::io;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirrorOption, TcActionOption, TcActionType, TcAttribute,
    TcFilterU32Option, TcHandle, TcMessage, TcMirror, TcMirrorActionType, TcOption, TcU32Key, TcU32Selector,
    TcU32SelectorFlags,
};

use super::apply::ignore;
use super::bucket::{self, Bucket};
use super::rtnl::{Mode, Rtnl};
use super::tune::step;
use super::{Linux, links, reading};
use crate::kernel::Error;
use crate::plan::Place;

/// The qdisc that we make at a root.
const OWN: TcHandle = TcHandle { major: 1, minor: 0 };
/// The handle of an ingress qdisc, the only one that it can have.
const INGRESS: TcHandle = TcHandle {
    major: 0xffff,
    minor: 0,
};

/// A rate with the burst it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bits a second.
    pub rate: u64,
    /// Bits.
    pub burst: u64,
}

/// An interface between a container and others: the end that is not in the container.
#[derive(Clone, Copy, Debug)]
pub struct Limited<'a> {
    pub at: &'a Place,
    pub iface: &'a str,
    /// The name of its IFB, if it has or gets one.
    pub ifb: &'a str,
}

impl Linux {
    /// Limits what an interface sends (`to`, the container's ingress) and what it receives
    /// (`from`, its egress). What was limited before and is limited now gets the new values.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses; some of it may be there then.
    pub fn limit(&mut self, of: Limited<'_>, to: Option<Limit>, from: Option<Limit>) -> Result<(), Error> {
        let rtnl = self.rtnl(of.at)?;
        let index = rtnl
            .index(of.iface)
            .map_err(step(format!("limiting interface {}", of.iface)))?;
        if let Some(limit) = to {
            set_bucket(rtnl, index, limit).map_err(step(format!("limiting what {} sends", of.iface)))?;
        }
        if let Some(limit) = from {
            limit_received(rtnl, index, of, limit)
                .map_err(step(format!("limiting what {} receives", of.iface)))?;
        }
        Ok(())
    }

    /// Takes the limits away, whatever of them is there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unlimit(&mut self, of: Limited<'_>) -> Result<(), Error> {
        let rtnl = self.rtnl(of.at)?;
        let done = take_from(rtnl, of.iface).and_then(|()| remove_ifb(rtnl, of.ifb));
        done.map_err(step(format!("taking the limits of interface {} away", of.iface)))
    }

    /// Takes an IFB away whose interface is gone or unknown.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_ifb(&mut self, at: &Place, ifb: &str) -> Result<(), Error> {
        remove_ifb(self.rtnl(at)?, ifb).map_err(step(format!("removing interface {ifb}")))
    }

    /// What is missing or other than these limits, in words.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn limits_amiss(
        &mut self,
        of: Limited<'_>,
        to: Option<Limit>,
        from: Option<Limit>,
    ) -> Result<Option<String>, Error> {
        let rtnl = self.rtnl(of.at)?;
        amiss(rtnl, of, to, from).map_err(reading("limits"))
    }
}

fn limit_received(here: &mut Rtnl, index: u32, of: Limited<'_>, limit: Limit) -> io::Result<()> {
    let mtu = here.link(of.iface)?.as_ref().and_then(mtu);
    add_ifb(here, of.ifb, mtu)?;
    let ifb = here.index(of.ifb)?;
    // Before anything goes there.
    set_bucket(here, ifb, limit)?;
    // An earlier one may lead elsewhere.
    remove_ingress(here, index)?;
    let mut ingress = message(index, INGRESS, TcHandle::INGRESS);
    ingress.attributes.push(TcAttribute::Kind("ingress".into()));
    here.change(Message::NewQueueDiscipline(ingress), Mode::Create)?;
    here.change(Message::NewTrafficFilter(redirection(index, ifb)), Mode::Create)
}

/// An IFB with the MTU of the interface that it is for, up.
fn add_ifb(here: &mut Rtnl, name: &str, mtu: Option<u32>) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]),
    ];
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    match here.change(Message::NewLink(message), Mode::Create) {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) && is_ifb(here, name)? => {
            links::set_up(here, name, true)
        }
        done => done,
    }
}

fn remove_ifb(here: &mut Rtnl, name: &str) -> io::Result<()> {
    if !is_ifb(here, name)? {
        return Ok(());
    }
    ignore(links::remove(here, name), &[libc::ENODEV])
}

fn is_ifb(here: &mut Rtnl, name: &str) -> io::Result<bool> {
    let is = |a: &LinkAttribute| matches!(a, LinkAttribute::LinkInfo(i) if i.contains(&LinkInfo::Kind(InfoKind::Ifb)));
    Ok(here.link(name)?.is_some_and(|l| l.attributes.iter().any(is)))
}

fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::Mtu(n) => Some(*n),
        _ => None,
    })
}

fn set_bucket(here: &mut Rtnl, index: u32, limit: Limit) -> io::Result<()> {
    let mut message = message(index, OWN, TcHandle::ROOT);
    message.attributes = vec![
        TcAttribute::Kind(bucket::KIND.into()),
        TcAttribute::Options(Bucket::of(limit).options()),
    ];
    here.change(Message::NewQueueDiscipline(message), Mode::Replace)
}

/// A bucket goes only if it is one: another qdisc at the root is not ours.
fn take_from(here: &mut Rtnl, iface: &str) -> io::Result<()> {
    let Some(index) = here.link(iface)?.map(|l| l.header.index) else {
        return Ok(());
    };
    if bucket_of(here, index)?.is_some() {
        let bucket = message(index, OWN, TcHandle::ROOT);
        ignore(
            here.change(Message::DelQueueDiscipline(bucket), Mode::Change),
            &GONE,
        )?;
    }
    remove_ingress(here, index)
}

const GONE: [i32; 3] = [libc::ENOENT, libc::EINVAL, libc::ENODEV];

fn remove_ingress(here: &mut Rtnl, index: u32) -> io::Result<()> {
    let ingress = message(index, INGRESS, TcHandle::INGRESS);
    ignore(
        here.change(Message::DelQueueDiscipline(ingress), Mode::Change),
        &GONE,
    )
}

/// The filter that sends every packet on to an IFB.
fn redirection(index: u32, ifb: u32) -> TcMessage {
    let mut message = message(index, TcHandle::UNSPEC, INGRESS);
    // Priority 1, every protocol.
    message.header.info = 1 << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = 1;
    selector.keys = vec![TcU32Key::default()];
    let mut mirror = TcMirror::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.eaction = TcMirrorActionType::EgressRedir;
    mirror.ifindex = ifb;
    let mut action = TcAction::default();
    action.tab = 1;
    action.attributes = vec![
        TcActionAttribute::Kind("mirred".into()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))]),
    ];
    message.attributes = vec![
        TcAttribute::Kind("u32".into()),
        TcAttribute::Options(vec![
            TcOption::U32(TcFilterU32Option::ClassId(TcHandle { major: 1, minor: 1 })),
            TcOption::U32(TcFilterU32Option::Selector(selector)),
            TcOption::U32(TcFilterU32Option::Action(vec![action])),
        ]),
    ];
    message
}

fn amiss(
    here: &mut Rtnl,
    of: Limited<'_>,
    to: Option<Limit>,
    from: Option<Limit>,
) -> io::Result<Option<String>> {
    let Some(iface) = here.link(of.iface)? else {
        return Ok(Some(format!("there is no interface {}", of.iface)));
    };
    let index = iface.header.index;
    let other = |here: &mut Rtnl, index, limit: Limit| -> io::Result<bool> {
        Ok(bucket_of(here, index)? != Some(Bucket::of(limit)))
    };
    if let Some(limit) = to
        && other(here, index, limit)?
    {
        return Ok(Some(format!(
            "interface {} does not limit what it sends",
            of.iface
        )));
    }
    let Some(limit) = from else {
        return Ok(None);
    };
    let Some(ifb) = here.link(of.ifb)?.map(|l| l.header.index) else {
        return Ok(Some(format!("there is no interface {}", of.ifb)));
    };
    if other(here, ifb, limit)? {
        return Ok(Some(format!("interface {} does not limit what it sends", of.ifb)));
    }
    if !leads_to(here, index, ifb)? {
        let words = format!("what interface {} receives does not go to {}", of.iface, of.ifb);
        return Ok(Some(words));
    }
    Ok(None)
}

/// The bucket at an interface's root. Listing is not needed: the kernel answers for one.
fn bucket_of(here: &mut Rtnl, index: u32) -> io::Result<Option<Bucket>> {
    let message = message(index, TcHandle::UNSPEC, TcHandle::ROOT);
    match here.ask_echo(Message::GetQueueDiscipline(message)) {
        Ok(found) => Ok(found.iter().find_map(|m| match m {
            Message::NewQueueDiscipline(q) => Bucket::read(q),
            _ => None,
        })),
        Err(e) if GONE.contains(&e.raw_os_error().unwrap_or_default()) => Ok(None),
        Err(e) => Err(e),
    }
}

fn leads_to(here: &mut Rtnl, index: u32, ifb: u32) -> io::Result<bool> {
    let message = message(index, TcHandle::UNSPEC, INGRESS);
    let all = here.dump(&Message::GetTrafficFilter(message))?;
    let leads = |o: &TcActionOption| matches!(o, TcActionOption::Mirror(TcActionMirrorOption::Parms(m)) if m.ifindex == ifb);
    let action =
        |a: &TcActionAttribute| matches!(a, TcActionAttribute::Options(all) if all.iter().any(leads));
    let option = |o: &TcOption| {
        matches!(o, TcOption::U32(TcFilterU32Option::Action(all))
            if all.iter().flat_map(|a| &a.attributes).any(action))
    };
    let attribute = |a: &TcAttribute| matches!(a, TcAttribute::Options(all) if all.iter().any(option));
    Ok(all
        .iter()
        .any(|m| matches!(m, Message::NewTrafficFilter(f) if f.attributes.iter().any(attribute))))
}

fn message(index: u32, handle: TcHandle, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = index as i32;
    message.header.handle = handle;
    message.header.parent = parent;
    message
}
