//! What the kernel says of a container's cgroups: limits as they stand, use, pressure, what it killed.
//!
//! Reads only. Processor time and pressure come from the v2 leaf, which counts them without any controller;
//! memory and processes from the controller where the container has one. What no file tells is `None`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Hierarchies, OomCount, PARENT, leaf_of};

/// One limit as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LimitSet {
    /// `memory` in bytes, `cpus`, `pids`.
    pub limit: &'static str,
    pub value: f64,
    /// `v1` or `v2`: who owns the controller.
    pub hierarchy: &'static str,
    pub path: PathBuf,
}

/// Shares of time, in percent over the last ten seconds, in which something waited for want of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    pub cpu: Option<f64>,
    pub memory: Option<f64>,
    pub io: Option<f64>,
}

/// What a container uses now.
#[derive(Clone, Debug, Default)]
pub struct Measure {
    pub cpu_us: Option<u64>,
    /// Bytes, without file cache that could go at once.
    pub memory: Option<u64>,
    pub memory_limit: Option<u64>,
    pub pids: Option<u64>,
    pub pids_limit: Option<u64>,
    pub pressure: Pressure,
}

/// The group of `id` whose `controller` is on, and in which hierarchy.
fn group(id: &str, controller: &str) -> Option<(PathBuf, &'static str)> {
    let found = Hierarchies::of_this_machine();
    if let Some(leaf) = leaf_of(id)
        && words(&leaf.join("cgroup.controllers")).any(|name| name == controller)
    {
        return Some((leaf, "v2"));
    }
    let dir = found.v1.get(controller)?.join(PARENT).join(id);
    dir.is_dir().then_some((dir, "v1"))
}

fn words(path: &Path) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A number behind its name.
fn entry(path: &Path, name: &str) -> Option<u64> {
    value(&fs::read_to_string(path).ok()?, name)
}

fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

/// `some avg10=1.23 …` of a pressure file.
fn some(path: &Path) -> Option<f64> {
    average(&fs::read_to_string(path).ok()?)
}

fn average(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let field = line.split(' ').find_map(|field| field.strip_prefix("avg10="))?;
    field.parse().ok()
}

/// v1 says "no limit" with a number near the largest.
fn real(limit: u64) -> Option<u64> {
    (limit < 1 << 62).then_some(limit)
}

/// The limits of the container `id`, as the kernel holds them.
#[must_use]
#[allow(clippy::cast_precision_loss)] // a limit of 2^53 bytes is none
pub fn limits_of(id: &str) -> Vec<LimitSet> {
    let mut list = Vec::new();
    let mut add = |limit, controller, read: fn(&Path, &str) -> Option<f64>| {
        if let Some((path, hierarchy)) = group(id, controller)
            && let Some(value) = read(&path, hierarchy)
        {
            list.push(LimitSet {
                limit,
                value,
                hierarchy,
                path,
            });
        }
    };
    add("memory", "memory", |dir, hierarchy| {
        memory_limit(dir, hierarchy).map(|bytes| bytes as f64)
    });
    add("cpus", "cpu", cpus);
    add("pids", "pids", |dir, _| {
        number(&dir.join("pids.max")).map(|most| most as f64)
    });
    list
}

fn memory_limit(dir: &Path, hierarchy: &str) -> Option<u64> {
    let file = if hierarchy == "v2" {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    number(&dir.join(file)).and_then(real)
}

#[allow(clippy::cast_precision_loss)] // microseconds of a second
fn cpus(dir: &Path, hierarchy: &str) -> Option<f64> {
    let (quota, period) = if hierarchy == "v2" {
        let path = dir.join("cpu.max");
        let mut fields = words(&path);
        (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?)
    } else {
        let quota: i64 = words(&dir.join("cpu.cfs_quota_us")).next()?.parse().ok()?;
        (
            u64::try_from(quota).ok()?,
            number(&dir.join("cpu.cfs_period_us"))?,
        )
    };
    (period > 0).then(|| quota as f64 / period as f64)
}

/// How many processes of `id` the kernel killed for want of memory; `None` without a memory controller.
#[must_use]
pub fn oom_kills(id: &str) -> Option<u64> {
    let (dir, hierarchy) = group(id, "memory")?;
    let file = if hierarchy == "v2" {
        "memory.events"
    } else {
        "memory.oom_control"
    };
    OomCount::open(&dir.join(file)).map(|count| count.read())
}

/// What the container `id` uses.
#[must_use]
pub fn measure(id: &str) -> Measure {
    let mut found = Measure::default();
    if let Some(leaf) = leaf_of(id) {
        found.cpu_us = entry(&leaf.join("cpu.stat"), "usage_usec");
        found.pressure = Pressure {
            cpu: some(&leaf.join("cpu.pressure")),
            memory: some(&leaf.join("memory.pressure")),
            io: some(&leaf.join("io.pressure")),
        };
        let threads = fs::read_to_string(leaf.join("cgroup.threads")).ok();
        found.pids = threads.map(|text| text.lines().count() as u64);
    }
    if let Some((dir, hierarchy)) = group(id, "memory") {
        let (used, cache) = if hierarchy == "v2" {
            ("memory.current", "inactive_file")
        } else {
            ("memory.usage_in_bytes", "total_inactive_file")
        };
        let cache = entry(&dir.join("memory.stat"), cache).unwrap_or(0);
        found.memory = number(&dir.join(used)).map(|used| used.saturating_sub(cache));
        found.memory_limit = memory_limit(&dir, hierarchy);
    }
    if let Some((dir, _)) = group(id, "pids") {
        found.pids = number(&dir.join("pids.current")).or(found.pids);
        found.pids_limit = number(&dir.join("pids.max"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let text =
            "some avg10=1.25 avg60=0.00 avg300=0.00 total=9\nfull avg10=0.50 avg60=0 avg300=0 total=1\n";
        assert_eq!(average(text), Some(1.25));
        assert_eq!(average("full avg10=1"), None);
        assert_eq!(value("low 0\noom 3\noom_kill 2\n", "oom_kill"), Some(2));
        assert_eq!(value("oom_kill_disable 0\n", "oom_kill"), None);
        assert_eq!(real(9_223_372_036_854_771_712), None);
        assert_eq!(real(64 << 20), Some(64 << 20));
    }
}
