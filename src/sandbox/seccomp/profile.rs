//! Seccomp profiles in the form docker, podman and the OCI runtime specification share.
//!
//! Calls that this kernel generation does not know by name are passed over, as libseccomp's users do. What
//! would make the profile weaker or another one if it were passed over (an unknown action or comparison, a
//! call that an agent outside should answer) is refused.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;
use syscalls::Sysno;

use super::super::capabilities::{self, Set};
use super::super::error::{Error, Result};
use super::tree::{self, ABOVE, AND, AT_LEAST, EQUAL, Insn, LOAD, OFFSET_ARGS, RETURN, insn, jump};
use super::{ARCH, ENOSYS, EPERM};

#[cfg(target_arch = "x86_64")]
const GO_ARCH: &str = "amd64";
#[cfg(target_arch = "aarch64")]
const GO_ARCH: &str = "arm64";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u16>,
    #[serde(default)]
    syscalls: Vec<Entry>,
    listener_path: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: Option<String>,
    #[serde(default)]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u16>,
    args: Option<Vec<Condition>>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// What happens to a call: the first rule whose conditions hold decides.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    rules: Vec<(Vec<Test>, u32)>,
    otherwise: u32,
}

/// A comparison of one argument, 64 bits wide.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Test {
    argument: u32,
    how: How,
    value: u64,
    mask: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Equal,
    Unequal,
    Above,
    AtLeast,
    Below,
    AtMost,
    Masked,
}

fn bad(what: impl Into<String>) -> Error {
    Error::invalid("seccomp profile", what)
}

/// The program for a process with `caps`.
pub fn program(text: &str, caps: Set) -> Result<Vec<Insn>> {
    let profile: Profile = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
    let (default, answers) = answers(&profile, caps)?;
    let mut ranges: Vec<(u32, Answer)> = Vec::new();
    let last = answers.keys().last().copied().unwrap_or(0);
    let simple = |otherwise| Answer {
        rules: Vec::new(),
        otherwise,
    };
    for number in 0..=last {
        let answer = answers.get(&number).cloned().unwrap_or_else(|| simple(default));
        if ranges.last().is_none_or(|(_, known)| *known != answer) {
            ranges.push((number, answer));
        }
    }
    // Later calls than any the profile names: it was written without knowing them, and programs fall back.
    let refused = libc::SECCOMP_RET_ERRNO | u32::from(EPERM);
    let unknown = if default == refused {
        libc::SECCOMP_RET_ERRNO | u32::from(ENOSYS)
    } else {
        default
    };
    ranges.push((last + 1, simple(unknown)));
    let program = tree::program_of(ARCH, &ranges, &code);
    if program.len() > usize::from(u16::MAX >> 4) {
        return Err(bad(format!("{} instructions are too many", program.len())));
    }
    Ok(program)
}

fn answers(profile: &Profile, caps: Set) -> Result<(u32, BTreeMap<u32, Answer>)> {
    if profile.listener_path.is_some() {
        return Err(bad("`listenerPath` needs an agent that answers calls"));
    }
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut answers: BTreeMap<u32, Answer> = BTreeMap::new();
    for entry in &profile.syscalls {
        let verdict = action(&entry.action, entry.errno_ret)?;
        let alternatives = alternatives(entry.args.as_deref().unwrap_or_default())?;
        if !applies(entry, caps)? {
            continue;
        }
        for name in entry.names.iter().chain(&entry.name) {
            let Some(number) = Sysno::from_str(name)
                .ok()
                .and_then(|call| u32::try_from(call.id()).ok())
            else {
                continue;
            };
            let answer = answers.entry(number).or_insert(Answer {
                rules: Vec::new(),
                otherwise: default,
            });
            if alternatives.is_empty() {
                answer.otherwise = verdict;
            }
            let rules = alternatives.iter().map(|tests| (tests.clone(), verdict));
            answer.rules.extend(rules);
        }
    }
    Ok((default, answers))
}

fn applies(entry: &Entry, caps: Set) -> Result<bool> {
    let none = Filter::default();
    let includes = entry.includes.as_ref().unwrap_or(&none);
    let excludes = entry.excludes.as_ref().unwrap_or(&none);
    let has = |name: &String| capabilities::number(name).is_some_and(|cap| caps.has(cap));
    let here = |arch: &String| arch == GO_ARCH;
    let included = includes.caps.iter().flatten().all(has)
        && includes
            .arches
            .as_ref()
            .is_none_or(|list| list.is_empty() || list.iter().any(here))
        && newer(includes.min_kernel.as_deref())?.unwrap_or(true);
    let excluded = excludes.caps.iter().flatten().any(has)
        || excludes.arches.iter().flatten().any(here)
        || newer(excludes.min_kernel.as_deref())?.unwrap_or(false);
    Ok(included && !excluded)
}

/// Whether this kernel is at least as new as the one named.
fn newer(wanted: Option<&str>) -> Result<Option<bool>> {
    let Some(wanted) = wanted.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let version = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split(|c: char| !c.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let wanted = version(wanted).ok_or_else(|| bad(format!("`minKernel` is `{wanted}`")))?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(Some(version(&release).is_none_or(|own| own >= wanted)))
}

fn action(name: &str, errno: Option<u16>) -> Result<u32> {
    let errno = u32::from(errno.unwrap_or(EPERM));
    Ok(match name {
        "SCMP_ACT_ALLOW" => libc::SECCOMP_RET_ALLOW,
        "SCMP_ACT_ERRNO" if errno <= 4095 => libc::SECCOMP_RET_ERRNO | errno,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => libc::SECCOMP_RET_KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => libc::SECCOMP_RET_KILL_PROCESS,
        "SCMP_ACT_TRAP" => libc::SECCOMP_RET_TRAP,
        "SCMP_ACT_LOG" => libc::SECCOMP_RET_LOG,
        "SCMP_ACT_TRACE" => libc::SECCOMP_RET_TRACE | errno,
        other => return Err(bad(format!("action `{other}`"))),
    })
}

/// The conditions as alternatives, each a list of tests that must all hold. Several on one argument are
/// alternatives of one another, as libseccomp's users read them.
fn alternatives(conditions: &[Condition]) -> Result<Vec<Vec<Test>>> {
    let tests: Vec<Test> = conditions.iter().map(test).collect::<Result<_>>()?;
    let repeated = tests.iter().enumerate().any(|(at, test)| {
        tests[..at]
            .iter()
            .any(|earlier| earlier.argument == test.argument)
    });
    Ok(match (tests.is_empty(), repeated) {
        (true, _) => Vec::new(),
        (false, true) => tests.into_iter().map(|test| vec![test]).collect(),
        (false, false) => vec![tests],
    })
}

fn test(condition: &Condition) -> Result<Test> {
    if condition.index > 5 {
        return Err(bad(format!("argument number {}", condition.index)));
    }
    let how = match condition.op.as_str() {
        "SCMP_CMP_EQ" => How::Equal,
        "SCMP_CMP_NE" => How::Unequal,
        "SCMP_CMP_GT" => How::Above,
        "SCMP_CMP_GE" => How::AtLeast,
        "SCMP_CMP_LT" => How::Below,
        "SCMP_CMP_LE" => How::AtMost,
        "SCMP_CMP_MASKED_EQ" => How::Masked,
        other => return Err(bad(format!("comparison `{other}`"))),
    };
    let (value, mask) = match how {
        How::Masked => (condition.value_two, condition.value),
        _ => (condition.value, u64::MAX),
    };
    Ok(Test {
        argument: condition.index,
        how,
        value,
        mask,
    })
}

fn code(answer: &Answer) -> Vec<Insn> {
    let mut code = Vec::new();
    for (tests, verdict) in &answer.rules {
        // Backwards, since a test that fails jumps over all that follows in its rule.
        let mut rule = vec![insn(RETURN, *verdict)];
        for test in tests.iter().rev() {
            let mut longer = compare(test, u8::try_from(rule.len()).unwrap_or(u8::MAX));
            longer.append(&mut rule);
            rule = longer;
        }
        code.append(&mut rule);
    }
    code.push(insn(RETURN, answer.otherwise));
    code
}

/// Instructions that fall through if the test holds, and else jump over the `rest` that follow them.
#[allow(clippy::cast_possible_truncation)] // halves are the point
fn compare(test: &Test, rest: u8) -> Vec<Insn> {
    let at = OFFSET_ARGS + 8 * test.argument;
    let (low, high) = (test.value as u32, (test.value >> 32) as u32);
    // Both architectures are little endian.
    let (load_low, load_high) = (insn(LOAD, at), insn(LOAD, at + 4));
    let ordered =
        |first: Insn, last: Insn| vec![load_high, first, jump(EQUAL, high, 0, rest + 2), load_low, last];
    match test.how {
        How::Equal => vec![
            load_high,
            jump(EQUAL, high, 0, rest + 2),
            load_low,
            jump(EQUAL, low, 0, rest),
        ],
        How::Unequal => vec![
            load_high,
            jump(EQUAL, high, 0, 2),
            load_low,
            jump(EQUAL, low, rest, 0),
        ],
        How::Above => ordered(jump(ABOVE, high, 3, 0), jump(ABOVE, low, 0, rest)),
        How::AtLeast => ordered(jump(ABOVE, high, 3, 0), jump(AT_LEAST, low, 0, rest)),
        How::Below => ordered(jump(AT_LEAST, high, 0, 3), jump(AT_LEAST, low, rest, 0)),
        How::AtMost => ordered(jump(AT_LEAST, high, 0, 3), jump(ABOVE, low, rest, 0)),
        How::Masked => vec![
            load_high,
            insn(AND, (test.mask >> 32) as u32),
            jump(EQUAL, high, 0, rest + 3),
            load_low,
            insn(AND, test.mask as u32),
            jump(EQUAL, low, 0, rest),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::interpreter::run;
    use super::*;

    fn holds(test: &Test, value: u64) -> bool {
        match test.how {
            How::Equal => value == test.value,
            How::Unequal => value != test.value,
            How::Above => value > test.value,
            How::AtLeast => value >= test.value,
            How::Below => value < test.value,
            How::AtMost => value <= test.value,
            How::Masked => value & test.mask == test.value,
        }
    }

    const OPS: [&str; 7] = [
        "SCMP_CMP_EQ",
        "SCMP_CMP_NE",
        "SCMP_CMP_GT",
        "SCMP_CMP_GE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_MASKED_EQ",
    ];

    fn caps(add: &[&str]) -> Set {
        let add: Vec<String> = add.iter().map(|name| (*name).to_owned()).collect();
        Set::chosen(&add, &[]).expect("known")
    }

    fn verdict(text: &str, with: Set, call: Sysno, args: [u64; 6]) -> u32 {
        let code = program(text, with).expect("a profile");
        run(&code, ARCH, u32::try_from(call.id()).expect("positive"), args)
    }

    #[test]
    fn comparisons_agree_with_arithmetic() {
        let numbers = [
            0,
            1,
            7,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0001,
            0x5_0000_0000,
            u64::MAX,
        ];
        for op in OPS {
            for value in numbers {
                for other in numbers {
                    let text = format!(
                        r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["kill"],"action":"SCMP_ACT_ALLOW",
                        "args":[{{"index":1,"value":{value},"valueTwo":{other},"op":"{op}"}}]}}]}}"#
                    );
                    let condition = Condition {
                        index: 1,
                        value,
                        value_two: other,
                        op: op.to_owned(),
                    };
                    let test = test(&condition).expect("known");
                    for argument in numbers {
                        let allowed = verdict(&text, caps(&[]), Sysno::kill, [9, argument, 9, 9, 9, 9])
                            == libc::SECCOMP_RET_ALLOW;
                        assert_eq!(allowed, holds(&test, argument), "{argument} {op} {value} {other}");
                    }
                }
            }
        }
    }

    #[test]
    fn conditions_on_different_arguments_must_all_hold() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13,"syscalls":[
            {"name":"socket","action":"SCMP_ACT_ALLOW","args":[
              {"index":0,"value":16,"op":"SCMP_CMP_EQ"},{"index":2,"value":9,"op":"SCMP_CMP_NE"}]},
            {"names":["socket"],"action":"SCMP_ACT_ERRNO","errnoRet":22,"args":[
              {"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}]}"#;
        let says = |args| verdict(text, caps(&[]), Sysno::socket, args);
        let errno = |n| libc::SECCOMP_RET_ERRNO | n;
        assert_eq!(says([16, 0, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(says([16, 0, 9, 0, 0, 0]), errno(13));
        assert_eq!(says([1, 0, 0, 0, 0, 0]), errno(22));
        assert_eq!(says([2, 0, 0, 0, 0, 0]), errno(22));
        assert_eq!(says([3, 0, 0, 0, 0, 0]), errno(13));
    }

    #[test]
    fn capabilities_open_and_close_entries() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["getpid"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["getuid"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"2.6"}},
            {"names":["getgid"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["s390x"]}},
            {"names":["no_such_call"],"action":"SCMP_ACT_ALLOW"}]}"#;
        let (none, admin) = (caps(&[]), caps(&["SYS_ADMIN"]));
        let allowed = |with, call| verdict(text, with, call, [0; 6]) == libc::SECCOMP_RET_ALLOW;
        assert!(!allowed(none, Sysno::mount) && allowed(admin, Sysno::mount));
        assert!(allowed(none, Sysno::getpid) && !allowed(admin, Sysno::getpid));
        assert!(allowed(none, Sysno::getuid) && !allowed(none, Sysno::getgid));
    }

    #[test]
    fn calls_beyond_the_profile_are_unknown_ones() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["write"],"action":"SCMP_ACT_ALLOW"}]}"#;
        let code = program(text, caps(&[])).expect("a profile");
        assert_eq!(run(&code, ARCH, 5000, [0; 6]), libc::SECCOMP_RET_ERRNO | 38);
        assert_eq!(run(&code, 0x4000_0003, 1, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "",
            "[]",
            r#"{"syscalls":[]}"#,
            r#"{"defaultAction":"SCMP_ACT_WAVE"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL",
                "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL",
                "args":[{"index":0,"value":0,"op":"SCMP_CMP_LIKE"}]}]}"#,
        ] {
            assert!(program(text, caps(&[])).is_err(), "{text}");
        }
    }
}
