//! Forgetting established flows, so that a link's end is felt at once and an address's next
//! holder inherits nothing.
//!
//! Relies on `nf_conntrack_netlink.c`: entries are listed by family and matched here,
//! then deleted one by one by their original tuple and identity. An entry that went
//! meanwhile is no matter.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::SeenFlow;
use super::nfnl::{CTNETLINK, Nfnl};
use super::wire::{Buffer, find};
use crate::model::{Proto, Service};

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
const PROTO_DST_PORT: u16 = 3;

/// Which flows to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flows {
    /// Every flow an address takes part in, before or after translation.
    Of(IpAddr),
    /// The flows a client opened to a server.
    Between {
        client: IpAddr,
        /// The address the server itself has: before translation another may have been asked for.
        server: IpAddr,
        /// Except to these.
        kept: Vec<Service>,
    },
}

impl Flows {
    fn family(&self) -> i32 {
        match self {
            Self::Of(ip) | Self::Between { server: ip, .. } if ip.is_ipv4() => libc::AF_INET,
            Self::Of(_) | Self::Between { .. } => libc::AF_INET6,
        }
    }

    fn contain(&self, flow: &Flow<'_>) -> bool {
        match self {
            Self::Of(ip) => {
                [flow.orig.src, flow.orig.dst, flow.reply.src, flow.reply.dst].contains(&Some(*ip))
            }
            Self::Between { client, server, kept } => {
                flow.orig.src == Some(*client)
                    && flow.reply.src == Some(*server)
                    && !kept.iter().any(|service| flow.is_to(*service))
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
    dst_port: Option<u16>,
}

/// What names an entry, as attributes.
type Name = Vec<(u16, Vec<u8>)>;

struct Flow<'a> {
    orig: Tuple,
    reply: Tuple,
    /// What names the entry, as attributes.
    name: Vec<(u16, &'a [u8])>,
}

impl Flow<'_> {
    /// Whether it was opened to this service of the server.
    fn is_to(&self, service: Service) -> bool {
        let port = self.reply.src_port.unwrap_or_default();
        match self.orig.proto.and_then(Proto::of_number) {
            Some(proto) => service.covers(proto, port),
            None => service == Service::Any,
        }
    }
}

/// A port of the host that leads to one of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFlow {
    /// `None` for every address of the host.
    pub host_ip: Option<IpAddr>,
    /// As in the IP header.
    pub proto: u8,
    pub host_port: u16,
    /// The container's address and port.
    pub to: (IpAddr, u16),
}

impl PortFlow {
    fn asks(&self, flow: &Flow<'_>) -> bool {
        flow.orig.proto == Some(self.proto)
            && flow.orig.dst_port == Some(self.host_port)
            && self.host_ip.is_none_or(|ip| flow.orig.dst == Some(ip))
    }

    fn leads(&self, flow: &Flow<'_>) -> bool {
        (flow.reply.src, flow.reply.src_port) == (Some(self.to.0), Some(self.to.1))
    }

    /// Whether a flow asks for this port at one of the host's addresses, and leads elsewhere: a UDP
    /// flow in any case, because it never ends while somebody sends; one of TCP if it was translated,
    /// for otherwise it is served on the host.
    fn strays(&self, flow: &Flow<'_>, hosts: &[IpAddr]) -> bool {
        let (Some(dst), udp) = (flow.orig.dst, i32::from(self.proto) == libc::IPPROTO_UDP) else {
            return false;
        };
        let ours = dst.is_loopback() || hosts.contains(&dst);
        let translated = (flow.orig.dst, flow.orig.dst_port) != (flow.reply.src, flow.reply.src_port);
        self.asks(flow) && ours && !self.leads(flow) && (udp || translated)
    }
}

/// Deletes the entries of flows to these ports: without addresses of the host those that lead
/// where the port does, with them those that stray.
pub(super) fn forget_ports(
    socket: &mut Nfnl,
    ports: &[PortFlow],
    hosts: Option<&[IpAddr]>,
) -> io::Result<usize> {
    let mut by_port: HashMap<(bool, u8, u16), Vec<&PortFlow>> = HashMap::new();
    for p in ports {
        let key = (p.to.0.is_ipv4(), p.proto, p.host_port);
        by_port.entry(key).or_default().push(p);
    }
    let of_port = |flow: &Flow<'_>| {
        let v4 = flow.orig.dst?.is_ipv4();
        by_port.get(&(v4, flow.orig.proto?, flow.orig.dst_port?))
    };
    let is_one = |flow: &Flow<'_>| {
        of_port(flow).is_some_and(|ports| {
            ports.iter().any(|p| match hosts {
                None => p.asks(flow) && p.leads(flow),
                Some(hosts) => p.strays(flow, hosts),
            })
        })
    };
    forget_some(socket, libc::AF_UNSPEC, is_one)
}

/// Deletes the entries, all found in one listing, and returns how many there were.
pub(super) fn forget(socket: &mut Nfnl, flows: &[Flows]) -> io::Result<usize> {
    let Some(first) = flows.first().map(Flows::family) else {
        return Ok(0);
    };
    let alike = flows.iter().all(|f| f.family() == first);
    let family = if alike { first } else { libc::AF_UNSPEC };
    forget_some(socket, family, |flow| flows.iter().any(|f| f.contain(flow)))
}

/// Lists a family, or with `AF_UNSPEC` both at once, and deletes what is one.
fn forget_some(socket: &mut Nfnl, family: i32, is_one: impl Fn(&Flow<'_>) -> bool) -> io::Result<usize> {
    // A listing walks the whole table, however empty: milliseconds.
    if entries(socket)? == 0 {
        return Ok(0);
    }
    let family = u8::try_from(family).unwrap_or_default();
    let found: Vec<(u8, Name)> = socket.dump(
        |buffer, seq, flags| {
            let open = buffer.message(MSG_GET, flags, seq, family, 0);
            buffer.end_message(&open);
        },
        |m, found| {
            let flow = flow(m.attributes());
            if m.kind == MSG_NEW && is_one(&flow) {
                let name = flow.name.iter().map(|(k, v)| (*k, v.to_vec()));
                found.push((m.family(), name.collect()));
            }
        },
    )?;
    for (family, name) in &found {
        socket.ask(
            |buffer, seq, flags| delete(buffer, seq, flags, *family, name),
            |_| None::<()>,
        )?;
    }
    Ok(found.len())
}

/// Every flow that the namespace tracks.
pub(super) fn all(socket: &mut Nfnl) -> io::Result<Vec<SeenFlow>> {
    socket.dump(
        |buffer, seq, flags| {
            let open = buffer.message(MSG_GET, flags, seq, 0, 0);
            buffer.end_message(&open);
        },
        |m, found| {
            if m.kind == MSG_NEW {
                found.extend(seen(m.attributes()));
            }
        },
    )
}

/// What an entry says of its flow: who opened it, and who answers.
pub(super) fn seen(attributes: &[u8]) -> Option<SeenFlow> {
    let flow = flow(attributes);
    let ports = (flow.orig.src_port, flow.reply.src_port);
    Some(SeenFlow {
        allowed: true,
        from: flow.orig.src?,
        to: flow.reply.src?,
        proto: flow.orig.proto?,
        ports: (ports.0.unwrap_or_default(), ports.1.unwrap_or_default()),
    })
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
    let port = |kind| {
        let value = find(proto, kind)?;
        Some(u16::from_be_bytes(value.try_into().ok()?))
    };
    Tuple {
        src: address(ip, IP_V4_SRC, IP_V6_SRC),
        dst: address(ip, IP_V4_DST, IP_V6_DST),
        proto: find(proto, PROTO_NUM).and_then(|v| v.first().copied()),
        src_port: port(PROTO_SRC_PORT),
        dst_port: port(PROTO_DST_PORT),
    }
}

fn address(bytes: &[u8], v4: u16, v6: u16) -> Option<IpAddr> {
    if let Some(v) = find(bytes, v4) {
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(v).ok()?).into());
    }
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(find(bytes, v6)?).ok()?).into())
}
