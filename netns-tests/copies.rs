//! `cp` and `diff`: files in and out of containers that run or have ended, and a container that would lead the
//! copy to the host.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::faulty::words;
use crate::harness::{self, Story, own};
use crate::net::Ns;
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("copies::out_and_in", out_and_in),
    own("copies::of_what_has_ended", of_what_has_ended),
    own(
        "copies::between_containers_and_streams",
        between_containers_and_streams,
    ),
    own("copies::hostile_links", hostile_links),
    own("copies::refusals", refusals),
    own("copies::differences", differences),
];

const SETUP: &str = "mkdir -p /data/deep/er; echo one > /data/one; echo two > /data/deep/er/two; chmod 640 /data/one; \
     chown 33:34 /data/one; ln -s one /data/link; ln /data/one /data/hard; chmod 4755 /data/deep/er/two; \
     mkfifo /data/pipe; echo ready; sleep 1000";

fn here(name: &str) -> PathBuf {
    harness::dir().join(name)
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

fn set_up(world: &World, name: &str) {
    world.run_d(name, &["--net", "none"], &["sh", "-c", SETUP]);
    let ready = || world.ok(&["logs", name]).contains("ready");
    assert!(crate::net::until(std::time::Duration::from_secs(10), ready));
}

#[track_caller]
fn cp(world: &World, from: &str, to: impl AsRef<Path>) {
    world.ok(&["cp", from, &to.as_ref().display().to_string()]);
}

#[track_caller]
fn is_the_tree(at: &Path) {
    assert_eq!(
        (text(at.join("one")), text(at.join("deep/er/two"))),
        ("one\n".into(), "two\n".into())
    );
    let one = fs::metadata(at.join("one")).expect("is there");
    assert_eq!((one.mode() & 0o7777, one.uid(), one.gid()), (0o640, 33, 34));
    assert_eq!(fs::read_link(at.join("link")).expect("a link"), Path::new("one"));
    let hard = fs::metadata(at.join("hard")).expect("is there");
    assert_eq!(hard.ino(), one.ino());
    // A program that a container made set-user-id is none on the host.
    assert_eq!(
        fs::metadata(at.join("deep/er/two")).expect("is there").mode() & 0o7777,
        0o755
    );
}

fn out_and_in(mode: Mode) {
    let world = World::new(mode);
    set_up(&world, "x");
    // To a new name, into a directory that is there, and only what is in it.
    cp(&world, "x:/data", here("new"));
    is_the_tree(&here("new"));
    fs::create_dir(here("there")).expect("makes");
    cp(&world, "x:/data", here("there"));
    is_the_tree(&here("there/data"));
    fs::create_dir(here("in")).expect("makes");
    cp(&world, "x:/data/.", here("in"));
    is_the_tree(&here("in"));
    cp(&world, "x:data/one", here("single"));
    assert_eq!(text(here("single")), "one\n");
    cp(&world, "x:/data/link", here("link"));
    assert_eq!(fs::read_link(here("link")).expect("a link"), Path::new("one"));

    let inside = |line: &str| world.exec("x", &["sh", "-c", line]).stdout;
    Ns::host().must(&format!(
        "chmod 4751 {0}/new/one && chown 33:34 {0}/new/one",
        harness::dir().display()
    ));
    Ns::host().must(&format!("chmod 4751 {}/new/one", harness::dir().display()));
    let new = here("new").display().to_string();
    world.ok(&["cp", &new, "x:/srv"]);
    assert_eq!(
        inside("cat /srv/new/one /srv/new/deep/er/two; readlink /srv/new/link"),
        "one\ntwo\none\n"
    );
    assert_eq!(inside("stat -c '%a %u:%g' /srv/new/one"), "4751 33:34\n");
    world.ok(&["cp", &format!("{new}/one"), "x:/srv/renamed"]);
    assert_eq!(inside("cat /srv/renamed"), "one\n");
    // Over what is there.
    fs::write(here("other"), "other\n").expect("writes");
    world.ok(&["cp", &here("other").display().to_string(), "x:/srv/renamed"]);
    assert_eq!(inside("cat /srv/renamed"), "other\n");
    // Where the container has something of its own: a memory file system, a volume.
    fs::create_dir(here("volume")).expect("makes");
    let volume = format!("{}:/mnt/v", here("volume").display());
    world.run_d(
        "v",
        &["--net", "none", "-v", &volume, "--tmpfs", "/mem"],
        &["sleep", "1000"],
    );
    let other = here("other").display().to_string();
    world.ok(&["cp", &other, "v:/mem/"]);
    assert_eq!(world.exec("v", &["cat", "/mem/other"]).stdout, "other\n");
    world.ok(&["cp", &other, "v:/mnt/v/in"]);
    assert_eq!(text(here("volume/in")), "other\n");
    world.is_clean();
}

fn of_what_has_ended(mode: Mode) {
    let world = World::new(mode);
    set_up(&world, "x");
    world.ok(&words("kill x"));
    cp(&world, "x:/data", here("new"));
    is_the_tree(&here("new"));
    fs::write(here("late"), "late\n").expect("writes");
    world.ok(&["cp", &here("late").display().to_string(), "x:/data/late"]);
    cp(&world, "x:/data/late", here("back"));
    assert_eq!(text(here("back")), "late\n");
    // Nothing stays mounted, and the layer can go.
    let mounts = Ns::host().must("cat /proc/self/mountinfo");
    assert!(
        !mounts.contains("overlay") || !mounts.contains("/data/"),
        "{mounts}"
    );
    assert!(world.ok(&["diff", "x"]).contains("A /data/late\n"));
    world.ok(&words("rm x"));
    world.is_clean();
}

fn between_containers_and_streams(mode: Mode) {
    let world = World::new(mode);
    set_up(&world, "a");
    world.run_d("b", &["--net", "none"], &["sleep", "1000"]);
    world.ok(&["cp", "a:/data", "b:/srv/copy"]);
    let inside = |name: &str, line: &str| world.exec(name, &["sh", "-c", line]).stdout;
    assert_eq!(
        inside("b", "cat /srv/copy/one; stat -c %a /srv/copy/deep/er/two"),
        "one\n4755\n"
    );
    world.ok(&["cp", "a:/data/one", "a:/data/again"]);
    assert_eq!(inside("a", "cat /data/again"), "one\n");
    // As a tar.
    let out = world
        .command(&["cp", "a:/data", "-"])
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    assert!(out.status.success(), "{out:?}");
    fs::write(here("out.tar"), &out.stdout).expect("writes");
    let list = Ns::host().must(&format!("tar -tf {}", here("out.tar").display()));
    assert!(
        list.contains("data/deep/er/two\n") && list.starts_with("data\n"),
        "{list}"
    );
    let mut c = world.command(&["cp", "-", "b:/opt"]);
    let file = fs::File::open(here("out.tar")).expect("opens");
    let out = c.stdin(file).output().expect("runs");
    assert!(out.status.success(), "{out:?}");
    assert_eq!(inside("b", "cat /opt/data/one"), "one\n");
    world.is_clean();
}

fn hostile_links(mode: Mode) {
    let world = World::new(mode);
    let secret = here("secret");
    fs::create_dir(&secret).expect("makes");
    fs::write(secret.join("key"), "of the host\n").expect("writes");
    let path = secret.display().to_string();
    world.run_d(
        "x",
        &["--net", "none"],
        &[
            "sh",
            "-c",
            &format!(
                "mkdir /evil; ln -s {path} /evil/dir; ln -s {path}/key /evil/key; ln -s ../../../../../../..{path} /evil/up; \
                 ln -s /proc/1/root /evil/proc; ln -s / /evil/root; echo ready; sleep 1000"
            ),
        ],
    );
    assert!(crate::net::until(std::time::Duration::from_secs(10), || {
        world.ok(&["logs", "x"]).contains("ready")
    }));
    // Reading: a link is copied as a link, and followed only in the container, where there is nothing.
    for from in [
        "x:/evil/dir/key",
        "x:/evil/up/key",
        "x:/evil/dir/.",
        "x:/evil/proc/etc/hostname",
    ] {
        let out = world.moat(&["cp", from, &here("stolen").display().to_string()]);
        assert_eq!(out.code, 2, "{from}: {out:?}");
        assert!(!here("stolen").exists(), "{from}");
    }
    cp(&world, "x:/evil/key", here("key"));
    assert_eq!(fs::read_link(here("key")).expect("a link"), secret.join("key"));
    // Writing: not through a link that is in the way, wherever it is.
    fs::write(here("mine"), "mine\n").expect("writes");
    let mine = here("mine").display().to_string();
    for to in [
        "x:/evil/dir/key",
        "x:/evil/dir/",
        "x:/evil/up/new",
        "x:/evil/proc/tmp/new",
    ] {
        let out = world.moat(&["cp", &mine, to]);
        assert_eq!(out.code, 2, "{to}: {out:?}");
    }
    world.ok(&["cp", &mine, "x:/evil/key"]);
    world.ok(&["cp", &mine, "x:/evil/root/srv/rooted"]);
    assert_eq!(world.exec("x", &["cat", "/srv/rooted"]).stdout, "mine\n");
    assert!(!Path::new("/srv/rooted").exists());
    // A copy of the whole, in which one entry is below another that is a link.
    let out = world.moat(&["cp", "x:/evil", &here("evil").display().to_string()]);
    assert!(out.ok(), "{out:?}");
    assert_eq!(fs::read_link(here("evil/dir")).expect("a link"), secret);
    let swap = "while :; do rm -rf /evil/sw; mkdir /evil/sw; echo x > /evil/sw/f; rm -rf /evil/sw; ln -s / /evil/sw; done";
    world.run_d(
        "swap",
        &["--net", "none"],
        &["sh", "-c", &format!("mkdir /evil; {swap}")],
    );
    for n in 0..10 {
        let _ = world.moat(&[
            "cp",
            "swap:/evil",
            &here(&format!("swap{n}")).display().to_string(),
        ]);
    }
    // A tar that leads out of where it is unpacked.
    let made = here("bad.tar");
    Ns::host().must(&format!(
        "cd {} && tar -P --transform 's,^,../../,' -cf {} mine",
        harness::dir().display(),
        made.display()
    ));
    let out = world
        .command(&["cp", "-", "x:/srv"])
        .stdin(fs::File::open(&made).expect("opens"))
        .output();
    let out = out.expect("runs");
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert_eq!(text(secret.join("key")), "of the host\n");
    assert_eq!(fs::read_dir(&secret).expect("reads").count(), 1);
    world.is_clean();
}

fn refusals(mode: Mode) {
    let world = World::new(mode);
    world.run_d("x", &["--net", "none"], &["sleep", "1000"]);
    fs::write(here("file"), "x\n").expect("writes");
    fs::create_dir(here("dir")).expect("makes");
    let (file, dir) = (
        here("file").display().to_string(),
        here("dir").display().to_string(),
    );
    for (from, to, words) in [
        ("x:/no/such", dir.as_str(), "`/no/such` does not exist"),
        ("x:/etc/passwd/", &dir, "`/etc/passwd` is no directory"),
        (
            &file,
            "x:/no/such/dir",
            "`/no/such/dir` is in no directory that exists",
        ),
        (&file, "x:/srv/none/", "`/srv/none` does not exist"),
        (&dir, "x:/etc/passwd", "`/etc/passwd` is no directory"),
        (&file, "y:/srv", "no container is named `y`"),
        (&file, &dir, "neither is in a container"),
        ("x:/..", &dir, "is no path below the root"),
        ("/no/such", "x:/srv", "`/no/such` does not exist"),
        ("-", "x:/no", "`/no` is no directory that exists"),
    ] {
        let out = world.moat(&["cp", from, to]);
        assert!(
            out.code == 2 && out.stderr.contains(words),
            "{from} {to}: {out:?}"
        );
        assert!(out.stderr.starts_with("error: cannot copy `"), "{out:?}");
    }
    // What fills up says so, and by the half that knows.
    world.run_d(
        "small",
        &["--net", "none", "--tmpfs", "/small:size=64k"],
        &["sleep", "1000"],
    );
    fs::write(here("large"), vec![1; 1 << 20]).expect("writes");
    let large = here("large").display().to_string();
    let out = world.moat(&["cp", &large, "small:/small/"]);
    assert!(out.code == 2 && out.stderr.contains("No space left"), "{out:?}");
    world.run_d("fixed", &["--net", "none", "--read-only"], &["sleep", "1000"]);
    let out = world.moat(&["cp", &file, "fixed:/srv/"]);
    assert!(out.code == 2 && out.stderr.contains("Read-only"), "{out:?}");
    world.ok(&words("kill fixed"));
    let out = world.moat(&["cp", &file, "fixed:/srv/"]);
    assert!(out.code == 2 && out.stderr.contains("read-only"), "{out:?}");
}

fn differences(mode: Mode) {
    let world = World::new(mode);
    world.run_d("idle", &["--net", "none"], &["sleep", "1000"]);
    assert_eq!(world.ok(&["diff", "idle"]), "");
    let script = "echo x > /etc/new; echo y >> /etc/hostid; rm /etc/passwd; mkdir -p /srv/a/b; echo z > /srv/a/b/c; \
                  chmod 700 /opt; rm -rf /usr/lib/os-release /etc/cron.daily; mkdir /etc/cron.daily; \
                  echo 1 > /etc/cron.daily/mine; touch /tmp/not /run/not";
    world.run_d(
        "x",
        &["--net", "none"],
        &["sh", "-c", &format!("{script}; echo ready; sleep 1000")],
    );
    assert!(crate::net::until(std::time::Duration::from_secs(10), || {
        world.ok(&["logs", "x"]).contains("ready")
    }));
    let check = || {
        let out = world.ok(&["diff", "x"]);
        let has = |line: &str| out.lines().any(|l| l == line);
        for line in [
            "A /etc/new",
            "D /etc/passwd",
            "A /srv/a",
            "A /srv/a/b",
            "A /srv/a/b/c",
            "C /etc",
            "C /srv",
            "C /opt",
        ] {
            assert!(has(line), "no `{line}` in {out}");
        }
        assert!(
            has("D /usr/lib/os-release") && has("A /etc/cron.daily/mine"),
            "{out}"
        );
        assert!(
            !out.contains("/tmp")
                && !out.contains("/run")
                && !out.contains("/proc")
                && !out.contains("/etc/hosts"),
            "{out}"
        );
        if let Some(old) = fs::read_dir("/etc/cron.daily").ok().and_then(|mut d| d.next()) {
            let old = old.expect("an entry").path();
            assert!(has(&format!("D {}", old.display())), "{out}");
        }
        out
    };
    let running = check();
    world.ok(&words("kill x"));
    assert_eq!(check(), running);
    let json = world.json(&["diff", "x"]);
    let first = &json.as_array().expect("a list")[0];
    assert!(first["kind"].is_string() && first["path"].is_string(), "{json}");
    assert_eq!(json.as_array().expect("a list").len(), running.lines().count());
    // In an image, what a lower layer hid is not there to be deleted.
    let made = here("made");
    fs::create_dir(&made).expect("makes");
    let busybox = Ns::host().must("command -v busybox");
    let make = Command::new("/usr/bin/python3")
        .args(["-c", include_str!("images.py")])
        .arg(&made)
        .arg(busybox.trim())
        .status();
    assert!(make.expect("python3").success());
    world.ok(&["image", "import", &made.join("oci").display().to_string(), "app"]);
    let line =
        "echo again > /etc/gone; echo x > /etc/changed; rm /etc/third; echo 1 > /old/one; rm /old/three";
    world.ok(&[
        "run", "--name", "i", "--net", "none", "-u", "root", "--image", "app", "--", line,
    ]);
    assert_eq!(
        world.ok(&["diff", "i"]),
        "C /etc\nC /etc/changed\nA /etc/gone\nD /etc/third\nC /old\nA /old/one\nD /old/three\n"
    );
    world.is_clean();
}
