//! `watch`: looks as soon as the kernel tells that something changed, and with `--heal` mends it.
//!
//! Nothing depends on it: what it does the next command does. It never waits for the lock, so it
//! holds up no command, and looks only while none is at work; what commands change is what is
//! recorded by then. What somebody undoes again and again it leaves alone for a while.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::context::{Moat, Where};
use super::error::{Error, Result};
use super::fsck::{self, Report};
use crate::kernel::linux::Events;

/// How long to go on listening before looking: changes come several at once.
const GATHER: Duration = Duration::from_millis(20);
/// Before looking again while a command holds the lock.
const BUSY: Duration = Duration::from_millis(50);
/// Without any event: for what the kernel tells nobody, such as most sysctls.
const IDLE: Duration = Duration::from_secs(30);
/// How often it mends in a minute.
const OFTEN: usize = 10;
const MINUTE: Duration = Duration::from_mins(1);
/// How long it gives way then.
const PAUSE: Duration = Duration::from_secs(20);

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It listens, and has looked once.
    Watching,
    Found(Vec<String>),
    Mended(Vec<String>),
    /// It could not look or mend; it tries again.
    Failed(String),
    /// It has mended so often that it waits for this long.
    Waiting(Duration),
}

/// Watches a world until the process ends.
///
/// # Errors
/// Not root, or the kernel has no such listeners.
pub fn watch(place: &Where, heal: bool, say: &mut dyn FnMut(Said)) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let fail = |e: std::io::Error| Error::Refused {
        what: format!("the kernel does not tell of changes: {e}"),
        hint: "without `moat watch` the next command mends; `moat doctor` says what this kernel lacks".into(),
    };
    let mut events = Events::open().map_err(fail)?;
    let mut watcher = Watcher::default();
    let mut wait = watcher.turn(place, heal, say);
    say(Said::Watching);
    loop {
        if events.wait(wait.unwrap_or(IDLE)).map_err(fail)? {
            gather(&mut events).map_err(fail)?;
        }
        if let Some(pause) = watcher.pause() {
            say(Said::Waiting(pause));
            std::thread::sleep(pause);
        }
        wait = watcher.turn(place, heal, say);
    }
}

/// Lets what comes at once come.
fn gather(events: &mut Events) -> std::io::Result<()> {
    let begun = Instant::now();
    while events.wait(GATHER)? && begun.elapsed() < 5 * GATHER {}
    Ok(())
}

#[derive(Default)]
struct Watcher {
    /// What was said last, so that it is said once.
    last: Option<Said>,
    /// When it mended, within the last minute.
    mended: VecDeque<Instant>,
}

impl Watcher {
    /// One look. How soon to look again without an event; `None` when all is well.
    fn turn(&mut self, place: &Where, heal: bool, say: &mut dyn FnMut(Said)) -> Option<Duration> {
        let begun = Instant::now();
        let (said, again) = match look(place, heal) {
            Ok(None) => return Some(BUSY),
            Ok(Some(report)) if report.findings.is_empty() => (None, None),
            Ok(Some(report)) if report.fixed => {
                self.mended.push_back(begun);
                (Some(Said::Mended(report.findings)), Some(GATHER))
            }
            Ok(Some(report)) => (Some(Said::Found(report.findings)), None),
            Err(e) => {
                self.mended.push_back(begun);
                (Some(Said::Failed(e.to_string())), Some(10 * BUSY))
            }
        };
        let again_the_same = said.is_some() && said == self.last && !matches!(said, Some(Said::Mended(_)));
        if let Some(said) = said.clone().filter(|_| !again_the_same) {
            say(said);
        }
        self.last = said;
        reap();
        // A large world takes long to look at: most of the time is others'.
        std::thread::sleep(4 * begun.elapsed().min(Duration::from_secs(5)));
        again
    }

    /// How long to leave things alone.
    fn pause(&mut self) -> Option<Duration> {
        while self.mended.front().is_some_and(|at| at.elapsed() > MINUTE) {
            self.mended.pop_front();
        }
        (self.mended.len() >= OFTEN).then(|| {
            self.mended.clear();
            PAUSE
        })
    }
}

/// The kernel layer leaves waiting to children (`farewell.rs`), which end with a command otherwise.
fn reap() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    while !matches!(
        waitpid(None, Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::StillAlive) | Err(_)
    ) {}
}

/// `None` while a command holds the lock.
fn look(place: &Where, heal: bool) -> Result<Option<Report>> {
    let mut moat = Moat::open(place)?;
    let patience = std::mem::replace(&mut moat.locks.patience, Duration::ZERO);
    match moat.exclude() {
        Err(Error::Busy { .. }) => return Ok(None),
        other => other?,
    }
    moat.locks.patience = patience;
    let mut report = Report::default();
    fsck::look(&mut moat, heal, &mut report)?;
    if heal {
        // Links past their end are no damage, and go.
        moat.share()?;
    }
    Ok(Some(report))
}
