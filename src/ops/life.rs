//! `stop`, `kill`, `wait`, `exec`, `logs`: what happens to a container that is there.

use std::path::PathBuf;
use std::time::Duration;

use super::context::{Moat, Where};
use super::error::{Error, Result};
use super::{pause, probe, remove};
use crate::model::{Name, Proto, Service};
use crate::sandbox::{self, ExecRequest, HealthStatus, Spec};
use crate::store::{Container, Phase};

pub(super) fn running(moat: &Moat, key: &str) -> Result<(Container, i32, u64)> {
    let c = moat.find_own(key)?;
    let alive = c
        .pid
        .filter(|(pid, started)| c.phase == Phase::Running && sandbox::is_alive(*pid, *started));
    match alive {
        Some((pid, started)) => Ok((c, pid, started)),
        None => Err(Error::Refused {
            what: format!("container `{}` does not run", c.name),
            hint: "`moat ps -a` shows its state".into(),
        }),
    }
}

pub(super) fn spec_of(c: &Container) -> Result<Spec> {
    serde_json::from_str(&c.spec).map_err(|e| {
        Error::Store(crate::store::Error::Record {
            path: c.name.to_string(),
            detail: e.to_string(),
        })
    })
}

/// Asks containers to end, and ends them after the grace time.
///
/// # Errors
/// One does not exist or would not end.
pub fn stop(place: &Where, keys: &[String], grace: Duration) -> Result<()> {
    each(place, keys, "stop", |moat, key| {
        let c = moat.find_own(key)?;
        let Some((pid, started)) = c
            .pid
            .filter(|p| c.phase == Phase::Running && sandbox::is_alive(p.0, p.1))
        else {
            return Ok(());
        };
        let spec = spec_of(&c)?;
        sandbox::signal(pid, started, spec.stop_signal.unwrap_or(libc::SIGTERM))?;
        // One that is paused can only hear of it when it goes on.
        if sandbox::is_frozen(&c.id) {
            sandbox::freeze(&c.id, pid, false)?;
        }
        // Others may work on the world while this one takes its time.
        moat.lock = None;
        let ended = sandbox::wait_end(pid, started, grace)?;
        moat.share()?;
        if !ended {
            sandbox::kill_all(&spec, pid, started)?;
            sandbox::wait_end(pid, started, Duration::from_secs(10))?;
        }
        Ok(())
    })
}

/// What a container's health checks say; `None` if it has none.
///
/// # Errors
/// It does not run.
pub fn health(place: &Where, key: &str) -> Result<Option<HealthStatus>> {
    let moat = Moat::settled(place)?;
    let (c, ..) = running(&moat, key)?;
    Ok(state_of_health(&moat, &c))
}

fn state_of_health(moat: &Moat, c: &Container) -> Option<HealthStatus> {
    let progress = sandbox::progress(&moat.container_dir(&c.id))?;
    progress.health.map(|health| health.status)
}

/// Waits until a container's checks say that it is healthy. Whether they did in time.
///
/// # Errors
/// It has no checks, it does not run, or it ended meanwhile.
pub fn wait_healthy(place: &Where, key: &str, timeout: Duration) -> Result<bool> {
    let mut moat = Moat::settled(place)?;
    let (c, pid, started) = running(&moat, key)?;
    if spec_of(&c)?.health.is_none() {
        return Err(Error::Refused {
            what: format!("`{}` has no health check", c.name),
            hint: "`moat run --health-cmd CMD` gives it one; `moat wait NAME:PORT` waits for a port".into(),
        });
    }
    moat.lock = None;
    let start = std::time::Instant::now();
    loop {
        if state_of_health(&moat, &c) == Some(HealthStatus::Healthy) {
            return Ok(true);
        }
        if start.elapsed() >= timeout {
            return Ok(false);
        }
        if sandbox::wait_end(pid, started, Duration::from_millis(20))? {
            return Err(Error::Refused {
                what: format!("`{}` ended before it was healthy", c.name),
                hint: format!("`moat logs {}` shows what it said", c.name),
            });
        }
    }
}

/// Sends containers a signal.
///
/// # Errors
/// One does not run.
pub fn kill(place: &Where, keys: &[String], signal: i32) -> Result<()> {
    each(place, keys, "signal", |moat, key| {
        let (c, pid, started) = running(moat, key)?;
        if signal == libc::SIGKILL {
            sandbox::kill_all(&spec_of(&c)?, pid, started)?;
            sandbox::wait_end(pid, started, Duration::from_secs(10))?;
            return Ok(());
        }
        Ok(sandbox::signal(pid, started, signal)?)
    })
}

fn each(place: &Where, keys: &[String], verb: &str, f: impl Fn(&mut Moat, &str) -> Result<()>) -> Result<()> {
    let mut moat = Moat::settled(place)?;
    let mut first = None;
    for key in keys {
        if let Err(e) = f(&mut moat, key) {
            first = first.or(Some(e.while_doing(format!("{verb} `{key}`"))));
        }
    }
    let swept = remove::sweep_some(&mut moat);
    first.map_or(swept, Err)
}

/// Waits until a container ends; its exit status.
///
/// # Errors
/// It does not exist.
pub fn wait(place: &Where, key: &str, limit: Option<Duration>) -> Result<i32> {
    let mut moat = Moat::settled(place)?;
    let c = moat.find_own(key)?;
    moat.lock = None;
    if let Some((pid, started)) = c.pid {
        let over = sandbox::wait_end(pid, started, limit.unwrap_or(Duration::MAX))?;
        if let (false, Some(limit)) = (over, limit) {
            return Err(Error::Refused {
                what: format!("`{}` still runs after {limit:?}", c.name),
                hint: format!("`moat stop {}` asks it to end", c.name),
            });
        }
    }
    let code = last_word(&moat, &c);
    moat.share()?;
    // Whoever started it in the foreground knows the status best.
    let recorded = moat.store.container(&c.id)?.and_then(|c| c.exit_code);
    remove::sweep_some(&mut moat)?;
    // A first process of ours that left no word was killed, since it ends of nothing else.
    let killed = c.pid.map(|_| 128 + libc::SIGKILL);
    code.or(recorded).or(killed).ok_or_else(|| Error::Refused {
        what: format!("`{}` never ran", c.name),
        hint: "`moat ps -a` shows its state".into(),
    })
}

/// The status that a container's first process left. That of one which is the command itself is written by
/// another process, a moment after the end.
fn last_word(moat: &Moat, c: &Container) -> Option<i32> {
    let dir = moat.container_dir(&c.id);
    let later = spec_of(c).is_ok_and(|spec| !spec.init);
    for _ in 0..100 {
        let code = sandbox::exit_code(&dir);
        if code.is_some() || !later {
            return code;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Waits until something listens on a container's port. Whether it did in time.
///
/// # Errors
/// It does not run.
pub fn wait_port(place: &Where, key: &str, service: Service, timeout: Duration) -> Result<bool> {
    let mut moat = Moat::settled(place)?;
    let (c, pid, started) = running(&moat, key)?;
    moat.lock = None;
    let (Some(proto @ (Proto::Tcp | Proto::Udp)), Some(ports)) = (service.proto(), service.ports()) else {
        return Err(Error::Input {
            value: service.to_string(),
            reason: "only a tcp or udp port can be waited for".into(),
            hint: None,
        });
    };
    let start = std::time::Instant::now();
    loop {
        if probe::listens(pid, proto, ports.first)? {
            return Ok(true);
        }
        if !sandbox::is_alive(pid, started) {
            return Err(Error::Refused {
                what: format!("container `{}` ended before it listened on {service}", c.name),
                hint: format!("`moat logs {}` may say why", c.name),
            });
        }
        if start.elapsed() >= timeout {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a further command in a container; its exit status.
///
/// # Errors
/// It does not run, or the command cannot be started.
pub fn exec(place: &Where, key: &str, request: &ExecRequest) -> Result<i32> {
    let (c, pid, started) = {
        // Closed again before the process changes its namespaces.
        let moat = Moat::settled(place)?;
        running(&moat, key)
            .and_then(|found| pause::refuse_paused(found.0.name.as_str(), &found.0.id).map(|()| found))
            .map_err(|e| e.while_doing(format!("run `{}` in `{key}`", request.command.join(" "))))?
    };
    let code = sandbox::exec(pid, started, &spec_of(&c)?, request);
    code.map_err(|e| {
        Error::from(e).while_doing(format!("run `{}` in `{}`", request.command.join(" "), c.name))
    })
}

/// Where a container's output is, oldest file first, and its process while it runs.
pub struct Log {
    pub name: Name,
    pub files: Vec<PathBuf>,
    pub process: Option<(i32, u64)>,
    /// The file that is written to, if anything is.
    pub current: PathBuf,
    /// Started in the foreground: its output went to the terminal.
    pub foreground: bool,
}

/// A container's log.
///
/// # Errors
/// It does not exist.
pub fn log(place: &Where, key: &str) -> Result<Log> {
    let moat = Moat::settled(place)?;
    let c = moat.find_own(key)?;
    let foreground = spec_of(&c).is_ok_and(|s| !s.detach);
    let process = c.pid.filter(|p| sandbox::is_alive(p.0, p.1));
    Ok(Log {
        name: c.name,
        files: sandbox::logs(&moat.container_dir(&c.id)),
        current: moat.container_dir(&c.id).join("log"),
        process,
        foreground,
    })
}

/// Whether the container of a log still runs.
#[must_use]
pub fn still_runs(log: &Log) -> bool {
    log.process
        .is_some_and(|(pid, started)| sandbox::is_alive(pid, started))
}
