//! Flows as they happen in one namespace: what begins, by events of conntrack, and what is denied, by NFLOG.
//!
//! An entry of conntrack is told of when its first packet has passed everything (`nf_conntrack_confirm`), so an
//! event is a flow that is allowed. A packet that is denied is dropped by routing, before that. Events cost
//! nothing while nobody listens (`nf_conntrack_events` 2); packets are logged by a table that lives with the
//! listener, held by an interactive `nft`, whose end is the table's (`nft_rcv_nl_event`).

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use super::namespace::Namespace;
use super::nfnl::CTNETLINK;
use super::wire::{Buffer, find, messages};
use super::{Linux, conntrack, entering, ruleset};
use crate::kernel::Error;
use crate::plan::watch::{Watched, rules, table};
use crate::plan::{Names, Place};

/// `NFNL_SUBSYS_ULOG`.
const ULOG: u16 = 4;
const PACKET: u16 = ULOG << 8;
const CONFIG: u16 = ULOG << 8 | 1;
const CONFIG_COMMAND: u16 = 1;
const CONFIG_MODE: u16 = 2;
const CONFIG_TIMEOUT: u16 = 4;
const CONFIG_THRESHOLD: u16 = 5;
const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const PAYLOAD: u16 = 9;
/// `NFNLGRP_CONNTRACK_NEW`.
const NEW_FLOWS: u32 = 1;
const NEW_FLOW: u16 = CTNETLINK << 8;
const NLMSG_ERROR: u16 = 2;
/// A burst of flows must fit.
const BUFFER: usize = 4 << 20;
const DATAGRAM: usize = 64 << 10;
/// Groups that are tried where others listen already.
const GROUPS: u16 = 16;

/// One flow that began, or one packet that was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seen {
    pub allowed: bool,
    pub from: IpAddr,
    /// The container's own address, where another was asked for.
    pub to: IpAddr,
    /// As in the IP header.
    pub proto: u8,
    /// Of the sender, and of the receiver; 0 where there is none.
    pub ports: (u16, u16),
}

/// A listener in one namespace.
pub struct Listener {
    begun: Socket,
    denied: Option<Denied>,
    /// How often the kernel had no room to tell.
    pub missed: usize,
}

struct Denied {
    log: Socket,
    nft: Child,
}

impl Drop for Denied {
    fn drop(&mut self) {
        // The table goes with the socket of the program.
        let _ = self.nft.kill();
        let _ = self.nft.wait();
    }
}

impl Linux {
    /// Listens in a namespace; with the reason why denied flows are not heard of, where that is so.
    ///
    /// # Errors
    /// The namespace cannot be entered, or this kernel tells of no flows.
    pub fn listen(&self, at: &Place, watched: &Watched) -> Result<(Listener, Option<Error>), Error> {
        let namespace = match self.path(at) {
            None => None,
            Some(path) => Some(Namespace::open(path).map_err(entering(path))?),
        };
        let within = |work: &mut (dyn FnMut() -> io::Result<Socket> + Send)| match &namespace {
            Some(ns) => ns.within(work)?,
            None => work(),
        };
        let begun = within(&mut || open(Some(NEW_FLOWS))).map_err(super::reading("what flows begin"))?;
        let id = std::process::id();
        let denied = within(&mut || open(None)).and_then(|mut log| {
            let group = bind(&mut log, id)?;
            let start = || start(&self.names, id, group, watched);
            let nft = match &namespace {
                Some(ns) => ns.within(start)??,
                None => start()?,
            };
            Ok(Denied { log, nft })
        });
        let (denied, why) = match denied {
            Ok(denied) => (Some(denied), None),
            Err(e) => (None, Some(super::reading("what flows are denied")(e))),
        };
        let listener = Listener {
            begun,
            denied,
            missed: 0,
        };
        Ok((listener, why))
    }
}

/// A socket of netfilter that does not block.
fn open(group: Option<u32>) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.set_cap_ack(true)?;
    // SAFETY: the descriptor is the socket's, which outlives this block.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    let _ = setsockopt(&fd, sockopt::RcvBufForce, &BUFFER);
    if let Some(group) = group {
        socket.add_membership(group)?;
    }
    Ok(socket)
}

/// Binds the socket to a group of NFLOG that nobody has in this namespace.
fn bind(socket: &mut Socket, id: u32) -> io::Result<u16> {
    let first = 0x6d00 | (id as u16 & 0xff);
    for group in (0..GROUPS).map(|n| first.wrapping_add(n << 8)) {
        let command = |b: &mut Buffer| b.put(CONFIG_COMMAND, &[BIND]);
        match configure(socket, group, command) {
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {}
            Err(e) => return Err(e),
            Ok(()) => {
                configure(socket, group, |b| {
                    // The whole packet, as far as the rule lets it; told at once.
                    b.put(CONFIG_MODE, &[0, 0, 0, 0, COPY_PACKET, 0]);
                    b.put(CONFIG_TIMEOUT, &1_u32.to_be_bytes());
                    b.put(CONFIG_THRESHOLD, &1_u32.to_be_bytes());
                })?;
                return Ok(group);
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

fn configure(socket: &mut Socket, group: u16, put: impl FnOnce(&mut Buffer)) -> io::Result<()> {
    let mut buffer = Buffer::default();
    let open = buffer.message(CONFIG, NLM_F_REQUEST | NLM_F_ACK, 1, 0, group);
    put(&mut buffer);
    buffer.end_message(&open);
    socket.send(&buffer.bytes, 0)?;
    let mut datagram = Vec::with_capacity(DATAGRAM);
    socket.recv(&mut datagram, 0)?;
    match messages(&datagram).find(|m| m.kind == NLMSG_ERROR) {
        Some(answer) => answer.outcome(),
        None => Ok(()),
    }
}

/// Starts the program that holds the table, and waits until it is there.
fn start(names: &Names, id: u32, group: u16, watched: &Watched) -> io::Result<Child> {
    #[allow(clippy::disallowed_methods)] // the table goes with the program that made it
    let mut command = Command::new(ruleset::program());
    let mut nft = command
        .arg("-i")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = ask(&mut nft, &rules(names, id, group, watched), &table(names, id));
    if said.is_err() {
        let _ = nft.kill();
        let _ = nft.wait();
    }
    said.map(|()| nft)
}

/// Gives the rules to the program, then has it list the tables: it answers in order.
fn ask(nft: &mut Child, rules: &str, table: &str) -> io::Result<()> {
    let input = nft.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
    writeln!(input, "{rules}\nlist tables inet")?;
    input.flush()?;
    let output = nft.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut errors = nft.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let wait = PollTimeout::from(10_000_u16);
    let mut fds = [
        PollFd::new(output.as_fd(), PollFlags::POLLIN),
        PollFd::new(errors.as_fd(), PollFlags::POLLIN),
    ];
    poll(&mut fds, wait)?;
    let failed = fds[1]
        .revents()
        .is_some_and(|r| r.intersects(PollFlags::POLLIN | PollFlags::POLLHUP));
    if failed {
        let mut text = vec![0; 4096];
        let n = errors.read(&mut text)?;
        let text = String::from_utf8_lossy(&text[..n]);
        let first = text.lines().find(|l| l.contains("rror")).unwrap_or(&text);
        return Err(io::Error::other(format!("`nft`: {}", first.trim())));
    }
    let mut lines = BufReader::new(output).lines();
    match lines.find(|l| l.as_ref().map_or(true, |l| l.trim().ends_with(table))) {
        Some(Ok(_)) => Ok(()),
        Some(Err(e)) => Err(e),
        None => Err(io::Error::other("`nft` did not make the table")),
    }
}

impl Listener {
    /// Waits until something happens in one of several namespaces, or another descriptor is to be read.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(all: &[Self], other: BorrowedFd<'_>, limit: Duration) -> io::Result<()> {
        let mut fds = vec![PollFd::new(other, PollFlags::POLLIN)];
        for socket in all.iter().flat_map(Self::sockets) {
            // SAFETY: the descriptor is the socket's, which outlives this call.
            let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, limit) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn sockets(&self) -> impl Iterator<Item = &Socket> {
        [&self.begun]
            .into_iter()
            .chain(self.denied.as_ref().map(|d| &d.log))
    }

    /// Everything that has happened since the last call; does not wait.
    ///
    /// # Errors
    /// When a socket cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<Seen>> {
        let mut all = vec![];
        let denied = self.denied.as_ref().map(|d| &d.log);
        for socket in [Some(&self.begun), denied].into_iter().flatten() {
            let mut datagram = Vec::with_capacity(DATAGRAM);
            loop {
                datagram.clear();
                match socket.recv(&mut datagram, libc::MSG_DONTWAIT) {
                    Ok(_) => {}
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                        self.missed += 1;
                        continue;
                    }
                    Err(e) => return Err(e),
                }
                all.extend(messages(&datagram).filter_map(|m| match m.kind {
                    NEW_FLOW => conntrack::seen(m.attributes()),
                    PACKET => packet(find(m.attributes(), PAYLOAD)?),
                    _ => None,
                }));
            }
        }
        Ok(all)
    }
}

/// What a denied packet says of its flow.
fn packet(bytes: &[u8]) -> Option<Seen> {
    let (from, to, proto, rest): (IpAddr, IpAddr, u8, &[u8]) = match bytes.first()? >> 4 {
        4 => {
            let at = |n: usize| -> Option<[u8; 4]> { bytes.get(n..n + 4)?.try_into().ok() };
            let header = usize::from(bytes[0] & 0x0f) * 4;
            let later = u16::from_be_bytes([*bytes.get(6)?, *bytes.get(7)?]) & 0x1fff != 0;
            let rest = if later { &[] } else { bytes.get(header..)? };
            let (from, to) = (Ipv4Addr::from(at(12)?), Ipv4Addr::from(at(16)?));
            (from.into(), to.into(), *bytes.get(9)?, rest)
        }
        6 => {
            let at = |n: usize| -> Option<[u8; 16]> { bytes.get(n..n + 16)?.try_into().ok() };
            let (proto, rest) = upper(*bytes.get(6)?, bytes.get(40..)?);
            let (from, to) = (Ipv6Addr::from(at(8)?), Ipv6Addr::from(at(24)?));
            (from.into(), to.into(), proto, rest)
        }
        _ => return None,
    };
    let port = |n: usize| -> Option<u16> { Some(u16::from_be_bytes(rest.get(n..n + 2)?.try_into().ok()?)) };
    let has_ports = matches!(
        i32::from(proto),
        libc::IPPROTO_TCP | libc::IPPROTO_UDP | libc::IPPROTO_SCTP
    );
    let ports = has_ports.then(|| Some((port(0)?, port(2)?))).flatten();
    Some(Seen {
        allowed: false,
        from,
        to,
        proto,
        ports: ports.unwrap_or_default(),
    })
}

/// The protocol behind the extension headers of IPv6, and what it says.
fn upper(mut next: u8, mut rest: &[u8]) -> (u8, &[u8]) {
    const OPTIONS: [u8; 3] = [0, 43, 60];
    const FRAGMENT: u8 = 44;
    // A packet has few; the bytes end in any case.
    while OPTIONS.contains(&next) || next == FRAGMENT {
        let [following, length, ..] = rest else { break };
        let later = next == FRAGMENT && rest.get(2..4).is_some_and(|o| o[0] != 0 || o[1] & 0xf8 != 0);
        let size = if next == FRAGMENT {
            8
        } else {
            usize::from(*length) * 8 + 8
        };
        next = *following;
        rest = if later {
            &[]
        } else {
            rest.get(size..).unwrap_or_default()
        };
    }
    (next, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_both_families_are_read() {
        let mut four = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 9, 0, 2, 10, 9, 0, 3];
        four.extend([0x9c, 0x40, 0x15, 0x38]);
        let seen = packet(&four).unwrap();
        assert_eq!(
            (seen.from, seen.to),
            ("10.9.0.2".parse().unwrap(), "10.9.0.3".parse().unwrap())
        );
        assert_eq!((seen.proto, seen.ports), (6, (40_000, 5432)));
        // A later fragment has no ports.
        four[7] = 1;
        assert_eq!(packet(&four).unwrap().ports, (0, 0));

        let mut six = vec![0x60, 0, 0, 0, 0, 16, 0, 64];
        six.extend([0; 15].into_iter().chain([1]));
        six.extend([0; 15].into_iter().chain([2]));
        // Options of eight bytes, then UDP.
        six.extend([17, 0, 0, 0, 0, 0, 0, 0, 0x9c, 0x40, 0, 53, 0, 8, 0, 0]);
        let seen = packet(&six).unwrap();
        assert_eq!(
            (seen.from, seen.to),
            ("::1".parse().unwrap(), "::2".parse().unwrap())
        );
        assert_eq!((seen.proto, seen.ports), (17, (40_000, 53)));
        for end in 0..six.len() {
            let _ = packet(&six[..end]);
        }
        assert_eq!(packet(&[0x30; 64]), None);
    }
}
