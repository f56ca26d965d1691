//! One nfnetlink socket in one namespace: transactions, questions and dumps.
//!
//! Relies on `net/netfilter/nfnetlink.c`: a batch takes effect whole or not at all; it is
//! handled inside `sendmsg`, so every answer lies in the socket when that returns; each
//! error carries the sequence number of the message it is about, and all of them are told.
//! Closing the socket after a deletion waits for an RCU grace period, so it is kept,
//! and closed last by a child process (`farewell.rs`).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST};
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt};

use super::namespace::Namespace;
use super::wire::{Buffer, Received, messages};

/// `NFNL_SUBSYS_NFTABLES`.
pub(super) const NFTABLES: u16 = 10;
/// `NFNL_SUBSYS_CTNETLINK`.
pub(super) const CTNETLINK: u16 = 1;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const ATTEMPTS: usize = 16;
/// A batch must fit the send buffer, and an error for each of its messages the receive buffer.
const BUFFER: usize = 4 << 20;
/// Larger than any datagram of a dump (`NLMSG_GOODSIZE` to 32 KiB).
const DATAGRAM: usize = 64 << 10;

pub(super) struct Nfnl {
    socket: Socket,
    seq: u32,
}

/// An error of one message of a batch.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Which message of the batch; `None` when the batch as a whole was refused.
    pub message: Option<usize>,
    pub errno: i32,
}

impl Nfnl {
    pub fn open(namespace: Option<&Namespace>) -> io::Result<Self> {
        let open = || Socket::new(NETLINK_NETFILTER);
        let mut socket = match namespace {
            Some(ns) => ns.within(open)??,
            None => open()?,
        };
        socket.bind_auto()?;
        socket.set_cap_ack(true)?;
        // SAFETY: the descriptor is the socket's, which outlives this block.
        let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
        // Without CAP_NET_ADMIN over the initial namespace the usual size must do.
        let _ = setsockopt(&fd, sockopt::SndBufForce, &BUFFER);
        let _ = setsockopt(&fd, sockopt::RcvBufForce, &BUFFER);
        Ok(Self { socket, seq: 0 })
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the socket's, which outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }

    /// Sends `count` nftables messages as one transaction. `encode` writes message number
    /// `i` with the sequence number and flags given.
    pub fn transaction(
        &mut self,
        count: usize,
        mut encode: impl FnMut(&mut Buffer, usize, u32, u16),
    ) -> io::Result<Vec<Refusal>> {
        let mut buffer = Buffer::default();
        let begin = self.next_seq();
        let open = buffer.message(BATCH_BEGIN, NLM_F_REQUEST, begin, 0, NFTABLES);
        buffer.end_message(&open);
        let first = begin.wrapping_add(1);
        for i in 0..count {
            // An answer must come: without one, a lost answer would look like success.
            let ack = if i + 1 == count { NLM_F_ACK } else { 0 };
            let seq = self.next_seq();
            encode(&mut buffer, i, seq, NLM_F_REQUEST | ack);
        }
        let end = self.next_seq();
        let open = buffer.message(BATCH_END, NLM_F_REQUEST, end, 0, NFTABLES);
        buffer.end_message(&open);
        self.drain(None)?;
        self.socket.send(&buffer.bytes, 0)?;
        let mut refusals = Vec::new();
        let mut answered = false;
        self.drain(Some(&mut |m: Received<'_>| {
            if m.kind != NLMSG_ERROR {
                return;
            }
            answered = true;
            if let Err(e) = m.outcome() {
                let message = usize::try_from(m.seq.wrapping_sub(first))
                    .ok()
                    .filter(|i| *i < count);
                refusals.push(Refusal {
                    message,
                    errno: e.raw_os_error().unwrap_or(libc::EIO),
                });
            }
        }))?;
        if answered {
            Ok(refusals)
        } else {
            Err(io::Error::other("the kernel did not answer a transaction"))
        }
    }

    /// Asks for one thing and returns what `read` makes of the answer; `None` for `ENOENT`.
    pub fn ask<T>(
        &mut self,
        encode: impl FnOnce(&mut Buffer, u32, u16),
        mut read: impl FnMut(Received<'_>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let seq = self.next_seq();
        let mut buffer = Buffer::default();
        encode(&mut buffer, seq, NLM_F_REQUEST | NLM_F_ACK);
        self.socket.send(&buffer.bytes, 0)?;
        let mut found = None;
        let outcome = self.receive(seq, |m| {
            if let Some(t) = read(m) {
                found = Some(t);
            }
        });
        match outcome {
            Ok(_) => Ok(found),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Everything a dump lists, as `read` makes it. A table or set that does not exist is empty.
    pub fn dump<T>(
        &mut self,
        mut encode: impl FnMut(&mut Buffer, u32, u16),
        mut read: impl FnMut(Received<'_>, &mut Vec<T>),
    ) -> io::Result<Vec<T>> {
        for _ in 0..ATTEMPTS {
            let seq = self.next_seq();
            let mut buffer = Buffer::default();
            encode(&mut buffer, seq, NLM_F_REQUEST | NLM_F_DUMP);
            self.socket.send(&buffer.bytes, 0)?;
            let mut found = Vec::new();
            match self.receive(seq, |m| read(m, &mut found)) {
                Ok(true) => return Ok(found),
                Ok(false) => {}
                // nf_tables gives up a dump during which the ruleset changed.
                Err(e) if e.raw_os_error() == Some(libc::EINTR) => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(Vec::new()),
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::other(
            "the kernel's state changed during every attempt",
        ))
    }

    /// Reads to the end of an answer; whether all of it was consistent.
    fn receive(&mut self, seq: u32, mut take: impl FnMut(Received<'_>)) -> io::Result<bool> {
        let mut consistent = true;
        let mut datagram = Vec::with_capacity(DATAGRAM);
        loop {
            datagram.clear();
            self.socket.recv(&mut datagram, 0)?;
            for m in messages(&datagram).filter(|m| m.seq == seq) {
                consistent &= m.flags & NLM_F_DUMP_INTR == 0;
                match m.kind {
                    NLMSG_ERROR | NLMSG_DONE => return m.outcome().map(|()| consistent),
                    _ => take(m),
                }
            }
        }
    }

    /// Reads whatever lies in the socket, without waiting.
    fn drain(&mut self, mut take: Option<&mut dyn FnMut(Received<'_>)>) -> io::Result<()> {
        let mut datagram = Vec::with_capacity(DATAGRAM);
        loop {
            datagram.clear();
            match self.socket.recv(&mut datagram, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => continue,
                Err(e) => return Err(e),
            }
            if let Some(take) = take.as_mut() {
                messages(&datagram).for_each(&mut *take);
            }
        }
    }

    fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }
}
