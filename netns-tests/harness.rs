//! Runs each story in namespaces of its own, with a hard limit of time.
//!
//! A story is this same binary, started again three deep: the first makes the namespaces, the
//! second is process 1 in them and reaps, the third tells the story. When process 1 ends, the
//! kernel ends every process of the story, however it was started (`pid_namespaces(7)`).

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio, exit};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;

use crate::world::Mode;

/// How long one story may take.
const LIMIT: Duration = Duration::from_mins(3);
/// The same for one that says beforehand that it is long.
const LONG: Duration = Duration::from_mins(10);
/// How many at once (they mostly wait), unless `--test-threads` says otherwise.
const AT_ONCE: usize = 3;

/// What a capture says about packets that should not have come.
pub const ARRIVED: &str = "arrived: ";

const STORY: &str = "MOAT_STORY";
const STAGE: &str = "MOAT_STORY_STAGE";
/// The story's own directory, a tmpfs.
const DIR: &str = "MOAT_STORY_DIR";

/// One story, told with the router in each of these places.
#[derive(Clone, Copy)]
pub struct Story {
    name: &'static str,
    modes: &'static [Mode],
    tell: fn(Mode),
    limit: Duration,
}

/// A story that holds wherever the router is.
pub const fn everywhere(name: &'static str, tell: fn(Mode)) -> Story {
    Story {
        name,
        modes: &[Mode::Own, Mode::Host],
        tell,
        limit: LIMIT,
    }
}

/// A story about the router namespace, or one where the router's place does not matter.
pub const fn own(name: &'static str, tell: fn(Mode)) -> Story {
    Story {
        name,
        modes: &[Mode::Own],
        tell,
        limit: LIMIT,
    }
}

/// A story about the router namespace that takes its time.
pub const fn long(name: &'static str, tell: fn(Mode)) -> Story {
    let mut story = own(name, tell);
    story.limit = LONG;
    story
}

impl Story {
    fn tellings(&self) -> impl Iterator<Item = (String, Mode)> + '_ {
        self.modes
            .iter()
            .map(|m| (format!("{}::{}", self.name, m.word()), *m))
    }
}

/// The test binary's whole life.
pub fn main(stories: &[Story]) {
    if let Ok(wanted) = std::env::var(STORY) {
        match std::env::var(STAGE).as_deref() {
            Ok("1") => make_namespaces(),
            Ok("2") => reap(),
            _ => tell(stories, &wanted),
        }
        return;
    }
    let mut args = Arguments::from_args();
    args.test_threads = args.test_threads.or(Some(AT_ONCE));
    let root = nix::unistd::geteuid().is_root();
    let trials = stories
        .iter()
        .flat_map(|s| s.tellings().map(|(name, _)| (name, s.limit)))
        .map(|(name, limit)| {
            Trial::test(name.clone(), move || tell_again(&name, limit)).with_ignored_flag(!root)
        })
        .collect();
    let conclusion = libtest_mimic::run(&args, trials);
    if tell_of_unsteady() > UNSTEADY {
        exit(101);
    }
    conclusion.exit();
}

/// Prints which stories passed only alone. How many.
fn tell_of_unsteady() -> usize {
    let mut names = PASSED_ALONE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    names.sort();
    if !names.is_empty() {
        let verdict = if names.len() > UNSTEADY { "FAILED" } else { "ok" };
        println!(
            "passed only alone, {} of at most {UNSTEADY}: {verdict}",
            names.len()
        );
        names.iter().for_each(|name| println!("    {name}"));
        println!();
    }
    names.len()
}

/// The directory of the story that this process tells.
pub fn dir() -> PathBuf {
    std::env::var_os(DIR)
        .expect("only a story has a directory")
        .into()
}

fn again(stage: &str) -> Command {
    let mut c = Command::new("/proc/self/exe");
    c.env(STAGE, stage).stdin(Stdio::null());
    c
}

/// Held for reading by stories beside others, for writing by one that is told alone.
static ALONE: RwLock<()> = RwLock::new(());

/// Those that failed beside others and passed alone.
static PASSED_ALONE: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// More of them than this are no accident: the run fails.
const UNSTEADY: usize = 3;

/// Tells a story. One that failed beside others is told once more, alone: a busy machine may
/// keep a program from answering in time. It is named at the end, and few may need that. That a
/// packet arrived is never due to a busy machine.
fn tell_again(name: &str, limit: Duration) -> Result<(), Failed> {
    let beside = {
        let _others = ALONE.read().unwrap_or_else(PoisonError::into_inner);
        start(name, limit)
    };
    let Err(first) = beside else { return Ok(()) };
    let text = first.message().unwrap_or_default().to_owned();
    if text.contains(ARRIVED) {
        return Err(first);
    }
    let _alone = ALONE.write().unwrap_or_else(PoisonError::into_inner);
    eprintln!("`{name}` failed beside others and is told again, alone; it had said:\n{text}");
    start(name, limit)?;
    let mut passed = PASSED_ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    passed.push(name.to_owned());
    Ok(())
}

/// Starts the story and waits for its end, or ends it.
fn start(name: &str, limit: Duration) -> Result<(), Failed> {
    let dir = std::env::temp_dir().join(format!("moat-{}-{}", std::process::id(), name.replace("::", "-")));
    std::fs::create_dir(&dir)?;
    let log = dir.with_extension("log");
    let out = File::create(&log)?;
    let child = again("1")
        .env(STORY, name)
        .env(DIR, &dir)
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()?;
    let limit = limit + fuzzing();
    let end = within(child, limit);
    let text = std::fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let _ = std::fs::remove_file(&log);
    let _ = std::fs::remove_dir(&dir);
    match end? {
        Some(status) if status.success() => {
            // Long runs have figures to tell.
            if !fuzzing().is_zero() {
                println!("{text}");
            }
            Ok(())
        }
        Some(status) => Err(format!("{status}\n{text}").into()),
        None => Err(format!("did not end within {limit:?}\n{text}").into()),
    }
}

/// What `make fuzz` and `make soak` ask for beyond the limit.
fn fuzzing() -> Duration {
    let asked = ["FUZZ_SECONDS", "MOAT_SOAK_SECONDS"].iter();
    let seconds = asked.filter_map(|v| std::env::var(v).ok()?.parse::<u64>().ok());
    Duration::from_secs(seconds.max().unwrap_or(0))
}

fn within(mut child: Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    while begun.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // Its own children see it go (PR_SET_PDEATHSIG), and process 1 takes all others with it.
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn make_namespaces() {
    // An interrupted run takes its stories with it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("pdeathsig");
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID).expect("unshare");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("mount / private");
    mount(
        Some("tmpfs"),
        &dir(),
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=512m"),
    )
    .expect("mount tmpfs");
    let status = again("2").status().expect("process 1");
    pass_on(status);
}

/// Process 1: a fresh /proc, one story, and reaping until it has been told.
fn reap() {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("pdeathsig");
    mount(
        Some("proc"),
        Path::new("/proc"),
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    )
    .expect("mount /proc");
    let story = again("3").spawn().expect("the story");
    let pid = Pid::from_raw(story.id().cast_signed());
    loop {
        match wait() {
            Ok(WaitStatus::Exited(p, code)) if p == pid => exit(code),
            Ok(WaitStatus::Signaled(p, signal, _)) if p == pid => {
                eprintln!("the story was ended by {signal}");
                exit(101)
            }
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => {}
            Err(e) => {
                eprintln!("wait: {e}");
                exit(101)
            }
        }
    }
}

fn tell(stories: &[Story], wanted: &str) {
    let lo = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    assert!(lo.expect("ip").success());
    let found = stories
        .iter()
        .flat_map(|s| s.tellings().map(|(name, mode)| (name, mode, s.tell)))
        .find(|(name, ..)| name == wanted);
    let (_, mode, tell) = found.expect("a story of this name");
    tell(mode);
}

fn pass_on(status: ExitStatus) {
    if let Some(signal) = status.signal() {
        let _ = kill(Pid::this(), Signal::try_from(signal).unwrap_or(Signal::SIGKILL));
    }
    exit(status.code().unwrap_or(101));
}
