//! `pause`, `unpause` and `top`: containers held still, and what runs in one.

use super::context::{Moat, Where};
use super::error::{Error, Result};
use super::life::running;
use crate::sandbox::{self, Inside};

/// Holds containers still, or lets them go on. One that is so already stays so.
///
/// # Errors
/// One does not run, or this kernel offers no way; all others are done.
pub fn pause(place: &Where, keys: &[String], paused: bool) -> Result<()> {
    let moat = Moat::settled(place)?;
    let mut first = Ok(());
    for key in keys {
        let verb = if paused { "pause" } else { "unpause" };
        let done = one(&moat, key, paused).map_err(|e| e.while_doing(format!("{verb} `{key}`")));
        first = first.and(done);
    }
    first
}

fn one(moat: &Moat, key: &str, paused: bool) -> Result<()> {
    let (c, pid, _) = running(moat, key)?;
    // Said before and taken back after, so that a listing asks the kernel about those alone that may be.
    if paused {
        moat.store.set_paused(&c.id, true)?;
    }
    if sandbox::is_frozen(&c.id) != paused {
        sandbox::freeze(&c.id, pid, paused)?;
    }
    if !paused {
        moat.store.set_paused(&c.id, false)?;
    }
    Ok(())
}

/// The processes of a container.
///
/// # Errors
/// It does not run.
pub fn top(place: &Where, key: &str) -> Result<Vec<Inside>> {
    let moat = Moat::settled(place)?;
    let (c, pid, _) = running(&moat, key)?;
    Ok(sandbox::processes(&c.id, pid))
}

/// Refuses to go into a container that would hold still what goes in.
pub(super) fn refuse_paused(name: &str, id: &str) -> Result<()> {
    if !sandbox::is_frozen(id) {
        return Ok(());
    }
    Err(Error::Refused {
        what: format!("container `{name}` is paused"),
        hint: format!("`moat unpause {name}` lets it go on"),
    })
}
