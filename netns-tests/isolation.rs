//! What a container with default options can see and do of the host and of its neighbours.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use crate::harness::{self, Story, own};
use crate::net::{Ns, Out, Running, until};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("isolation::secrets", secrets),
    own("isolation::processes", processes),
    own("isolation::kernel", kernel),
    own("isolation::abstract_sockets", abstract_sockets),
    own("isolation::descriptors", descriptors),
    own("isolation::neighbours", neighbours),
];

pub const PYTHON: &str = "/usr/bin/python3";

pub fn run(world: &World, options: &[&str], command: &[&str]) -> Out {
    world.moat(&[&["run", "--rm"], options, &["--"], command].concat())
}

pub fn sh(world: &World, options: &[&str], line: &str) -> Out {
    run(world, options, &["sh", "-c", line])
}

fn secrets(mode: Mode) {
    let world = World::new(mode);
    let host = Ns::host();
    for dir in ["/root", "/home"] {
        host.must(&format!(
            "mount -t tmpfs tmpfs {dir} && mkdir {dir}/ann && echo treasure-{dir} > {dir}/ann/key"
        ));
    }
    let shadow = std::fs::read_to_string("/etc/shadow").expect("root reads it");
    assert!(!shadow.is_empty());
    let look = "cat /etc/shadow /etc/shadow- /etc/gshadow /proc/1/root/etc/shadow /proc/self/root/etc/shadow \
                /proc/self/cwd/../etc/shadow /root/ann/key /home/ann/key 2>/dev/null; \
                cat /etc/ssh/ssh_host_*_key 2>/dev/null; ls -A /root /home | grep ann; true";
    for options in [&[][..], &["--userns", "host"]] {
        let out = sh(&world, options, look);
        assert!(out.ok(), "{out:?}");
        assert_eq!(out.stdout, "", "{options:?}");
    }
    // What is asked for is there, and nothing beside it.
    let out = sh(
        &world,
        &["--share", "/home/ann"],
        "cat /home/ann/key; cat /root/ann/key 2>/dev/null; true",
    );
    assert_eq!(out.stdout, "treasure-/home\n", "{out:?}");
    let state = world.root.display().to_string();
    let out = sh(&world, &["--share", "/tmp"], &format!("ls {state} 2>&1; true"));
    assert!(
        !out.stdout.contains("state.db") && !out.stdout.contains("containers"),
        "{out:?}"
    );
}

fn processes(mode: Mode) {
    let world = World::new(mode);
    let mut sleeper = Running::start(
        Command::new("sh").args(["-c", "echo ready; exec sleep 4242"]),
        "ready",
    );
    let seen = sh(
        &world,
        &[],
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; ls -d /proc/[0-9]* | wc -l",
    );
    assert!(seen.ok() && !seen.stdout.contains("4242"), "{seen:?}");
    let count: u32 = seen
        .stdout
        .lines()
        .last()
        .and_then(|l| l.trim().parse().ok())
        .expect("a number");
    assert!(count < 8, "{seen:?}");
    // Signals reach nobody outside either, whatever number is tried.
    let kill = sh(
        &world,
        &[],
        "i=2; while [ $i -lt 400 ]; do [ $i = $$ ] || kill -9 $i 2>/dev/null; i=$((i+1)); done; true",
    );
    assert!(kill.ok(), "{kill:?}");
    assert!(sleeper.runs());
    let env = sh(
        &world,
        &[],
        "cat /proc/1/environ /proc/1/mem 2>&1 | head -c 300; ls -l /proc/1/exe /proc/1/root 2>&1",
    );
    assert!(
        !env.stdout.contains("MOAT_STORY") && !env.stdout.contains(env!("CARGO_BIN_EXE_moat")),
        "{env:?}"
    );
}

/// Tries each system call with arguments that get as far as the question of rights; prints those that were
/// not refused for want of them.
const CALLS: &str = r"
import ctypes, errno, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def mount(src, dst, kind, flags, data=None):
    return libc.mount(src, dst, kind, flags, data)
AT = -100
tries = {
    'mount tmpfs': lambda: mount(b'x', b'/srv', b'tmpfs', 0),
    'mount proc': lambda: mount(b'x', b'/srv', b'proc', 0),
    'bind': lambda: mount(b'/etc', b'/srv', None, 4096),
    'remount /proc/sys': lambda: mount(None, b'/proc/sys', None, 32 | 4096),
    'remount /sys': lambda: mount(None, b'/sys', None, 32),
    'umount shadow': lambda: libc.umount2(b'/etc/shadow', 2),
    'umount /root': lambda: libc.umount2(b'/root', 2),
    'pivot_root': lambda: libc.syscall(155, b'/', b'/srv'),
    'unshare mounts': lambda: libc.unshare(0x20000),
    'unshare user': lambda: libc.unshare(0x10000000),
    'setns': lambda: libc.setns(os.open('/proc/1/ns/net', 0), 0),
    'init_module': lambda: libc.syscall(175, b'', 0, b''),
    'finit_module': lambda: libc.syscall(313, os.open('/etc/passwd', 0), b'', 0),
    'delete_module': lambda: libc.syscall(176, b'overlay', 0),
    'kexec': lambda: libc.syscall(246, 0, 0, 0, 0),
    'reboot': lambda: libc.syscall(169, 0xfee1dead, 672274793, 0, 0),
    'swapon': lambda: libc.syscall(167, b'/etc/passwd', 0),
    'sethostname': lambda: libc.sethostname(b'x', 1),
    'settimeofday': lambda: libc.syscall(164, ctypes.create_string_buffer(16), None),
    'mknod': lambda: libc.mknod(b'/tmp/n', 0o20666, os.makedev(1, 3)),
    'mknod disk': lambda: libc.mknod(b'/dev/n', 0o60666, os.makedev(254, 0)),
    'add_key': lambda: libc.syscall(248, b'user', b'k', b'v', 1, -3),
    'keyctl': lambda: libc.syscall(250, 0, -3, 1),
    'bpf': lambda: libc.syscall(321, 0, struct.pack('4I112x', 2, 4, 4, 1), 128),
    'perf': lambda: libc.syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0),
    'io_uring': lambda: libc.syscall(425, 4, ctypes.create_string_buffer(256)),
    'userfaultfd': lambda: libc.syscall(323, 0),
    'syslog': lambda: libc.syscall(103, 3, ctypes.create_string_buffer(100), 100),
    'open_by_handle_at': lambda: libc.syscall(304, os.open('/', 0), struct.pack('2I8x', 8, 1), 0),
    'iopl': lambda: libc.syscall(172, 3),
}
skip = sys.argv[1:]
# Without the filter, a kernel that lacks a call says so.
refused = {errno.EPERM, errno.EACCES} | ({errno.ENOSYS} if skip else set())
for name, call in tries.items():
    if name in skip:
        continue
    try:
        ctypes.set_errno(0)
        why = ctypes.get_errno() if call() == -1 else 0
    except OSError as e:
        why = e.errno
    if why not in refused:
        print(name, os.strerror(why))
for path in ['/proc/sys/kernel/domainname', '/proc/sys/kernel/core_pattern', '/proc/sys/net/ipv4/ip_forward',
             '/proc/sysrq-trigger', '/proc/irq/default_smp_affinity', '/sys/kernel/profiling',
             '/sys/kernel/uevent_helper', '/sys/class/net/lo/mtu']:
    try:
        with open(path, 'r+b', buffering=0) as f:
            f.write(f.read(1) or b'0')
        print('wrote', path)
    except OSError:
        pass
for path in ['/proc/kcore', '/dev/mem', '/dev/kmsg', '/proc/keys', '/proc/timer_list', '/sys/firmware/dmi', '/sys/kernel/debug/x']:
    try:
        with open(path, 'rb', buffering=0) as f:
            if f.read(1):
                print('read', path)
    except OSError:
        pass
";

fn kernel(mode: Mode) {
    // The numbers of the calls are those of one architecture.
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let world = World::new(mode);
    for options in [&[][..], &["--userns", "host"]] {
        let out = run(&world, options, &[PYTHON, "-c", CALLS]);
        assert!(out.ok(), "{out:?}");
        assert_eq!(out.stdout, "", "{options:?}");
    }
    // The filter is not what it rests on: without it the rest still holds. What a user namespace of its own
    // may do in there (namespaces, keys of its own) is no way to the host.
    let own = [
        "unshare user",
        "bpf",
        "add_key",
        "keyctl",
        "io_uring",
        "userfaultfd",
        "perf",
        "syslog",
    ];
    let out = run(
        &world,
        &["--security", "seccomp=off"],
        &[&[PYTHON, "-c", CALLS][..], &own].concat(),
    );
    assert!(out.ok(), "{out:?}");
    assert_eq!(out.stdout, "");
    // With the right to mount it mounts, but what is hidden or read-only stays so.
    let line = "mount -t tmpfs x /srv && echo mounted; umount /etc/shadow 2>/dev/null && echo bare; \
                mount -o remount,rw,bind /proc/sys 2>/dev/null && echo writable; \
                unshare -m umount /root 2>/dev/null && echo bare; cat /etc/shadow";
    let out = sh(&world, &["--cap-add", "SYS_ADMIN"], line);
    assert_eq!(out.stdout, "mounted\n", "{out:?}");
}

fn abstract_sockets(mode: Mode) {
    let world = World::new(mode);
    let serve = "import socket\ns=socket.socket(socket.AF_UNIX)\ns.bind('\\0moat-story')\ns.listen(4)\n\
                 print('ready',flush=True)\nwhile True: s.accept()[0].close()";
    let _server = Running::start(Command::new(PYTHON).args(["-c", serve]), "ready");
    let connect = "import socket,sys\ntry: socket.socket(socket.AF_UNIX).connect('\\0moat-story')\n\
                   except OSError as e: sys.exit(e.strerror)\nprint('reached')";
    let here = Out::of(Command::new(PYTHON).args(["-c", connect]));
    assert_eq!(here.stdout, "reached\n", "{here:?}");
    for options in [&[][..], &["--net", "none"], &["--userns", "host"]] {
        let out = run(&world, options, &[PYTHON, "-c", connect]);
        assert!(
            !out.ok() && out.stderr.contains("refused"),
            "{options:?}: {out:?}"
        );
        let list = sh(&world, options, "cat /proc/net/unix");
        assert!(!list.stdout.contains("moat-story"), "{list:?}");
    }
}

fn descriptors(mode: Mode) {
    let world = World::new(mode);
    world.idle("x", &[]);
    let with_open = |args: &str| {
        let mut c = Command::new("sh");
        let line = format!(
            "exec 5</etc/shadow 7</ 8<>/dev/null; exec {} {args}",
            env!("CARGO_BIN_EXE_moat")
        );
        c.args(["-c", &line])
            .env("MOAT_ROOT", &world.root)
            .env("MOAT_DATA", harness::dir().join("data"));
        Out::of(&mut c)
    };
    for args in [
        "run --rm --",
        "run --rm --no-init --",
        "run --rm --userns host --",
        "exec x",
    ] {
        // `ls` itself has the directory open.
        let out = with_open(&format!("{args} ls /proc/self/fd"));
        assert_eq!(out.stdout, "0\n1\n2\n3\n", "{args}: {out:?}");
        let out = with_open(&format!("{args} cat /proc/self/fd/5 /proc/self/fd/7/etc/shadow"));
        assert!(!out.ok() && out.stdout.is_empty(), "{args}: {out:?}");
    }
    let pid = world.container("x").pid;
    let held = Ns::host().must(&format!("ls -l /proc/{pid}/fd | sed 's/.* //'"));
    assert!(
        !held.lines().any(|to| to == "/" || to.starts_with("/etc")),
        "{held}"
    );
}

fn neighbours(mode: Mode) {
    let world = World::new(mode);
    let a = world.run_d(
        "a",
        &[],
        &["sh", "-c", "echo pearl > /srv/a-was-here; exec sleep 3131"],
    );
    world.idle("b", &[]);
    assert!(until(Duration::from_secs(5), || world
        .exec("a", &["cat", "/srv/a-was-here"])
        .ok()));
    let look = "ls /srv; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; cat /proc/net/arp /proc/self/mountinfo; \
                ls /sys/fs/cgroup /sys/class/net";
    let seen = world.exec("b", &["sh", "-c", look]).stdout;
    let mac = a.mac.as_str();
    for mark in ["a-was-here", "3131", mac, &a.ip4] {
        assert!(!seen.contains(mark), "{mark} in {seen}");
    }
    let data = harness::dir().join("data").display().to_string();
    let find = format!(
        "find {data} {} -name a-was-here 2>/dev/null; true",
        world.root.display()
    );
    assert_eq!(world.exec("b", &["sh", "-c", &find]).stdout, "");
    // On the host it is where it should be, with the ids it has inside.
    let found = Ns::host().must(&format!("find {data} -name a-was-here -path '*upper*'"));
    let meta = std::fs::metadata(found.trim()).expect("in the layer");
    assert_eq!((meta.uid(), meta.gid()), (0, 0));
}
