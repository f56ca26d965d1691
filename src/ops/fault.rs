//! Where a command may be made to die or fail, for tests: `MOAT_FAULT=abort:N` kills the
//! process at its Nth step, `fail:N` makes that step an error, `count` says on stderr how
//! many steps there were. Without the variable a step costs one load.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::error::{Error, Result};
use crate::sandbox;

#[derive(Clone, Copy)]
enum Mode {
    Off,
    Abort(u32),
    Fail(u32),
    Count,
}

static MODE: OnceLock<Mode> = OnceLock::new();
static STEP: AtomicU32 = AtomicU32::new(0);

fn mode() -> Mode {
    *MODE.get_or_init(|| {
        let Ok(text) = std::env::var("MOAT_FAULT") else {
            return Mode::Off;
        };
        let number = |s: &str| s.parse().unwrap_or(0);
        match text.split_once(':') {
            Some(("abort", n)) => Mode::Abort(number(n)),
            Some(("fail", n)) => Mode::Fail(number(n)),
            _ => Mode::Count,
        }
    })
}

/// Lets the launcher's steps count too.
pub fn reach_launcher() {
    if armed() {
        let _ = sandbox::STEP.set(|what| {
            step(what).map_err(|e| std::io::Error::new(std::io::ErrorKind::Interrupted, e.to_string()))
        });
    }
}

/// Whether faults are asked for: then steps are done one by one.
#[must_use]
pub fn armed() -> bool {
    !matches!(mode(), Mode::Off)
}

/// A step is about to be done.
///
/// # Errors
/// The injected fault.
pub fn step(what: &'static str) -> Result<()> {
    let mode = mode();
    if matches!(mode, Mode::Off) {
        return Ok(());
    }
    let n = STEP.fetch_add(1, Ordering::Relaxed) + 1;
    match mode {
        Mode::Abort(at) if n == at => {
            // SIGKILL, as a user's kill -9: no destructor, no handler runs.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
            Ok(())
        }
        Mode::Fail(at) if n == at => Err(Error::Injected { step: n, what }),
        _ => Ok(()),
    }
}

/// How many steps were passed, when counting was asked for.
#[must_use]
pub fn counted() -> Option<u32> {
    matches!(mode(), Mode::Count).then(|| STEP.load(Ordering::Relaxed))
}
