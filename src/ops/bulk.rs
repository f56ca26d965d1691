//! The end of many containers at once: one signal to all, one batch of set elements, one wait.

use std::time::{Duration, Instant};

use super::context::Moat;
use super::error::{Error, Result};
use super::fault;
use super::remove::{GOES_ON, claim, clean, kill_and_wait};
use crate::model::Name;
use crate::sandbox::{self, Spec};
use crate::store::Container;

/// Asks containers to end, all at once, and waits until each has or its time is over.
///
/// # Errors
/// When the world cannot be opened again.
pub fn end_all(moat: &mut Moat, all: &[(&Container, Duration)]) -> Result<()> {
    let begun = Instant::now();
    if all.is_empty() {
        return Ok(());
    }
    for (c, (pid, started)) in all.iter().filter_map(|(c, _)| Some((c, c.pid?))) {
        let spec = serde_json::from_str::<Spec>(&c.spec).ok();
        let signal = spec.and_then(|s| s.stop_signal).unwrap_or(libc::SIGTERM);
        // Gone already is what is wanted.
        let _ = sandbox::signal(pid, started, signal);
    }
    moat.lock = None;
    for (c, grace) in all {
        if let Some((pid, started)) = c.pid {
            sandbox::wait_end(pid, started, grace.saturating_sub(begun.elapsed()))?;
        }
    }
    moat.share()
}

/// Removes containers, running ones too, in bulk: all processes are ended at once, and what the kernel
/// takes with their namespaces is waited for once.
///
/// # Errors
/// What would not go; its record stays, so the next command tries again.
pub fn remove_all(moat: &mut Moat, all: &[Container]) -> Result<()> {
    let (claimed, intent) = moat.store.write(|s| {
        let mut claimed = Vec::new();
        for c in all {
            if claim(s, moat.me, c)? {
                claimed.push(c.clone());
            }
        }
        let intent = s.intend("remove containers", moat.me.0, moat.me.1)?;
        Ok::<_, Error>((claimed, intent))
    })?;
    erase_all(moat, &claimed).map_err(|e| e.noting(GOES_ON))?;
    Ok(moat.store.finish(intent)?)
}

fn erase_all(moat: &mut Moat, all: &[Container]) -> Result<()> {
    fault::step("killing the processes")?;
    for (c, (pid, started)) in all.iter().filter_map(|c| Some((c, c.pid?))) {
        if let Ok(spec) = serde_json::from_str::<Spec>(&c.spec) {
            // Gone already is what is wanted.
            let _ = sandbox::kill_all(&spec, pid, started);
        }
    }
    for c in all {
        kill_and_wait(c)?;
        moat.unlimit(c)?;
    }
    let names: Vec<Name> = all.iter().map(|c| c.name.clone()).collect();
    moat.detach_all(&names)?;
    for c in all {
        clean(moat, c)?;
    }
    fault::step("forgetting the containers")?;
    moat.store.write(|s| {
        for c in all {
            s.remove_links_of(&c.name)?;
            super::cni::forget_attachment(s, c)?;
            s.remove_container(&c.name)?;
        }
        Ok::<_, Error>(())
    })
}
