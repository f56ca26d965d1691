//! Network namespaces as a story sees them: commands, servers, clients and captures in each.
//!
//! An attacker's commands enter a container's network namespace alone, so they hold every
//! capability there: stronger than the container itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness;

/// Sends, serves and counts; see its own comments.
const WIRE: &str = include_str!("wire.py");

/// What a command said and how it ended.
#[derive(Clone, Debug)]
pub struct Out {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Out {
    pub fn of(command: &mut Command) -> Self {
        let out = command.stdin(Stdio::null()).output().expect("the command starts");
        Self {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    pub fn ok(&self) -> bool {
        self.code == 0
    }
}

/// A network namespace; `None` is the story's host.
#[derive(Clone, Debug)]
pub struct Ns {
    path: Option<PathBuf>,
    /// Its interface towards the others.
    pub iface: String,
}

impl Ns {
    pub fn host() -> Self {
        Self {
            path: None,
            iface: "lo".into(),
        }
    }

    pub fn at(path: impl Into<PathBuf>, iface: &str) -> Self {
        Self {
            path: Some(path.into()),
            iface: iface.to_owned(),
        }
    }

    /// Its path; `None` is the story's host.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// A command that will run in this namespace.
    pub fn command(&self, program: &str) -> Command {
        match &self.path {
            None => Command::new(program),
            Some(path) => {
                let mut c = Command::new("nsenter");
                c.arg(format!("--net={}", path.display())).arg("--").arg(program);
                c
            }
        }
    }

    /// Runs a line of shell.
    pub fn sh(&self, line: &str) -> Out {
        Out::of(self.command("timeout").args(["20", "sh", "-c", line]))
    }

    /// Runs a line of shell that must succeed; what it printed.
    #[track_caller]
    pub fn must(&self, line: &str) -> String {
        let out = self.sh(line);
        assert!(out.ok(), "`{line}`: {out:?}");
        out.stdout
    }

    /// Runs one of the verbs of `wire.py`.
    pub fn wire(&self, args: &[&str]) -> Out {
        Out::of(
            self.command("timeout")
                .args(["20", "/usr/bin/python3", "-c", WIRE])
                .args(args),
        )
    }

    /// Starts one of the verbs of `wire.py`; returns when it says that it is ready.
    #[track_caller]
    pub fn start(&self, args: &[&str]) -> Running {
        let mut c = self.command("/usr/bin/python3");
        c.args(["-uc", WIRE]).args(args);
        // Not the end of `Address already in use`.
        Running::start(&mut c, "ready\n")
    }

    /// An echo server.
    #[track_caller]
    pub fn serve(&self, proto: &str, address: &str, port: u16) -> Running {
        self.start(&["serve", proto, address, &port.to_string()])
    }

    /// Whether an echo server answers.
    pub fn reaches(&self, proto: &str, address: &str, port: u16) -> bool {
        self.wire(&["call", proto, address, &port.to_string()]).ok()
    }

    /// Whether an echo request is answered.
    pub fn pings(&self, address: &str) -> bool {
        self.sh(&format!("ping -n -c 1 -W 1 {address}")).ok()
    }

    /// Watches what arrives (not what leaves) at the namespace's interface.
    #[track_caller]
    pub fn capture(&self, filter: &str) -> Capture {
        self.capture_on(&self.iface, filter)
    }

    #[track_caller]
    pub fn capture_on(&self, iface: &str, filter: &str) -> Capture {
        let mut c = self.command("tcpdump");
        c.args(["-nel", "--immediate-mode", "-Q", "in", "-Z", "root", "-i", iface])
            .arg(filter);
        Capture(Running::start(&mut c, "listening on"))
    }
}

/// A process in the background; it ends with this value.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a command and waits until its output holds `ready`.
    #[track_caller]
    pub fn start(command: &mut Command, ready: &str) -> Self {
        let log = unused_log(&harness::dir());
        let file = File::create(&log).expect("log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("log"))
            .stderr(file)
            .spawn()
            .expect("the command starts");
        let mut running = Self { child, log };
        assert!(
            until(Duration::from_secs(5), || {
                running.text().contains(ready) || running.child.try_wait().ok().flatten().is_some()
            }) && running.text().contains(ready),
            "{command:?} did not say `{ready}`: {}",
            running.text()
        );
        running
    }

    /// All it has printed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last number it printed; 0 before the first.
    pub fn count(&self) -> u64 {
        self.text()
            .lines()
            .rev()
            .find_map(|l| l.trim().parse().ok())
            .unwrap_or(0)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unused_log(dir: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    dir.join(format!("{}.log", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// What arrives at an interface.
pub struct Capture(Running);

impl Capture {
    /// The packets so far, one a line, after those on their way have had time to arrive.
    pub fn packets(&self) -> Vec<String> {
        std::thread::sleep(Duration::from_millis(250));
        self.so_far()
    }

    fn so_far(&self) -> Vec<String> {
        let packet = |l: &&str| l.as_bytes().first().is_some_and(u8::is_ascii_digit) && l.contains(" > ");
        self.0.text().lines().filter(packet).map(str::to_owned).collect()
    }

    /// Fails when anything has arrived.
    #[track_caller]
    pub fn nothing(&self, what: &str) {
        let packets = self.packets();
        assert!(packets.is_empty(), "{what}: {}{packets:#?}", harness::ARRIVED);
    }

    /// Fails unless a packet arrives.
    #[track_caller]
    pub fn something(&self, what: &str) {
        let came = until(Duration::from_secs(3), || !self.so_far().is_empty());
        assert!(came, "{what}: nothing came; tcpdump said: {}", self.0.text());
    }
}

/// Waits until something holds; whether it came to hold.
pub fn until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if begun.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
