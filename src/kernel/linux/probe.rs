//! One real packet from one namespace to another, and whether it arrived.
//!
//! The receiver's side is a packet socket (packet(7)) that sees every frame of the namespace
//! before any of its rules; the sender's side is an ordinary socket, so the packet takes the
//! ordinary path.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::Namespace;
use crate::kernel::Error;
use crate::model::{Family, Proto};

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    pub arrived: bool,
    pub words: String,
}

/// Sends one packet of a protocol and watches for it, from one of the sources that it may bear
/// by then.
///
/// # Errors
/// A namespace cannot be entered, or a socket not be made.
pub fn shoot(
    from: &Path,
    to: &Path,
    sources: &[IpAddr],
    target: IpAddr,
    proto: Proto,
    port: u16,
    patience: Duration,
) -> Result<Seen, Error> {
    let enter = |path: &Path, source| Error::Namespace {
        path: path.display().to_string(),
        source,
    };
    let receiver = Namespace::open(to).map_err(|e| enter(to, e))?;
    let mut watch = receiver
        .within(packet_socket)
        .and_then(|s| s)
        .map_err(|e| enter(to, e))?;
    let sender = Namespace::open(from).map_err(|e| enter(from, e))?;
    let what = Packet {
        sources,
        target,
        proto,
        port,
    };
    let sent = sender.within(|| what.send()).map_err(|e| enter(from, e))?;
    let (_kept, refused) = match sent {
        Ok(socket) => (Some(socket), None),
        Err(e) => (None, Some(e)),
    };
    let start = Instant::now();
    loop {
        let left = patience.saturating_sub(start.elapsed());
        if left.is_zero() || (refused.is_some() && start.elapsed() > Duration::from_millis(50)) {
            let why = refused.map_or_else(|| "no answer".to_owned(), |e| e.to_string());
            return Ok(Seen {
                arrived: false,
                words: format!("the receiver saw no packet; the sender: {why}"),
            });
        }
        if wait(&watch, left.min(Duration::from_millis(20))) && what.is_among(&mut watch) {
            let took = start.elapsed().as_micros();
            return Ok(Seen {
                arrived: true,
                words: format!("the receiver saw the packet after {took} us"),
            });
        }
    }
}

struct Packet<'a> {
    sources: &'a [IpAddr],
    target: IpAddr,
    proto: Proto,
    port: u16,
}

impl Packet<'_> {
    /// Sends it; the socket must live until it is seen, or the kernel takes a SYN back.
    fn send(&self) -> io::Result<Socket> {
        let v4 = self.target.is_ipv4();
        let (kind, proto) = match self.proto {
            Proto::Tcp => (Type::STREAM, None),
            Proto::Udp => (Type::DGRAM, None),
            Proto::Icmp if v4 => (Type::RAW, Some(Protocol::ICMPV4)),
            Proto::Icmp => (Type::RAW, Some(Protocol::ICMPV6)),
            // Not every kernel has SCTP sockets, and every router passes SCTP.
            Proto::Sctp => (Type::RAW, Some(Protocol::from(libc::IPPROTO_SCTP))),
        };
        let socket = Socket::new(Domain::for_address(SocketAddr::new(self.target, 0)), kind, proto)?;
        socket.set_nonblocking(true)?;
        let port = if kind == Type::RAW { 0 } else { self.port };
        match socket.connect(&SocketAddr::new(self.target, port).into()) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => return Err(e),
            _ => {}
        }
        let payload: Vec<u8> = match self.proto {
            Proto::Tcp => return Ok(socket),
            // Echo request; the kernel fills in ICMPv6's checksum, ICMP's is over these bytes.
            Proto::Icmp if v4 => vec![8, 0, 0xf7, 0xff, 0, 0, 0, 0],
            Proto::Icmp => vec![128, 0, 0, 0, 0, 0, 0, 0],
            Proto::Sctp => self.sctp_init(),
            Proto::Udp => b"moat".to_vec(),
        };
        socket.send(&payload)?;
        Ok(socket)
    }

    /// An INIT chunk of 20 bytes: tag 1, window 65535, one stream each way, first number 1.
    fn sctp_init(&self) -> Vec<u8> {
        let [high, low] = self.port.to_be_bytes();
        let mut packet = vec![0xC0, 0x00, high, low, 0, 0, 0, 0, 0, 0, 0, 0];
        packet.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
        let sum = crc32c(&packet).to_le_bytes();
        packet[8..12].copy_from_slice(&sum);
        packet
    }

    /// Whether a frame that waits on the socket is this packet.
    fn is_among(&self, watch: &mut Socket) -> bool {
        let mut frame = [0; 256];
        while let Ok(n) = watch.read(&mut frame) {
            if self.is(&frame[..n]) {
                return true;
            }
        }
        false
    }

    fn is(&self, ip: &[u8]) -> bool {
        let (source, target, proto, rest): (IpAddr, IpAddr, u8, &[u8]) = match ip.first().map(|b| b >> 4) {
            Some(4) if ip.len() >= 20 => {
                let head = usize::from(ip[0] & 15) * 4;
                let a = |i: usize| IpAddr::from([ip[i], ip[i + 1], ip[i + 2], ip[i + 3]]);
                (a(12), a(16), ip[9], ip.get(head..).unwrap_or_default())
            }
            Some(6) if ip.len() >= 40 => {
                let a = |i: usize| <[u8; 16]>::try_from(&ip[i..i + 16]).map_or(self.target, IpAddr::from);
                (a(8), a(24), ip[6], &ip[40..])
            }
            _ => return false,
        };
        let port = rest.get(2..4).map(|p| u16::from_be_bytes([p[0], p[1]]));
        let family = Family::of(self.target);
        // An answer to a probe that goes the other way at the same time is none of ours.
        let asks = match self.proto {
            Proto::Icmp => matches!(
                (rest.first(), family),
                (Some(8), Family::Ip4) | (Some(128), Family::Ip6)
            ),
            // SYN, and not ACK.
            Proto::Tcp => port == Some(self.port) && rest.get(13).is_some_and(|flags| flags & 0x12 == 2),
            Proto::Udp | Proto::Sctp => port == Some(self.port),
        };
        self.sources.contains(&source) && target == self.target && proto == self.proto.number(family) && asks
    }
}

/// A socket that sees the IP packets of every interface of this namespace.
fn packet_socket() -> io::Result<Socket> {
    let every = i32::from((libc::ETH_P_ALL as u16).to_be());
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(every)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn wait(socket: &Socket, time: Duration) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
    poll(&mut fds, timeout).is_ok_and(|n| n > 0)
}

/// The checksum of SCTP (RFC 9260, appendix A).
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| {
            if c & 1 == 1 { c >> 1 ^ 0x82f6_3b78 } else { c >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_castagnoli() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
    }
}
