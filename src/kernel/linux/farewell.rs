//! Waiting for the kernel where nobody waits for us: in a child process of a few milliseconds.
//!
//! Relies on two waits being after the fact. Closing the last copy of an nfnetlink socket
//! waits for a grace period when something was deleted in its namespace
//! (`nf_tables_trans_destroy_flush_work`), and deleting an interface takes its name away
//! first and waits for what still uses it afterwards (`netdev_run_todo`): 10 to 20 ms each.
//! A child holds the socket until the wait is over. It runs nothing but system calls, and
//! keeps no other descriptor, so nobody waits for the end of our output because of it.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe, read};

use super::namespace::Namespace;
use super::wire::messages;

/// How long an interface may keep its name after it was told to go.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_micros(200);

/// While this lives a child holds copies of sockets; afterwards it closes them.
pub(super) struct Held(#[allow(dead_code)] OwnedFd);

/// Makes a child that closes these sockets last.
pub(super) fn hold(sockets: &[BorrowedFd<'_>]) -> io::Result<Held> {
    let (theirs, ours) = pipe()?;
    in_child(&[sockets, &[std::os::fd::AsFd::as_fd(&theirs)]].concat(), || {
        // Nothing is ever written: this ends when our end is closed.
        while read(&theirs, &mut [0]) == Err(nix::Error::EINTR) {}
        0
    })?;
    Ok(Held(ours))
}

/// Deletes an interface of a namespace (`None`: the calling thread's), and returns when its
/// name is gone; of a veth pair both names go at once (`unregister_netdevice_many`).
pub(super) fn remove_link(
    namespace: Option<&Namespace>,
    link: LinkMessage,
    mut is_there: impl FnMut() -> io::Result<bool>,
) -> io::Result<()> {
    let socket = match namespace {
        Some(ns) => ns.within(|| Socket::new(NETLINK_ROUTE))??,
        None => Socket::new(NETLINK_ROUTE)?,
    };
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::DelLink(link));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let mut answer = Vec::with_capacity(4096);
    // SAFETY: the descriptor is the socket's, which outlives this borrow.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    let child = in_child(&[fd], || {
        let asked = socket.send(&bytes, 0).and_then(|_| socket.recv(&mut answer, 0));
        let outcome = asked.and_then(|_| messages(&answer).next().map_or(Ok(()), |m| m.outcome()));
        outcome.map_or_else(|e| e.raw_os_error().unwrap_or(libc::EIO), |()| 0)
    })?;
    let until = Instant::now() + PATIENCE;
    while is_there()? {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(nix::Error::EINTR) if Instant::now() < until => {}
            Ok(WaitStatus::Exited(_, 0)) if !is_there()? => break,
            Ok(WaitStatus::Exited(_, errno)) if errno > 0 => return Err(io::Error::from_raw_os_error(errno)),
            _ => return Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Forks. The child keeps these descriptors alone, does `work`, and ends with what it returns;
/// it is a zombie until this process ends.
fn in_child(keep: &[BorrowedFd<'_>], work: impl FnOnce() -> i32) -> io::Result<Pid> {
    // SAFETY: the child makes system calls, allocates nothing, and leaves by _exit.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            close_all_but(keep);
            let status = work();
            // SAFETY: ends the process at once; no destructor of the parent's runs twice.
            unsafe { libc::_exit(status) }
        }
    }
}

fn close_all_but(keep: &[BorrowedFd<'_>]) {
    let mut first = 0;
    loop {
        // Without allocating: the next of those to keep.
        let next = keep
            .iter()
            .map(|fd| fd.as_raw_fd() as u32)
            .filter(|fd| *fd >= first)
            .min();
        let last = next.map_or(u32::MAX, |n| n.wrapping_sub(1));
        if next != Some(first) {
            // SAFETY: closes descriptors of this process, which uses none of them again.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
        match next {
            Some(n) => first = n + 1,
            None => return,
        }
    }
}
