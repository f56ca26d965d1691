//! Health checks: a command that pid 1 runs now and then beside the container's own, with the same rights.
//!
//! One check at a time. Its end comes with the other children that pid 1 reaps; its output is read without
//! blocking and only its start is kept. As long as the container is starting, checks come more often than
//! asked for, so that it is known to be healthy as soon as it is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::account::Account;
use super::channel;
use super::clock;
use super::error::Result;
use super::init::{Starter, Streams};
use super::payload::Payload;
use super::spec::Health;
use super::status::{HealthState, HealthStatus, Status};
use super::syscall::Ended;

/// So much of a check's output is kept.
const KEPT: usize = 1024;
/// The first check comes so soon after the start, the next ones after twice as long each.
const SOON: Duration = Duration::from_millis(100);

pub(super) struct Checker {
    health: Health,
    starter: Starter,
    /// When the command was started.
    begun: Instant,
    next: Instant,
    pause: Duration,
    check: Option<Check>,
    state: HealthState,
}

/// One check that runs.
struct Check {
    pid: i32,
    begun: Instant,
    output: OwnedFd,
    text: Vec<u8>,
    killed: bool,
}

impl Checker {
    pub fn new(health: Health, payload: Payload, account: Account) -> Self {
        let now = Instant::now();
        Self {
            health,
            starter: Starter::new(payload, account, Streams::Nothing),
            begun: now,
            next: now + SOON,
            pause: SOON,
            check: None,
            state: HealthState {
                status: HealthStatus::Starting,
                failing: 0,
                code: None,
                output: String::new(),
                checked_at: None,
            },
        }
    }

    /// The command was started: what was known is not known any more.
    pub fn begin(&mut self, status: &mut Status) {
        if let Some(check) = self.check.take() {
            kill(&check);
        }
        self.begun = Instant::now();
        self.pause = SOON;
        self.next = self.begun + SOON;
        self.state.status = HealthStatus::Starting;
        self.state.failing = 0;
        self.publish(status);
    }

    /// When something is to be done again.
    pub fn due(&self) -> Instant {
        match &self.check {
            // Killed already: only its end is waited for.
            Some(check) if check.killed => Instant::now() + Duration::from_mins(1),
            Some(check) => check.begun + Duration::from_millis(self.health.timeout_ms),
            None => self.next,
        }
    }

    /// The running check's output.
    pub fn output(&self) -> Option<BorrowedFd<'_>> {
        let open = self.check.as_ref().filter(|check| check.text.len() <= KEPT);
        open.map(|check| check.output.as_fd())
    }

    /// Does what is due.
    pub fn turn(&mut self, status: &mut Status) {
        let due = self.due() <= Instant::now();
        match &mut self.check {
            Some(check) => {
                read(check);
                if due && !check.killed {
                    kill(check);
                    check.killed = true;
                }
            }
            None if due => {
                self.check = self.start().ok();
                if self.check.is_none() {
                    self.note(126, "the check cannot be started".to_owned(), status);
                }
            }
            None => {}
        }
    }

    fn start(&mut self) -> Result<Check> {
        let (output, theirs) = channel::pipe()?;
        let _ = fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        self.starter.streams = Streams::Both(theirs);
        let started = self.starter.again();
        // Our copy of the writing end, or the output would never end.
        self.starter.streams = Streams::Nothing;
        let (pid, _pidfd) = started?;
        Ok(Check {
            pid,
            begun: Instant::now(),
            output,
            text: Vec::new(),
            killed: false,
        })
    }

    /// A child ended; maybe it was the check.
    pub fn reaped(&mut self, ended: &Ended, status: &mut Status) {
        let Some(mut check) = self.check.take_if(|check| check.pid == ended.pid) else {
            return;
        };
        read(&mut check);
        // What it left behind has no reason to go on.
        kill(&check);
        check.text.truncate(KEPT);
        let mut text = String::from_utf8_lossy(&check.text).trim().to_owned();
        if text.is_empty()
            && let Some(reason) = self.starter.why_not()
        {
            text = reason;
        }
        if check.killed {
            let late = format!("no answer within {} ms\n{text}", self.health.timeout_ms);
            late.trim_end().clone_into(&mut text);
        }
        let code = if check.killed {
            128 + libc::SIGKILL
        } else {
            ended.code
        };
        self.note(code, text, status);
    }

    fn note(&mut self, code: i32, output: String, status: &mut Status) {
        let now = Instant::now();
        let interval = Duration::from_millis(self.health.interval_ms);
        let grace = Duration::from_millis(self.health.start_period_ms).max(interval);
        let starting = self.state.status == HealthStatus::Starting;
        if code == 0 {
            self.state.status = HealthStatus::Healthy;
            self.state.failing = 0;
        } else if !starting || now >= self.begun + grace {
            self.state.failing = self.state.failing.saturating_add(1);
            if self.state.failing >= self.health.retries.max(1) {
                self.state.status = HealthStatus::Unhealthy;
            }
        }
        let early = self.state.status == HealthStatus::Starting && now < self.begun + grace;
        self.pause = if early {
            (self.pause * 2).min(interval)
        } else {
            interval
        };
        self.next = now + self.pause;
        self.state.code = Some(code);
        self.state.output = output;
        self.state.checked_at = Some(clock::now());
        self.publish(status);
    }

    fn publish(&self, status: &mut Status) {
        status.update(|now| now.health = Some(self.state.clone()));
    }
}

fn read(check: &mut Check) {
    let mut buffer = [0; 512];
    while check.text.len() <= KEPT
        && let Ok(count) = nix::unistd::read(&check.output, &mut buffer)
        && count > 0
    {
        check.text.extend_from_slice(&buffer[..count]);
    }
}

/// The check leads a session of its own, so this reaches what it started as well.
fn kill(check: &Check) {
    let _ = killpg(Pid::from_raw(check.pid), Signal::SIGKILL);
}
