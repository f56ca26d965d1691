//! A process of ours that sees a container's tree: for copies in and out.
//!
//! It enters the container's mount and user namespaces, but not its pid namespace: nobody in the container sees
//! it, and it keeps no descriptor but those it is given. Of a container that ended, the tree is mounted again in
//! a namespace of the process's own. What it does there it must do by descriptors and `RESOLVE_IN_ROOT`.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;

use super::error::{Error, Result};
use super::report::{self, Reporter};
use super::spec::Spec;
use super::syscall::{self, Cloned};
use super::{channel, process, root, signals, users};

/// The process; dropping it ends it.
pub struct Visit {
    pidfd: OwnedFd,
    report: Option<OwnedFd>,
}

/// Why the work failed.
pub struct Said {
    pub reason: String,
    /// Because whoever is at the other end of its pipe went away.
    pub cut: bool,
}

/// Starts `work` with the root of the container's tree; it keeps only the descriptors in `keep`.
///
/// `running` is its process, or `None` when it has ended. What `work` says when it fails is the error of
/// [`Visit::end`]. The caller must have a single thread.
///
/// # Errors
/// The container is gone, or the process cannot be started.
pub fn visit(
    spec: &Spec,
    running: Option<(i32, u64)>,
    keep: &[RawFd],
    work: impl FnOnce(OwnedFd) -> std::result::Result<(), Said>,
) -> Result<Visit> {
    let target = running
        .map(|(pid, started)| process::open(pid, started))
        .transpose()?;
    let users = running.is_some_and(|(pid, _)| users::id_range(pid).is_some());
    let (report, report_child) = channel::pipe()?;
    let flags = if target.is_some() { 0 } else { libc::CLONE_NEWNS };
    let cloned = syscall::clone3(flags, None).map_err(|source| Error::system("starting a helper", source))?;
    match cloned {
        Cloned::Parent { pidfd, .. } => Ok(Visit {
            pidfd,
            report: Some(report),
        }),
        Cloned::Child => {
            let mut reporter = Reporter::new(report_child);
            let mut keep = keep.to_vec();
            keep.push(reporter.raw());
            let outcome = arrive(spec, target, users, keep).and_then(|(root, _held)| {
                work(root).map_err(|said| Error::Visit {
                    reason: said.reason,
                    cut: said.cut,
                })
            });
            match outcome {
                Ok(()) => reporter.ready(),
                Err(error) => reporter.failed(&error),
            }
            syscall::exit(0)
        }
    }
}

/// The root of the tree, and what must be held while it is used.
fn arrive(
    spec: &Spec,
    target: Option<OwnedFd>,
    users: bool,
    mut keep: Vec<RawFd>,
) -> Result<(OwnedFd, Option<Flock<File>>)> {
    signals::die_with_parent(true)?;
    syscall::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0)
        .map_err(|source| Error::system("hiding the helper's memory", source))?;
    keep.extend(target.as_ref().map(AsRawFd::as_raw_fd));
    syscall::close_all_but(&keep).map_err(|source| Error::system("closing descriptors", source))?;
    nix::sys::stat::umask(Mode::empty());
    if let Some(target) = target {
        let mut spaces = CloneFlags::CLONE_NEWNS;
        spaces.set(CloneFlags::CLONE_NEWUSER, users);
        #[allow(clippy::disallowed_methods)] // this process enters for good
        setns(&target, spaces).map_err(|errno| Error::system("entering the container", errno))?;
        if users {
            users::become_root()?;
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open("/", flags, Mode::empty());
        return root
            .map(|root| (root, None))
            .map_err(|errno| Error::path("opening", "/", errno));
    }
    // Two mounts of one layer would not know of one another's changes.
    let layer = File::open(&spec.layer).map_err(|source| Error::path("opening", &spec.layer, source))?;
    let held = Flock::lock(layer, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| Error::path("locking", &spec.layer, errno))?;
    root::isolate()?;
    // On disk files have the owners that the container knows, whoever it is to the host.
    Ok((root::again(spec)?, Some(held)))
}

impl Visit {
    /// Waits until the work is done.
    ///
    /// # Errors
    /// What the work said, or why it could not begin.
    pub fn end(mut self) -> Result<()> {
        let Some(report) = self.report.take() else {
            return Ok(());
        };
        let done = report::read(report)?;
        if done {
            return Ok(());
        }
        Err(Error::DiedEarly {
            status: "killed".to_owned(),
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.report.is_some() {
            let _ = syscall::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
        }
        let _ = syscall::wait_child(&syscall::Child::Pidfd(self.pidfd.as_fd()), true);
    }
}
