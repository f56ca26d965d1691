//! Capabilities: which the payload keeps, and the dropping of all others (capabilities(7)).
//!
//! The inheritable and ambient sets stay empty (CVE-2022-29162), so that a set-uid or file-capability binary
//! gains nothing beyond the bounding set.

use super::error::{Error, Result};
use super::syscall;

/// A set of capabilities, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set(u64);

/// By number, from `linux/capability.h`.
#[rustfmt::skip]
const NAMES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM",
    "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
];

/// What a container keeps by default: the list podman settled on.
#[rustfmt::skip]
const DEFAULT: [&str; 11] = [
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
    "SETPCAP", "SETUID", "SYS_CHROOT",
];

pub(super) const DAC_OVERRIDE: u32 = 1;
pub(super) const KILL: u32 = 5;
pub(super) const SETGID: u32 = 6;
pub(super) const SETUID: u32 = 7;
pub(super) const SETPCAP: u32 = 8;
pub(super) const SYS_RESOURCE: u32 = 24;
pub(super) const SYS_PTRACE: u32 = 19;
pub(super) const SYS_ADMIN: u32 = 21;
pub(super) const SYS_TIME: u32 = 25;
pub(super) const SYS_BOOT: u32 = 22;
pub(super) const SYS_MODULE: u32 = 16;
pub(super) const SYS_NICE: u32 = 23;
pub(super) const SYS_RAWIO: u32 = 17;
pub(super) const SYS_PACCT: u32 = 20;
pub(super) const BPF: u32 = 39;
pub(super) const PERFMON: u32 = 38;
pub(super) const DAC_READ_SEARCH: u32 = 2;
pub(super) const SYSLOG: u32 = 34;
pub(super) const SYS_TTY_CONFIG: u32 = 26;

impl Set {
    const ALL: Self = Self((1 << NAMES.len()) - 1);

    pub const fn only(cap: u32) -> Self {
        Self(1 << cap)
    }

    pub fn and(self, more: &[u32]) -> Self {
        Self(more.iter().fold(self.0, |set, cap| set | 1 << cap))
    }

    pub const fn has(self, cap: u32) -> bool {
        self.0 & (1 << cap) != 0
    }

    /// The default set with `drop` taken away and `add` put in; `ALL` in one of them goes first, so that
    /// `--cap-drop ALL --cap-add CHOWN` is exactly one capability.
    pub fn chosen(add: &[String], drop: &[String]) -> Result<Self> {
        let default = DEFAULT
            .iter()
            .filter_map(|name| number(name))
            .fold(0, |set, cap| set | 1 << cap);
        let (add_all, add) = parse(add)?;
        let (drop_all, drop) = parse(drop)?;
        let base = match (add_all, drop_all) {
            (true, _) => Self::ALL.0,
            (false, true) => 0,
            (false, false) => default,
        };
        Ok(Self(if drop_all {
            base | add
        } else {
            (base | add) & !drop
        }))
    }
}

fn parse(names: &[String]) -> Result<(bool, u64)> {
    let (mut all, mut set) = (false, 0);
    for name in names {
        if name.eq_ignore_ascii_case("ALL") {
            all = true;
        } else {
            set |= 1 << number(name).ok_or_else(|| Error::UnknownCapability { name: name.clone() })?;
        }
    }
    Ok((all, set))
}

/// Its number, with or without `CAP_`, in any case.
pub(super) fn number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .position(|known| *known == bare)
        .and_then(|at| u32::try_from(at).ok())
}

/// Drops all but `keep` from the bounding set and empties the ambient set.
///
/// Before the change of user, since it needs `CAP_SETPCAP`. Capabilities the kernel does not know, or that we
/// do not hold ourselves, are passed over.
pub(super) fn bound(keep: Set) -> Result<()> {
    for cap in 0..64 {
        let known = syscall::prctl(libc::PR_CAPBSET_READ, u64::from(cap), 0, 0);
        if known.is_err() {
            break;
        }
        if known.is_ok_and(|in_set| in_set == 1) && !keep.has(cap) {
            syscall::prctl(libc::PR_CAPBSET_DROP, u64::from(cap), 0, 0)
                .map_err(|source| Error::system("dropping a capability from the bounding set", source))?;
        }
    }
    let clear = u64::try_from(libc::PR_CAP_AMBIENT_CLEAR_ALL).unwrap_or(4);
    // Kernels before 4.3 have no ambient set.
    let _ = syscall::prctl(libc::PR_CAP_AMBIENT, clear, 0, 0);
    Ok(())
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Reduces the permitted and effective sets to `keep`, as far as we hold it, and empties the inheritable set.
pub(super) fn keep_only(keep: Set) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads two `Data`, which `data` is; pid 0 is this thread.
    if unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) } < 0 {
        return Err(Error::system(
            "reading capabilities",
            std::io::Error::last_os_error(),
        ));
    }
    for (at, half) in data.iter_mut().enumerate() {
        #[allow(clippy::cast_possible_truncation)] // the half is the point
        let wanted = (keep.0 >> (32 * at)) as u32;
        let kept = half.permitted & wanted;
        *half = Data {
            effective: kept,
            permitted: kept,
            inheritable: 0,
        };
    }
    // SAFETY: as above.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } < 0 {
        return Err(Error::system(
            "setting capabilities",
            std::io::Error::last_os_error(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> u64 {
        let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Set::chosen(&own(add), &own(drop)).expect("known").0
    }

    #[test]
    fn the_default_is_the_eleven() {
        assert_eq!(set(&[], &[]), 0x8004_05fb);
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(set(&["net_raw"], &[]), set(&[], &[]) | 1 << 13);
        assert_eq!(set(&["CAP_NET_RAW"], &["all"]), 1 << 13);
        assert_eq!(set(&["ALL"], &["SYS_ADMIN"]), Set::ALL.0 & !(1 << SYS_ADMIN));
        assert_eq!(set(&[], &["ALL"]), 0);
        assert!(Set::chosen(&["CAP_CAP_KILL".into()], &[]).is_err());
    }
}
