//! All of it at once, at random, for as long as is asked for: eight workers run, link, unlink,
//! publish, remove, attach and detach through CNI, kill commands and containers, and spoil what is
//! in the kernel. All along a flood is sent at somebody who must never get it. Every few seconds
//! everybody stops, and store, kernel and real packets are compared.
//!
//! Fifteen seconds in a test run; `make soak SECONDS=600` takes longer. The seed is printed, and
//! MOAT_SOAK_SEED sets it.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::faults::leak::Flood;
use crate::faulty::words;
use crate::harness::{Story, long};
use crate::net::{Ns, Out, until};
use crate::pods::{Pod, conf};
use crate::trace::Moment;
use crate::world::{Container, FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[long("soak::all_at_random", all_at_random)];

const WORKERS: usize = 8;
/// Between two comparisons.
const PERIOD: Duration = Duration::from_secs(4);
/// What the first process of a container may grow by, in KiB.
const FLAT: u64 = 256;

/// Numbers from a seed (xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

struct Soak {
    w: World,
    /// Read by whoever works, written by whoever compares.
    still: RwLock<()>,
    over: AtomicBool,
    done: AtomicU64,
    killed: AtomicU64,
    /// What a worker saw that should not be.
    wrong: Mutex<Vec<String>>,
}

fn all_at_random(mode: Mode) {
    let seconds = number("MOAT_SOAK_SECONDS").unwrap_or(15);
    let seed = number("MOAT_SOAK_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 7919 + 1);
    println!("seed {seed}, {seconds} s");
    let w = World::new(mode);
    w.ok(&["ps"]);
    let empty = w.moment();
    let (sender, victim) = (w.idle("sender", &[]), w.idle("victim", &["-p", "7000:80"]));
    let (client, server) = (w.idle("client", &[]), w.idle("server", &[]));
    w.ok(&["link", "client", "server:80/tcp"]);
    let served = server.ns.serve("tcp", "::", 80);
    let flood = Flood::start(&sender, &victim);
    let grown = memory(&client);
    let s = Soak {
        w,
        still: RwLock::default(),
        over: AtomicBool::new(false),
        done: AtomicU64::new(0),
        killed: AtomicU64::new(0),
        wrong: Mutex::default(),
    };
    let mut compared = 0;
    std::thread::scope(|scope| {
        for n in 0..WORKERS {
            let s = &s;
            scope.spawn(move || s.work(n, Dice(seed ^ (n as u64 + 1) << 32 | 1)));
        }
        scope.spawn(|| s.spoil(Dice(seed | 1)));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) && s.is_well() {
            std::thread::sleep(PERIOD.min(Duration::from_secs(seconds)));
            let still = s.still.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            // What fails here ends everybody; a panic within the scope would wait for them for ever.
            let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                s.compare(&client, &server);
                flood.none("after a comparison");
            }));
            if seen.is_err() {
                s.fail("the comparison above");
            }
            drop(still);
            compared += 1;
        }
        s.over.store(true, Ordering::SeqCst);
    });
    assert!(s.is_well(), "seed {seed}: {:#?}", s.wrong.lock());
    let sent = flood.sent(seconds * 2000);
    flood.none("at the end");
    let after = memory(&client);
    println!(
        "{} commands, {} killed, {compared} comparisons, {sent} frames sent, 0 heard; init {grown} -> {after} KiB",
        s.done.load(Ordering::Relaxed),
        s.killed.load(Ordering::Relaxed)
    );
    assert!(
        after <= grown + FLAT,
        "the first process grew from {grown} to {after} KiB"
    );
    s.w.ok(&["link", "sender", "victim"]);
    flood.arrives();
    drop((served, flood));
    s.nothing_left(&empty);
}

/// What a process has for itself, in KiB.
fn memory(c: &Container) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", c.pid)).unwrap_or_default();
    let private = text.lines().filter(|l| l.starts_with("Private_"));
    private
        .filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

impl Soak {
    fn is_well(&self) -> bool {
        self.wrong.lock().is_ok_and(|w| w.is_empty())
    }

    fn fail(&self, what: impl Into<String>) {
        if let Ok(mut wrong) = self.wrong.lock() {
            wrong.push(what.into());
        }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst) && self.is_well()
    }

    /// One command, which may be killed at some step or after some time. Others may be in its way, so it
    /// may fail; how it says so is looked at.
    fn give(&self, line: &str, dice: &mut Dice) {
        let mut c = self.w.command(&words(line));
        self.run(&mut c, line, None, dice);
    }

    fn run(&self, c: &mut std::process::Command, line: &str, input: Option<String>, dice: &mut Dice) {
        let dies = dice.next(6) == 0;
        if dies && dice.next(2) == 0 {
            c.env("MOAT_FAULT", format!("abort:{}", 1 + dice.next(60)));
        }
        c.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = c.spawn().expect("moat starts");
        let mut stdin = child.stdin.take().expect("stdin");
        let _ = std::io::Write::write_all(&mut stdin, input.unwrap_or_default().as_bytes());
        drop(stdin);
        if dies {
            std::thread::sleep(Duration::from_millis(dice.next(80)));
            let _ = child.kill();
            self.killed.fetch_add(1, Ordering::Relaxed);
        }
        let out = child.wait_with_output().expect("moat ends");
        self.done.fetch_add(1, Ordering::Relaxed);
        let stderr = String::from_utf8_lossy(&out.stderr);
        if stderr.contains("panicked") || out.status.code() == Some(101) {
            self.fail(format!("`{line}`: {stderr}"));
        }
    }

    /// Names of its own, ports of its own, and everybody's containers to link to.
    fn work(&self, n: usize, mut dice: Dice) {
        let pod = Pod::new(&format!("pod{n}"));
        let mapped = conf(&json!({
            "runtimeConfig": { "portMappings": [{ "hostPort": 6000 + n, "containerPort": 80, "protocol": "tcp" }] },
        }));
        while self.goes_on() {
            let turn = self
                .still
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let mine = format!("w{n}-{}", dice.next(2));
            let other = format!("w{}-{}", dice.next(WORKERS as u64), dice.next(2));
            let port = 80 + dice.next(3);
            match dice.next(12) {
                0..=2 => {
                    let map = format!("-p {}:80", 5000 + 10 * n as u64 + dice.next(2));
                    self.give(
                        &format!(
                            "run -d --name {mine} --label w={n} --link server:{port} {map} -- sleep 1000"
                        ),
                        &mut dice,
                    );
                }
                3..=4 => self.give(&format!("link {mine} {other}:{port}/tcp"), &mut dice),
                5 => self.give(
                    &format!("link label:w={n} {other}:{port}/udp --for 2s"),
                    &mut dice,
                ),
                6 => self.give(&format!("unlink {mine} {other}:{port}/tcp"), &mut dice),
                7 => self.give(&format!("rm -f {mine}"), &mut dice),
                8 => self.give("run --rm -- true", &mut dice),
                9 => {
                    // Killed as the kernel kills for want of memory.
                    let found = self.w.moat(&["inspect", &mine]);
                    let found: serde_json::Value = serde_json::from_str(&found.stdout).unwrap_or_default();
                    if let Some(pid) = found["pid"].as_u64().filter(|p| *p > 1) {
                        Ns::host().sh(&format!("kill -9 {pid}"));
                    }
                }
                verb => {
                    let verb = if verb == 10 { "ADD" } else { "DEL" };
                    let mut c = self.w.command(&[]);
                    c.env("CNI_COMMAND", verb)
                        .env("CNI_PATH", crate::harness::dir())
                        .env("CNI_CONTAINERID", &pod.id)
                        .env("CNI_IFNAME", "eth0")
                        .env("CNI_NETNS", &pod.netns);
                    self.run(&mut c, verb, Some(mapped.to_string()), &mut dice);
                }
            }
            drop(turn);
        }
        let gone = || self.w.del(&pod.id, &pod.netns, &mapped).ok();
        if !until(Duration::from_secs(20), gone) {
            self.fail(format!("DEL of {} fails", pod.id));
        }
        // Another command may be looking at it.
        let end = || Ns::host().sh(&format!("umount {0} && rm {0}", pod.netns)).ok();
        if !until(Duration::from_secs(5), end) {
            self.fail(format!("{} is held", pod.netns));
        }
    }

    /// Takes something out of the kernel now and then; the next command heals.
    fn spoil(&self, mut dice: Dice) {
        while self.goes_on() {
            std::thread::sleep(Duration::from_millis(200 + dice.next(600)));
            let _turn = self
                .still
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let net = self.w.moat(&["net", "inspect", "moat"]);
            let net: serde_json::Value = serde_json::from_str(&net.stdout).unwrap_or_default();
            let router = Ns::at(net["router_netns"].as_str().unwrap_or("/nowhere"), "lo");
            let bridge = net["bridges"][0].as_str().unwrap_or("none");
            match dice.next(6) {
                0 => drop(Ns::host().sh("nft flush ruleset")),
                1 => drop(router.sh("nft flush ruleset")),
                2 => drop(router.sh("ip neigh flush all nud permanent")),
                3 => drop(router.sh("ip rule del pref 5200; ip -6 rule del pref 5204")),
                4 => drop(router.sh(&format!("ip link set {bridge} down"))),
                _ => drop(Ns::host().sh("ip rule del pref 5201; sysctl -qw net.ipv4.ip_forward=0")),
            }
        }
    }

    /// Nobody works: one command heals, and then everything agrees.
    fn compare(&self, client: &Container, server: &Container) {
        let out = self.w.moat(&["fsck", "--fix"]);
        assert!(out.ok(), "fsck --fix: {out:?}");
        // Links with an end come to it at any time, and the next command forgets them.
        let clean = || self.w.moat(&["ps"]).ok() && self.w.moat(&["fsck"]).ok();
        assert!(
            until(Duration::from_secs(5), clean),
            "{:?}",
            self.w.moat(&["fsck"])
        );
        for family in FAMILIES {
            let reaches = || client.ns.reaches("tcp", server.ip(family), 80);
            assert!(until(Duration::from_secs(5), reaches), "the link, IPv{family}");
        }
        // Decided is what packets do, for every pair.
        let probed = || self.w.moat(&["reach", "--probe", "--port", "80/tcp", "--json"]);
        let mut out: Out = probed();
        if out.code == 2 {
            // A link may have ended between the decision and the packet.
            out = probed();
        }
        let cells = out.stdout.matches("\"decided\"").count();
        assert!(
            out.ok() && cells > 0,
            "reach --probe: {}: {}",
            out.code,
            disagreements(&out)
        );
    }

    fn nothing_left(&self, empty: &Moment) {
        let ids = self.w.dir_ids();
        self.w.ok(&["rm", "-f", "--all"]);
        let links = self.w.json(&["links"]);
        for link in links.as_array().into_iter().flatten() {
            let text = |key: &str| link[key].as_str().unwrap_or_default().to_owned();
            self.w.moat(&["unlink", &text("from"), &text("to")]);
        }
        for _ in 0..2 {
            self.w.moat(&["net", "rm", "pods"]);
            self.w.ok(&["gc"]);
        }
        self.w.is_clean();
        self.w.no_cgroups_of(&ids, "after the soak");
        self.w.comes_to_be(&[empty], "after the soak");
        let tracked = std::fs::read_to_string("/proc/net/nf_conntrack").unwrap_or_default();
        let ours = tracked
            .lines()
            .filter(|l| l.contains("=10.9.") || l.contains("=10.88."));
        assert_eq!(ours.count(), 0, "{tracked}");
    }
}

fn disagreements(out: &Out) -> String {
    let all: serde_json::Value = serde_json::from_str(&out.stdout).unwrap_or_default();
    let cells = all["cells"].as_array().into_iter().flatten();
    let wrong = cells.filter(|c| !c["observed"].is_null() && c["observed"] != c["decided"]);
    wrong.map(|c| format!("{c}\n")).collect::<String>() + &out.stderr
}
