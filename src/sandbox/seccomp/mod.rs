//! The system call filter of the payload: what docker's default profile allows, opened by capabilities.
//!
//! A known call that is refused fails with EPERM, an unknown one with ENOSYS, so that a program falls back
//! as on an older kernel. Another architecture's calls (32-bit, x32) are no way around it: the first kills,
//! the second are unknown numbers. Relies on seccomp(2) and on `no_new_privs` being set before.

mod calls;
mod profile;
mod tree;

use std::collections::BTreeMap;
use std::io;

use self::tree::{Action, Check, Insn, When};
use super::capabilities::{SYS_ADMIN, Set};
use super::error::{Error, Result};
use super::spec::Seccomp;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// `CLONE_NEW*` of clone(2): namespaces need clone3, unshare or this.
static CLONE: Check = Check {
    argument: 0,
    when: When::NoneOf(0x7e02_0000),
    errno: EPERM,
};
/// Putting characters into somebody's terminal (TIOCSTI, TIOCLINUX).
static IOCTL: Check = Check {
    argument: 1,
    when: When::NotIn(&[0x5412, 0x541c]),
    errno: EPERM,
};
/// Linux, Linux with UNAME26, their no-randomisation twins are out, and the query.
static PERSONALITY: Check = Check {
    argument: 0,
    when: When::In(&[0, 0x8, 0x20000, 0x20008, 0xffff_ffff]),
    errno: EPERM,
};
/// `AF_ALG` is the kernel's crypto, `AF_VSOCK` reaches the machine's hypervisor past any network namespace.
static SOCKET: Check = Check {
    argument: 0,
    when: When::NotIn(&[38, 40]),
    errno: EPERM,
};

/// The answer to every number that does not simply fail.
fn rules(caps: Set) -> BTreeMap<u32, Action> {
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let mut rules = BTreeMap::new();
    for call in calls::COMMON.iter().chain(calls::NATIVE) {
        rules.insert(number(*call), Action::Allow);
    }
    for (first, last) in calls::UNNAMED {
        rules.extend((*first..=*last).map(|call| (call, Action::Allow)));
    }
    for (cap, list) in calls::WITH_CAPABILITY.iter().chain(calls::NATIVE_WITH_CAPABILITY) {
        if caps.has(*cap) {
            rules.extend(list.iter().map(|call| (number(*call), Action::Allow)));
        }
    }
    let namespaces = caps.has(SYS_ADMIN);
    let (clone, clone3) = if namespaces {
        (Action::Allow, Action::Allow)
    } else {
        (Action::Check(&CLONE), Action::Fail(ENOSYS))
    };
    rules.insert(number(libc::SYS_clone), clone);
    // Its flags are behind a pointer, where a filter cannot look; C libraries fall back to clone.
    rules.insert(number(libc::SYS_clone3), clone3);
    rules.insert(number(libc::SYS_ioctl), Action::Check(&IOCTL));
    rules.insert(number(libc::SYS_personality), Action::Check(&PERSONALITY));
    rules.insert(number(libc::SYS_socket), Action::Check(&SOCKET));
    rules
}

fn answer(rules: &BTreeMap<u32, Action>, number: u32) -> Action {
    let hole = calls::HOLES
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&number));
    match rules.get(&number) {
        Some(action) => *action,
        None if number > calls::LAST_KNOWN || hole => Action::Fail(ENOSYS),
        None => Action::Fail(EPERM),
    }
}

/// The rules as ranges: numbers with the same answer beside one another are one.
fn ranges(rules: &BTreeMap<u32, Action>) -> Vec<(u32, Action)> {
    let mut list: Vec<(u32, Action)> = Vec::new();
    for number in 0..=calls::LAST_KNOWN + 1 {
        let action = answer(rules, number);
        if list.last().is_none_or(|(_, last)| *last != action) {
            list.push((number, action));
        }
    }
    list
}

/// The filter for a process with `caps`; empty if there is to be none.
pub(super) fn filter(which: &Seccomp, caps: Set) -> Result<Vec<Insn>> {
    match which {
        Seccomp::Default => Ok(tree::program(ARCH, &ranges(&rules(caps)))),
        Seccomp::Profile(text) => profile::program(text, caps),
        Seccomp::Off => Ok(Vec::new()),
    }
}

/// Installs the filter on this process, for good.
pub(super) fn install(filter: &mut [Insn]) -> Result<()> {
    if filter.is_empty() {
        return Ok(());
    }
    let len = libc::c_ushort::try_from(filter.len())
        .map_err(|_| Error::system("system call filter", io::Error::from_raw_os_error(libc::E2BIG)))?;
    let program = libc::sock_fprog {
        len,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` describes `filter`, which outlives the call; the kernel copies it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    if done < 0 {
        return Err(Error::system(
            "installing the system call filter",
            io::Error::last_os_error(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::tree::interpreter::run;
    use super::*;

    fn expected(action: Action, args: [u64; 6]) -> u32 {
        match action {
            Action::Allow => libc::SECCOMP_RET_ALLOW,
            Action::Kill => libc::SECCOMP_RET_KILL_PROCESS,
            Action::Fail(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
            Action::Check(check) if check.passes(args[check.argument as usize] as u32) => {
                libc::SECCOMP_RET_ALLOW
            }
            Action::Check(check) => libc::SECCOMP_RET_ERRNO | u32::from(check.errno),
        }
    }

    #[test]
    fn the_program_agrees_with_the_table_for_every_number() {
        let values = [
            0,
            8,
            0x5412,
            0x541c,
            38,
            40,
            2,
            0x20008,
            0x1000_0000,
            0x0002_0000,
            0xffff_ffff,
        ];
        for caps in [&[][..], &["SYS_ADMIN".to_owned()], &["ALL".to_owned()]] {
            let rules = rules(Set::chosen(caps, &[]).expect("known"));
            let code = tree::program(ARCH, &ranges(&rules));
            assert!(code.len() < 300, "{}", code.len());
            for number in (0..600).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                for value in values {
                    // The upper half of an argument must change nothing.
                    for value in [value, value | 0xdead_beef_0000_0000] {
                        let args = [value; 6];
                        let wanted = expected(answer(&rules, number), args);
                        assert_eq!(
                            run(&code, ARCH, number, args),
                            wanted,
                            "call {number} with {value:#x}"
                        );
                    }
                }
            }
            assert_eq!(run(&code, 0x4000_0003, 1, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }

    #[test]
    fn dangerous_calls_are_refused_by_default_and_opened_by_their_capability() {
        let of = |add: &[String]| {
            let caps = Set::chosen(add, &[]).expect("known");
            filter(&Seccomp::Default, caps).expect("built in")
        };
        let code = of(&[]);
        let admin = of(&["SYS_ADMIN".into()]);
        let verdict = |code: &[Insn], call: libc::c_long| {
            run(code, ARCH, u32::try_from(call).expect("positive"), [0; 6])
        };
        let eperm = libc::SECCOMP_RET_ERRNO | u32::from(EPERM);
        for call in [
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_umount2,
        ] {
            assert_eq!(verdict(&code, call), eperm, "{call}");
            assert_eq!(verdict(&admin, call), libc::SECCOMP_RET_ALLOW, "{call}");
        }
        for call in [
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_kexec_load,
            libc::SYS_open_by_handle_at,
            libc::SYS_swapon,
            libc::SYS_settimeofday,
            libc::SYS_syslog,
        ] {
            assert_eq!(verdict(&code, call), eperm, "{call}");
        }
        assert_eq!(
            verdict(&code, libc::SYS_clone3),
            libc::SECCOMP_RET_ERRNO | u32::from(ENOSYS)
        );
    }
}
