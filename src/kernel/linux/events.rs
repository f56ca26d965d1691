//! What the kernel tells listeners: that something of networks or rules changed, on the host or
//! in a namespace that the host has a veth pair into, and that something was mounted.
//!
//! Relies on `NETLINK_LISTEN_ALL_NSID` (`netlink(7)`): one socket on the host hears of the router
//! too, and holds nothing of it, as a socket inside would keep a removed router alive. A change of
//! mounts makes `/proc/self/mounts` ready (`proc(5)`). Of a message no more is read than whether it
//! can be about something of ours: it says that one should look.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::time::Duration;

use netlink_sys::{
    Socket,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::wire::{Received, messages};

/// Groups of `linux/rtnetlink.h`: links, neighbours, addresses, routes, rules and sysctls of both families.
const ROUTE_GROUPS: [u32; 10] = [1, 3, 5, 7, 8, 9, 11, 19, 24, 25];
/// `NFNLGRP_NFTABLES`.
const NFTABLES_GROUPS: [u32; 1] = [7];
/// Larger than any datagram of a notification.
const DATAGRAM: usize = 64 << 10;

/// Sockets that listen.
pub struct Events {
    route: Socket,
    rules: Socket,
    mounts: File,
}

impl Events {
    /// Listens from now on, as seen from the calling thread's namespaces.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            route: listening(NETLINK_ROUTE, &ROUTE_GROUPS)?,
            rules: listening(NETLINK_NETFILTER, &NFTABLES_GROUPS)?,
            mounts: File::open("/proc/self/mounts")?,
        })
    }

    /// Waits until something changed, or for that long. Whether something did.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn wait(&mut self, limit: Duration) -> io::Result<bool> {
        // SAFETY: both descriptors are those of sockets that outlive this call.
        let sockets = unsafe {
            [
                BorrowedFd::borrow_raw(self.route.as_raw_fd()),
                BorrowedFd::borrow_raw(self.rules.as_raw_fd()),
            ]
        };
        let mut all = [
            PollFd::new(sockets[0], PollFlags::POLLIN),
            PollFd::new(sockets[1], PollFlags::POLLIN),
            PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI),
        ];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let ready = match poll(&mut all, limit) {
            Ok(n) => n > 0,
            Err(nix::errno::Errno::EINTR) => false,
            Err(e) => return Err(e.into()),
        };
        let mounted = all[2].any().unwrap_or(false);
        let routes = drain(&self.route)?;
        let rules = drain(&self.rules)?;
        Ok(ready && (mounted || routes || rules))
    }
}

fn listening(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.set_non_blocking(true)?;
    // Before Linux 4.2 the router's changes are found by looking now and then.
    let _ = socket.set_listen_all_namespaces(true);
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

/// Takes what lies in a socket; whether any of it can be about something of ours. What was lost for
/// want of room can.
fn drain(socket: &Socket) -> io::Result<bool> {
    let mut datagram = Vec::with_capacity(DATAGRAM);
    let mut ours = false;
    loop {
        datagram.clear();
        match socket.recv(&mut datagram, libc::MSG_DONTWAIT) {
            Ok(_) => ours |= messages(&datagram).any(|m| !is_learned(&m)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(ours),
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => ours = true,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// A neighbour that the kernel found or lost by itself: a LAN brings many a second.
fn is_learned(m: &Received<'_>) -> bool {
    // `ndm_state`, after family, padding and index.
    let state = m.payload.get(8..10).map(|b| u16::from_ne_bytes([b[0], b[1]]));
    matches!(m.kind, libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH)
        && state.is_some_and(|s| s & (libc::NUD_PERMANENT | libc::NUD_NOARP) == 0)
}
