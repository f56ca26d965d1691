//! Resource limits of the payload. Clamped to the hard limit we have ourselves, never failing: raising one
//! needs `CAP_SYS_RESOURCE`, which is missing inside other containers.

use super::error::{Error, Result};

#[cfg(target_env = "gnu")]
type Number = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Number = libc::c_int;

const NAMES: [(&str, Number); 16] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// One limit, looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rlimit {
    number: Number,
    soft: u64,
    hard: u64,
}

/// Looks up the names.
pub(super) fn parse(list: &[(String, u64, u64)]) -> Result<Vec<Rlimit>> {
    let one = |(name, soft, hard): &(String, u64, u64)| {
        let lower = name.to_ascii_lowercase();
        let bare = lower.strip_prefix("rlimit_").unwrap_or(&lower);
        let (_, number) = NAMES
            .iter()
            .find(|(known, _)| *known == bare)
            .ok_or_else(|| Error::UnknownUlimit { name: name.clone() })?;
        if soft > hard {
            return Err(Error::invalid(
                format!("ulimit `{name}` (soft above hard)"),
                format!("{soft}:{hard}"),
            ));
        }
        Ok(Rlimit {
            number: *number,
            soft: *soft,
            hard: *hard,
        })
    };
    list.iter().map(one).collect()
}

/// Raises what is asked to be above the hard limit of this process, where it may, and nothing else: in a user
/// namespace nobody may.
pub(super) fn raise(list: &[Rlimit]) {
    for limit in list {
        let now = get(limit.number);
        if let Some(now) = now.filter(|now| now.rlim_max < limit.hard) {
            set(
                limit.number,
                libc::rlimit {
                    rlim_cur: now.rlim_cur,
                    rlim_max: limit.hard,
                },
            );
        }
    }
}

/// Sets them on this process.
pub(super) fn apply(list: &[Rlimit]) {
    for limit in list {
        let wanted = libc::rlimit {
            rlim_cur: limit.soft,
            rlim_max: limit.hard,
        };
        if set(limit.number, wanted) {
            continue;
        }
        if let Some(now) = get(limit.number) {
            let hard = limit.hard.min(now.rlim_max);
            set(
                limit.number,
                libc::rlimit {
                    rlim_cur: limit.soft.min(hard),
                    rlim_max: hard,
                },
            );
        }
    }
}

fn get(number: Number) -> Option<libc::rlimit> {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `now` is writable and outlives the call.
    (unsafe { libc::getrlimit(number, &raw mut now) } == 0).then_some(now)
}

fn set(number: Number, limit: libc::rlimit) -> bool {
    // SAFETY: `limit` is readable and outlives the call.
    unsafe { libc::setrlimit(number, &raw const limit) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        assert!(parse(&[("NOFILE".into(), 1, 2), ("rlimit_core".into(), 0, 0)]).is_ok());
        assert!(parse(&[("nofile".into(), 3, 2)]).is_err());
        assert!(parse(&[("files".into(), 1, 2)]).is_err());
    }
}
