//! `stats`: what running containers use, from their cgroups, their pressure and their interfaces.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::context::{Moat, Where};
use super::error::Result;
use super::life::running;
use crate::model::Name;
use crate::sandbox::{self, Pressure};
use crate::store::Container;

/// What one container uses.
#[derive(Clone, Debug, Serialize)]
pub struct Stat {
    pub name: Name,
    /// Of one processor, since the sample before; over its whole life in the first.
    pub cpu_percent: f64,
    pub cpu_us: u64,
    /// Bytes: by the memory controller where the container is in one, else its share of each process's.
    pub memory: u64,
    pub memory_limit: Option<u64>,
    pub pids: u64,
    pub pids_limit: Option<u64>,
    pub pressure: Pressure,
    /// Bytes through its interfaces, loopback left out.
    pub received: u64,
    pub sent: u64,
    pub paused: bool,
}

/// Remembers what it needs to tell how much was used since.
#[derive(Debug, Default)]
pub struct Sampler {
    before: BTreeMap<String, (Instant, u64)>,
}

impl Sampler {
    /// What the named containers use, or all that run; one that ended since is left out.
    ///
    /// # Errors
    /// A name is unknown, or does not run and never did for this sampler.
    pub fn sample(&mut self, place: &Where, names: &[String]) -> Result<Vec<Stat>> {
        let moat = Moat::settled(place)?;
        let mut list = Vec::new();
        if names.is_empty() {
            let all = moat.store.running()?;
            let own = all.into_iter().filter(|c| !c.name.is_anothers());
            list.extend(own.filter_map(|c| {
                let (pid, started) = c.pid?;
                sandbox::is_alive(pid, started).then_some((c, pid))
            }));
        }
        for name in names {
            match running(&moat, name) {
                Ok((c, pid, _)) => list.push((c, pid)),
                Err(e) if self.before.is_empty() => return Err(e),
                Err(_) => {}
            }
        }
        Ok(list.iter().map(|(c, pid)| self.one(c, *pid)).collect())
    }

    fn one(&mut self, c: &Container, pid: i32) -> Stat {
        let seen = sandbox::measure(&c.id);
        // Walking the processes costs more than a file of the kernel's, so only where there is none.
        let sums = (seen.cpu_us.is_none() || seen.memory.is_none()).then(|| sandbox::sums(&c.id, pid));
        let (by_processes, share) = sums.unwrap_or_default();
        let cpu_us = seen.cpu_us.unwrap_or(by_processes);
        let now = Instant::now();
        let before = self.before.insert(c.id.clone(), (now, cpu_us));
        let (time_us, used_us) = if let Some((then, used)) = before {
            (now.duration_since(then).as_micros(), cpu_us.saturating_sub(used))
        } else {
            let age = super::context::now().saturating_sub(c.created).max(1);
            (u128::from(age) * 1_000_000, cpu_us)
        };
        #[allow(clippy::cast_precision_loss)] // a share needs no more digits
        let cpu_percent = used_us as f64 * 100.0 / time_us.max(1) as f64;
        let (received, sent) = traffic(pid);
        Stat {
            name: c.name.clone(),
            cpu_percent: (cpu_percent * 100.0).round() / 100.0,
            cpu_us,
            memory: seen.memory.unwrap_or(share),
            memory_limit: seen.memory_limit,
            pids: seen.pids.unwrap_or_default(),
            pids_limit: seen.pids_limit,
            pressure: seen.pressure,
            received,
            sent,
            paused: sandbox::is_frozen(&c.id),
        }
    }
}

/// Bytes received and sent in a process's network namespace (`/proc/PID/net/dev`).
fn traffic(pid: i32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    sum(&text)
}

fn sum(text: &str) -> (u64, u64) {
    let mut total = (0, 0);
    for (name, numbers) in text.lines().filter_map(|line| line.split_once(':')) {
        if name.trim() == "lo" {
            continue;
        }
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        total.0 += numbers.first().copied().unwrap_or(0);
        total.1 += numbers.get(8).copied().unwrap_or(0);
    }
    total
}

#[cfg(test)]
mod tests {
    #[test]
    fn loopback_is_no_traffic() {
        let text = "Inter-| Receive | Transmit\n face |bytes packets\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n  \
                    eth0: 100 2 0 0 0 0 0 0 250 3 0 0 0 0 0 0\n";
        assert_eq!(super::sum(text), (100, 250));
    }
}
