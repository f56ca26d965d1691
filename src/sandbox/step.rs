//! The launcher's steps by name, so that a test can fail or kill it at each of them.

use std::sync::OnceLock;

use super::error::{Error, Result};

/// Called at each step of the launcher, for tests that stop or kill it there.
pub type StepHook = fn(&'static str) -> std::io::Result<()>;

/// The hook; unset in production.
pub static STEP: OnceLock<StepHook> = OnceLock::new();

pub(super) fn step(name: &'static str) -> Result<()> {
    match STEP.get() {
        Some(hook) => hook(name).map_err(|source| Error::Step {
            step: name.to_owned(),
            source,
        }),
        None => Ok(()),
    }
}
