//! Launching a process in its namespaces: root, rights, limits, terminal, log, and its end.
//!
//! Knows nothing about networks: a child is born into an empty network namespace, the caller gets its pid and
//! pidfd, plugs in what it likes from outside, and says go. Decides nothing about names or policy, prints
//! nothing, and keeps no state but the files in a container's run-time directory.
//!
//! The life of a container, file by file: [`Spec`] -> [`prepare`] -> [`launch`] -> `child` (root, payload)
//! -> [`Running`] -> `status`, `log` -> [`cleanup`]. The process that launches must have a single thread at
//! that time: the child is a copy of it and goes on allocating.

mod account;
mod capabilities;
mod cgroup;
mod changes;
mod channel;
mod check;
mod child;
mod cleanup;
mod clock;
mod enter;
mod error;
mod foreground;
mod health;
mod init;
mod inside;
mod lab;
mod launch;
mod log;
mod payload;
mod probe;
mod process;
mod program;
mod report;
mod restart;
mod rlimits;
mod root;
mod seccomp;
mod signals;
mod spec;
mod status;
mod step;
mod supervisor;
mod syscall;
mod terminal;
#[cfg(test)]
mod tests;
mod users;
mod visit;
mod watch;

pub use cgroup::{Freezers, LimitSet, Measure, Pressure, is_frozen, limits_of, measure, oom_kills};
pub use changes::{ChangeKind, changes};
pub use check::prepare;
pub use cleanup::{cleanup, destroy, kill_all, remove_deserted_groups, remove_tree};
pub use clock::date_time;
pub use enter::exec;
pub use error::{Error, Result};
pub use foreground::Running;
pub use inside::{Inside, processes, sums};
pub use lab::{Beside, Built, Lab, installed};
pub use launch::{Launched, launch};
pub use log::logs;
pub use probe::probe;
pub use process::{is_alive, signal, start_time, wait_end, wait_gone};
pub use root::uppers;
pub use signals::signal_number;
pub use spec::{
    Device, ExecRequest, Health, Isolation, Limits, Restart, Root, Seccomp, Spec, Tmpfs, Users, Volume,
};
pub use status::{HealthState, HealthStatus, LastExit, Progress, Usage, exit_code, finished_at, progress};
pub use step::{STEP, StepHook};
pub use users::id_range;
pub use visit::{Said, Visit, visit};

/// Stops or continues every process of the container `id` whose pid 1 is `first`.
///
/// # Errors
/// If this kernel offers no way, or the processes would not stop; they go on then.
pub fn freeze(id: &str, first: i32, frozen: bool) -> Result<()> {
    cgroup::freeze(id, frozen, &|| inside::pids(id, first))
}
