//! Pipes and socket pairs between launcher, child and supervisor, and descriptors sent across them.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, sendmsg,
    socketpair,
};

use super::error::{Error, Result};

/// A pipe: (read, write).
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|errno| Error::system("creating a pipe", errno))
}

/// A stream socket pair. Used in place of a pipe where the reader may be dead, since writing to a socket can
/// be told not to raise SIGPIPE.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(|errno| Error::system("creating a socket pair", errno))
}

pub(super) fn tell(socket: &OwnedFd, byte: u8) -> nix::Result<()> {
    send(socket.as_raw_fd(), &[byte], MsgFlags::MSG_NOSIGNAL).map(drop)
}

/// One byte, or `None` at the end.
pub(super) fn hear(socket: BorrowedFd<'_>) -> Option<u8> {
    let mut byte = [0];
    loop {
        match nix::unistd::read(socket, &mut byte) {
            Ok(1) => return Some(byte[0]),
            Err(nix::errno::Errno::EINTR) => {}
            _ => return None,
        }
    }
}

/// Sends bytes and a descriptor.
pub(super) fn send_fd(socket: &OwnedFd, bytes: &[u8], fd: RawFd) -> nix::Result<()> {
    let fds = [fd];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
}

/// Receives what [`send_fd`] sent, or plain bytes without a descriptor.
pub(super) fn receive_fd(socket: &OwnedFd) -> nix::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut buffer = vec![0; 4096];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let (count, fd) = loop {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(message) => {
                let fds = message.cmsgs()?.find_map(|part| match part {
                    ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                    _ => None,
                });
                break (message.bytes, fds);
            }
        }
    };
    buffer.truncate(count);
    // SAFETY: the kernel made this descriptor for us with the message; nobody else knows it.
    Ok((buffer, fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })))
}
