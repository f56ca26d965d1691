//! Launching: cgroups, pipes, clone3, and the handshake until the command runs.
//!
//! The caller gets the child's pid and pidfd, gives its namespace a network from outside, and says go
//! ([`Launched::release`]). Dropping a [`Launched`] kills the child. The caller must have a single thread.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use super::cgroup::Joining;
use super::channel;
use super::child::{Child, Keeper};
use super::error::{Error, Result};
use super::foreground::Running;
use super::log::Log;
use super::payload::Payload;
use super::report::{self, Reporter};
use super::root::Mapped;
use super::spec::{Spec, Users};
use super::status::Status;
use super::step::step;
use super::supervisor;
use super::syscall::{self, Cloned};
use super::users::{self, NAMESPACES as OWNED, UserSpace};
use super::watch::COMMIT;
use super::{check, process, signals};

/// The namespaces every child is born into.
const BUILT_IN: libc::c_int = libc::CLONE_NEWNS | libc::CLONE_NEWPID;

/// A child that built its root and waits for [`Launched::release`].
#[derive(Debug)]
pub struct Launched {
    pid: i32,
    /// `None` once released.
    open: Option<Open>,
    spec: Spec,
    notes: Vec<String>,
}

/// The launcher's ends.
#[derive(Debug)]
struct Open {
    pidfd: OwnedFd,
    go: OwnedFd,
    report: OwnedFd,
    life: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    status: Option<Status>,
}

/// Starts a container up to the point where only its network is missing.
///
/// # Errors
/// Whatever [`check::prepare`] refuses, and failing system calls. Nothing runs then; [`super::cleanup`]
/// removes what was created.
pub fn launch(spec: &Spec) -> Result<Launched> {
    check::prepare(spec)?;
    step("checked")?;
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(&spec.layer)
        .map_err(|source| Error::path("creating the layer", &spec.layer, source))?;
    let (mut users, notes) = own_users(spec)?;
    step("user namespace")?;
    let (mut child, mut ours) = arrange(spec)?;
    child.users = users.as_ref().map(|(space, mapped)| (space, mapped));
    let cgroups = Joining::create(&spec.id, &spec.limits)?;
    if let Some(keeper) = child.keeper.as_mut().or(ours.keeper.as_mut()) {
        keeper.oom = cgroups.oom_count();
    }
    step("cgroups")?;
    let supervised = spec.detach && !spec.init;
    let (pid, pidfd, in_leaf) = if supervised {
        supervisor::start(child, ours.keeper, &cgroups)?
    } else {
        start(child, &cgroups)?
    };
    let open = Open {
        pidfd,
        go: ours.go,
        report: ours.report,
        life: ours.life,
        terminal: ours.terminal,
        status: ours.status,
    };
    // From here on an error drops it, which kills the child.
    let mut launched = Launched {
        pid,
        open: Some(open),
        spec: spec.clone(),
        notes,
    };
    step("cloned")?;
    if let Some((space, _)) = &mut users {
        launched.joined()?;
        space.dismiss();
    }
    cgroups.join(pid, in_leaf)?;
    step("joined")?;
    Ok(launched)
}

/// A user namespace, and what a container in it sees of the host.
type OwnUsers = Option<(UserSpace, Mapped)>;

/// `None` if the container is not to have one, or cannot and need not. And what the person should know of it.
fn own_users(spec: &Spec) -> Result<(OwnUsers, Vec<String>)> {
    if !users::wanted(spec) {
        return Ok((None, vec![]));
    }
    let made = UserSpace::make(&spec.id).and_then(|space| {
        let mapped = Mapped::of(spec, &space)?;
        Ok((space, mapped))
    });
    match made {
        Ok((space, mut mapped)) => {
            let notes = std::mem::take(&mut mapped.notes);
            Ok((Some((space, mapped)), notes))
        }
        Err(error) if spec.isolation.users == Users::Auto => Ok((None, users::fallback(spec, &error))),
        Err(error) => Err(error),
    }
}

/// Clones; the child goes its own way.
pub(super) fn start(child: Child<'_>, cgroups: &Joining) -> Result<(i32, OwnedFd, bool)> {
    let leaf = cgroups.leaf();
    let mut in_leaf = leaf.is_some();
    let namespaces = if child.users.is_some() {
        BUILT_IN
    } else {
        BUILT_IN | OWNED
    };
    let cloned = syscall::clone3(namespaces, leaf).or_else(|error| {
        if leaf.is_none() {
            return Err(error);
        }
        in_leaf = false;
        syscall::clone3(namespaces, None)
    });
    match cloned {
        Ok(Cloned::Child) => child.main(),
        Ok(Cloned::Parent { pid, pidfd }) => Ok((pid, pidfd, in_leaf)),
        Err(source) => Err(Error::system("creating the namespaces", source)),
    }
}

/// What the launcher keeps while the child gets its own ends.
struct Ours {
    go: OwnedFd,
    report: OwnedFd,
    life: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    /// In the foreground without our pid 1 the launcher itself writes the status.
    status: Option<Status>,
    /// For the supervisor.
    keeper: Option<Keeper>,
}

fn arrange(spec: &Spec) -> Result<(Child<'_>, Ours)> {
    let (report, report_child) = channel::pipe()?;
    let (go, go_child) = channel::pair()?;
    let logged = spec.detach;
    let (mut output, mut output_child) = (None, None);
    if logged && !spec.tty {
        let ((out, out_child), (err, err_child)) = (channel::pipe()?, channel::pipe()?);
        output = Some((out, err));
        output_child = Some((out_child, err_child));
    }
    let (life, life_child) = if spec.init || spec.detach {
        let (ours, theirs) = channel::pair()?;
        (Some(ours), Some(theirs))
    } else {
        (None, None)
    };
    // pid 1 of ours keeps the terminal for the log itself; otherwise it goes out.
    let (terminal, terminal_child) = if spec.tty && !(spec.init && spec.detach) {
        let (ours, theirs) = channel::pair()?;
        (Some(ours), Some(theirs))
    } else {
        (None, None)
    };
    let mut status = Some(Status::create(&spec.dir)?);
    let log = if logged {
        Some(Log::open(&spec.dir, spec.log_size)?)
    } else {
        None
    };
    let health = match &spec.health {
        Some(health) => Some((health.clone(), Payload::check(spec, health)?)),
        None => None,
    };
    let mut keeper = if spec.init || spec.detach {
        status.take().map(|status| Keeper {
            status,
            log,
            output,
            life: life_child,
            oom: None,
            health,
        })
    } else {
        None
    };
    let mut payload = Payload::of(spec)?;
    payload.tied = !spec.init;
    let child = Child {
        spec,
        payload,
        report: Reporter::new(report_child),
        go: go_child,
        keeper: if spec.init { keeper.take() } else { None },
        output: output_child,
        terminal: terminal_child,
        users: None,
    };
    Ok((
        child,
        Ours {
            go,
            report,
            life,
            terminal,
            status,
            keeper,
        },
    ))
}

impl Launched {
    /// Waits until the child is in the namespaces it is to have; or learns why it never will be.
    fn joined(&mut self) -> Result<()> {
        let heard = self.open.as_ref().and_then(|open| channel::hear(open.go.as_fd()));
        if heard.is_some() {
            return Ok(());
        }
        let Some(open) = self.open.take() else {
            return Err(Error::Gone { pid: self.pid });
        };
        kill(&open.pidfd);
        Err(report::read(open.report).err().unwrap_or(Error::DiedEarly {
            status: "killed".to_owned(),
        }))
    }

    /// The container's pid 1, in our pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Stays valid for this very process. `None` never while this value exists.
    ///
    /// # Panics
    /// Never: the descriptors leave only with `self`.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        match &self.open {
            Some(open) => open.pidfd.as_fd(),
            None => unreachable!("released values cannot be borrowed"),
        }
    }

    /// Whether the child already ended: then [`Launched::release`] says why, and whatever failed on its
    /// namespaces meanwhile failed for that reason.
    #[must_use]
    pub fn ended(&self) -> bool {
        // A process lets go of its namespaces a moment before it is seen to have ended.
        process::wait_gone(self.pidfd(), Duration::from_millis(50)).unwrap_or(false)
    }

    /// What the person should know of how it was made, each in one line.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Lets the command start; returns once exec succeeded, or with the precise reason why not.
    ///
    /// # Errors
    /// What the child reports, with the exit code class 125, 126 or 127. The child is gone then.
    pub fn release(mut self) -> Result<Running> {
        step("go")?;
        let Some(open) = self.open.take() else {
            return Err(Error::Gone { pid: self.pid });
        };
        if !self.spec.detach {
            // From its first instruction on a signal to us is one to the command.
            signals::hold()?;
        }
        // A dead child cannot be told, but its report says why it died.
        let _ = channel::tell(&open.go, b'g');
        let outcome = finish(&self.spec, self.pid, open);
        if let Err((_, Some(pidfd))) = &outcome {
            kill(pidfd);
        }
        outcome.map_err(|(error, _)| error)
    }
}

fn finish(spec: &Spec, pid: i32, open: Open) -> std::result::Result<Running, (Error, Option<OwnedFd>)> {
    let Open {
        pidfd,
        go,
        report,
        life,
        terminal,
        status,
    } = open;
    let checked = report::read(report).and_then(|ready| {
        let silent = || Error::DiedEarly {
            status: describe(&pidfd),
        };
        if ready { step("running") } else { Err(silent()) }
    });
    if let Err(error) = checked {
        return Err((error, Some(pidfd)));
    }
    let mut master = None;
    if let (Some(socket), false) = (&terminal, spec.detach) {
        master = channel::receive_fd(socket).ok().and_then(|(_, fd)| fd);
    }
    if let (Some(life), true) = (&life, spec.detach) {
        // Answered by end of file once the tie is cut; our own end before that would end the container. One
        // that ended already needs no commit.
        let _ = channel::tell(life, COMMIT);
        let _ = channel::hear(life.as_fd());
        if let Err(error) = step("committed") {
            return Err((error, Some(pidfd)));
        }
    }
    Ok(Running {
        pid,
        pidfd,
        terminal: master,
        interactive: spec.interactive,
        status,
        _tie: (go, life),
    })
}

fn describe(pidfd: &OwnedFd) -> String {
    match syscall::wait_child(&syscall::Child::Pidfd(pidfd.as_fd()), true) {
        Ok(Some(ended)) if ended.code > 128 => format!("killed by signal {}", ended.code - 128),
        Ok(Some(ended)) => format!("exit status {}", ended.code),
        _ => "killed".to_owned(),
    }
}

/// Kills pid 1, and with it the whole pid namespace, and waits for its end.
pub(super) fn kill(pidfd: &impl AsFd) {
    let _ = syscall::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
    let _ = process::wait_gone(pidfd.as_fd(), Duration::from_secs(10));
    let _ = syscall::wait_child(&syscall::Child::Pidfd(pidfd.as_fd()), false);
}

impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            kill(&open.pidfd);
        }
    }
}

/// Descriptors by number, for a process that closes all others.
pub(super) fn raw(fds: &[&OwnedFd]) -> Vec<i32> {
    fds.iter().map(|fd| fd.as_raw_fd()).collect()
}
