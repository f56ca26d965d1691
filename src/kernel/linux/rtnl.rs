//! One rtnetlink connection in one namespace: questions, changes and dumps.
//!
//! Relies on `rtnetlink(7)`: an acknowledgement follows every request that asks for one.
//! The connection is driven only while a request waits, so dropping it closes the socket
//! at once; a socket keeps its namespace alive. Dumps the kernel marks as inconsistent
//! (`NLM_F_DUMP_INTR`, on any of their messages) are read again.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt as _};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE,
    NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use rtnetlink::Handle;
use rtnetlink::proto::Connection;
use tokio::runtime::Runtime;

use super::namespace::Namespace;

/// How often an inconsistent dump is read again.
const ATTEMPTS: usize = 16;

/// What a change does with what is there already.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    /// Only if it is not there.
    Create,
    /// Made, or made like this.
    Replace,
    /// Something that exists is changed, or taken away.
    Change,
}

impl Mode {
    fn flags(self) -> u16 {
        match self {
            Self::Create => NLM_F_CREATE | NLM_F_EXCL,
            Self::Replace => NLM_F_CREATE | NLM_F_REPLACE,
            Self::Change => 0,
        }
    }
}

pub(super) struct Rtnl {
    connection: Connection<RouteNetlinkMessage>,
    handle: Handle,
    runtime: Arc<Runtime>,
    indexes: HashMap<String, u32>,
}

struct Replies {
    messages: Vec<RouteNetlinkMessage>,
    consistent: bool,
}

impl Rtnl {
    /// Opens a connection in `namespace`, or in the calling thread's.
    pub fn open(runtime: &Arc<Runtime>, namespace: Option<&Namespace>) -> io::Result<Self> {
        let open = || {
            let _context = runtime.enter();
            rtnetlink::new_connection_with_strict_check()
        };
        let (mut connection, handle, _) = match namespace {
            Some(ns) => ns.within(open)??,
            None => open()?,
        };
        connection.set_forward_done(true);
        Ok(Self {
            connection,
            handle,
            runtime: Arc::clone(runtime),
            indexes: HashMap::new(),
        })
    }

    /// Sends a change and waits for its acknowledgement.
    pub fn change(&mut self, message: RouteNetlinkMessage, mode: Mode) -> io::Result<()> {
        self.exchange(message, NLM_F_ACK | mode.flags()).map(drop)
    }

    /// Asks for one thing and returns what the kernel says.
    pub fn ask(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.exchange(message, NLM_F_ACK).map(|r| r.messages)
    }

    /// The same where the kernel tells its listeners, and the asker only when it wants an echo:
    /// `RTM_GETQDISC` (`qdisc_get_notify` in `net/sched/sch_api.c`).
    pub fn ask_echo(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.exchange(message, NLM_F_ACK | NLM_F_ECHO).map(|r| r.messages)
    }

    /// Everything a dump lists. A table or family that does not exist is empty.
    pub fn dump(&mut self, message: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..ATTEMPTS {
            match self.exchange(message.clone(), NLM_F_DUMP) {
                Ok(replies) if replies.consistent => return Ok(replies.messages),
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::other(
            "the kernel's state changed during every attempt",
        ))
    }

    /// One link by name; `None` when there is none.
    pub fn link(&mut self, name: &str) -> io::Result<Option<LinkMessage>> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
        ];
        match self.exchange(RouteNetlinkMessage::GetLink(message), NLM_F_ACK) {
            Ok(replies) => {
                let link = replies.messages.into_iter().find_map(|m| match m {
                    RouteNetlinkMessage::NewLink(l) => Some(l),
                    _ => None,
                });
                if let Some(l) = &link {
                    self.indexes.insert(name.to_owned(), l.header.index);
                }
                Ok(link)
            }
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {
                self.indexes.remove(name);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// One link by its index.
    pub fn link_at(&mut self, index: u32) -> io::Result<Option<LinkMessage>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
        let replies = self.exchange(RouteNetlinkMessage::GetLink(message), NLM_F_ACK)?;
        Ok(replies.messages.into_iter().find_map(|m| match m {
            RouteNetlinkMessage::NewLink(l) => Some(l),
            _ => None,
        }))
    }

    /// The index of an interface; remembered until [`Self::forget`].
    pub fn index(&mut self, name: &str) -> io::Result<u32> {
        if let Some(index) = self.indexes.get(name) {
            return Ok(*index);
        }
        match self.link(name)? {
            Some(link) => Ok(link.header.index),
            None => Err(io::Error::from_raw_os_error(libc::ENODEV)),
        }
    }

    /// Forgets one index: another interface may have the name now.
    pub fn forget_name(&mut self, name: &str) {
        self.indexes.remove(name);
    }

    /// Forgets all interface indexes: names may mean other interfaces now.
    pub fn forget(&mut self) {
        self.indexes.clear();
    }

    fn exchange(&mut self, payload: RouteNetlinkMessage, flags: u16) -> io::Result<Replies> {
        let mut message = NetlinkMessage::from(payload);
        message.header.flags = NLM_F_REQUEST | flags;
        let stream = self.handle.request(message).map_err(io::Error::other)?;
        let Self {
            connection, runtime, ..
        } = self;
        runtime.block_on(drive(connection, collect(stream)))
    }
}

/// Runs the connection until `answer` is complete.
async fn drive<T>(
    connection: &mut Connection<RouteNetlinkMessage>,
    answer: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    match select(connection, pin!(answer)).await {
        Either::Left(((), _)) => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        Either::Right((answer, _)) => answer,
    }
}

async fn collect(stream: impl Stream<Item = NetlinkMessage<RouteNetlinkMessage>>) -> io::Result<Replies> {
    let mut stream = pin!(stream);
    let mut replies = Replies {
        messages: Vec::new(),
        consistent: true,
    };
    while let Some(message) = stream.next().await {
        if message.header.flags & NLM_F_DUMP_INTR != 0 {
            replies.consistent = false;
        }
        match message.payload {
            NetlinkPayload::InnerMessage(m) => replies.messages.push(m),
            NetlinkPayload::Error(e) if e.code.is_some() => return Err(e.to_io()),
            NetlinkPayload::Done(d) if d.code != 0 => {
                return Err(io::Error::from_raw_os_error(d.code.wrapping_neg()));
            }
            NetlinkPayload::Overrun(_) => replies.consistent = false,
            _ => {}
        }
    }
    Ok(replies)
}
