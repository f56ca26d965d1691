//! What tells one network namespace from every other.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::entering;
use super::namespace::Namespace;
use crate::kernel::Error;

/// What tells the namespace at a path from every other that was or will be there (before
/// Linux 5.14: its inode); `None` when no namespace is there.
///
/// # Errors
/// When it cannot be entered.
pub fn cookie_of(path: &Path) -> Result<Option<String>, Error> {
    let found = Namespace::open(path)
        .and_then(|ns| Ok((ns.within(netns_cookie)??, ns.id.1)))
        .map(|(cookie, inode)| cookie.unwrap_or_else(|| format!("i{inode}")));
    match found {
        Ok(cookie) => Ok(Some(cookie)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(entering(path)(e)),
    }
}

/// The number of the calling thread's network namespace: never given twice in a boot
/// (`SO_NETNS_COOKIE`, Linux 5.14). `None` where the kernel has none.
///
/// # Errors
/// When it cannot be asked, for want of descriptors for example.
pub fn netns_cookie() -> io::Result<Option<String>> {
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let fd = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut cookie = 0_u64;
    let mut size = size_of::<u64>() as libc::socklen_t;
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
    if done == 0 {
        return Ok(Some(cookie.to_string()));
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(None),
        e => Err(e),
    }
}
