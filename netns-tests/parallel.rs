//! Many commands at once, containers that end by themselves, and what is killed from outside.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::faulty::words;
use crate::harness::{self, Story, own};
use crate::net::{Ns, Out, until};
use crate::world::{FAMILIES, Mode, Neighbour, World};

const MANY: usize = 64;

pub const STORIES: &[Story] = &[
    own("parallel::many_runs_and_rms", many_runs_and_rms),
    own("parallel::mixed", mixed),
    own("parallel::short_lives", short_lives),
    own("parallel::two_hundred", two_hundred),
    own("parallel::killed_from_outside", killed_from_outside),
    own("parallel::another_boot", another_boot),
    own("parallel::two_roots", two_roots),
    own("parallel::forwarding_of_two_roots", forwarding_of_two_roots),
    own("parallel::deserted_groups", deserted_groups),
    own("parallel::namespaces_apart", namespaces_apart),
];

/// Runs all command lines at once; all must succeed.
#[track_caller]
fn all_at_once(world: &World, lines: &[Vec<String>]) -> Duration {
    let begun = Instant::now();
    let start = |line: &Vec<String>| {
        let args: Vec<&str> = line.iter().map(String::as_str).collect();
        let mut c = world.command(&args);
        c.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        c.spawn().expect("moat starts")
    };
    let children: Vec<_> = lines.iter().map(start).collect();
    for (child, line) in children.into_iter().zip(lines) {
        let out = child.wait_with_output().expect("moat ends");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{line:?}: {:?}: {said}", out.status);
    }
    begun.elapsed()
}

fn lines(n: usize, line: impl Fn(usize) -> String) -> Vec<Vec<String>> {
    (1..=n)
        .map(|i| line(i).split_whitespace().map(str::to_owned).collect())
        .collect()
}

fn many_runs_and_rms(mode: Mode) {
    let world = World::new(mode);
    world.ok(&["ps"]);
    let empty = world.moment();
    // The second time the world is empty but not new.
    for _ in 0..2 {
        let up = all_at_once(
            &world,
            &lines(MANY, |i| format!("run -d --name c{i} -- sleep 1000")),
        );
        let all = world.json(&["ps"]);
        let all = all.as_array().expect("a list");
        let running = all.iter().filter(|c| c["status"] == "running").count();
        assert_eq!(running, MANY);
        let ips: BTreeSet<String> = all.iter().map(|c| c["ips"].to_string()).collect();
        assert_eq!(ips.len(), MANY);
        world.is_clean();
        let down = all_at_once(&world, &lines(MANY, |i| format!("rm -f c{i}")));
        world.is_clean();
        world.comes_to_be(&[&empty], "after the last rm");
        println!("{MANY} runs in {up:?}, {MANY} removals in {down:?}");
    }
}

fn mixed(mode: Mode) {
    let world = World::new(mode);
    world.ok(&words("run -d --name a --label app=a -- sleep 1000"));
    world.ok(&words("run -d --name b -- sleep 1000"));
    let base = world.moment();
    let mut all = Vec::new();
    // Neighbouring ports of one pair become one range and fall apart again.
    all.extend(lines(16, |i| format!("link a b:{i}")));
    all.extend(lines(16, |i| {
        format!(
            "run -d --name x{i} --link a:{i} --link label:app=a:80 -p {}:80 -- sleep 1000",
            9000 + i
        )
    }));
    all.extend(lines(8, |i| format!("net create n{i}")));
    all.extend(lines(8, |_| "ps".to_owned()));
    all.extend(lines(4, |_| "links".to_owned()));
    all.extend(lines(4, |_| "run --rm -- true".to_owned()));
    all_at_once(&world, &all);
    world.is_clean();
    let mut all = lines(16, |i| format!("unlink a b:{i}"));
    all.extend(lines(16, |i| format!("rm -f x{i}")));
    all.extend(lines(16, |i| format!("link b label:app=a:{i}")));
    all.extend(lines(8, |i| format!("net rm n{i}")));
    all.extend(lines(4, |_| "fsck".to_owned()));
    all_at_once(&world, &all);
    world.is_clean();
    all_at_once(&world, &lines(16, |i| format!("unlink b label:app=a:{i}")));
    world.is_clean();
    world.comes_to_be(&[&base], "after all of it");
}

fn short_lives(mode: Mode) {
    let world = World::new(mode);
    world.ok(&words("run -d --name keep -- sleep 1000"));
    let base = world.moment();
    world.ok(&["run", "-d", "--name", "x", "--", "sh", "-c", "exit 7"]);
    assert_eq!(world.moat(&["wait", "x"]).code, 7);
    assert_eq!(world.json(&["inspect", "x"])["exit_code"], 7);
    world.is_clean();
    world.ok(&["rm", "x"]);
    world.ok(&["run", "-d", "--rm", "--name", "x", "--", "true"]);
    let gone = until(Duration::from_secs(3), || {
        world
            .json(&["ps", "-a"])
            .as_array()
            .is_some_and(|all| all.len() == 1)
    });
    assert!(gone);
    world.is_clean();
    world.comes_to_be(&[&base], "after short lives");
}

fn two_hundred(mode: Mode) {
    let world = World::new(mode);
    world.ok(&words("run -d --name keep -- sleep 1000"));
    let base = world.moment();
    let begun = Instant::now();
    for i in 0..200 {
        let out = world.moat(&words("run --rm -- /bin/true"));
        assert!(out.ok(), "{i}: {out:?}");
    }
    println!("200 runs in {:?}", begun.elapsed());
    world.is_clean();
    world.comes_to_be(&[&base], "after 200 runs");
}

fn killed_from_outside(mode: Mode) {
    let world = World::new(mode);
    world.ok(&words("run -d --name keep -- sleep 1000"));
    let base = world.moment();
    let x = world.idle("x", &["--link", "keep:80", "-p", "8080:80"]);
    let kill = Command::new("kill").args(["-9", &x.pid.to_string()]).status();
    assert!(kill.expect("kill").success());
    let ended = until(Duration::from_secs(2), || {
        world.json(&["inspect", "x"])["status"] == "exited"
    });
    assert!(ended);
    world.is_clean();
    // Its links and port are free again.
    world.ok(&words("run -d --name y -p 8080:80 -- sleep 1000"));
    world.ok(&words("rm -f x y"));
    world.comes_to_be(&[&base], "after the kill");
}

fn another_boot(mode: Mode) {
    let world = World::new(mode);
    world.ok(&words("run -d --name x -- true"));
    world.ok(&["wait", "x"]);
    std::fs::write(world.dir().join("boot"), "another").expect("writes");
    assert!(!world.ok(&["ps", "-a"]).contains('x'));
    world.is_clean();
    world.ok(&words("run --rm -- true"));
    world.is_clean();
}

/// Two worlds on one host know nothing of each other, also where they share the data directory.
fn two_roots(mode: Mode) {
    let world = World::new(mode);
    let mut other = World::new(mode);
    other.root = world.root.with_extension("other");
    world.idle("x", &[]);
    other.idle("x", &[]);
    assert_eq!(other.json(&["ps"]).as_array().map(Vec::len), Some(1));
    for w in [&world, &other] {
        // The other's uplink is a new address of the host, which the next command takes in.
        w.ok(&["ps"]);
        w.is_clean();
        w.ok(&["fsck", "--fix"]);
        w.ok(&["gc"]);
    }
    for w in [&world, &other] {
        assert!(w.exec("x", &["true"]).ok());
        assert!(
            w.exec("x", &["sh", "-c", "echo > /etc/written && cat /etc/written"])
                .ok()
        );
        w.is_clean();
    }
    world.ok(&["rm", "-f", "x"]);
    other.ok(&["ps"]);
    assert!(other.exec("x", &["cat", "/etc/written"]).ok());
    other.is_clean();
    world.idle("x", &[]);
    other.ok(&["rm", "-f", "x"]);
    world.ok(&["ps"]);
    world.is_clean();
}

/// The first world to go leaves the other the forwarding that both need.
fn forwarding_of_two_roots(mode: Mode) {
    let forwards =
        || Ns::host().must("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding");
    Ns::host().must("echo 0 | tee /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding");
    let mut world = World::new(mode);
    let lan = world.lan();
    let mut other = World::new(mode);
    other.root = world.root.with_extension("other");
    world.idle("x", &[]);
    let x = other.idle("x", &[]);
    world.ok(&["rm", "-f", "x"]);
    assert_eq!(forwards(), "1\n1\n");
    for family in FAMILIES {
        assert!(
            x.ns.pings(Neighbour::ip(family)),
            "{family}: no command came since"
        );
    }
    drop(lan);
    other.ok(&["rm", "-f", "x"]);
}

/// Groups that nobody is in, and nobody will be, go with `gc`, whosever they were.
fn deserted_groups(mode: Mode) {
    let world = World::new(mode);
    let x = world.idle("x", &[]);
    let own = world.json(&["inspect", "x"])["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let parents = crate::trace::cgroups(&own);
    assert!(!parents.is_empty(), "no cgroup of {}", x.pid);
    let id = |n: u32| format!("{:012x}", u64::from(std::process::id()) << 8 | u64::from(n));
    let group = |n: u32| parents[0].with_file_name(id(n));
    let name = parents[0].with_file_name("not-a-container");
    for (path, age) in [
        (group(1), 90),
        (group(2), 0),
        (name.clone(), 90),
        (parents[0].clone(), 90),
    ] {
        std::fs::create_dir_all(&path).expect("a cgroup");
        Ns::host().must(&format!("touch -d '-{age} seconds' {}", path.display()));
    }
    world.ok(&["gc"]);
    assert!(!group(1).exists(), "a deserted group is left");
    assert!(group(2).exists(), "one that is about to be used is gone");
    assert!(name.exists() && parents[0].exists());
    for path in [group(2), name] {
        std::fs::remove_dir(path).expect("it is empty");
    }
    assert!(world.exec("x", &["true"]).ok());
}

/// The same root in another network namespace is a world of its own, and `gc` lets it live.
fn namespaces_apart(mode: Mode) {
    let world = World::new(mode);
    world.idle("x", &[]);
    let lab = harness::dir().join("lab");
    let inside = |line: &str| {
        // Not `ip netns exec`, which makes a mount namespace for each command.
        let mut c = Command::new("nsenter");
        c.arg(format!("--net={}", lab.display()))
            .arg(env!("CARGO_BIN_EXE_moat"))
            .args(words(line))
            .env("MOAT_ROOT", &world.root)
            .env("MOAT_DATA", harness::dir().join("data"));
        Out::of(&mut c)
    };
    Ns::host().must(&format!("touch {0}; unshare --net={0} true", lab.display()));
    let run = inside("run -d --name x -- sleep 1000");
    assert!(run.ok(), "{run:?}");
    world.ok(&["gc"]);
    assert!(inside("gc").ok());
    assert!(world.exec("x", &["true"]).ok());
    assert!(inside("exec x true").ok());
    world.is_clean();
    let checked = inside("fsck");
    assert!(checked.ok(), "{checked:?}");
    assert!(inside("rm -f x").ok());
}
