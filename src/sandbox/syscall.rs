//! The kernel calls that neither the standard library nor `nix` offers, each as one safe function.
//!
//! Owns no policy. Relies on clone3(2) without a stack behaving as fork(2) does: the child runs on a copy
//! of the caller's stack, which is sound only while the caller has a single thread.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Where we are after [`clone3`].
pub(super) enum Cloned {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Forks into the namespaces named by `flags` and, if given, into the cgroup v2 directory `cgroup`.
///
/// Add `CLONE_PARENT` to make the new process a sibling; it then inherits the caller's exit signal.
pub(super) fn clone3(flags: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all fields of `clone_args` are integers, for which zero is a value and means "unused".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    #[allow(clippy::cast_sign_loss)] // flag words; the constants are declared signed
    let bits = |flag: libc::c_int| u64::from(flag as u32);
    args.flags = bits(flags) | bits(libc::CLONE_PIDFD);
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    if flags & libc::CLONE_PARENT == 0 {
        args.exit_signal = bits(libc::SIGCHLD);
    }
    if let Some(dir) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = bits(dir.as_raw_fd());
    }
    // SAFETY: `args` outlives the call and has the size given; without CLONE_VM and a stack the child
    // runs on its own copy of this stack, as after fork(2).
    let pid =
        check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel stored a new descriptor there, which nobody else knows.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent {
        pid: i32::try_from(pid).unwrap_or(-1),
        pidfd,
    })
}

/// `libc` declares it as a `c_int`, in which it does not fit.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct mount_attr` of `mount_setattr(2)`, first version.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

pub(super) const MOUNT_ATTR_RDONLY: u64 = 1;
pub(super) const MOUNT_ATTR_NOSUID: u64 = 2;
pub(super) const MOUNT_ATTR_NODEV: u64 = 4;

const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
const AT_RECURSIVE: libc::c_int = 0x8000;

/// Sets attributes on the mount at `fd` and on all mounts below it (Linux 5.12).
pub(super) fn mount_setattr_recursive(fd: BorrowedFd<'_>, set: u64) -> io::Result<()> {
    let attr = MountAttr {
        set,
        clear: 0,
        propagation: 0,
        userns_fd: 0,
    };
    mount_setattr(fd, &attr)
}

/// Lets the detached mount at `fd`, and those below it, show owners as `userns` maps them, and makes it
/// private: a clone of a shared mount would carry what is mounted on it to the host.
pub(super) fn mount_setattr_idmap(fd: BorrowedFd<'_>, userns: BorrowedFd<'_>) -> io::Result<()> {
    let number = |value: libc::c_int| u64::try_from(value).unwrap_or(0);
    let attr = MountAttr {
        set: MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: number(userns.as_raw_fd()),
    };
    mount_setattr(fd, &attr)
}

fn mount_setattr(fd: BorrowedFd<'_>, attr: &MountAttr) -> io::Result<()> {
    // SAFETY: the path is an empty C string, `attr` is of the size given, and both outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | AT_RECURSIVE,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// A detached copy of the mount at `fd` from there on downwards, with the mounts below it if `recursive`
/// (`open_tree(2)`).
pub(super) fn open_tree_clone(fd: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: libc::c_int = 1;
    let below = if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string; the rest are numbers.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | below | OPEN_TREE_CLONE | libc::O_CLOEXEC,
        )
    })?;
    // SAFETY: new, and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap_or(-1)) })
}

/// Attaches the detached mount `from` on `to` (`move_mount(2)`).
pub(super) fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    const BOTH_BY_DESCRIPTOR: libc::c_uint = 0x4 | 0x40;
    // SAFETY: the paths are empty C strings; the rest are numbers.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            to.as_raw_fd(),
            c"".as_ptr(),
            BOTH_BY_DESCRIPTOR,
        )
    })
    .map(drop)
}

/// Sets the ids that file systems see of this process.
pub(super) fn set_fs_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: integers only.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, gid);
        libc::syscall(libc::SYS_setfsuid, uid);
    }
    // They return the value before and no error: asking with an impossible one tells what holds now.
    // SAFETY: integers only.
    let now = unsafe {
        (
            libc::syscall(libc::SYS_setfsuid, u32::MAX),
            libc::syscall(libc::SYS_setfsgid, u32::MAX),
        )
    };
    if now == (libc::c_long::from(uid), libc::c_long::from(gid)) {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::EPERM))
}

/// Closes every descriptor of this process from 3 on except those in `keep`.
pub(super) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .filter(|fd| *fd > 2)
        .collect();
    keep.sort_unstable();
    keep.dedup();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX, 0)
}

/// Marks every descriptor from 3 on close-on-exec.
pub(super) fn cloexec_from_3() -> io::Result<()> {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: closes descriptors by number. Callers are processes that are about to exec or that own
    // nothing but the descriptors they keep; no owner of a closed one runs again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// A file without a name, in memory.
pub(super) fn memfd(name: &std::ffi::CStr) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a C string; a result that is not negative is a new descriptor.
    let fd = check(libc::c_long::from(unsafe {
        libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC)
    }))?;
    // SAFETY: new, and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap_or(-1)) })
}

pub(super) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only; a result that is not negative is a new descriptor.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: new, and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap_or(-1)) })
}

pub(super) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means the same as kill(2).
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) })
        .map(drop)
}

/// What waitid(2) said of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub pid: i32,
    /// Exit status, or 128 + signal.
    pub code: i32,
    pub signal: Option<i32>,
    pub usage: Usage,
}

/// What a process and the children it waited for have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub user_us: u64,
    pub system_us: u64,
    /// Of the largest of them, in KiB.
    pub max_rss_kib: u64,
}

impl Usage {
    fn of(raw: &libc::rusage) -> Self {
        let micros = |time: libc::timeval| {
            let (s, us) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_usec));
            s.unwrap_or(0) * 1_000_000 + us.unwrap_or(0)
        };
        Self {
            user_us: micros(raw.ru_utime),
            system_us: micros(raw.ru_stime),
            max_rss_kib: u64::try_from(raw.ru_maxrss).unwrap_or(0),
        }
    }

    pub fn add(&mut self, other: Self) {
        self.user_us += other.user_us;
        self.system_us += other.system_us;
        self.max_rss_kib = self.max_rss_kib.max(other.max_rss_kib);
    }
}

/// Which child to wait for.
pub(super) enum Child<'fd> {
    Any,
    Pidfd(BorrowedFd<'fd>),
}

/// Reaps a child that ended; `Ok(None)` if none did yet and `block` is false.
pub(super) fn wait_child(which: &Child<'_>, block: bool) -> io::Result<Option<Ended>> {
    let (kind, id) = match which {
        Child::Any => (libc::P_ALL, 0),
        Child::Pidfd(fd) => (libc::P_PIDFD, libc::id_t::try_from(fd.as_raw_fd()).unwrap_or(0)),
    };
    let flags = libc::WEXITED | libc::__WALL | if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: an all-zero `siginfo_t` is a value of it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: integers only, for which zero is a value.
        let mut used: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both are writable and outlive the call, of which the C library's lacks the last argument.
        match check(unsafe { libc::syscall(libc::SYS_waitid, kind, id, &raw mut info, flags, &raw mut used) })
        {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => {
                // SAFETY: after waitid(2) the fields of the SIGCHLD variant are the valid ones; all of
                // them are zero when nothing was waited for.
                let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
                let signal = (info.si_code != libc::CLD_EXITED).then_some(status);
                let ended = Ended {
                    pid,
                    code: signal.map_or(status, |signal| 128 + signal),
                    signal,
                    usage: Usage::of(&used),
                };
                return Ok((pid != 0).then_some(ended));
            }
        }
    }
}

/// A session keyring without keys: the caller's would be inherited. Kernels without keys refuse, and need none.
pub(super) fn new_session_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    let unnamed = std::ptr::null::<libc::c_char>();
    // SAFETY: without a name the call takes no memory of ours.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, unnamed) };
}

/// prctl(2) with integer arguments.
pub(super) fn prctl(option: libc::c_int, a: u64, b: u64, c: u64) -> io::Result<i32> {
    // SAFETY: only options whose arguments are integers are used in this crate.
    let result = check(libc::c_long::from(unsafe { libc::prctl(option, a, b, c, 0_u64) }))?;
    Ok(i32::try_from(result).unwrap_or(0))
}

/// Sets real, effective and saved ids of this process, groups first.
///
/// By raw system calls: the C library's versions signal all threads it knows of, and after clone3(2) it
/// may know some that do not exist here.
pub(super) fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `groups`.
    let done = check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) });
    if let Err(error) = done
        && !setgroups_denied()
    {
        return Err(error);
    }
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// An unprivileged user namespace may not change supplementary groups at all (`user_namespaces(7)`).
fn setgroups_denied() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

/// Replaces this process. Returns only the reason why it could not.
pub(super) fn exec(target: &Program<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|text| text.as_ptr())
            .chain(std::iter::once(std::ptr::null()))
            .collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end in a null pointer and point to C strings that outlive the call.
    unsafe {
        match target {
            Program::Path(path) => libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()),
            Program::Open(fd) => {
                let call = libc::SYS_execveat;
                let fd = fd.as_raw_fd();
                libc::syscall(
                    call,
                    fd,
                    c"".as_ptr(),
                    argv.as_ptr(),
                    env.as_ptr(),
                    libc::AT_EMPTY_PATH,
                );
                -1
            }
        }
    };
    io::Error::last_os_error()
}

/// What [`exec`] runs: a path, or an open file that cannot be exchanged between check and use.
pub(super) enum Program<'a> {
    Path(&'a CString),
    Open(BorrowedFd<'a>),
}

/// Replaces this process's name and argument list as others see them: a fork shows those of its origin,
/// which say more than the container should know.
///
/// Only for a process that never looks at its own arguments again.
pub(super) fn rename_process(name: &str) {
    let Ok(c_name) = CString::new(name) else { return };
    // SAFETY: PR_SET_NAME reads a C string of at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, c_name.as_ptr(), 0, 0, 0) };
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<usize>().ok());
    // Fields 48 and 49 are where the arguments start and end (proc_pid_stat(5)).
    let (Some(first), Some(end)) = (field(48), field(49)) else {
        return;
    };
    if first == 0 || end <= first {
        return;
    }
    let kept = name.len().min(end - first - 1);
    // SAFETY: the kernel put the arguments there, on the writable stack of this process, and says where they
    // are; nobody here reads them any more.
    unsafe {
        let at = std::ptr::with_exposed_provenance_mut::<u8>(first);
        std::ptr::write_bytes(at, 0, end - first);
        std::ptr::copy_nonoverlapping(name.as_ptr(), at, kept);
    }
}

/// Ends this process at once, running no destructor and no handler of the C library.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: _exit(2) has no requirement.
    unsafe { libc::_exit(code) }
}
