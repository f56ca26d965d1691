//! Starting the command, and keeping it: pid 1 starts it again by the container's restart policy.
//!
//! Everything else of the container stays as it is meanwhile: namespaces, network, mounts, cgroups. To be able
//! to make processes with the command's user and rights, a pid 1 that restarts or checks keeps, beside the
//! command's own capabilities, those that changing user and dropping rights need.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::account::Account;
use super::capabilities::{self, Set};
use super::error::{Error, Result};
use super::payload::{Payload, Stdio};
use super::report::{self, Reporter};
use super::restart::Policy;
use super::spec::Spec;
use super::syscall::{self, Cloned};
use super::terminal;
use super::watch::Watch;

/// What the command's standard input and output become, each time anew.
pub(super) enum Streams {
    Nothing,
    Given {
        fds: [OwnedFd; 3],
        interactive: bool,
    },
    Pipes {
        out: OwnedFd,
        err: OwnedFd,
    },
    /// Output and errors in one.
    Both(OwnedFd),
    /// The terminal's other end is opened again: the end of a session hangs it up.
    Terminal {
        master: OwnedFd,
    },
}

impl Streams {
    /// For one process, in that process.
    fn stdio(&self) -> std::io::Result<Stdio> {
        Ok(match self {
            Self::Nothing => {
                let null = super::payload::null()?;
                Stdio::Pipes {
                    out: null.try_clone()?,
                    err: null,
                }
            }
            Self::Given { fds, interactive } => {
                let [a, b, c] = fds;
                Stdio::Given {
                    fds: [a.try_clone()?, b.try_clone()?, c.try_clone()?],
                    interactive: *interactive,
                }
            }
            Self::Pipes { out, err } => Stdio::Pipes {
                out: out.try_clone()?,
                err: err.try_clone()?,
            },
            Self::Both(to) => Stdio::Pipes {
                out: to.try_clone()?,
                err: to.try_clone()?,
            },
            Self::Terminal { master } => Stdio::Terminal(terminal::peer(master.as_fd())?),
        })
    }
}

/// How a process of the container's rights is made.
pub(super) struct Starter {
    payload: Payload,
    account: Account,
    pub streams: Streams,
    /// Where the last one said why it could not start.
    said: Option<OwnedFd>,
}

impl Starter {
    pub fn new(payload: Payload, account: Account, streams: Streams) -> Self {
        Self {
            payload,
            account,
            streams,
            said: None,
        }
    }

    /// For the first time, telling the launcher.
    pub fn first(&mut self, report: &mut Reporter) -> Result<(i32, OwnedFd)> {
        self.start(report)
    }

    /// Once more. By now others run in the container, who may exchange files under our hands. The report goes
    /// to a file in memory: a pipe could fill, or its reader be missing.
    pub fn again(&mut self) -> Result<(i32, OwnedFd)> {
        let failed = |source| Error::system("starting a command", source);
        self.payload.watched = true;
        let file = syscall::memfd(c"report").map_err(failed)?;
        let copy = file.try_clone().map_err(failed)?;
        self.said = Some(file);
        self.start(&mut Reporter::new(copy))
    }

    /// Why the last one could not start; `None` if it did.
    pub fn why_not(&mut self) -> Option<String> {
        let file = std::fs::File::from(self.said.take()?);
        let mut text = vec![0; 4096];
        let length = file.read_at(&mut text, 0).ok()?;
        text.truncate(length);
        report::parse(&text).err().map(|error| error.to_string())
    }

    fn start(&mut self, report: &mut Reporter) -> Result<(i32, OwnedFd)> {
        match syscall::clone3(0, None) {
            Ok(Cloned::Parent { pid, pidfd }) => Ok((pid, pidfd)),
            Ok(Cloned::Child) => {
                let _ = nix::unistd::setsid();
                match self.streams.stdio() {
                    Ok(stdio) => self.payload.run(&self.account, stdio, report),
                    Err(source) => {
                        report.failed(&Error::system("arranging standard input and output", source));
                        syscall::exit(125)
                    }
                }
            }
            Err(source) => Err(Error::system("starting the command", source)),
        }
    }
}

/// Stays until the container is over; its exit status.
pub(super) fn keep(mut watch: Watch, spec: &Spec, starter: Option<Starter>) -> i32 {
    let code = run(&mut watch, Policy::new(spec.restart), starter);
    watch.status.finish(code);
    code
}

fn run(watch: &mut Watch, mut policy: Policy, mut starter: Option<Starter>) -> i32 {
    loop {
        let begun = Instant::now();
        let ended = watch.until_end();
        let why_not = starter.as_mut().and_then(Starter::why_not);
        if let Some(reason) = why_not {
            watch.remark(&format!("the command could not be started again: {reason}"));
        }
        let (Some(starter), false) = (&mut starter, watch.stopping) else {
            return ended.code;
        };
        let mut delay = policy.after(ended.code, begun.elapsed());
        loop {
            let Some(wait) = delay else { return ended.code };
            watch.status.update(|now| now.waiting = true);
            if !watch.rest(wait) {
                return ended.code;
            }
            match starter.again() {
                Ok((pid, pidfd)) => {
                    watch.status.update(|now| {
                        now.waiting = false;
                        now.restarts = now.restarts.saturating_add(1);
                    });
                    watch.begin(pid, pidfd);
                    break;
                }
                // The process limit, or memory: that may pass.
                Err(error) => {
                    watch.remark(&error.to_string());
                    delay = policy.after(125, Duration::ZERO);
                }
            }
        }
    }
}

/// What pid 1 keeps to be able to start further processes like the command.
pub(super) fn rights(payload: Set) -> Set {
    payload.and(&[
        capabilities::KILL,
        capabilities::SETUID,
        capabilities::SETGID,
        capabilities::SETPCAP,
        // To enter a working directory as the first start did, and to raise a limit as it did.
        capabilities::DAC_OVERRIDE,
        capabilities::SYS_RESOURCE,
    ])
}
