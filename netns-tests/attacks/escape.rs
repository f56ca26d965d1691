//! From a container to the host: what published holes of other runtimes did, tried in a container of
//! moat's, and in namespaces that `unshare` alone makes, where it must work.

use std::process::Command;
use std::time::Duration;

use crate::harness;
use crate::isolation::PYTHON;
use crate::net::{Ns, Out, Running, until};
use crate::world::{Mode, World};

const ESCAPES: &str = include_str!("escape.py");
/// Pid, mount, ipc and uts namespaces, and nothing else: what a careless runtime is.
pub const NAIVE: &str = "unshare -mpfiu --mount-proc";
/// A session with a key in it, from which a runtime is started.
const SESSION: &str = "import ctypes, os, sys\nc = ctypes.CDLL(None)\nc.syscall(250, 1, None)\n\
                       assert c.syscall(248, b'user', b'moat-key', b'precious', 8, -3) > 0\nos.execvp(sys.argv[1], sys.argv[1:])";

/// Runs a line of shell with a descriptor of `/` open and a key in its session.
fn careless(w: &World, line: &str) -> Out {
    let mut c = Command::new(PYTHON);
    c.args(["-c", SESSION, "sh", "-c", &format!("exec 7</; {line}")])
        .env("MOAT_ROOT", &w.root)
        .env("MOAT_DATA", harness::dir().join("data"))
        .env("ESCAPES", ESCAPES);
    Out::of(&mut c)
}

/// Every try that works in bare namespaces works in no container, with or without a user namespace
/// of its own, whether or not calls are filtered.
pub fn every_known_way(mode: Mode) {
    if !cfg!(target_arch = "x86_64") {
        return; // The numbers of the calls are those of one architecture.
    }
    let w = World::new(mode);
    let secret = harness::dir().join("secret");
    Ns::host().must(&format!(
        "echo treasure > {}; ip link add hostonly0 type veth peer name hostonly1",
        secret.display()
    ));
    let serve = "import socket\ns=socket.socket(socket.AF_UNIX)\ns.bind('\\0moat-escape')\ns.listen(64)\nprint('ready',flush=True)\n\
                 while True: s.accept()[0].close()";
    let _server = Running::start(Command::new(PYTHON).args(["-c", serve]), "ready");
    let arguments = format!("{} moat-escape moat-key hostonly0", secret.display());
    let script = format!("{PYTHON} -c \"$ESCAPES\" {arguments}");
    let bare = careless(&w, &format!("{NAIVE} {script}"));
    let open: Vec<&str> = bare.stdout.lines().collect();
    let total = ESCAPES
        .split("TRIES = {")
        .nth(1)
        .unwrap_or_default()
        .matches("': ")
        .count();
    assert!(
        open.len() == total,
        "{total} tries, and in bare namespaces only {open:?} work: {bare:?}"
    );
    let inside = format!("{PYTHON} -c \"$ESCAPES\" {arguments}").replace("$ESCAPES", "$(cat)");
    for options in ["", "--userns host", "--no-init"] {
        let moat = env!("CARGO_BIN_EXE_moat");
        let out = careless(
            &w,
            &format!("printf %s \"$ESCAPES\" | {moat} run -i --rm {options} -- sh -c '{inside}'"),
        );
        assert!(out.ok(), "{out:?}");
        // Without a process of ours the first process is the command, a copy on the container's layer.
        let said = out.stdout.replace(
            "the runtime itself\n",
            if options == "--no-init" { "" } else { "!" },
        );
        assert_eq!(said, "", "{options}");
    }
    // What rests on the filter alone is for a user namespace of its own no way to the host.
    let moat = env!("CARGO_BIN_EXE_moat");
    let out = careless(
        &w,
        &format!("printf %s \"$ESCAPES\" | {moat} run -i --rm --security seccomp=off -- sh -c '{inside}'"),
    );
    let own = ["user namespace", "perf", "io_uring", "userfaultfd", "kernel log"];
    assert!(out.stdout.lines().all(|l| own.contains(&l)), "{out:?}");
    // A working directory in a descriptor of the caller's: there is none.
    let out = careless(
        &w,
        &format!(
            "{moat} run --rm -w /proc/self/fd/7 -- cat {}",
            secret.display().to_string().trim_start_matches('/')
        ),
    );
    assert!(!out.ok() && !out.stdout.contains("treasure"), "{out:?}");
    w.is_clean();
}

/// Pushes a line into the terminal of whoever started it.
const INJECT: &str =
    "import fcntl, sys\nfor c in b'reboot\\n':\n    fcntl.ioctl(int(sys.argv[1]), 0x5412, bytes([c]))";
/// Starts a command on a terminal of its own, and says what was typed there that nobody typed.
const TERMINAL: &str = "
import fcntl, os, pty, struct, sys, termios
pid, master = pty.fork()
if pid == 0:
    child = os.fork()
    if child == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    os.waitpid(child, 0)
    n = struct.unpack('i', fcntl.ioctl(0, termios.FIONREAD, b'0000'))[0]
    print('typed', n, flush=True)
    os._exit(0)
said = b''
while True:
    try: part = os.read(master, 4096)
    except OSError: break
    if not part: break
    said += part
os.waitpid(pid, 0)
print(said.decode(errors='replace'))
";

/// TIOCSTI: a container types nothing at the terminal that it was started or entered from.
pub fn the_callers_terminal(mode: Mode) {
    let w = World::new(mode);
    w.idle("x", &[]);
    let on_terminal = |command: &[&str]| {
        let mut c = Command::new(PYTHON);
        c.args([&["-c", TERMINAL], command].concat())
            .env("MOAT_ROOT", &w.root)
            .env("MOAT_DATA", harness::dir().join("data"));
        Out::of(&mut c).stdout
    };
    let allowed = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|t| t.trim() == "1");
    let bare: Vec<&str> = NAIVE.split(' ').chain([PYTHON, "-c", INJECT, "0"]).collect();
    let said = on_terminal(&bare);
    assert!(!allowed || said.contains("typed 7"), "bare namespaces: {said}");
    let moat = env!("CARGO_BIN_EXE_moat");
    for start in [
        "run --rm",
        "run --rm -i",
        "run --rm -it",
        "run --rm --no-init",
        "exec x",
        "exec -i x",
        "exec -it x",
    ] {
        let mut command = vec![moat];
        command.extend(start.split(' '));
        if start.starts_with("run") {
            command.push("--");
        }
        for fd in ["0", "1", "2"] {
            let said = on_terminal(&[&command[..], &[PYTHON, "-c", INJECT, fd]].concat());
            assert!(said.contains("typed 0"), "{start}, by {fd}: {said}");
        }
    }
}

/// Names that a container chose do not reach the operator's terminal as commands to it.
pub fn words_for_a_terminal(mode: Mode) {
    let w = World::new(mode);
    let hostile = "import os, time, ctypes\nn = b'\\x1b]0;pwned\\x07\\x9b31m'\nopen(b'/srv/' + n + b'\\n', 'w').close()\n\
                   ctypes.CDLL(None).prctl(15, n[:15], 0, 0, 0)\nprint('ready', flush=True)\ntime.sleep(1000)";
    w.run_d("x", &[], &[PYTHON, "-c", hostile, "\u{1b}[2J"]);
    assert!(until(Duration::from_secs(5), || w
        .ok(&["logs", "x"])
        .contains("ready")));
    for command in [
        &["top", "x"][..],
        &["diff", "x"],
        &["ps", "-a"],
        &["inspect", "x"],
        &["stats", "--no-stream"],
        &["links"],
    ] {
        let out = w.moat(command);
        assert!(out.ok(), "{out:?}");
        let all = format!("{}{}", out.stdout, out.stderr);
        assert!(
            !all.contains('\u{1b}') && !all.contains('\u{7}') && !all.contains('\u{9b}'),
            "{command:?}: {all:?}"
        );
    }
}
