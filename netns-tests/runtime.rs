//! Containers as a person uses them: status, signals, terminal, log, limits, files.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::faulty::words;
use crate::harness::{self, Story, own};
use crate::net::{Ns, Out, Running, until};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("runtime::status_and_signals", status_and_signals),
    own("runtime::stop_and_kill", stop_and_kill),
    own("runtime::wait", wait),
    own("runtime::terminal", terminal),
    own("runtime::input_and_log", input_and_log),
    own("runtime::options", options),
    own("runtime::limits", limits),
    own("runtime::root_directory", root_directory),
    own("runtime::without_network", without_network),
];

fn sh(world: &World, options: &str, line: &str) -> Out {
    let args = [&["run", "--rm"], &words(options)[..], &["--", "sh", "-c", line]].concat();
    world.moat(&args)
}

fn status_and_signals(mode: Mode) {
    let world = World::new(mode);
    for init in ["--init", "--no-init"] {
        assert_eq!(sh(&world, init, "exit 7").code, 7, "{init}");
        assert_eq!(sh(&world, init, "exit 0").code, 0, "{init}");
    }
    assert_eq!(sh(&world, "", "kill -TERM $$").code, 128 + 15);
    assert_eq!(sh(&world, "", "kill -KILL $$").code, 128 + 9);
    // A signal to moat is one to the command.
    let mut c = world.command(&[
        "run",
        "--rm",
        "--",
        "sh",
        "-c",
        "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done",
    ]);
    let mut child = c.stdout(Stdio::piped()).spawn().expect("moat starts");
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut line).expect("reads");
    let kill = Command::new("kill").arg(child.id().to_string()).status();
    assert!(kill.expect("kill").success());
    assert_eq!(child.wait().expect("ends").code(), Some(9));
    world.is_clean();
}

fn stop_and_kill(mode: Mode) {
    let world = World::new(mode);
    world.run_d(
        "kind",
        &[],
        &["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"],
    );
    world.run_d(
        "deaf",
        &[],
        &["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"],
    );
    std::thread::sleep(Duration::from_millis(200));
    world.ok(&words("stop -t 5 kind"));
    assert_eq!(world.json(&["inspect", "kind"])["exit_code"], 3);
    let begun = Instant::now();
    world.ok(&words("stop -t 1 deaf"));
    assert!(begun.elapsed() >= Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(4));
    assert_eq!(world.json(&["inspect", "deaf"])["status"], "exited");
    world.run_d(
        "hup",
        &[],
        &["sh", "-c", "trap 'exit 4' HUP; while :; do sleep 0.05; done"],
    );
    std::thread::sleep(Duration::from_millis(200));
    world.ok(&words("kill -s HUP hup"));
    assert_eq!(world.moat(&["wait", "hup"]).code, 4);
    world.idle("x", &[]);
    world.ok(&words("kill x"));
    assert_eq!(world.json(&["inspect", "x"])["status"], "exited");
    world.is_clean();
    world.ok(&words("rm kind deaf hup x"));
    world.is_clean();
}

fn wait(mode: Mode) {
    let world = World::new(mode);
    world.run_d("x", &[], &["sh", "-c", "sleep 0.3; exit 5"]);
    assert_eq!(world.moat(&["wait", "x"]).code, 5);
    assert_eq!(world.moat(&["wait", "x"]).code, 5);
    let server = "import socket,time; time.sleep(.3); s=socket.create_server(('',80)); time.sleep(60)";
    world.run_d("s", &[], &["/usr/bin/python3", "-c", server]);
    assert!(world.moat(&words("wait s:80 --timeout 10s")).ok());
    assert_eq!(world.moat(&words("wait s:81 --timeout 1s")).code, 1);
}

const ON_A_PTY: &str = r"
import os, pty, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
os.write(fd, b'tty; stty size; exit 6\n')
text = b''
while True:
    try:
        more = os.read(fd, 1000)
    except OSError:
        break
    if not more:
        break
    text += more
print(text.decode(errors='replace'))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";

fn terminal(mode: Mode) {
    let world = World::new(mode);
    let on_a_pty = |args: &[&str]| {
        let mut c = Command::new("timeout");
        c.args([
            "20",
            "/usr/bin/python3",
            "-c",
            ON_A_PTY,
            env!("CARGO_BIN_EXE_moat"),
        ])
        .args(args)
        .env("MOAT_ROOT", &world.root)
        .env("MOAT_DATA", harness::dir().join("data"));
        Out::of(&mut c)
    };
    let out = on_a_pty(&["run", "--rm", "-it", "--", "sh"]);
    assert_eq!(out.code, 6, "{out:?}");
    assert!(out.stdout.contains("/dev/"), "{out:?}");
    world.idle("x", &[]);
    let out = on_a_pty(&["exec", "-it", "x", "sh"]);
    assert_eq!(out.code, 6, "{out:?}");
    world.is_clean();
}

fn input_and_log(mode: Mode) {
    let world = World::new(mode);
    let mut c = world.command(&words("run --rm -i -- cat"));
    let mut child = c
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("moat starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"through\n")
        .expect("writes");
    let out = child.wait_with_output().expect("ends");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "through\n");
    // Without -i it reads nothing.
    assert_eq!(sh(&world, "", "cat; echo end").stdout, "end\n");
    world.run_d(
        "x",
        &[],
        &[
            "sh",
            "-c",
            "for i in 1 2 3 4; do echo line $i; sleep 0.2; done; echo err >&2",
        ],
    );
    let mut follow = world.command(&words("logs -f x"));
    let mut follow = Running::start(&mut follow, "line 1");
    assert!(
        until(Duration::from_secs(5), || !follow.runs()),
        "logs -f ends with the container"
    );
    assert!(follow.text().contains("line 4") && follow.text().contains("err"));
    let tail = world.moat(&words("logs --tail 2 x"));
    assert_eq!((tail.stdout + &tail.stderr).lines().count(), 2);
    assert!(world.ok(&["logs", "x"]).starts_with("line 1\n"));
}

fn options(mode: Mode) {
    let world = World::new(mode);
    let data = harness::dir().join("volume");
    std::fs::create_dir(&data).expect("makes");
    std::fs::write(data.join("file"), "of the host\n").expect("writes");
    let volume = format!("{}:/mnt/v", data.display());
    let fixed = format!("{volume}:ro");
    let says = |options: &[&str], line: &str| {
        let out = world.moat(&[&["run", "--rm"], options, &["--", "sh", "-c", line]].concat());
        assert!(out.ok(), "{options:?}: {out:?}");
        out.stdout.trim().to_owned()
    };
    assert_eq!(says(&["-e", "A=1", "-e", "B=x y"], "echo $A $B"), "1 x y");
    assert_eq!(says(&["-w", "/usr"], "pwd"), "/usr");
    assert_eq!(says(&["-u", "65534:65534"], "id -u; id -g"), "65534\n65534");
    assert_eq!(says(&["--hostname", "here"], "hostname"), "here");
    assert_eq!(
        says(&["-v", &volume], "cat /mnt/v/file; echo new > /mnt/v/new"),
        "of the host"
    );
    assert_eq!(
        std::fs::read_to_string(data.join("new")).expect("written"),
        "new\n"
    );
    assert_eq!(
        says(&["-v", &fixed], "echo x > /mnt/v/file 2>/dev/null || echo no"),
        "no"
    );
    assert_eq!(
        says(&["--read-only"], "touch /etc/x 2>/dev/null || echo no"),
        "no"
    );
    says(&[], "echo mine > /etc/moat-was-here");
    assert!(!std::path::Path::new("/etc/moat-was-here").exists());
    world.ok(&words(
        "run -d --name x --label app=web --ip 10.9.7.7 --ip6 fd6d:6f61:1::77 --mac 02:00:00:00:00:77 -- sleep 1000",
    ));
    let x = world.json(&["inspect", "x"]);
    assert_eq!(x["labels"]["app"], "web");
    assert_eq!(x["mac"], "02:00:00:00:00:77");
    let inside = world.exec("x", &["ip", "-br", "address", "show", "eth0"]).stdout;
    assert!(
        inside.contains("10.9.7.7/16") && inside.contains("fd6d:6f61:1::77/"),
        "{inside}"
    );
    let out = world.moat(&words("exec -e A=2 x sh -c"));
    assert_ne!(out.code, 0);
    let out = world.moat(&[
        "exec",
        "-e",
        "A=2",
        "-u",
        "65534",
        "x",
        "sh",
        "-c",
        "echo $A; id -u; exit 8",
    ]);
    assert_eq!((out.code, out.stdout.as_str()), (8, "2\n65534\n"));
    let pid1 = sh(&world, "--no-init", "echo $$").stdout;
    assert_eq!(pid1, "1\n");
}

fn limits(mode: Mode) {
    let world = World::new(mode);
    let eat = "x = bytearray(200 << 20); print(len(x))";
    let out = world.moat(&["run", "--rm", "-m", "64m", "--", "/usr/bin/python3", "-c", eat]);
    assert_eq!(out.code, 137, "{out:?}");
    assert!(
        world
            .moat(&["run", "--rm", "-m", "400m", "--", "/usr/bin/python3", "-c", eat])
            .ok()
    );
    let fork = "i=0; while [ $i -lt 30 ]; do sleep 2 & i=$((i+1)); done; echo all";
    let out = sh(&world, "--pids 10", fork);
    assert!(!out.stdout.contains("all"), "{out:?}");
    // A tenth of a processor in a second.
    let burn = "import time\ne=time.time()+1\nwhile time.time()<e: pass\nprint(time.process_time())";
    let out = world.moat(&[
        "run",
        "--rm",
        "--cpus",
        "0.1",
        "--",
        "/usr/bin/python3",
        "-c",
        burn,
    ]);
    let used: f64 = out.stdout.trim().parse().unwrap_or(9.0);
    assert!(used < 0.5, "{out:?}");
    world.is_clean();
}

/// A root of a few programs of the host with what they need.
fn root_directory(mode: Mode) {
    let world = World::new(mode);
    let root = harness::dir().join("rootfs");
    Ns::host().must(&format!(
        "mkdir -p {0}/bin {0}/etc; for p in sh cat ls; do cp -L $(command -v $p) {0}/bin/; done; \
         for l in $(ldd /bin/sh /bin/cat /bin/ls | grep -o '/[^ :]*' | grep '\\.so' | sort -u); do \
         mkdir -p {0}$(dirname $l); cp -L $l {0}$l; done; echo mine > {0}/etc/motd",
        root.display()
    ));
    let path = root.display().to_string();
    let out = world.moat(&[
        "run",
        "--rm",
        "--rootfs",
        &path,
        "--",
        "/bin/sh",
        "-c",
        "cat /etc/motd; echo x > /etc/new; ls /usr/bin 2>/dev/null; true",
    ]);
    assert!(out.ok(), "{out:?}");
    assert_eq!(out.stdout, "mine\n");
    assert!(!root.join("etc/new").exists(), "the directory is not written to");
    world.is_clean();
}

fn without_network(mode: Mode) {
    let world = World::new(mode);
    world.ok(&["ps"]);
    let before = world.moment();
    let out = world.moat(&words("run --rm --net none -- ip -br link"));
    assert!(
        out.ok() && out.stdout.lines().count() == 1 && out.stdout.starts_with("lo"),
        "{out:?}"
    );
    world.ok(&words("run -d --name x --net none -- sleep 1000"));
    assert_eq!(Ns::host().must("ip -br link").lines().count(), 1);
    world.is_clean();
    world.ok(&words("rm -f x"));
    world.comes_to_be(&[&before], "after a container without a network");
}
