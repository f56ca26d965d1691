//! Broken calls to the real binary under each of its names: it always ends by itself with one
//! document, or with nothing where nothing is to be said.
//!
//! For five seconds, or for `FUZZ_SECONDS` (`make fuzz`).

#[path = "../src/cni/tests/calls/mod.rs"]
mod calls;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::harness::{Story, dir, own};
use crate::world::Mode;
use calls::Case;

pub const STORIES: &[Story] = &[own("fuzz::broken_calls_get_one_document", broken_calls)];

/// How long one call may take; the longest wait for a lock is shorter.
const LIMIT: Duration = Duration::from_secs(40);
/// Calls between two looks at the clock.
const AT_ONCE: u32 = 20;

fn broken_calls(_: Mode) {
    keep_files_safe();
    let names = moat::cni::names();
    assert!(!names.is_empty());
    fs::create_dir(dir().join("bin")).unwrap();
    for name in &names {
        symlink(env!("CARGO_BIN_EXE_moat"), dir().join("bin").join(name)).unwrap();
    }
    let netns = dir().join("netns");
    File::create(&netns).unwrap();
    let made = Command::new("unshare")
        .arg(format!("--net={}", netns.display()))
        .arg("true")
        .status();
    assert!(made.unwrap().success());

    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(5));
    let state = dir().join("state");
    let all = (
        select(names),
        calls::cases(netns.to_str().unwrap(), state.to_str().unwrap()),
    );
    let mut calls = 0;
    while Instant::now() < end {
        let mut runner = TestRunner::new(Config {
            failure_persistence: None,
            max_shrink_iters: 100,
            ..Config::with_cases(AT_ONCE)
        });
        let outcome = runner.run(&all, |(name, case)| ask(name, &case).map_err(TestCaseError::fail));
        assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
        calls += AT_ONCE;
    }
    println!("{calls} calls");
}

/// The error, if there is one in the answer.
fn ask(name: &str, case: &Case) -> Result<(), String> {
    if case.env[0].1.is_empty() {
        return Ok(()); // without a verb, `moat` is the command line
    }
    let file = |name: &str| dir().join(name);
    fs::write(file("stdin"), &case.stdin).unwrap();
    let child = Command::new(dir().join("bin").join(name))
        .current_dir(dir())
        .env_clear()
        .envs(case.env.iter().map(|(k, v)| (k, v)))
        .env("CNI_PATH", dir().join("bin"))
        .env("MOAT_ROOT", file("root"))
        .env("MOAT_DATA", file("data"))
        .stdin(File::open(file("stdin")).unwrap())
        .stdout(File::create(file("stdout")).unwrap())
        .stderr(File::create(file("stderr")).unwrap())
        .spawn()
        .unwrap();
    let status = end_of(child, case);
    let read = |name: &str| fs::read(file(name)).unwrap();
    let stderr = String::from_utf8_lossy(&read("stderr")).into_owned();
    let code = status.code().ok_or_else(|| format!("{status}: {stderr}"))?;
    if stderr.contains("panicked") {
        return Err(stderr);
    }
    match calls::wrong(case, &read("stdout"), code) {
        Some(what) => Err(format!("{what}: {stderr}")),
        None => Ok(()),
    }
}

/// How it ended. One that does not end fails the story at once: each try would take as long.
fn end_of(mut child: Child, case: &Case) -> ExitStatus {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let stack = fs::read_to_string(format!("/proc/{}/stack", child.id())).unwrap_or_default();
    child.kill().unwrap();
    eprintln!("does not end within {LIMIT:?}: {case:?}\nin the kernel:\n{stack}");
    std::process::exit(101);
}

/// A call names directories, and a broken one any: outside the story's own, all are read-only.
fn keep_files_safe() {
    let none = None::<&str>;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(PathBuf::from);
    let kept = [dir(), "/proc".into(), "/run".into()];
    for point in points.filter(|p| !kept.iter().any(|k| p.starts_with(k))) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        // What lies below another mount cannot be reached, and need not be.
        let _ = mount(none, &point, none, flags, none);
    }
    let probe = Path::new("/tmp/moat-must-not-be-written");
    assert!(
        fs::write(probe, "").is_err(),
        "files outside the story are read-only"
    );
}
