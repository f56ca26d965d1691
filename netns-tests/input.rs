//! Bad input and bad surroundings: one error with a hint, the right status, nothing changed.

use std::path::Path;
use std::process::Command;

use crate::faulty::{says_one_error, words};
use crate::harness::{self, Story, own};
use crate::net::{Ns, Out};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("input::refused", refused),
    own("input::not_root", not_root),
    own("input::no_nft", no_nft),
    own("input::no_space", no_space),
    own("input::read_only", read_only),
    own("input::broken_database", broken_database),
    own("input::other_layouts", other_layouts),
    own("input::lost_root", lost_root),
];

const REFUSED: &[(&str, i32, &str)] = &[
    ("link wbe web:80", 2, "did you mean `web`"),
    ("link web wep:80", 2, "did you mean `web`"),
    ("rm nope", 2, "hint: "),
    ("stop nope", 2, "hint: "),
    ("logs nope", 2, "hint: "),
    ("exec nope true", 125, "hint: "),
    ("wait nope", 125, "hint: "),
    ("inspect we", 2, "did you mean `web`"),
    ("run --net moot -- true", 125, "did you mean `moat`"),
    ("net rm n2", 2, "did you mean `n1`"),
    ("net rm moat", 2, "hint: "),
    ("run --name web -- true", 125, "is taken"),
    ("run --name a/b -- true", 125, "hint: "),
    ("run --name host -- true", 125, "hint: "),
    ("net create world", 2, "hint: "),
    ("net create n1", 2, "exists"),
    ("net create x --subnet 10.77.1.0/24", 2, "of network `n1`"),
    (
        "net create x --subnet 192.168.50.0/25",
        2,
        "host routes elsewhere",
    ),
    (
        "net create x --subnet 10.1.2.3/16",
        2,
        "did you mean `10.1.0.0/16`",
    ),
    ("net create x --subnet 10.1.0.0/33", 2, "hint: "),
    ("net create x --subnet garbage", 2, "hint: "),
    ("link web host:0", 2, "1 to 65535"),
    ("link web host:70000", 2, "1 to 65535"),
    ("link web host:90-80", 2, "hint: "),
    ("link web web", 2, "without a link"),
    ("unlink web host", 2, "hint: "),
    ("run -p 0:80 -- true", 125, "1 to 65535"),
    ("run -p 80:70000 -- true", 125, "1 to 65535"),
    ("run -p 8080:80 -- true", 125, "published by `web`"),
    ("run --ip 10.200.0.1 -- true", 125, "hint: "),
    ("run --mac ff:ff:ff:ff:ff:ff -- true", 125, "hint: "),
    ("run --link nope -- true", 125, "hint: "),
    ("run --net none -p 1:1 -- true", 125, "hint: "),
    ("run -- nope", 127, "hint: "),
    ("run -- /nope", 127, "hint: "),
    ("run -- /etc/passwd", 126, "hint: "),
    ("exec web /nope", 127, "hint: "),
    ("run -w /nope -- true", 125, "hint: "),
    ("run -v /nope:/x -- true", 125, "hint: "),
    ("run -u nobodyx -- true", 125, "hint: "),
    ("run --rootfs /nope -- true", 125, "hint: "),
    ("run --cap-add FOO -- true", 125, "hint: "),
    ("rm web", 2, "rm -f web"),
    ("kill -s FOO web", 2, "hint: "),
];

fn refused(mode: Mode) {
    let mut world = World::new(mode);
    world.lan();
    world.ok(&words("run -d --name web -p 8080:80 -- sleep 1000"));
    world.ok(&words("net create n1 --subnet 10.77.0.0/16"));
    let before = world.moment();
    for (line, code, says) in REFUSED {
        let out = world.moat(&words(line));
        refuses(&out, *code, says, line);
    }
    world.comes_to_be(&[&before], "after what was refused");
    world.is_clean();
}

/// How a command says that moat failed: one that passes a status on has a number of its own for it.
fn failed(line: &str) -> i32 {
    if line.starts_with("run ") { 125 } else { 2 }
}

#[track_caller]
fn refuses(out: &Out, code: i32, says: &str, what: &str) {
    says_one_error(&out.stderr, what);
    assert_eq!(out.code, code, "{what}: {out:?}");
    assert!(out.stderr.contains(says), "{what}: {out:?}");
}

fn not_root(mode: Mode) {
    let world = World::new(mode);
    // The way to the binary may be closed to others.
    let copy = harness::dir().join("moat");
    std::fs::copy(env!("CARGO_BIN_EXE_moat"), &copy).expect("copies");
    let open = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    };
    open(&copy);
    open(&harness::dir());
    for line in ["ps", "run -- true", "link a b"] {
        let mut c = Command::new("setpriv");
        c.args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .args(words(line))
            .env("MOAT_ROOT", &world.root);
        refuses(&Out::of(&mut c), failed(line), "hint: ", line);
    }
    assert!(!world.root.exists());
}

fn no_nft(mode: Mode) {
    let world = World::new(mode);
    world.ok(&["ps"]);
    let before = world.moment();
    let empty = harness::dir().join("empty");
    std::fs::write(&empty, "").expect("writes");
    let nft = Ns::host().must("readlink -f $(command -v nft)");
    Ns::host().must(&format!("mount --bind {} {nft}", empty.display()));
    for line in ["run -d --name x -- sleep 1000", "net create n"] {
        let out = world.moat(&words(line));
        refuses(&out, failed(line), "nftables", line);
    }
    Ns::host().must(&format!("umount {nft}"));
    std::fs::remove_file(&empty).expect("removes");
    world.comes_to_be(&[&before], "without nft");
    world.ok(&words("run --rm -- true"));
}

/// A small tmpfs for state or layers, full from the beginning or later.
fn no_space(mode: Mode) {
    let mut world = World::new(mode);
    let small = harness::dir().join("small");
    let fill = format!("dd if=/dev/zero of={}/fill bs=1k 2>&1 || true", small.display());
    Ns::host().must(&format!(
        "mkdir {0} && mount -t tmpfs -o size=600k none {0} && {fill}",
        small.display()
    ));
    world.root = small.join("root");
    let out = world.moat(&words("run -d --name x -- sleep 1000"));
    refuses(&out, 125, "hint: ", "a full disk from the beginning");
    Ns::host().must(&format!("rm -rf {}/*", small.display()));
    world.ok(&words("run -d --name a -- sleep 1000"));
    let before = world.moment();
    Ns::host().must(&fill);
    for line in ["run -d --name x -- sleep 1000", "link a host", "net create n"] {
        let out = world.moat(&words(line));
        refuses(&out, failed(line), "hint: ", line);
    }
    Ns::host().must(&format!("rm {}/fill", small.display()));
    world.is_clean();
    world.comes_to_be(&[&before], "after the disk was full");
    world.ok(&["rm", "-f", "a"]);
    world.is_clean();
}

fn read_only(mode: Mode) {
    let mut world = World::new(mode);
    let fixed = harness::dir().join("fixed");
    Ns::host().must(&format!(
        "mkdir {0} && mount -t tmpfs -o ro none {0}",
        fixed.display()
    ));
    for root in [
        fixed.clone(),
        fixed.join("x"),
        "/proc/x".into(),
        "/etc/passwd".into(),
    ] {
        world.root = root;
        for line in ["ps", "run -d --name x -- sleep 1000"] {
            refuses(&world.moat(&words(line)), failed(line), "hint: ", line);
        }
    }
    world.root = harness::dir().join("root");
    let mut c = world.command(&words("run -d --name x -- sleep 1000"));
    refuses(&Out::of(c.env("MOAT_DATA", &fixed)), 125, "hint: ", "data");
    world.is_clean();
}

const BROKEN: &[(&str, &str)] = &[
    ("garbage", "head -c 20000 /dev/urandom > $D"),
    ("cut", "truncate -s 5000 $D"),
    ("directory", "rm $D; mkdir $D; touch $D/x"),
    ("symlink", "mv $D $D.elsewhere; ln -s $D.elsewhere $D"),
];

fn broken_database(mode: Mode) {
    for (what, line) in BROKEN {
        let world = World::new(mode);
        world.ok(&["ps"]);
        let dir = world.dir();
        let x = world.idle("x", &["-p", "8080:80"]);
        let path = dir.join("state.db");
        Ns::host().must(&format!("D={}; rm -f $D-*; {line}", path.display()));
        for line in ["ps", "run --rm -- true", "link x x"] {
            refuses(&world.moat(&words(line)), failed(line), "moat fsck --fix", what);
        }
        assert!(alive(x.pid), "{what}: nothing is ended before it is asked for");
        let fixed = world.moat(&["fsck", "--fix"]);
        assert!(
            fixed.ok() && fixed.stdout.contains("it is now"),
            "{what}: {fixed:?}"
        );
        is_anew(&world, x.pid, what);
        world.ok(&words("run --rm -- true"));
    }
}

/// What a newer moat wrote is left to it; what an older one wrote is ended when that is asked for.
fn other_layouts(mode: Mode) {
    let world = World::new(mode);
    let x = world.idle("x", &[]);
    let path = world.dir().join("state.db");
    let db = || rusqlite::Connection::open(&path).expect("opens");
    let layout: i64 = db()
        .query_row("PRAGMA user_version", [], |r| r.get(0))
        .expect("reads");
    let becomes = |n: i64| db().pragma_update(None, "user_version", n).expect("writes");
    becomes(layout + 1);
    for line in ["ps", "run --rm -- true", "fsck --fix"] {
        refuses(&world.moat(&words(line)), failed(line), "newer", line);
    }
    becomes(layout);
    assert!(world.exec("x", &["true"]).ok());
    becomes(layout - 1);
    for line in ["ps", "run --rm -- true"] {
        refuses(&world.moat(&words(line)), failed(line), "older", line);
    }
    assert!(alive(x.pid), "nothing is ended before it is asked for");
    world.ok(&["fsck", "--fix"]);
    is_anew(&world, x.pid, "an older layout");
    world.ok(&words("run --rm -- true"));
    world.is_clean();
}

/// A database that is empty, or gone with all of the root, is a world that has to be removed.
fn lost_root(mode: Mode) {
    let world = World::new(mode);
    let x = world.idle("x", &[]);
    let path = world.dir().join("state.db");
    Ns::host().must(&format!("D={}; rm -f $D-*; : > $D", path.display()));
    world.ok(&["ps"]);
    is_anew(&world, x.pid, "an empty database");
    let x = world.idle("x", &[]);
    let root = world.root.display().to_string();
    Ns::host().must(&format!("umount {root}/*/router; rm -rf {root}"));
    world.ok(&["ps"]);
    is_anew(&world, x.pid, "a lost root");
    world.idle("x", &[]);
    world.is_clean();
}

#[track_caller]
fn is_anew(world: &World, pid: u64, what: &str) {
    let gone = crate::net::until(std::time::Duration::from_secs(2), || !alive(pid));
    assert!(gone, "{what}: the container is left");
    world.is_clean();
    let links = Ns::host().must("ip -br link | grep -vc '^lo' || true");
    assert_eq!(links.trim(), "0", "{what}");
    assert_eq!(Ns::host().must("nft list ruleset"), "", "{what}");
}

fn alive(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}
