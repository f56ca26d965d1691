//! How containers of a project are, and waiting until they are as others need them.

use std::path::Path;
use std::time::Duration;

use super::super::context::Moat;
use super::super::error::{Error, Result};
use super::super::{probe, remove};
use super::file::Found;
use crate::model::Name;
use crate::model::topology::{Condition, Role, name_of};
use crate::sandbox::{self, HealthStatus};
use crate::store::Phase;

/// How often waiting looks again.
pub const PAUSE: Duration = Duration::from_millis(20);
/// How many lines of a log an error shows.
const LINES: usize = 10;

/// How a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    Missing,
    Runs,
    Ended(Option<i32>),
}

/// Whether something holds, or can hold later.
pub enum Ready {
    Yes,
    /// Not yet, and until what.
    No(String),
}

/// How a container is now.
///
/// # Errors
/// When the store cannot be read.
pub fn now(moat: &Moat, name: &Name) -> Result<Now> {
    let Some(c) = moat.store.container(name.as_str())?.filter(|c| c.name == *name) else {
        return Ok(Now::Missing);
    };
    let alive = c
        .pid
        .is_some_and(|(pid, started)| sandbox::is_alive(pid, started));
    Ok(match c.phase {
        Phase::Running if alive => Now::Runs,
        Phase::Running => Now::Ended(sandbox::exit_code(&moat.container_dir(&c.id))),
        Phase::Exited => Now::Ended(c.exit_code),
        Phase::Creating | Phase::Removing => Now::Missing,
    })
}

/// The containers of a service.
///
/// # Errors
/// A name would be too long.
pub fn members(found: &Found, role: &Role) -> Result<Vec<Name>> {
    let name = |n| Ok(name_of(&found.project.name, &role.name, n)?);
    (1..=role.replicas).map(name).collect()
}

/// Whether all that a service depends on is as it needs it.
///
/// # Errors
/// It is not, and will not be.
pub fn dependencies(moat: &Moat, found: &Found, role: &Role) -> Result<Ready> {
    for d in &role.depends_on {
        let Some(on) = found.project.role(d.role.as_str()) else {
            continue;
        };
        for name in members(found, on)? {
            if let Ready::No(until) = condition(moat, on, &name, d.condition)? {
                return Ok(Ready::No(until));
            }
        }
    }
    Ok(Ready::Yes)
}

fn condition(moat: &Moat, role: &Role, name: &Name, condition: Condition) -> Result<Ready> {
    let state = now(moat, name)?;
    match (condition, state) {
        (_, Now::Missing) => Ok(Ready::No(format!("`{name}` has started"))),
        (Condition::Started, _) | (Condition::Completed, Now::Ended(Some(0))) => Ok(Ready::Yes),
        (Condition::Completed, Now::Runs) => Ok(Ready::No(format!("`{name}` has done its work"))),
        (Condition::Completed | Condition::Healthy, Now::Ended(code)) => Err(ended(moat, role, name, code)),
        (Condition::Healthy, Now::Runs) => healthy(moat, role, name),
    }
}

fn healthy(moat: &Moat, role: &Role, name: &Name) -> Result<Ready> {
    let id = moat
        .store
        .container(name.as_str())?
        .map(|c| c.id)
        .unwrap_or_default();
    let said = sandbox::progress(&moat.container_dir(&id)).and_then(|p| p.health);
    match said.as_ref().map(|h| h.status) {
        Some(HealthStatus::Healthy) => Ok(Ready::Yes),
        Some(HealthStatus::Unhealthy) => {
            let output = said.map(|h| h.output.trim().to_owned()).unwrap_or_default();
            let error = Error::Refused {
                what: format!(
                    "service `{}`: its container `{name}` is unhealthy: {output}",
                    role.name
                ),
                hint: format!("`moat inspect {name}` shows the last check, `moat logs {name}` all it said"),
            };
            Err(with_last_lines(moat, name, error))
        }
        Some(HealthStatus::Starting) | None => Ok(Ready::No(format!("`{name}` is healthy"))),
    }
}

/// Whether a container does what it is there for: its checks say so, or it listens on the ports that
/// others are linked to, or, of a job, its work is done.
///
/// # Errors
/// It ended, or its checks say that it does not.
pub fn works(moat: &Moat, found: &Found, role: &Role, name: &Name) -> Result<Ready> {
    if found.project.is_job(&role.name) {
        return condition(moat, role, name, Condition::Completed);
    }
    match now(moat, name)? {
        Now::Missing => return Ok(Ready::No(format!("`{name}` has started"))),
        Now::Ended(code) => return Err(ended(moat, role, name, code)),
        Now::Runs => {}
    }
    if role.settings.health.is_some() {
        return healthy(moat, role, name);
    }
    let pid = moat
        .store
        .container(name.as_str())?
        .and_then(|c| c.pid)
        .map_or(0, |p| p.0);
    for (proto, port) in found.project.listens_on(role) {
        if !probe::listens(pid, proto, port).unwrap_or(false) {
            return Ok(Ready::No(format!("`{name}` listens on {port}/{proto}")));
        }
    }
    Ok(Ready::Yes)
}

/// The error for a container that ended and should not have, with its last lines.
pub fn ended(moat: &Moat, role: &Role, name: &Name, code: Option<i32>) -> Error {
    let how = code.map_or_else(
        || "was killed".to_owned(),
        |code| format!("ended with status {code}"),
    );
    let error = Error::Refused {
        what: format!("service `{}`: its container `{name}` {how}", role.name),
        hint: format!("`moat logs {name}` shows all it said"),
    };
    with_last_lines(moat, name, error)
}

/// Adds the last lines of a container's log, if there are any.
pub fn with_last_lines(moat: &Moat, name: &Name, error: Error) -> Error {
    let dir = moat
        .store
        .container(name.as_str())
        .ok()
        .flatten()
        .map(|c| moat.container_dir(&c.id));
    let lines = dir.map(|d| last_lines(&d)).unwrap_or_default();
    if lines.is_empty() {
        return error;
    }
    error.noting(&format!("its last lines:\n    {}", lines.join("\n    ")))
}

fn last_lines(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for file in sandbox::logs(dir) {
        let text = std::fs::read(&file).unwrap_or_default();
        // TIME STREAM F|P TEXT
        let text = String::from_utf8_lossy(&text);
        all.extend(
            text.lines()
                .filter_map(|l| Some(l.splitn(4, ' ').nth(3)?.to_owned())),
        );
    }
    all.split_off(all.len().saturating_sub(LINES))
}

/// Lets others work on the world for a moment, and notes what ended meanwhile.
///
/// # Errors
/// When the world cannot be opened again.
pub fn pause(moat: &mut Moat) -> Result<()> {
    moat.lock = None;
    std::thread::sleep(PAUSE);
    moat.share()?;
    remove::sweep(moat)
}
