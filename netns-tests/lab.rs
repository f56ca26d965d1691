//! `moat lab`: all of moat as an ordinary user, in a world that goes with its command.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::clients::{Guest, apart, linked};
use crate::harness::{self, Story, own};
use crate::net::{Ns, Out, Running, until};
use crate::world::{FAMILIES, Neighbour, lan};

pub const STORIES: &[Story] = &[
    own("lab::as_nobody", |_| walls(NOBODY)),
    own("lab::as_root", |_| walls(&[])),
    own("lab::ends", |_| ends()),
    own("lab::users", |_| users()),
    own("lab::way_out", |_| way_out()),
];

/// An ordinary user, without any right.
const NOBODY: &[&str] = &[
    "setpriv",
    "--reuid",
    "65534",
    "--regid",
    "65534",
    "--clear-groups",
];

/// Where every user finds this program.
fn program() -> PathBuf {
    let path = harness::dir().join("moat");
    if !path.exists() {
        fs::copy(env!("CARGO_BIN_EXE_moat"), &path).expect("the program");
    }
    path
}

/// A `moat` command as some user.
fn moat(user: &[&str], words: &[&str]) -> Command {
    let program = program();
    let mut all: Vec<&str> = user.to_vec();
    all.push(program.to_str().expect("UTF-8"));
    all.extend(words);
    let mut c = Command::new(all[0]);
    c.args(&all[1..])
        .env_remove("MOAT_ROOT")
        .env_remove("MOAT_DATA")
        .env("HOME", "/");
    c
}

/// A lab that stays until it is told to go.
struct Lab {
    launcher: Running,
    /// Its first process.
    first: String,
    user: &'static [&'static str],
}

impl Lab {
    #[track_caller]
    fn start(user: &'static [&'static str]) -> Self {
        let mut c = moat(
            user,
            &["lab", "--", "sh", "-c", "echo it is ready; sleep 1000 & wait"],
        );
        let launcher = Running::start(&mut c, "it is ready");
        let first = children(&launcher.pid().to_string()).into_iter().find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|s| inner(&s) == Some("1"))
        });
        Self {
            launcher,
            first: first.expect("its first process"),
            user,
        }
    }

    /// A line of shell in the lab, with its search path.
    fn sh(&self, line: &str) -> Out {
        let mut c = Command::new("nsenter");
        c.args(["-t", &self.first, "-m", "-n", "-p", "-i", "-u"]);
        if !self.user.is_empty() {
            c.args(["-U", "-S", "0", "-G", "0", "--preserve-credentials"]);
        }
        let path = "PATH=/run/moat-bin:/usr/bin:/usr/sbin MOAT_DATA=/run/moat-data";
        c.args([
            "--",
            "timeout",
            "30",
            "sh",
            "-c",
            &format!("export {path}; {line}"),
        ]);
        Out::of(c.env_remove("MOAT_ROOT"))
    }

    #[track_caller]
    fn must(&self, line: &str) -> String {
        let out = self.sh(line);
        assert!(out.ok(), "`{line}`: {out:?}");
        out.stdout
    }

    /// A container as the host sees it.
    #[track_caller]
    fn guest(&self, name: &str) -> Guest {
        let shown = self.must(&format!("moat inspect {name}"));
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        let pid = shown["pid"].to_string();
        let own = fs::read_link(format!("/proc/{}/ns/pid", self.first)).expect("its pid namespace");
        let is_it = |outer: &String| {
            let status = fs::read_to_string(format!("/proc/{outer}/status")).unwrap_or_default();
            let parent = field(&status, "PPid:").unwrap_or_default().to_owned();
            numbers(&status).get(1) == Some(&pid.as_str())
                && fs::read_link(format!("/proc/{parent}/ns/pid")).is_ok_and(|ns| ns == own)
        };
        let outer = processes()
            .into_iter()
            .find(is_it)
            .expect("a process of that number");
        Guest::of(name, &outer)
    }
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|l| l.strip_prefix(key)).map(str::trim)
}

/// Its number in each pid namespace, ours first.
fn numbers(status: &str) -> Vec<&str> {
    field(status, "NSpid:")
        .map(|n| n.split_ascii_whitespace().collect())
        .unwrap_or_default()
}

fn inner(status: &str) -> Option<&str> {
    let numbers = numbers(status);
    (numbers.len() > 1).then(|| numbers[numbers.len() - 1])
}

fn processes() -> Vec<String> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let names = all.map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|n| n.bytes().all(|b| b.is_ascii_digit())).collect()
}

fn children(pid: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

/// All that could stay: processes, mounts, interfaces, rules, cgroups of ours, files of ours.
fn traces() -> String {
    let mut c = Ns::host().sh("ip -br link; ip rule; nft list tables; ls -A /run/moat* /var/lib/moat 2>&1");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let named = |p: &String| fs::read_to_string(format!("/proc/{p}/comm")).unwrap_or_default();
    let mut programs: Vec<String> = processes().iter().map(named).collect();
    programs.retain(|p| !["ip\n", "sh\n", "kworker"].contains(&p.as_str()));
    programs.sort();
    c.stdout.push_str(&mounts);
    c.stdout.push_str(&programs.concat());
    c.stdout
}

/// Two containers, invisible until they are linked; then nothing of all that is left.
fn walls(user: &'static [&'static str]) {
    program();
    let before = traces();
    let mut lab = Lab::start(user);
    lab.must(
        "moat run -d --name a --label app=a -- sleep 1000; moat run -d --name b -p 8080:80 -- sleep 1000",
    );
    let (a, b) = (lab.guest("a"), lab.guest("b"));
    let at_b = b.ns.capture(&format!("src {} or src {}", a.ip4, a.ip6));
    apart(&a, &b);
    at_b.nothing("from a container that is not linked");
    assert!(!lab.sh("moat exec a getent hosts b").ok());
    lab.must("moat link a b:5432/tcp");
    linked(&a, &b);
    at_b.something("linked");
    assert!(lab.must("moat exec a getent hosts b").contains(&b.ip6));
    lab.must("moat why a b:5432/tcp && moat reach --probe && moat fsck");
    lab.must("moat unlink a b:5432/tcp");
    apart(&a, &b);
    lab.must("moat net create other && moat run -d --net other --name c --link a:80/tcp -- sleep 1000");
    let server = b.ns.serve("tcp", "0.0.0.0", 80);
    let said = lab.must("echo hello | nc -N -w 3 127.0.0.1 8080");
    assert!(said.contains("hello"), "published: {said}");
    drop(server);
    assert_eq!(
        lab.must("moat run --rm -- sh -c 'cat /etc/shadow; id -u; touch /usr/x && echo written'"),
        "0\nwritten\n"
    );
    assert!(!PathBuf::from("/usr/x").exists());
    if !user.is_empty() {
        let limited = lab.sh("moat run --rm -m 64m -- true");
        assert!(
            limited.code == 125 && limited.stderr.contains("memory limit"),
            "{limited:?}"
        );
        lab.must("moat fsck");
    }
    drop(at_b);
    Ns::host().must(&format!("kill -TERM {}", lab.launcher.pid()));
    assert!(until(Duration::from_secs(20), || !lab.launcher.runs()), "it ends");
    assert!(
        until(Duration::from_secs(5), || traces() == before),
        "before:\n{before}\nafter:\n{}",
        traces()
    );
}

/// The command's own status; whoever ends, and however.
fn ends() {
    let as_nobody = |words: &[&str]| Out::of(&mut moat(NOBODY, words));
    for (line, code) in [
        ("exit 7", 7),
        ("kill -9 $$", 137),
        ("test $(id -u) = 0 && moat ps", 0),
    ] {
        let out = as_nobody(&["lab", "--", "sh", "-c", line]);
        assert_eq!(out.code, code, "{line}: {out:?}");
    }
    let out = as_nobody(&["lab", "--", "nosuch"]);
    let says = out.stderr.contains("no program is found by the name `nosuch`");
    assert!(out.code == 127 && says, "{out:?}");
    assert_eq!(as_nobody(&["lab", "--", "/etc/passwd"]).code, 126);
    // Without root what fits into a lab gets one, and what does not says which way there is.
    let out = as_nobody(&[
        "run",
        "--rm",
        "--",
        "sh",
        "-c",
        "ip -br addr show dev eth0; exit 5",
    ]);
    assert!(out.code == 5 && out.stdout.contains("10.9.0.2"), "{out:?}");
    assert!(out.stderr.contains("in a lab"), "{out:?}");
    for (words, code) in [
        (&["run", "-d", "--", "true"][..], 125),
        (&["ps"], 2),
        (&["link", "a", "b"], 2),
    ] {
        let out = as_nobody(words);
        assert!(
            out.code == code && out.stderr.contains("`moat lab`"),
            "{words:?}: {out:?}"
        );
    }
    // Its launcher is killed: nothing outlives it.
    let mut lab = Lab::start(NOBODY);
    lab.must("moat run -d --name a -- sleep 1234");
    let runs = || {
        Ns::host()
            .sh("ps -eo args")
            .stdout
            .lines()
            .any(|l| l == "sleep 1234")
    };
    assert!(runs());
    Ns::host().must(&format!("kill -KILL {}", lab.launcher.pid()));
    assert!(
        until(Duration::from_secs(5), || !lab.launcher.runs() && !runs()),
        "it goes with its launcher"
    );
}

/// With a range of ids of its own a lab has more users than root.
fn users() {
    let d = harness::dir();
    Ns::host().must(&format!(
        "mkdir {d}/etc.up {d}/etc.work && mount -t overlay overlay /etc \
         -o lowerdir=/etc,upperdir={d}/etc.up,workdir={d}/etc.work",
        d = d.display()
    ));
    let as_daemon = "moat run --rm -u daemon -- id -u";
    let lab = |line: &str| Out::of(&mut moat(NOBODY, &["lab", "--", "sh", "-c", line]));
    fs::write("/etc/subuid", "").expect("/etc/subuid");
    fs::write("/etc/subgid", "").expect("/etc/subgid");
    let out = lab(as_daemon);
    assert!(out.code == 125 && out.stderr.contains("/etc/subuid"), "{out:?}");
    for file in ["/etc/subuid", "/etc/subgid"] {
        fs::write(file, "nobody:200000:65536\n").expect("a range");
    }
    let out = lab(&format!("cat /proc/self/uid_map; {as_daemon}"));
    assert!(
        out.ok() && out.stdout.contains("200000") && out.stdout.ends_with("\n1\n"),
        "{out:?}"
    );
}

/// Through pasta where the user may make a tap interface; else it is said, and all else works.
fn way_out() {
    let (_lan, lan) = lan();
    let _web = lan.ns.serve("tcp", "::", 80);
    let tun = harness::dir().join("tun");
    Ns::host().must(&format!(
        "mknod -m 600 {tun} c 10 200; mkdir -p /dev/net; [ -e /dev/net/tun ] || : >/dev/net/tun; \
         mount --bind {tun} /dev/net/tun",
        tun = tun.display()
    ));
    let calls: String = FAMILIES
        .map(|f| {
            format!(
                "moat run --rm -- sh -c 'echo hello{f} | nc -N -w 3 {} 80';",
                Neighbour::ip(f)
            )
        })
        .concat();
    let lab = |user: &[&str]| Out::of(&mut moat(user, &["lab", "--", "sh", "-c", &calls]));
    let closed = lab(NOBODY);
    assert!(!closed.stdout.contains("hello"), "{closed:?}");
    let note = closed.stderr.lines().find(|l| l.contains("no way out"));
    assert!(
        note.is_some_and(|l| l.contains("/dev/net/tun") && l.contains("denied")),
        "{closed:?}"
    );
    Ns::host().must(&format!("chmod 666 {}", tun.display()));
    if fs::File::open("/dev/net/tun").is_err() {
        // A kernel without tap interfaces.
        assert!(lab(NOBODY).stderr.contains("no way out"));
        return;
    }
    let open = lab(NOBODY);
    let reached = FAMILIES.map(|f| open.stdout.contains(&format!("hello{f}")));
    assert_eq!(reached, [true, true], "{open:?}");
    assert!(!open.stderr.contains("no way out"), "{open:?}");
    let is_one = |l: &&str| l.starts_with("pasta ");
    let carriers = || Ns::host().sh("ps -eo args").stdout.lines().filter(is_one).count();
    assert_eq!(carriers(), 0, "it ends with the lab");
    let mut held = Lab::start(NOBODY);
    assert_eq!(carriers(), 1);
    Ns::host().must(&format!("kill -KILL {}", held.launcher.pid()));
    assert!(
        until(Duration::from_secs(5), || !held.launcher.runs()
            && carriers() == 0),
        "also when it is killed"
    );
}
