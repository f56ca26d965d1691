//! A container's own user namespace: root inside is nobody on the host.
//!
//! Made by a process of its own that ends as soon as the container has joined. It owns the network, IPC and
//! UTS namespaces, so that the container's capabilities count there. The mount and pid namespaces stay the
//! host's: the tree is built with the host's rights, and whatever becomes of root inside, it can mount nothing
//! there. Files keep their owners on disk: mounts show them shifted (`mount_setattr(2)`, `MOUNT_ATTR_IDMAP`).
//!
//! Relies on `user_namespaces(7)`: who has rights in a namespace has them in all below it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};

use super::account::Account;
use super::error::{Error, Result};
use super::process;
use super::root::Mapped;
use super::spec::{Spec, Users};
use super::syscall::{self, Cloned};
use super::{channel, signals};

/// So many ids a container has, from 0 on.
pub(super) const COUNT: u32 = 1 << 16;
/// The first id on the host that is given out. Above what distributions give to people and their containers,
/// and below 2^31, where the kernel's range of groups that may ping ends.
const FIRST: u32 = 1 << 30;
/// So many ranges follow one another, up to where systemd's own end.
const RANGES: u64 = 0x3000;

/// Those a user namespace of the container's owns.
pub(super) const NAMESPACES: libc::c_int = libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// A user namespace that the container is going to be in.
#[derive(Debug)]
pub(super) struct UserSpace {
    /// The host's id of the container's root.
    pub base: u32,
    user: OwnedFd,
    /// The process that made it. Gone once the container has joined.
    maker: Option<Maker>,
}

/// A process that only waits, in the namespaces it made.
#[derive(Debug)]
struct Maker {
    pidfd: OwnedFd,
    /// Its end of file ends the maker; taken first.
    line: Option<OwnedFd>,
}

impl UserSpace {
    /// Makes one with network, IPC and UTS namespaces.
    pub fn make(id: &str) -> Result<Self> {
        let failed = |source: io::Error| Error::system("creating the user namespace", source);
        let (line, theirs) = channel::pair()?;
        let base = base_of(id);
        let cloned = syscall::clone3(libc::CLONE_NEWUSER | NAMESPACES, None).map_err(failed)?;
        let (pid, pidfd) = match cloned {
            Cloned::Child => wait(&theirs),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        let maker = Some(Maker {
            pidfd,
            line: Some(line),
        });
        let open = || -> io::Result<OwnedFd> {
            let dir = format!("/proc/{pid}");
            let map = format!("0 {base} {COUNT}\n");
            fs::write(format!("{dir}/uid_map"), &map)?;
            fs::write(format!("{dir}/gid_map"), &map)?;
            Ok(File::open(format!("{dir}/ns/user"))?.into())
        };
        match open() {
            Ok(user) => Ok(Self { base, user, maker }),
            Err(source) => {
                drop(maker);
                Err(failed(source))
            }
        }
    }

    pub fn fds(&self) -> Vec<i32> {
        let maker = self.maker.as_ref().map(|maker| maker.pidfd.as_raw_fd());
        std::iter::once(self.user.as_raw_fd()).chain(maker).collect()
    }

    /// The namespace itself, for mounts that show owners as it maps them.
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.user.as_fd()
    }

    /// Enters the namespaces it owns, still with the host's rights.
    pub fn join_owned(&self) -> Result<()> {
        let Some(maker) = &self.maker else { return Ok(()) };
        let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        #[allow(clippy::disallowed_methods)] // in the container's own first process
        setns(&maker.pidfd, flags)
            .map_err(|errno| Error::system("entering the container's namespaces", errno))
    }

    /// From here on this process makes files as the container's root does, with the host's rights.
    pub fn make_files(&self) -> Result<()> {
        let failed = |source| Error::system("making files as the container's root", source);
        // Else the rights that concern files would go with the id.
        let keep = u64::try_from(libc::SECBIT_NO_SETUID_FIXUP).unwrap_or(0);
        syscall::prctl(libc::PR_SET_SECUREBITS, keep, 0, 0).map_err(failed)?;
        syscall::set_fs_ids(self.base, self.base).map_err(failed)
    }

    /// Becomes the container's root: the host's rights are gone. `mounts` lets it mount, in a mount namespace
    /// of its own, where everything it finds is locked in place (`mount_namespaces(7)`).
    pub fn enter(&self, mounts: bool) -> Result<()> {
        #[allow(clippy::disallowed_methods)] // this process enters for good
        setns(&self.user, CloneFlags::CLONE_NEWUSER)
            .map_err(|errno| Error::system("entering the user namespace", errno))?;
        become_root()?;
        if mounts {
            #[allow(clippy::disallowed_methods)] // in the container's own first process
            unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| Error::system("unsharing the mounts", errno))?;
        }
        Ok(())
    }

    /// The maker is not needed any more.
    pub fn dismiss(&mut self) {
        if let Some(maker) = &mut self.maker {
            maker.line = None;
        }
    }
}

/// The maker's life.
fn wait(line: &OwnedFd) -> ! {
    let _ = signals::die_with_parent(true);
    let _ = syscall::close_all_but(&[line.as_raw_fd()]);
    channel::hear(line.as_fd());
    syscall::exit(0)
}

impl Drop for Maker {
    fn drop(&mut self) {
        self.line = None;
        let _ = process::wait_gone(self.pidfd.as_fd(), std::time::Duration::from_secs(10));
        let _ = syscall::wait_child(&syscall::Child::Pidfd(self.pidfd.as_fd()), false);
    }
}

/// In a user namespace just entered: its root, with nobody's groups, tied to the parent again and hidden.
pub(super) fn become_root() -> Result<()> {
    let failed = |source| Error::system("becoming the container's root", source);
    syscall::set_ids(0, 0, &[]).map_err(failed)?;
    // A change of ids undoes both (prctl(2)).
    signals::die_with_parent(true)?;
    syscall::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0)
        .map(drop)
        .map_err(failed)
}

/// Whether `account` exists in the user namespace; groups that do not are left out.
pub(super) fn check(account: &mut Account) -> Result<()> {
    for id in [account.uid, account.gid] {
        if id >= COUNT {
            return Err(Error::BeyondRange { id, count: COUNT });
        }
    }
    account.groups.retain(|group| *group < COUNT);
    Ok(())
}

/// Whether containers can have user namespaces of their own, with files below each of `paths` shown in them.
pub(super) fn probe(paths: &[&Path]) -> Result<()> {
    let space = UserSpace::make("probe")?;
    paths.iter().try_for_each(|path| Mapped::try_on(path, &space))
}

/// Whether this process could map a range of ids into a user namespace.
pub(super) fn may_map() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let fields: Vec<u64> = line.split_whitespace().filter_map(|f| f.parse().ok()).collect();
        let last = u64::from(FIRST) + RANGES * u64::from(COUNT);
        matches!(fields[..], [first, _, count] if first == 0 && count >= last)
    })
}

/// Whether a user namespace is to be tried.
pub(super) fn wanted(spec: &Spec) -> bool {
    match spec.isolation.users {
        Users::Host => false,
        Users::Own => true,
        Users::Auto => may_map(),
    }
}

/// What to say of a container that gets the host's ids for want of its own: nothing of what is so for every
/// container here, which is what `doctor` tells.
pub(super) fn fallback(spec: &Spec, error: &Error) -> Vec<String> {
    match error {
        Error::Path { path, .. } if path != Path::new("/") && !path.starts_with(&spec.layer) => {
            vec![format!(
                "it runs with the host's user ids: {error}; `--userns own` refuses instead"
            )]
        }
        _ => vec![],
    }
}

/// The first id of a container's range. Two containers may get the same one, which only lets them share the
/// kernel's counters of what a user has open; what keeps them apart are the other namespaces.
fn base_of(id: &str) -> u32 {
    // FNV-1a: any that spreads will do.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let range = u32::try_from(hash % RANGES).unwrap_or(0);
    FIRST + range * COUNT
}

/// The ids of the process `pid` on the host, if its user namespace is another than ours:
/// the first, and how many.
#[must_use]
pub fn id_range(pid: i32) -> Option<(u32, u32)> {
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).ok()?;
    let own = fs::read_to_string("/proc/self/uid_map").ok()?;
    let fields: Vec<u32> = map.split_whitespace().filter_map(|f| f.parse().ok()).collect();
    match fields[..] {
        [0, first, count] if map != own => Some((first, count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_and_within_bounds() {
        for n in 0..5000 {
            let base = base_of(&format!("{n:012x}"));
            assert_eq!(base % COUNT, 0);
            assert!(base >= FIRST && base + COUNT <= 0x7000_0000, "{base:#x}");
        }
    }

    #[test]
    fn only_what_concerns_one_container_is_said() {
        let spec = Spec {
            layer: "/var/lib/moat/layer".into(),
            ..Spec::default()
        };
        let of = |path: &str| Error::path("shifting the owners below", path, nix::errno::Errno::EINVAL);
        for path in ["/", "/var/lib/moat/layer", "/var/lib/moat/layer/parts/x"] {
            assert_eq!(fallback(&spec, &of(path)), [""; 0], "{path}");
        }
        let said = fallback(&spec, &of("/srv/nfs"));
        assert!(
            matches!(&said[..], [one] if one.contains("`/srv/nfs`") && one.contains("--userns own")),
            "{said:?}"
        );
        let kernel = Error::system("creating the user namespace", nix::errno::Errno::ENOSPC);
        assert_eq!(fallback(&spec, &kernel), [""; 0]);
    }

    #[test]
    fn ranges_differ() {
        let all: std::collections::BTreeSet<u32> = (0..100).map(|n| base_of(&format!("{n:012x}"))).collect();
        assert!(all.len() > 90, "{}", all.len());
    }
}
