//! What tells one network namespace from every other.

use std::os::fd::AsRawFd as _;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The number of the calling thread's network namespace: never given twice in a boot
/// (`SO_NETNS_COOKIE`, Linux 5.14). `None` where the kernel has none.
#[must_use]
pub fn netns_cookie() -> Option<String> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let fd = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .ok()?;
    let mut cookie = 0_u64;
    let mut size = libc::socklen_t::try_from(size_of::<u64>()).ok()?;
    // SAFETY: the pointers are to locals of the sizes that are told.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    (done == 0).then(|| cookie.to_string())
}
