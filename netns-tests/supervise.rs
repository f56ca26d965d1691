//! What pid 1 does while nobody looks: starts again in place, checks, logs, holds still, counts.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::faulty::words;
use crate::harness::{Story, long, own};
use crate::net::{Ns, until};
use crate::world::{FAMILIES, Mode, World};

pub const STORIES: &[Story] = &[
    own("supervise::restart_in_place", restart_in_place),
    own("supervise::policies", policies),
    own("supervise::stays_stopped", stays_stopped),
    own("supervise::health", health),
    own("supervise::paused", paused),
    own("supervise::use_and_limits", use_and_limits),
    own("supervise::log_of_a_flood", log_of_a_flood),
    own("supervise::orphans", orphans),
    own("supervise::killed", killed),
    own("supervise::waits_for_ports", waits_for_ports),
    long("supervise::many_short_runs", many_short_runs),
];

const PATIENCE: Duration = Duration::from_secs(10);

#[track_caller]
fn comes(what: &str, holds: impl FnMut() -> bool) {
    assert!(until(PATIENCE, holds), "{what}: did not come");
}

fn inspect(world: &World, name: &str) -> Value {
    world.json(&["inspect", name])
}

/// The pid of a container's command as the host sees it.
fn command_pid(world: &World, name: &str) -> Option<i64> {
    let all = world.json(&["top", name]);
    let found = all.as_array()?.iter().find(|p| p["parent"] == 1)?;
    found["host_pid"].as_i64()
}

const ECHO: &str = "
import socket
s = socket.create_server(('::', 7000), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    c, _ = s.accept()
    c.sendall(b'here')
    c.close()";

const ASK: &str = "
import socket, sys
print(socket.create_connection((sys.argv[1], 7000), timeout=1).recv(9).decode())";

fn restart_in_place(mode: Mode) {
    let world = World::new(mode);
    let options = words("--restart always -u nobody");
    let server = world.run_d("server", &options, &["/usr/bin/python3", "-c", ECHO]);
    world.idle("client", &["--link", "server:7000/tcp"]);
    let asks = |family: u8| {
        let out = world.exec("client", &["/usr/bin/python3", "-c", ASK, server.ip(family)]);
        out.stdout == "here\n"
    };
    for family in FAMILIES {
        comes("the first answer", || asks(family));
    }
    let links = world.json(&["links"]);
    let link = |links: &Value| {
        (
            links[0]["from"].clone(),
            links[0]["to"].clone(),
            links[0]["port"].clone(),
        )
    };
    for round in 1..=2 {
        let pid = command_pid(&world, "server").expect("a command");
        Ns::host().must(&format!("kill -9 {pid}"));
        comes("a restart", || inspect(&world, "server")["restarts"] == round);
        for family in FAMILIES {
            comes("an answer after a restart", || asks(family));
        }
        let now = inspect(&world, "server");
        assert_eq!(now["pid"], server.pid, "pid 1 stayed");
        assert_eq!(now["mac"], server.mac.as_str());
        assert!(
            now["ips"][0]
                .as_str()
                .is_some_and(|ip| ip.starts_with(&server.ip4))
        );
        assert_eq!(now["last_exit"]["code"], 137);
        assert_eq!(now["last_exit"]["signal"], 9);
        assert_ne!(command_pid(&world, "server"), Some(pid));
    }
    assert_eq!(link(&world.json(&["links"])), link(&links));
    // With the command's own rights, as the first time.
    let rights = "grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/$(pgrep python3)/status";
    let again = world.exec("server", &["sh", "-c", rights]).stdout;
    let once = world
        .moat(&words(
            "run --rm -u nobody -- grep -E ^(CapEff|CapBnd|NoNewPrivs|Seccomp): /proc/self/status",
        ))
        .stdout;
    assert!(once.lines().count() == 4, "{once}");
    for line in once.lines() {
        assert!(again.contains(line), "{line} is not in {again}");
    }
    assert!(again.contains("65534\t65534"), "{again}");
    world.is_clean();
}

fn policies(mode: Mode) {
    let world = World::new(mode);
    let fails = |name: &str, policy: &str, line: &str| {
        world.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--restart",
            policy,
            "--",
            "sh",
            "-c",
            line,
        ]);
        assert_eq!(
            world.moat(&["wait", name]).code,
            line[line.len() - 1..].parse::<i32>().unwrap(),
            "{name}"
        );
        let end = inspect(&world, name);
        assert_eq!(end["status"], "exited");
        (
            end["restarts"].as_u64(),
            world.ok(&["logs", name]).lines().count(),
        )
    };
    assert_eq!(fails("twice", "on-failure:2", "echo run; exit 3"), (Some(2), 3));
    assert_eq!(fails("good", "on-failure", "echo run; exit 0"), (Some(0), 1));
    assert_eq!(fails("no", "no", "echo run; exit 4"), (Some(0), 1));
    // A failure that passes ends with the first success.
    let line = "echo run; [ -e /tmp/was ] && exit 0; touch /tmp/was; exit 5 # 0";
    assert_eq!(fails("once", "on-failure", line), (Some(1), 2));
    for (options, hint) in [
        ("--restart always --no-init", "--no-init"),
        ("--health-cmd true --no-init", "--no-init"),
        ("--restart sometimes", "restart policy"),
        ("--restart always -t", "-d"),
    ] {
        let out = world.moat(&words(&format!("run --rm {options} -- true")));
        assert!(out.code == 125 && out.stderr.contains(hint), "{options}: {out:?}");
    }
    assert_eq!(world.json(&["ps", "-a"]).as_array().map(Vec::len), Some(4));
    world.is_clean();
}

fn stays_stopped(mode: Mode) {
    let world = World::new(mode);
    let always = ["--restart", "always"];
    let stays_down = |name: &str| {
        assert_eq!(inspect(&world, name)["status"], "exited", "{name}");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(inspect(&world, name)["status"], "exited", "{name}");
    };
    world.run_d("plain", &always, &["sleep", "1000"]);
    // Between two runs, when there is no command to signal.
    world.run_d("failing", &always, &["false"]);
    comes("a pause between two runs", || {
        let now = inspect(&world, "failing");
        now["restarting"] == true && now["restarts"].as_u64() >= Some(2)
    });
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    world.run_d("deaf", &always, &["sh", "-c", deaf]);
    comes("the trap", || world.ok(&["logs", "deaf"]).contains("ready"));
    for name in ["plain", "failing", "deaf"] {
        world.ok(&["stop", "-t", "1", name]);
        stays_down(name);
    }
    world.run_d(
        "int",
        &["--restart", "always", "--stop-signal", "USR1"],
        &["sleep", "1000"],
    );
    world.ok(&["stop", "-t", "5", "int"]);
    assert_eq!(inspect(&world, "int")["exit_code"], 128 + 10);
    stays_down("int");
    // A signal from inside is none of a person's; one from outside that ends nothing is none either.
    let line = "trap 'exit 1' HUP TERM; echo up; while :; do sleep 0.05; done";
    world.run_d("goes-on", &always, &["sh", "-c", line]);
    comes("the first run", || world.ok(&["logs", "goes-on"]).contains("up"));
    world.ok(&words("kill -s HUP goes-on"));
    comes("a second run", || {
        world.ok(&["logs", "goes-on"]).lines().count() == 2
    });
    assert!(world.exec("goes-on", &["kill", "-TERM", "1"]).ok());
    comes("a third run", || {
        world.ok(&["logs", "goes-on"]).lines().count() == 3
    });
    world.ok(&words("kill goes-on"));
    stays_down("goes-on");
    assert_eq!(inspect(&world, "goes-on")["exit_code"], 137);
    world.run_d("gone", &always, &["sleep", "1000"]);
    world.ok(&words("rm -f gone"));
    assert_ne!(world.moat(&["inspect", "gone"]).code, 0);
    world.is_clean();
}

fn health(mode: Mode) {
    let world = World::new(mode);
    let options = [
        "--health-cmd",
        "echo \"asked by $(id -u)\"; test -e /tmp/well",
        "--health-interval",
        "200ms",
        "--health-retries",
        "2",
        "--health-start-period",
        "60s",
        "-u",
        "nobody",
    ];
    world.run_d("x", &options, &["sleep", "1000"]);
    let status = || inspect(&world, "x")["health"].clone();
    assert_eq!(status(), "starting");
    assert_eq!(world.moat(&words("wait x --healthy --timeout 1s")).code, 1);
    assert_eq!(status(), "starting", "failures of the start period do not count");
    world.ok(&["exec", "x", "touch", "/tmp/well"]);
    world.ok(&words("wait x --healthy --timeout 10s"));
    assert_eq!(status(), "healthy");
    assert_eq!(inspect(&world, "x")["check"]["output"], "asked by 65534");
    assert!(world.ok(&["ps"]).contains("running (healthy)"));
    world.ok(&["exec", "x", "rm", "/tmp/well"]);
    comes("bad health", || status() == "unhealthy");
    assert!(inspect(&world, "x")["check"]["failing"].as_u64() >= Some(2));
    assert_eq!(inspect(&world, "x")["status"], "running");
    world.ok(&["exec", "x", "touch", "/tmp/well"]);
    comes("good health again", || status() == "healthy");
    let late = words("--health-timeout 100ms --health-interval 100ms --health-retries 1 --health-cmd");
    world.run_d("slow", &[&late[..], &["sleep 1000"]].concat(), &["sleep", "1000"]);
    comes("a check that takes too long", || {
        inspect(&world, "slow")["health"] == "unhealthy"
    });
    assert!(
        inspect(&world, "slow")["check"]["output"]
            .as_str()
            .is_some_and(|text| text.contains("100 ms"))
    );
    comes("no check left over", || {
        let all = world.json(&["top", "slow"]);
        all.as_array().is_some_and(|all| all.len() <= 4)
    });
    world.idle("plain", &[]);
    assert_eq!(world.moat(&words("wait plain --healthy")).code, 125);
    world.is_clean();
}

fn paused(mode: Mode) {
    let world = World::new(mode);
    let count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
    world.run_d("x", &[], &["sh", "-c", count]);
    let last = || {
        world
            .ok(&words("logs --tail 1 x"))
            .trim()
            .parse::<u64>()
            .unwrap_or(0)
    };
    comes("counting", || last() > 3);
    world.ok(&["pause", "x"]);
    world.ok(&["pause", "x"]);
    assert_eq!(inspect(&world, "x")["paused"], true);
    assert!(world.ok(&["ps"]).contains("running (paused)"));
    let held = last();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(last(), held, "what is paused does not count");
    let refused = world.exec("x", &["true"]);
    assert!(
        refused.code == 125 && refused.stderr.contains("unpause"),
        "{refused:?}"
    );
    world.ok(&["unpause", "x"]);
    assert_eq!(inspect(&world, "x")["paused"], false);
    comes("counting on", || last() > held + 3);
    // Held still, all three ends are ends nevertheless.
    for (name, end) in [("a", "stop -t 5 a"), ("b", "kill b"), ("c", "rm -f c")] {
        world.idle(name, &[]);
        world.ok(&["pause", name]);
        let begun = Instant::now();
        world.ok(&words(end));
        assert!(begun.elapsed() < Duration::from_secs(5), "{end}");
    }
    assert_eq!(inspect(&world, "a")["exit_code"], 143);
    assert_eq!(inspect(&world, "b")["exit_code"], 137);
    assert_eq!(world.moat(&["pause", "a"]).code, 2);
    world.is_clean();
}

fn use_and_limits(mode: Mode) {
    let world = World::new(mode);
    world.run_d(
        "busy",
        &words("-m 300m --pids 40 --cpus 0.5"),
        &["sh", "-c", "while :; do :; done"],
    );
    world.idle("idle", &[]);
    std::thread::sleep(Duration::from_millis(500));
    let all = world.json(&words("stats --no-stream"));
    let of = |name: &str| {
        all.as_array()
            .and_then(|all| all.iter().find(|s| s["name"] == name))
            .cloned()
    };
    let (busy, idle) = (of("busy").expect("listed"), of("idle").expect("listed"));
    let cpu = |s: &Value| s["cpu_percent"].as_f64().unwrap_or(-1.0);
    assert!(cpu(&busy) > 5.0 && cpu(&busy) < 90.0, "{busy}");
    assert!(cpu(&idle) < 5.0, "{idle}");
    assert!(busy["cpu_us"].as_u64() > idle["cpu_us"].as_u64());
    assert_eq!(
        (&busy["memory_limit"], &busy["pids_limit"]),
        (&(300 << 20).into(), &40.into())
    );
    assert!(
        idle["memory"].as_u64() > Some(100_000) && idle["memory"].as_u64() < Some(300 << 20),
        "{idle}"
    );
    assert!(busy["pids"].as_u64() >= Some(2) && idle["memory_limit"].is_null());
    let before = idle["received"].as_u64();
    world.run_d(
        "pinger",
        &["--link", "idle"],
        &["ping", "-q", "-i", "0.05", &world.container("idle").ip4],
    );
    comes("packets counted", || {
        world.json(&words("stats --no-stream idle"))[0]["received"].as_u64() > before.map(|n| n + 200)
    });
    let limits = inspect(&world, "busy")["limits"].clone();
    let values: Vec<_> = limits
        .as_array()
        .into_iter()
        .flatten()
        .map(|l| (l["limit"].clone(), l["value"].as_f64()))
        .collect();
    assert_eq!(values.len(), 3, "{limits}");
    assert!(values.contains(&("cpus".into(), Some(0.5))) && values.contains(&("pids".into(), Some(40.0))));
    assert!(
        limits[0]["path"]
            .as_str()
            .is_some_and(|p| std::path::Path::new(p).is_dir())
    );
    let top = world.ok(&["top", "busy"]);
    assert!(
        top.contains("moat-init") && top.contains("while :") && top.contains("root"),
        "{top}"
    );
    let eat = "x = bytearray(200 << 20)";
    let out = world.moat(&[
        "run",
        "--name",
        "hog",
        "-m",
        "40m",
        "--",
        "/usr/bin/python3",
        "-c",
        eat,
    ]);
    assert_eq!(out.code, 137, "{out:?}");
    let hog = inspect(&world, "hog");
    assert_eq!(
        (&hog["oom_killed"], &hog["last_exit"]["oom_killed"]),
        (&true.into(), &true.into()),
        "{hog}"
    );
    assert!(hog["usage"]["max_rss_kib"].as_u64() > Some(5000), "{hog}");
    assert_eq!(inspect(&world, "busy")["oom_killed"], false);
    world.is_clean();
}

fn log_of_a_flood(mode: Mode) {
    let world = World::new(mode);
    let line = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; sleep 0.5";
    world.run_d("x", &words("--log-size 16k"), &["sh", "-c", line]);
    let followed = world.ok(&words("logs -f x"));
    assert!(followed.ends_with("line 20000\n"), "following ends with the end");
    let kept = world.ok(&["logs", "x"]);
    let numbers: Vec<u64> = kept
        .lines()
        .filter_map(|l| l.strip_prefix("line ")?.parse().ok())
        .collect();
    assert_eq!(numbers.last(), Some(&20000));
    assert!(
        numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "no line is missing between"
    );
    let log = inspect(&world, "x")["log"].as_str().expect("a path").to_owned();
    for file in [log.clone(), format!("{log}.1")] {
        let size = std::fs::metadata(&file).expect("is there").len();
        assert!(size <= 16 << 10, "{file}: {size}");
    }
}

fn orphans(mode: Mode) {
    let world = World::new(mode);
    let line = "for i in 1 2 3 4 5; do (setsid sh -c 'sleep 0.1 & sleep 0.1' &) ; done; sleep 1000";
    world.run_d("x", &[], &["sh", "-c", line]);
    comes("only the command is left, and no zombie", || {
        let all = world.json(&["top", "x"]);
        let all = all.as_array().cloned().unwrap_or_default();
        all.len() == 3 && all.iter().all(|p| p["state"] != "Z")
    });
}

fn killed(mode: Mode) {
    let world = World::new(mode);
    for init in ["--init", "--no-init"] {
        let x = world.idle("x", &[init]);
        // pid 1 itself, from outside: nobody can write down how it ended.
        Ns::host().must(&format!("kill -9 {}", x.pid));
        assert_eq!(world.moat(&["wait", "x"]).code, 137, "{init}");
        comes("its end", || inspect(&world, "x")["exit_code"] == 137);
        world.ok(&["rm", "x"]);
    }
    assert_eq!(world.moat(&words("run --rm -- no-such-command")).code, 127);
    assert_eq!(world.moat(&words("run --rm -- /etc/passwd")).code, 126);
    assert_eq!(world.moat(&words("run --rm --net nope -- true")).code, 125);
    assert_eq!(world.moat(&words("wait nobody")).code, 125);
    assert_eq!(world.moat(&words("exec nobody true")).code, 125);
    world.is_clean();
}

fn waits_for_ports(mode: Mode) {
    let world = World::new(mode);
    let serve = |kind: &str, family: &str, address: &str| {
        format!(
            "import socket, time; time.sleep(.2); s = socket.socket(socket.{family}, socket.{kind}); \
             s.bind(('{address}', 9000)); s.listen() if '{kind}' == 'SOCK_STREAM' else None; time.sleep(1000)"
        )
    };
    for (name, kind, family, address, proto) in [
        ("tcp4", "SOCK_STREAM", "AF_INET", "0.0.0.0", "tcp"),
        ("tcp6", "SOCK_STREAM", "AF_INET6", "::", "tcp"),
        ("udp4", "SOCK_DGRAM", "AF_INET", "0.0.0.0", "udp"),
        ("udp6", "SOCK_DGRAM", "AF_INET6", "::", "udp"),
    ] {
        world.run_d(
            name,
            &[],
            &["/usr/bin/python3", "-c", &serve(kind, family, address)],
        );
        world.ok(&["wait", &format!("{name}:9000/{proto}"), "--timeout", "10s"]);
    }
    assert_eq!(world.moat(&words("wait udp4:9000/tcp --timeout 1s")).code, 1);
    // It fails twice before it serves: the wait outlives the restarts.
    let line = "n=$(cat /tmp/n 2>/dev/null || echo 0); echo $((n+1)) > /tmp/n; [ $n -ge 2 ] || exit 1; exec /usr/bin/python3 -c \"$0\"";
    let server = serve("SOCK_STREAM", "AF_INET", "0.0.0.0");
    world.run_d("late", &["--restart", "on-failure"], &["sh", "-c", line, &server]);
    world.ok(&words("wait late:9000 --timeout 20s"));
    assert_eq!(inspect(&world, "late")["restarts"], 2);
}

/// `MOAT_RUNS=1000` is what `make soak-run` asks for.
fn many_short_runs(mode: Mode) {
    let runs: u32 = std::env::var("MOAT_RUNS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(100);
    let world = World::new(mode);
    world.idle("beside", &[]);
    let before = world.moment();
    let mut slowest = Duration::ZERO;
    for n in 0..runs {
        let begun = Instant::now();
        let mut command = world.command(&words("run --rm -- /bin/true"));
        let mut child = command.spawn().expect("moat starts");
        assert!(
            until(Duration::from_secs(60), || matches!(
                child.try_wait(),
                Ok(Some(_))
            )),
            "run {n} hangs"
        );
        assert!(child.wait().expect("ended").success(), "run {n}");
        slowest = slowest.max(begun.elapsed());
    }
    eprintln!("{runs} runs, the slowest took {slowest:?}");
    world.comes_to_be(&[&before], "after many short runs");
    world.is_clean();
}
