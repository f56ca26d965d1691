//! Forgetting established flows, so that a link's end is felt at once and an address's next
//! holder inherits nothing.
//!
//! Relies on `nf_conntrack_netlink.c`: entries are listed for each family and matched here,
//! then deleted one by one by their original tuple and identity. An entry that went
//! meanwhile is no matter.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::nfnl::{CTNETLINK, Nfnl};
use super::wire::{Buffer, find};

const MSG_NEW: u16 = CTNETLINK << 8;
const MSG_GET: u16 = CTNETLINK << 8 | 1;
const MSG_DELETE: u16 = CTNETLINK << 8 | 2;
const MSG_GET_STATS: u16 = CTNETLINK << 8 | 5;
const STATS_GLOBAL_ENTRIES: u16 = 1;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const IP_V6_SRC: u16 = 3;
const IP_V6_DST: u16 = 4;
const PROTO_NUM: u16 = 1;
const PROTO_SRC_PORT: u16 = 2;

/// Which flows to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// Every flow an address takes part in, before or after translation.
    Of(IpAddr),
    /// The flows a client opened to a server.
    Between {
        client: IpAddr,
        /// The address the server itself has: before translation another may have been asked for.
        server: IpAddr,
        /// Of this protocol number only.
        proto: Option<u8>,
        /// To this port of the server only.
        port: Option<u16>,
    },
}

impl Flows {
    fn families(self) -> &'static [i32] {
        match self {
            Self::Of(IpAddr::V4(_))
            | Self::Between {
                server: IpAddr::V4(_),
                ..
            } => &[libc::AF_INET],
            Self::Of(IpAddr::V6(_))
            | Self::Between {
                server: IpAddr::V6(_),
                ..
            } => &[libc::AF_INET6],
        }
    }

    fn contain(self, flow: &Flow<'_>) -> bool {
        match self {
            Self::Of(ip) => {
                [flow.orig.src, flow.orig.dst, flow.reply.src, flow.reply.dst].contains(&Some(ip))
            }
            Self::Between {
                client,
                server,
                proto,
                port,
            } => {
                flow.orig.src == Some(client)
                    && flow.reply.src == Some(server)
                    && proto.is_none_or(|p| flow.orig.proto == Some(p))
                    && port.is_none_or(|p| flow.reply.src_port == Some(p))
            }
        }
    }
}

/// One direction of a flow.
#[derive(Default)]
struct Tuple {
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    proto: Option<u8>,
    src_port: Option<u16>,
}

struct Flow<'a> {
    orig: Tuple,
    reply: Tuple,
    /// What names the entry, as attributes.
    name: Vec<(u16, &'a [u8])>,
}

/// Deletes the entries and returns how many there were.
pub(super) fn forget(socket: &mut Nfnl, flows: Flows) -> io::Result<usize> {
    let mut count = 0;
    // A listing walks the whole table, however empty: milliseconds.
    if entries(socket)? == 0 {
        return Ok(0);
    }
    for family in flows.families() {
        let family = u8::try_from(*family).unwrap_or_default();
        let names: Vec<Vec<(u16, Vec<u8>)>> = socket.dump(
            |buffer, seq, flags| {
                let open = buffer.message(MSG_GET, flags, seq, family, 0);
                buffer.end_message(&open);
            },
            |m, found| {
                let flow = flow(m.attributes());
                if m.kind == MSG_NEW && flows.contain(&flow) {
                    found.push(flow.name.iter().map(|(k, v)| (*k, v.to_vec())).collect());
                }
            },
        )?;
        for name in &names {
            socket.ask(
                |buffer, seq, flags| delete(buffer, seq, flags, family, name),
                |_| None::<()>,
            )?;
        }
        count += names.len();
    }
    Ok(count)
}

/// How many flows the namespace tracks.
fn entries(socket: &mut Nfnl) -> io::Result<u32> {
    let count = socket.ask(
        |buffer, seq, flags| {
            let open = buffer.message(MSG_GET_STATS, flags, seq, 0, 0);
            buffer.end_message(&open);
        },
        |m| {
            find(m.attributes(), STATS_GLOBAL_ENTRIES)
                .and_then(|v| v.try_into().ok())
                .map(u32::from_be_bytes)
        },
    )?;
    Ok(count.unwrap_or(u32::MAX))
}

fn delete(buffer: &mut Buffer, seq: u32, flags: u16, family: u8, name: &[(u16, Vec<u8>)]) {
    let open = buffer.message(MSG_DELETE, flags, seq, family, 0);
    for (kind, value) in name {
        // The value of the tuple is a list already; only its flag is missing.
        let nested = if *kind == TUPLE_ORIG {
            super::wire::NESTED
        } else {
            0
        };
        buffer.put(kind | nested, value);
    }
    buffer.end_message(&open);
}

fn flow(attributes: &[u8]) -> Flow<'_> {
    let side = |kind| find(attributes, kind).map(tuple).unwrap_or_default();
    Flow {
        orig: side(TUPLE_ORIG),
        reply: side(TUPLE_REPLY),
        name: [TUPLE_ORIG, ID, ZONE]
            .into_iter()
            .filter_map(|k| Some((k, find(attributes, k)?)))
            .collect(),
    }
}

fn tuple(bytes: &[u8]) -> Tuple {
    let ip = find(bytes, TUPLE_IP).unwrap_or_default();
    let proto = find(bytes, TUPLE_PROTO).unwrap_or_default();
    Tuple {
        src: address(ip, IP_V4_SRC, IP_V6_SRC),
        dst: address(ip, IP_V4_DST, IP_V6_DST),
        proto: find(proto, PROTO_NUM).and_then(|v| v.first().copied()),
        src_port: find(proto, PROTO_SRC_PORT)
            .and_then(|v| v.try_into().ok())
            .map(u16::from_be_bytes),
    }
}

fn address(bytes: &[u8], v4: u16, v6: u16) -> Option<IpAddr> {
    if let Some(v) = find(bytes, v4) {
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(v).ok()?).into());
    }
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(find(bytes, v6)?).ok()?).into())
}
