//! Real containers, launched by this very test binary run again with one thread, as launching needs it.
//!
//! Needs root; says so and passes otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use super::*;

const SPEC: &str = "MOAT_TEST_SPEC";

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A container of a test, removed with all it left when dropped.
struct Box {
    spec: Spec,
    dir: PathBuf,
}

impl Box {
    fn new(name: &str, command: &[&str]) -> Self {
        let id = format!("t-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(format!("moat-test-{id}"));
        fs::create_dir_all(&dir).expect("a directory");
        let spec = Spec {
            id: id.clone(),
            dir: dir.clone(),
            layer: dir.join("layer"),
            hide: Vec::new(),
            root: Root::Host { share: Vec::new() },
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            workdir: None,
            user: None,
            hostname: name.to_owned(),
            volumes: Vec::new(),
            tmpfs: Vec::new(),
            limits: Limits::default(),
            ulimits: Vec::new(),
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            read_only: false,
            isolation: Isolation::default(),
            init: true,
            tty: false,
            interactive: false,
            detach: false,
            restart: Restart::No,
            health: None,
            stop_signal: None,
            log_size: None,
        };
        Self { spec, dir }
    }

    fn sh(name: &str, script: &str) -> Self {
        Self::new(name, &["sh", "-c", script])
    }

    /// Launches in a process of its own; its exit status is the container's.
    fn run(&self) -> Output {
        let spec = self.dir.join("spec.json");
        fs::write(&spec, serde_json::to_vec(&self.spec).expect("serialises")).expect("writes");
        Command::new(std::env::current_exe().expect("has a path"))
            .args([
                "--exact",
                "sandbox::tests::launcher",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(SPEC, &spec)
            .output()
            .expect("runs")
    }

    fn process(&self) -> (i32, u64) {
        let text = fs::read_to_string(self.dir.join("process")).expect("was launched");
        let (pid, started) = text.split_once(' ').expect("two numbers");
        (pid.parse().expect("a pid"), started.parse().expect("a time"))
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        if self.dir.join("process").exists() {
            let (pid, started) = self.process();
            let _ = kill_all(&self.spec, pid, started);
            let _ = wait_end(pid, started, Duration::from_secs(5));
        }
        cleanup(&self.spec).expect("nothing is in the way of cleaning up");
        cleanup(&self.spec).expect("cleaning up twice is no error");
        assert!(!self.spec.layer.exists(), "the layer is gone");
        assert!(cgroup::leaf_of(&self.spec.id).is_none(), "the cgroup is gone");
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
#[ignore = "not a test: the launcher the tests below run"]
fn launcher() {
    let Some(path) = std::env::var_os(SPEC) else {
        return;
    };
    let spec: Spec = serde_json::from_slice(&fs::read(path).expect("reads")).expect("parses");
    let fail = |error: Error| -> ! {
        eprintln!("error: {error}");
        std::process::exit(error.exit_code())
    };
    let launched = launch(&spec).unwrap_or_else(|error| fail(error));
    let started = start_time(launched.pid()).expect("lives");
    fs::write(spec.dir.join("process"), format!("{} {started}", launched.pid())).expect("writes");
    let running = launched.release().unwrap_or_else(|error| fail(error));
    if spec.detach {
        std::process::exit(0);
    }
    std::process::exit(running.wait_foreground().unwrap_or_else(|error| fail(error)));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_exit_status_comes_through() {
    if !is_root() {
        return;
    }
    for init in [true, false] {
        for (script, code) in [
            ("exit 7", 7),
            ("kill -9 $$", if init { 137 } else { 0 }),
            ("exit 0", 0),
        ] {
            let mut container = Box::sh("status", script);
            container.spec.init = init;
            // A command that is pid 1 itself is immune to its own signals.
            assert_eq!(
                container.run().status.code(),
                Some(code),
                "{script} with init {init}"
            );
            assert_eq!(exit_code(&container.dir), Some(code));
            assert!(finished_at(&container.dir).is_some_and(|time| time.ends_with('Z')));
        }
    }
}

#[test]
fn commands_that_cannot_start_have_their_own_status() {
    if !is_root() {
        return;
    }
    for (command, code) in [
        ("no-such-command", 127),
        ("/etc/passwd", 126),
        ("/proc/self/exe", 126),
        ("/", 126),
    ] {
        let container = Box::new("refused", &[command]);
        assert_eq!(container.run().status.code(), Some(code), "{command}");
    }
}

#[test]
fn the_host_is_neither_changed_nor_its_secrets_seen() {
    if !is_root() {
        return;
    }
    let mark = format!("/etc/moat-test-{}", std::process::id());
    let script = format!(
        "echo x > {mark} && head -c 9 /etc/shadow | wc -c; ls -A /root /home; ls {}",
        std::env::temp_dir().display()
    );
    let container = Box::sh("secrets", &script);
    let output = container.run();
    assert!(
        !Path::new(&mark).exists(),
        "a file made in the container appeared on the host"
    );
    let seen = text(&output.stdout);
    assert!(seen.contains("0\n") && !seen.contains("moat-test"), "{seen}");
}

#[test]
fn rights_are_few() {
    if !is_root() {
        return;
    }
    let script = "grep -E '^(CapEff|CapBnd|CapInh|NoNewPrivs|Seccomp):' /proc/self/status; hostname; \
                  ls /proc/self/fd; mount -t tmpfs x /mnt; unshare -n true; kill -9 1; cat /proc/1/environ";
    let output = Box::sh("rights", script).run();
    let seen = text(&output.stdout);
    for line in [
        "CapEff:\t00000000800405fb",
        "CapBnd:\t00000000800405fb",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "rights",
    ] {
        assert!(seen.contains(line), "no `{line}` in {seen}");
    }
    assert!(
        seen.contains("0\n1\n2\n3\n") && !seen.contains("\n4\n"),
        "descriptors: {seen}"
    );
    let refused = text(&output.stderr);
    assert!(
        refused.contains("mount:") && refused.contains("unshare:"),
        "{refused}"
    );
}

#[test]
fn a_detached_container_outlives_its_launcher_and_logs() {
    if !is_root() {
        return;
    }
    for init in [true, false] {
        let mut container = Box::sh(
            "detached",
            "trap 'echo ended; exit 9' TERM; echo begun; while :; do sleep 0.02; done",
        );
        container.spec.detach = true;
        container.spec.init = init;
        assert_eq!(container.run().status.code(), Some(0));
        let (pid, started) = container.process();
        assert!(is_alive(pid, started));
        let log = container.dir.join("log");
        wait_for(|| fs::read_to_string(&log).is_ok_and(|log| log.contains("stdout F begun")));
        signal(pid, started, libc::SIGTERM).expect("lives");
        assert!(wait_end(pid, started, Duration::from_secs(5)).expect("waits"));
        wait_for(|| exit_code(&container.dir) == Some(9));
        assert!(
            fs::read_to_string(&log)
                .expect("has a log")
                .contains("stdout F ended")
        );
        assert_eq!(logs(&container.dir), [log]);
    }
}

/// For what a process outside our reach writes soon; bounded.
fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("did not happen within 5 seconds");
}

#[test]
fn limits_hold() {
    if !is_root() {
        return;
    }
    let mut container = Box::sh("limits", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait");
    container.spec.limits.pids = Some(5);
    let output = container.run();
    if output.status.code() == Some(125) {
        eprintln!("skipped: {}", text(&output.stderr));
        return;
    }
    assert!(text(&output.stderr).contains("fork"), "{}", text(&output.stderr));
}

#[test]
fn cleaning_up_does_not_go_through_a_mount() {
    if !is_root() {
        return;
    }
    let container = Box::new("mount", &["true"]);
    let (precious, point) = (
        container.dir.join("precious"),
        container.spec.layer.join("upper/point"),
    );
    fs::create_dir_all(&precious).expect("creates");
    fs::create_dir_all(&point).expect("creates");
    fs::write(precious.join("data"), "x").expect("writes");
    let script = "mount --bind \"$1\" \"$2\" && exec \"$3\" --exact sandbox::tests::cleaner --ignored --test-threads=1";
    let spec = container.dir.join("spec.json");
    fs::write(&spec, serde_json::to_vec(&container.spec).expect("serialises")).expect("writes");
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .args([&precious, &point, &std::env::current_exe().expect("has a path")])
        .env(SPEC, &spec)
        .output()
        .expect("runs");
    assert!(status.status.success(), "{}", text(&status.stdout));
    assert!(precious.join("data").exists(), "cleaning up went through a mount");
}

#[test]
#[ignore = "not a test: cleans up in the mount namespace another test made"]
fn cleaner() {
    let Some(path) = std::env::var_os(SPEC) else {
        return;
    };
    let spec: Spec = serde_json::from_slice(&fs::read(path).expect("reads")).expect("parses");
    assert!(cleanup(&spec).is_err(), "a mount in the way must be told");
}
