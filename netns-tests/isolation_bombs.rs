//! Containers that fork or eat memory as fast as they can, and what the host has left meanwhile.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Story, own};
use crate::isolation::{PYTHON, sh};
use crate::net::{Ns, Out, until};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("isolation::bombs", bombs),
    own("isolation::bombs_that_go_on", bombs_that_go_on),
];

fn bombs(mode: Mode) {
    let world = World::new(mode);
    let bomb = "import os,time\nn=0\nwhile n<500:\n try: pid=os.fork()\n except OSError: break\n \
                if pid==0: time.sleep(60); os._exit(0)\n n+=1\nprint(n,flush=True)\ntime.sleep(60)";
    world.run_d("x", &["--pids", "40"], &[PYTHON, "-c", bomb]);
    let count = || world.ok(&["logs", "x"]).trim().parse::<u32>().ok();
    assert!(until(Duration::from_secs(20), || count().is_some()));
    assert!(count().is_some_and(|n| n > 5 && n < 41), "{:?}", count());
    // The host and others go on.
    assert!(sh(&world, &[], "true").ok());
    world.ok(&["rm", "-f", "x"]);
    world.is_clean();
}

/// One that forks and one that eats as fast as they can: each meets its own limit, and the host has its
/// processor, its memory and its process numbers.
fn bombs_that_go_on(mode: Mode) {
    let world = World::new(mode);
    let fork = "import os,signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n \
                try: os.fork()\n except OSError: pass";
    let eat = "import os,signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n \
               if os.fork()==0:\n  open('/proc/self/oom_score_adj','w').write('1000')\n  bytearray(1<<30)\n \
               try: os.wait()\n except OSError: pass";
    // Their part of the processors is for the sake of other stories.
    world.run_d("forks", &["--pids", "64", "--cpus", "0.5"], &[PYTHON, "-c", fork]);
    world.run_d("eats", &["-m", "64m", "--cpus", "0.3"], &[PYTHON, "-c", eat]);
    let used = |name: &str, what: &str| world.json(&["stats", "--no-stream", name])[0][what].as_u64();
    let killed = || world.json(&["inspect", "eats"])["oom_killed"] == true;
    let met = || used("forks", "pids") == Some(64) && killed();
    assert!(until(Duration::from_secs(20), met), "no limit was met");
    for _ in 0..2 {
        assert!(used("forks", "pids").is_some_and(|n| n <= 64));
        assert!(used("eats", "memory").is_some_and(|n| n <= 64 << 20));
        // A new process on the host, and a whole container beside them.
        let begun = Instant::now();
        assert!(Out::of(&mut Command::new("true")).ok());
        assert!(sh(&world, &[], "true").ok());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
    assert_eq!(world.json(&["inspect", "forks"])["status"], "running");
    // Whatever they fork, none is left.
    let pids = ["forks", "eats"].map(|name| world.container(name).pid);
    world.ok(&["kill", "forks", "eats"]);
    let gone = |pid: &u64| !Path::new(&format!("/proc/{pid}")).exists();
    assert!(until(Duration::from_secs(10), || pids.iter().all(gone)));
    let left = || Ns::host().must("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '");
    assert!(
        until(Duration::from_secs(10), || !left().contains("os.fork()")),
        "{}",
        left()
    );
    world.ok(&["rm", "forks", "eats"]);
    world.is_clean();
}
