//! The process outside that watches a detached container whose pid 1 is the command itself.
//!
//! A fork of the launcher, the container's parent. It writes log and status and ends with the container; if
//! it is killed, so is the container, whose end nobody would learn.

use std::os::fd::{AsRawFd, OwnedFd};

use super::cgroup::Joining;
use super::channel;
use super::child::{Child, Keeper};
use super::error::{Error, Result};
use super::payload::{null, onto};
use super::syscall::{self, Cloned};
use super::{launch, signals};

/// Starts the supervisor, which starts `child`; returns the child's pid, pidfd and whether it is in its leaf.
pub(super) fn start(
    child: Child<'_>,
    keeper: Option<Keeper>,
    cgroups: &Joining,
) -> Result<(i32, OwnedFd, bool)> {
    let (ours, theirs) = channel::pair()?;
    let cloned =
        syscall::clone3(0, None).map_err(|source| Error::system("starting the supervisor", source))?;
    match cloned {
        Cloned::Child => {
            drop(ours);
            supervise(child, keeper, cgroups, &theirs)
        }
        Cloned::Parent { .. } => {
            drop(theirs);
            let lost = |errno| Error::system("hearing from the supervisor", errno);
            let (bytes, pidfd) = channel::receive_fd(&ours).map_err(lost)?;
            match (serde_json::from_slice(&bytes), pidfd) {
                (Ok((pid, in_leaf)), Some(pidfd)) => Ok((pid, pidfd, in_leaf)),
                _ => Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| lost(nix::errno::Errno::EPIPE))),
            }
        }
    }
}

fn supervise(mut child: Child<'_>, keeper: Option<Keeper>, cgroups: &Joining, launcher: &OwnedFd) -> ! {
    let Some(keeper) = keeper else { syscall::exit(125) };
    // Our copy: the child sends the terminal here, and closes nothing of ours.
    let terminal = if child.payload.tty {
        channel::pair().ok()
    } else {
        None
    };
    let terminal = terminal.map(|(ours, theirs)| {
        child.terminal = Some(theirs);
        ours
    });
    let started = signals::die_with_parent(true)
        .and_then(|()| nix::unistd::setsid().map_err(|errno| Error::system("starting a session", errno)))
        .and_then(|_| launch::start(child, cgroups));
    let (pid, pidfd, in_leaf) = match started {
        Ok(started) => started,
        Err(error) => {
            let text = serde_json::to_vec(&error).unwrap_or_default();
            let _ = nix::unistd::write(launcher, &text);
            syscall::exit(125)
        }
    };
    let told = serde_json::to_vec(&(pid, in_leaf)).unwrap_or_default();
    if channel::send_fd(launcher, &told, pidfd.as_raw_fd()).is_err() {
        syscall::exit(125);
    }
    let mut keep = keeper.fds();
    keep.extend(launch::raw(&[&pidfd]));
    keep.extend(terminal.as_ref().map(AsRawFd::as_raw_fd));
    let _ = syscall::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0);
    let _ = signals::block_all();
    if let Ok(null) = null() {
        for number in 0..3 {
            let _ = onto(&null, number);
        }
        keep.push(null.as_raw_fd());
    }
    let _ = syscall::close_all_but(&keep);
    let master = terminal
        .and_then(|socket| channel::receive_fd(&socket).ok())
        .and_then(|(_, fd)| fd);
    let mut watch = keeper.watch(pid, pidfd, master);
    let ended = watch.until_end();
    watch.status.finish(ended.code);
    syscall::exit(ended.code)
}
