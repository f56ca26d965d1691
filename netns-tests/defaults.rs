//! What a container is given when nobody says anything: the cells of docs/PEERS.md on defaults.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::faulty::words;
use crate::harness::{Story, own};
use crate::isolation::sh;
use crate::net::{Running, until};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("defaults::namespaces", namespaces),
    own("defaults::rights", rights),
    own("defaults::masked_paths", masked_paths),
    own("defaults::limits", limits),
    own("defaults::end", end),
    own("defaults::no_daemon", no_daemon),
];

fn namespaces(mode: Mode) {
    let world = World::new(mode);
    let link = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
    let inside = sh(
        &world,
        &[],
        "for n in pid net ipc uts mnt user cgroup time; do readlink /proc/self/ns/$n; done",
    );
    let inside: Vec<&str> = inside.stdout.lines().collect();
    let kinds = ["pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time"];
    assert_eq!(inside.len(), kinds.len(), "{inside:?}");
    for (kind, inside) in kinds.iter().zip(inside) {
        // The clocks are the host's.
        assert_eq!(
            link(kind).to_string_lossy() == inside,
            *kind == "time",
            "{kind}: {inside}"
        );
    }
}

fn rights(mode: Mode) {
    let world = World::new(mode);
    let line = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\t'";
    let out = sh(&world, &[], line);
    let eleven = "00000000800405fb";
    let none = "0000000000000000";
    let wanted = format!(
        "CapInh:{none}\nCapPrm:{eleven}\nCapEff:{eleven}\nCapBnd:{eleven}\nCapAmb:{none}\nNoNewPrivs:1\nSeccomp:2\n"
    );
    assert_eq!(out.stdout, wanted, "{out:?}");
}

/// What of the kernel's files is empty, and what cannot be written.
fn masked_paths(mode: Mode) {
    let world = World::new(mode);
    let line = "for p in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats \
                /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats /sys/dev/block \
                /sys/devices/virtual/powercap /sys/firmware /sys/fs/selinux /sys/kernel/debug; do \
                if [ -d $p ]; then ls -A $p; elif [ -e $p ]; then head -c 9 $p; fi; done; \
                for p in /proc/bus /proc/fs /proc/irq /proc/sys /sys; do \
                awk -v p=$p '$5 == p && $6 ~ /^ro/ { print \"ro\", p }' /proc/self/mountinfo; done; \
                (: > /proc/sysrq-trigger) 2>/dev/null && echo open";
    let out = sh(&world, &[], line);
    assert_eq!(
        out.stdout, "ro /proc/bus\nro /proc/fs\nro /proc/irq\nro /proc/sys\nro /sys\n",
        "{out:?}"
    );
}

fn limits(mode: Mode) {
    let world = World::new(mode);
    let here = "ulimit -Sn; ulimit -Hn; ulimit -Hu; ulimit -c";
    let ours = crate::net::Ns::host().must(here);
    assert_eq!(sh(&world, &[], here).stdout, ours, "as the caller's");
    let shm = sh(&world, &[], "df -k --output=size /dev/shm | tail -1");
    assert_eq!(shm.stdout.trim(), "65536", "{shm:?}");
    world.idle("x", &[]);
    assert_eq!(world.json(&["inspect", "x"])["limits"], serde_json::json!([]));
    // A directory of memory with a size.
    let line = "df -k --output=size /mnt/t | tail -1";
    let out = sh(&world, &["--tmpfs", "/mnt/t:size=3m"], line);
    assert_eq!(out.stdout.trim(), "3072", "{out:?}");
}

/// `stop` asks with TERM and waits ten seconds before it kills.
fn end(mode: Mode) {
    let world = World::new(mode);
    let deaf = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.1; done";
    world.run_d("deaf", &[], &["sh", "-c", deaf]);
    let said = |word: &str| {
        until(Duration::from_secs(5), || {
            world.ok(&["logs", "deaf"]).contains(word)
        })
    };
    assert!(said("ready"));
    let begun = Instant::now();
    let mut stop = Running::start(&mut world.command(&words("-v stop deaf")), "");
    assert!(said("asked"));
    assert_eq!(world.json(&["inspect", "deaf"])["status"], "running");
    assert!(until(Duration::from_secs(60), || !stop.runs()), "{}", stop.text());
    assert!(
        begun.elapsed() >= Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(world.json(&["inspect", "deaf"])["exit_code"], 137);
}

/// Of what `run -d` starts, process 1 and the command stay, and nothing else.
fn no_daemon(mode: Mode) {
    let world = World::new(mode);
    let numbers = || -> BTreeSet<u64> {
        let entries = fs::read_dir("/proc").expect("a list").flatten();
        entries
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect()
    };
    let before = numbers();
    let first = world.idle("x", &[]).pid;
    let parent = |pid: u64| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("PPid:").map(str::to_owned));
        line.and_then(|l| l.trim().parse::<u64>().ok())
    };
    let only_two = || {
        let new: Vec<u64> = numbers().difference(&before).copied().collect();
        new.len() == 2 && new.iter().all(|pid| *pid == first || parent(*pid) == Some(first))
    };
    assert!(
        until(Duration::from_secs(5), only_two),
        "{:?} beside {before:?}",
        numbers()
    );
}
