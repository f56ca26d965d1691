//! Why a container could not be launched, in a form that also crosses the pipe from the child.
//!
//! The child reports with this very type as JSON, so that the person sees the step that failed and the
//! kernel's reason, not "the child died". `io::Error` crosses as its errno.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What failed when an overlay could not be mounted.
pub(super) const VIEW: &str = "mounting a copy-on-write view of";

pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong in this layer.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    #[error("no command was given")]
    NoCommand,
    #[error("there is no `{command}` in the container")]
    CommandNotFound { command: String },
    /// The same in a lab, which has the caller's own tree.
    #[error("no program is found by the name `{command}`")]
    ProgramNotFound { command: String },
    #[error("`{command}` cannot be executed: {source}")]
    NotExecutable {
        command: String,
        #[serde(with = "errno")]
        source: io::Error,
    },
    #[error("`{command}` leads to the program that is launching the container")]
    OwnBinary { command: String },
    #[error("no user is named `{user}` in the container")]
    UnknownUser { user: String },
    #[error("no group is named `{group}` in the container")]
    UnknownGroup { group: String },
    #[error("the container's user namespace has {count} ids from 0 on, and {id} is not one of them")]
    BeyondRange { id: u32, count: u32 },
    #[error("device `{}` can only be given for reading and writing here", path.display())]
    PartOfDevice { path: PathBuf },
    #[error("unknown capability: `{name}`")]
    UnknownCapability { name: String },
    #[error("unknown ulimit: `{name}`")]
    UnknownUlimit { name: String },
    #[error("invalid {what}: `{value}`")]
    Invalid { what: String, value: String },
    #[error("{what} `{}`: {source}", path.display())]
    Path {
        what: String,
        path: PathBuf,
        #[serde(with = "errno")]
        source: io::Error,
    },
    #[error("{what}: {source}")]
    System {
        what: String,
        #[serde(with = "errno")]
        source: io::Error,
    },
    #[error("the {limit} limit cannot be enforced: {source}")]
    Limit {
        limit: String,
        #[serde(with = "errno")]
        source: io::Error,
    },
    #[error("the container has no entry `{}` that could be mounted on: {source}", path.display())]
    MountTarget {
        path: PathBuf,
        #[serde(with = "errno")]
        source: io::Error,
    },
    #[error("the container's first process ended before its command ran: {status}")]
    DiedEarly { status: String },
    #[error("this machine lets its users make no namespaces: {source}")]
    Namespaces {
        #[serde(with = "errno")]
        source: io::Error,
    },
    #[error("a terminal was asked for, but standard input is not one")]
    NoTerminal,
    #[error("`{what}` needs a first process of moat's own, which stays when the command ends")]
    NeedsInit { what: String },
    #[error("`--restart` cannot be combined with a terminal in the foreground, which ends with its command")]
    NeedsDetach,
    #[error("the container is not running: process {pid} is gone")]
    Gone { pid: i32 },
    /// What a process in the container's tree could not do, in its own words.
    #[error("{reason}")]
    Visit { reason: String, cut: bool },
    #[error("stopped at step `{step}`: {source}")]
    Step {
        step: String,
        #[serde(with = "errno")]
        source: io::Error,
    },
}

impl Error {
    pub(super) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            what: what.into(),
            source: source.into(),
        }
    }

    pub(super) fn path(
        what: impl Into<String>,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Path {
            what: what.into(),
            path: path.into(),
            source: source.into(),
        }
    }

    pub(super) fn invalid(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            value: value.into(),
        }
    }

    /// The status `moat run` and `moat exec` end with: 127 not found, 126 cannot be executed, 125 ours.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::CommandNotFound { .. } | Self::ProgramNotFound { .. } => 127,
            Self::NotExecutable { .. } | Self::OwnBinary { .. } => 126,
            _ => 125,
        }
    }

    /// What the person can do about it, if we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoCommand => "name the command after `--`",
            Self::CommandNotFound { .. } => {
                "the command is looked up in the container's own tree with the container's PATH"
            }
            Self::ProgramNotFound { .. } => "a lab has your files and your PATH",
            Self::NotExecutable { source, .. } if source.raw_os_error() == Some(libc::ENOEXEC) => {
                "a script needs a first line such as `#!/bin/sh`, a program the right architecture"
            }
            Self::NotExecutable { .. } => "`ls -l` shows whether it is a program, and who may run it",
            Self::UnknownUser { .. } | Self::UnknownGroup { .. } => {
                "names are looked up in the container's own /etc/passwd and /etc/group; numbers always work"
            }
            Self::BeyondRange { .. } => "`--userns host` gives the container the host's ids",
            Self::PartOfDevice { .. } => "less needs user ids of the container's own: see `--userns`",
            Self::Limit { .. } => "`moat doctor` says which cgroup controllers this kernel offers",
            Self::MountTarget { .. } => {
                "a symbolic link that leads nowhere, or a file in the way, cannot be mounted on"
            }
            Self::NeedsInit { .. } => "leave `--no-init` out",
            Self::NeedsDetach => "add `-d`, or leave out `-t`",
            Self::Namespaces { .. } => {
                "user.max_user_namespaces, kernel.unprivileged_userns_clone, AppArmor \
                 (kernel.apparmor_restrict_unprivileged_userns) or an outer container forbid it; or use sudo"
            }
            Self::NoTerminal => "leave out `-t`, or leave out `-i`",
            Self::UnknownCapability { .. } => {
                "names are as in capabilities(7), with or without `CAP_`, or `ALL`"
            }
            Self::Invalid { what, .. } => return form_of(what).map(str::to_owned),
            Self::UnknownUlimit { .. } => "names are as in getrlimit(2), such as `nofile` or `nproc`",
            Self::Path { what, source, .. }
                if what.starts_with(VIEW) && source.raw_os_error() == Some(libc::EINVAL) =>
            {
                "the container's layer cannot lie on an overlay itself: put it on another file system"
            }
            Self::System { what, source }
                if what.starts_with("becoming user") && source.raw_os_error() == Some(libc::EINVAL) =>
            {
                "this user namespace has no such user: in a lab, newuidmap (package uidmap) and a line in \
                 /etc/subuid and /etc/subgid give it more than root"
            }
            Self::System { source, .. } | Self::Path { source, .. } => return errno_hint(source),
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// What is right instead.
fn form_of(what: &str) -> Option<&'static str> {
    let text = match what {
        "restart policy" => "`no`, `always` or `on-failure[:N]`",
        "host name" => "1 to 63 of `a-z 0-9 - .`",
        "number of cpus" => "a part of them or several: `--cpus 0.5`",
        "process limit" => "at least 2: the container's first process is one",
        "place for a device" => "SRC[:DST][:rw], both below /dev: `--device /dev/fuse`",
        "mount point" => "an absolute path in the container, not `/` itself and without `..`",
        "working directory" | "volume source" => "an absolute path",
        _ if what.starts_with("memory limit") => "bytes, or with k, m, g: `-m 64m`",
        _ if what.starts_with("log size") => "bytes, or with k, m, g: `--log-size 16m`",
        _ if what.starts_with("ulimit") => "NAME=SOFT[:HARD]: `--ulimit nofile=1024:4096`",
        _ if what.starts_with("health ") => "`500ms`, `2s` or `1m30s`",
        _ => return None,
    };
    Some(text)
}

fn errno_hint(source: &io::Error) -> Option<String> {
    let text = match source.raw_os_error()? {
        libc::ENOENT | libc::ENOTDIR => "directories and volumes must exist before the container starts",
        libc::EPERM | libc::EACCES => "this needs root, or a user namespace in which you are root",
        libc::ENODEV | libc::ENOSYS | libc::EOPNOTSUPP => "`moat doctor` says what this kernel lacks",
        libc::ENOSPC => "the file system is full, or a limit on namespaces in `/proc/sys/user` is reached",
        libc::EAGAIN => {
            "a limit of processes is reached: `--pids`, which counts the first one too, or `ulimit -u`"
        }
        libc::EMFILE | libc::ENFILE => "too many open files: see `ulimit -n`",
        libc::ENOMEM => "the host is short of memory, or the container's memory limit is too small",
        _ => return None,
    };
    Some(text.to_owned())
}

/// `io::Error` as a number.
mod errno {
    use std::io;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(error: &io::Error, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i32(error.raw_os_error().unwrap_or(libc::EIO))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<io::Error, D::Error> {
        i32::deserialize(from).map(io::Error::from_raw_os_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_cross_a_pipe_and_keep_their_class() {
        let error = Error::NotExecutable {
            command: "x".into(),
            source: io::Error::from_raw_os_error(libc::EACCES),
        };
        let text = serde_json::to_string(&error).expect("serialises");
        let back: Error = serde_json::from_str(&text).expect("parses");
        assert_eq!(back.exit_code(), 126);
        assert_eq!(back.to_string(), error.to_string());
        assert_eq!(Error::CommandNotFound { command: "x".into() }.exit_code(), 127);
        assert_eq!(Error::NoTerminal.exit_code(), 125);
    }
}
