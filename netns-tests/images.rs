//! Images: brought from files and a registry, run, shared, removed; and what hostile ones achieve.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::faulty::words;
use crate::harness::{self, Story, own};
use crate::net::{Ns, Out, Running, until};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("images::from_every_source", from_every_source),
    own("images::defaults_and_what_replaces_them", defaults),
    own("images::layers_are_shared", layers_are_shared),
    own("images::removal_while_in_use", removal_while_in_use),
    own("images::hostile_archives", hostile_archives),
    own("images::wrong_digests", wrong_digests),
    own("images::a_full_disk", a_full_disk),
    own("images::killed_at_each_step", killed_at_each_step),
    own("images::from_a_registry", from_a_registry),
    own("images::read_only_directory", read_only_directory),
    own("images::in_a_topology", in_a_topology),
];

const MAKE: &str = include_str!("images.py");

/// A world, and a directory with images of every kind.
fn prepared(mode: Mode) -> (World, PathBuf) {
    let world = World::new(mode);
    let dir = harness::dir().join("made");
    std::fs::create_dir(&dir).expect("makes");
    let busybox = Ns::host().must("command -v busybox");
    let mut make = Command::new("/usr/bin/python3");
    make.args(["-c", MAKE]).arg(&dir).arg(busybox.trim());
    let out = Out::of(&mut make);
    assert!(out.ok(), "{out:?}");
    (world, dir)
}

fn import(world: &World, path: &Path, name: &str) -> Out {
    world.moat(&["image", "import", &path.display().to_string(), name])
}

#[track_caller]
fn imported(world: &World, path: &Path, name: &str) {
    let out = import(world, path, name);
    assert!(out.ok(), "{path:?}: {out:?}");
}

fn run(world: &World, image: &str, line: &str) -> Out {
    world.moat(&[
        "run",
        "--rm",
        "--net",
        "none",
        "--image",
        image,
        "--entrypoint",
        "/bin/sh",
        "--",
        "-c",
        line,
    ])
}

#[track_caller]
fn says(world: &World, image: &str, line: &str) -> String {
    let out = run(world, image, line);
    assert!(out.ok(), "{image}: {line}: {out:?}");
    out.stdout
}

/// What is kept: names of layers and records, and rooms that commands left.
fn kept(name: &str) -> Vec<String> {
    let dir = harness::dir().join("data/images").join(name);
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn from_every_source(mode: Mode) {
    let (world, made) = prepared(mode);
    for (file, name) in [
        ("root.tar", "root"),
        ("root.tar.gz", "zipped"),
        ("oci", "layout:v3"),
        ("saved.tar", "saved"),
        ("saved.tar.gz", "saved:zipped"),
    ] {
        imported(&world, &made.join(file), name);
        assert_eq!(
            says(&world, name, "cat /etc/kept; cat /etc/hard"),
            "base\nbase\n",
            "{file}"
        );
    }
    // By the name that is in it, and from standard input.
    assert_eq!(
        world.ok(&["image", "import", &made.join("saved.tar").display().to_string()]),
        "other/app:1.0\n"
    );
    let piped = Ns::host().sh(&format!(
        "MOAT_ROOT={} MOAT_DATA={} {} image import - piped < {}",
        world.root.display(),
        harness::dir().join("data").display(),
        env!("CARGO_BIN_EXE_moat"),
        made.join("saved.tar.gz").display()
    ));
    assert!(piped.ok(), "{piped:?}");
    assert_eq!(says(&world, "piped", "cat /etc/other"), "other\n");
    // Layers upon layers: hidden files, hidden contents, a directory instead of another.
    let seen = says(
        &world,
        "layout:v3",
        "cat /etc/changed /etc/third; ls /old /dir; ls /etc/gone 2>/dev/null; true",
    );
    assert_eq!(seen, "second\nthird\n/dir:\nnew\n\n/old:\nthree\n");
    let owners = says(&world, "root", "stat -c '%u:%g %a' /srv/mine /tmp /bin/suid");
    assert_eq!(owners, "33:33 640\n0:0 1777\n0:0 4755\n");
    let list = world.ok(&["image", "ls"]);
    assert!(
        list.contains("layout:v3") && list.contains("other/app:1.0"),
        "{list}"
    );
    let list = world.json(&["image", "ls"]);
    let layout = list
        .as_array()
        .expect("a list")
        .iter()
        .find(|i| i["name"] == "layout:v3");
    assert_eq!(
        layout.expect("it is there")["layers"]
            .as_array()
            .expect("a list")
            .len(),
        3
    );
    // More layers than a page of mount options holds by their paths.
    imported(&world, &made.join("many"), "many");
    let seen = says(
        &world,
        "many",
        "cat /etc/n0 /etc/n119 /etc/kept; echo x > /etc/n60; cat /etc/n60",
    );
    assert_eq!(seen, "0\n119\nbase\nx\n");
    // Nobody but root gets to the set-user-id programs in there.
    let mode = Ns::host().must(&format!(
        "stat -c %a {}",
        harness::dir().join("data/images").display()
    ));
    assert_eq!(mode, "700\n");
    world.is_clean();
}

fn defaults(mode: Mode) {
    let (world, made) = prepared(mode);
    imported(&world, &made.join("oci"), "app");
    let out = world.moat(&words("run --rm --net none --image app"));
    assert_eq!(out.stdout, "by default: image in /srv as 33\n", "{out:?}");
    let out = world.moat(&[
        "run",
        "--rm",
        "--net",
        "none",
        "--image",
        "app",
        "--",
        "echo given: $WHO",
    ]);
    assert_eq!(out.stdout, "given: image\n", "{out:?}");
    let out = world.moat(&words(
        "run --rm --net none -e WHO=me -w /etc -u root --image docker.io/library/app",
    ));
    assert_eq!(out.stdout, "by default: me in /etc as 0\n", "{out:?}");
    let out = world.moat(&words(
        "run --rm --net none --image app --entrypoint /bin/echo -- plain",
    ));
    assert_eq!(out.stdout, "plain\n", "{out:?}");
    // Other words for the same image: its id, and a part of it.
    let id = world.json(&["image", "ls"])[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    for key in [id.as_str(), &id[7..19]] {
        assert_eq!(says(&world, key, "cat /etc/third"), "third\n");
    }
    world.ok(&["run", "-d", "--image", "app", "--", "sleep 1000"]);
    let name = world.json(&["ps"])[0]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    assert!(name.starts_with("app-"), "{name}");
    assert_eq!(world.exec(&name, &["/bin/id", "-u"]).stdout, "33\n");
    // Whoever names no command anywhere is told so.
    imported(&world, &made.join("root.tar"), "root");
    let out = world.moat(&words("run --rm --image root"));
    assert!(
        out.code != 0 && out.stderr.contains("names no command"),
        "{out:?}"
    );
    let out = world.moat(&words("run --rm --image rot -- true"));
    assert!(
        out.code == 125 && out.stderr.contains("no image is named `rot`"),
        "{out:?}"
    );
    assert!(!world.moat(&["run", "--rm"]).ok());
    let out = world.moat(&words("run --rm --image app --entrypoint /no/such"));
    assert_eq!(out.code, 127, "{out:?}");
}

fn layers_are_shared(mode: Mode) {
    let (world, made) = prepared(mode);
    imported(&world, &made.join("oci"), "three");
    assert_eq!(kept("layers").len(), 3);
    // The lowest layer is the same.
    imported(&world, &made.join("saved.tar"), "two");
    imported(&world, &made.join("root.tar.gz"), "one");
    assert_eq!(kept("layers").len(), 4);
    imported(&world, &made.join("oci"), "again");
    assert_eq!((kept("layers").len(), kept("names").len()), (4, 4));
    // A layer goes with the last image that has it.
    world.ok(&["image", "rm", "three"]);
    assert_eq!(kept("layers").len(), 4);
    world.ok(&["image", "rm", "again"]);
    assert_eq!(kept("layers").len(), 2);
    assert_eq!(says(&world, "two", "cat /etc/other"), "other\n");
    world.ok(&["image", "rm", "two", "one"]);
    for name in ["layers", "names", "room"] {
        assert_eq!(kept(name), [""; 0], "{name}");
    }
    let out = world.moat(&["image", "rm", "two"]);
    assert!(
        out.code == 2 && out.stderr.contains("no image is named `two`"),
        "{out:?}"
    );
}

fn removal_while_in_use(mode: Mode) {
    let (world, made) = prepared(mode);
    imported(&world, &made.join("oci"), "app");
    let idle = [
        "run",
        "-d",
        "--name",
        "x",
        "--net",
        "none",
        "--image",
        "app",
        "--",
        "exec sleep 1000",
    ];
    world.ok(&idle);
    let out = world.moat(&["image", "rm", "app"]);
    assert!(
        out.code == 2 && out.stderr.contains("container `x` uses it"),
        "{out:?}"
    );
    assert_eq!(kept("layers").len(), 3);
    // Another image may take the name: the container keeps its layers.
    imported(&world, &made.join("saved.tar"), "app");
    assert_eq!(kept("layers").len(), 4);
    assert_eq!(world.exec("x", &["/bin/cat", "/etc/third"]).stdout, "third\n");
    world.ok(&["image", "rm", "app"]);
    assert_eq!(kept("layers").len(), 3);
    // Ended is still in use; removed is not.
    world.ok(&words("kill x"));
    world.ok(&["gc"]);
    assert_eq!(kept("layers").len(), 3);
    world.ok(&words("rm x"));
    world.ok(&["gc"]);
    assert_eq!(kept("layers"), [""; 0]);
    world.is_clean();
}

/// A reader that trusts what it reads, where it can do no harm: in a container.
const NAIVE: &str = "
import os, sys, tarfile
os.makedirs('/opt/a/b')
with tarfile.open(sys.argv[1]) as t:
    t.extraction_filter = lambda member, path: member
    t.extractall('/opt/a/b')
print(os.path.lexists(sys.argv[2]))";

fn hostile_archives(mode: Mode) {
    let (world, made) = prepared(mode);
    let bad = format!("{}:/srv:ro", made.join("bad").display());
    for (file, mark) in [
        ("dotdot.tar", "/opt/x"),
        ("absolute.tar", "/moat-absolute/x"),
        ("through.tar", "/etc/through"),
        ("through.tar", "/upward"),
        ("claim.tar", "/opt/a/b/huge"),
    ] {
        let mut naive = words("run --rm --net none -v");
        naive.push(&bad);
        let file = format!("/srv/{file}");
        naive.extend(["--", "/usr/bin/python3", "-c", NAIVE, &file, mark]);
        assert_eq!(world.ok(&naive), "True\n", "{file} harms nobody");
    }
    let marks = ["/x", "/moat-absolute", "/etc/through", "/upward", "/nowhere"];
    let refused = [
        ("dotdot.tar", "layer 1: entry `../../x` leads out of the image"),
        (
            "dangling.tar",
            "layer 1: entry `way/x` is below something that is no directory",
        ),
        (
            "hardout.tar",
            "hard link to `../../../../etc/passwd`, which leads out of the image",
        ),
        ("hardabs.tar", "hard link to `/etc/passwd`, which is not in it"),
        ("hardlink.tar", "hard link to `way/passwd`, which is not in it"),
        ("sparse.tar", "it holds more than"),
        ("claim.tar", "it holds more than"),
        ("longname.tar", "a header is longer than any should be"),
        ("truncated.tar", "unexpected end of file"),
        ("cut.tar.gz", "cannot be read"),
        ("text.tar", "it is no image: it is no tar"),
        ("empty.tar", "the archive is empty"),
        ("owner.tar", "entry `x` has an owner that nobody can be"),
        ("second", "layer 2: entry `../../x` leads out of the image"),
        ("loop", "layer 2: entry `etc/.wh..` hides no file"),
    ];
    for (file, words) in refused {
        let out = import(&world, &made.join("bad").join(file), "evil");
        assert!(out.code == 2 && out.stderr.contains(words), "{file}: {out:?}");
        assert!(
            out.stderr.starts_with("error: cannot import `"),
            "{file}: {out:?}"
        );
        for name in ["layers", "names", "room"] {
            assert_eq!(kept(name), [""; 0], "{file}: {name}");
        }
    }
    // Contained: what is absolute, and what goes through links, is inside.
    imported(&world, &made.join("root.tar"), "good");
    for (file, inside) in [
        ("absolute.tar", "moat-absolute/x"),
        ("through.tar", "etc/through"),
        ("through.tar", "upward"),
    ] {
        imported(&world, &made.join("bad").join(file), "evil");
        let layers = world.json(&["image", "ls"]);
        let evil = layers
            .as_array()
            .expect("a list")
            .iter()
            .find(|i| i["name"] == "evil:latest");
        let layer = evil.expect("it is there")["layers"][0]
            .as_str()
            .expect("a digest")[7..]
            .to_owned();
        let dir = harness::dir().join("data/images/layers").join(layer);
        assert!(dir.join(inside).symlink_metadata().is_ok(), "{file}: {inside}");
    }
    let out = import(&world, &made.join("bad/devices.tar"), "devices");
    assert!(
        out.ok() && out.stderr.contains("2 device nodes were left out"),
        "{out:?}"
    );
    let devices = Ns::host().must(&format!(
        "find {} -type b -o -type c",
        harness::dir().join("data/images").display()
    ));
    assert_eq!(devices, "");
    for mark in marks {
        assert!(!Path::new(mark).exists(), "{mark} came to be on the host");
    }
    assert_eq!(says(&world, "good", "cat /etc/kept"), "base\n");
}

fn wrong_digests(mode: Mode) {
    let (world, made) = prepared(mode);
    for (file, words) in [
        ("digest", "layer 2: the digest of its file is sha256:"),
        ("diff", "layer 2: the digest of its tar is sha256:"),
    ] {
        let out = import(&world, &made.join("bad").join(file), "evil");
        assert!(out.code == 2 && out.stderr.contains(words), "{file}: {out:?}");
        assert_eq!((kept("layers"), kept("room")), (vec![], vec![]), "{file}");
    }
    // The configuration itself.
    Ns::host().must(&format!(
        "cd {} && f=$(grep -l Entrypoint blobs/sha256/*) && sed -i s/WHO=image/WHO=other/ $f",
        made.join("oci").display()
    ));
    let out = import(&world, &made.join("oci"), "evil");
    assert!(
        out.code == 2 && out.stderr.contains("the digest of the configuration"),
        "{out:?}"
    );
    assert_eq!(kept("names"), [""; 0]);
}

fn a_full_disk(mode: Mode) {
    let (world, made) = prepared(mode);
    let small = harness::dir().join("small");
    Ns::host().must(&format!(
        "mkdir {0} && mount -t tmpfs -o size=1m tmpfs {0}",
        small.display()
    ));
    let on_small = |file: &str| {
        let mut c = world.command(&["image", "import", &made.join(file).display().to_string(), "x"]);
        Out::of(c.env("MOAT_DATA", &small))
    };
    // Said before it is tried, and found out while it is: the directories of this one take the room.
    let out = on_small("root.tar");
    assert!(
        out.code == 2 && out.stderr.contains("it holds more than"),
        "{out:?}"
    );
    Ns::host().must(&format!(
        "mount -o remount,size=3m {0} && \
         /usr/bin/python3 -c 'import tarfile,io,os\nt=tarfile.open(\"{1}/wide.tar\",\"w\")\n\
         for n in range(700):\n i=tarfile.TarInfo(f\"f{{n}}\");i.size=4000;t.addfile(i,io.BytesIO(b\"x\"*4000))\n\
         t.close()'; head -c 500k /dev/zero > {0}/taken",
        small.display(),
        made.display()
    ));
    let out = on_small("wide.tar");
    assert!(out.code == 2, "{out:?}");
    let left = Ns::host().must(&format!(
        "ls -A {0}/images/layers {0}/images/names {0}/images/room | grep -v :",
        small.display()
    ));
    assert_eq!(left.trim(), "", "something stayed");
}

fn killed_at_each_step(mode: Mode) {
    let (world, made) = prepared(mode);
    let path = made.join("oci").display().to_string();
    let with = |fault: &str, args: &[&str]| Out::of(world.command(args).env("MOAT_FAULT", fault));
    let import = ["image", "import", path.as_str(), "app"];
    let out = with("count", &import);
    let steps: u32 = out
        .stderr
        .rsplit("steps: ")
        .next()
        .and_then(|n| n.trim().parse().ok())
        .expect("a count");
    assert!(steps >= 4, "{out:?}");
    world.ok(&["image", "rm", "app"]);
    for step in 1..=steps {
        let out = with(&format!("fail:{step}"), &import);
        assert_eq!(out.code, 2, "{out:?}");
        assert_eq!(kept("room"), [""; 0], "failed at {step}");
        let out = with(&format!("abort:{step}"), &import);
        assert_eq!(out.code, -1, "{out:?}");
        // It is there whole, or not at all; and the next command tidies up.
        match kept("names").len() {
            0 => assert!(world.moat(&["image", "rm", "app"]).code == 2),
            _ => assert_eq!(says(&world, "app", "cat /etc/third"), "third\n"),
        }
        world.ok(&["gc"]);
        let left = if kept("names").is_empty() { 0 } else { 3 };
        assert_eq!(
            (kept("layers").len(), kept("room").len()),
            (left, 0),
            "killed at {step}"
        );
        let _ = world.moat(&["image", "rm", "app"]);
    }
    imported(&world, &made.join("oci"), "app");
    let out = with("count", &["image", "rm", "app"]);
    let steps: u32 = out
        .stderr
        .rsplit("steps: ")
        .next()
        .and_then(|n| n.trim().parse().ok())
        .expect("a count");
    for step in 1..=steps {
        imported(&world, &made.join("oci"), "app");
        let out = with(&format!("abort:{step}"), &["image", "rm", "app"]);
        assert_eq!(out.code, -1, "{out:?}");
        world.ok(&["gc"]);
        let left = if kept("names").is_empty() { 0 } else { 3 };
        assert_eq!(
            (kept("layers").len(), kept("room").len()),
            (left, 0),
            "killed at {step}"
        );
    }
}

fn from_a_registry(mode: Mode) {
    let (world, made) = prepared(mode);
    let dir = harness::dir();
    std::fs::write(
        dir.join("registry.yml"),
        format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:5055}}\n",
            dir.join("registry").display()
        ),
    )
    .expect("writes");
    let mut registry = Command::new("docker-registry");
    registry.arg("serve").arg(dir.join("registry.yml"));
    let registry = Running::start(&mut registry, "listening on");
    let push = format!(
        "skopeo --insecure-policy copy --quiet --dest-tls-verify=false oci:{}:v3 docker://127.0.0.1:5055/lab/app:v3",
        made.join("oci").display()
    );
    assert!(
        until(Duration::from_secs(15), || Ns::host().sh(&push).ok()),
        "{:?}",
        Ns::host().sh(&push)
    );
    Ns::host().must(&push.replace("lab/app:v3", "lab/app:v2"));
    let name = "127.0.0.1:5055/lab/app:v3";
    // It speaks no TLS, and is not trusted unless somebody says so.
    let out = world.moat(&["image", "pull", name]);
    assert!(out.code == 2 && out.stderr.contains("--plain-http"), "{out:?}");
    assert_eq!(kept("room"), [""; 0]);
    world.ok(&["image", "pull", name, "--plain-http"]);
    assert_eq!(says(&world, name, "cat /etc/changed"), "second\n");
    // Again, and by another tag: what is kept is not fetched. The registry writes down what is.
    let fetched = || {
        let asks = |l: &&str| l.contains("http.request.method=GET") && l.contains("/blobs/");
        registry.text().lines().filter(asks).count()
    };
    let first = fetched();
    assert_eq!(first, 4, "three layers and the configuration");
    world.ok(&["image", "pull", name, "--plain-http"]);
    assert!(
        until(Duration::from_secs(5), || fetched() == first + 1),
        "{}",
        fetched()
    );
    world.ok(&["image", "pull", "127.0.0.1:5055/lab/app:v2", "--plain-http"]);
    assert!(
        until(Duration::from_secs(5), || fetched() == first + 2),
        "{}",
        fetched()
    );
    assert_eq!(
        says(&world, "127.0.0.1:5055/lab/app:v2", "cat /etc/changed"),
        "second\n"
    );
    // With the layers gone it is.
    world.ok(&["image", "rm", name, "127.0.0.1:5055/lab/app:v2"]);
    world.ok(&["image", "pull", name, "--plain-http"]);
    assert!(
        until(Duration::from_secs(5), || fetched() == first + 2 + 4),
        "{}",
        fetched()
    );
    assert_eq!(says(&world, name, "cat /etc/changed"), "second\n");
    let out = world.moat(&["image", "pull", "127.0.0.1:5055/lab/none", "--plain-http"]);
    assert!(out.code == 2 && out.stderr.contains("skopeo: "), "{out:?}");
    // The same image by a file is the same image.
    imported(&world, &made.join("oci"), "file");
    let images = world.json(&["image", "ls"]);
    assert_eq!(images[0]["id"], images[1]["id"]);
    assert_eq!(kept("layers").len(), 3);
    // Without skopeo it says what to do.
    let mut c = world.command(&["image", "pull", name]);
    let out = Out::of(c.env("PATH", "/nowhere"));
    assert!(
        out.code == 2 && out.stderr.contains("`skopeo` is not installed"),
        "{out:?}"
    );
    assert!(
        out.stderr.contains("hint: ") && out.stderr.contains("moat image import"),
        "{out:?}"
    );
}

fn read_only_directory(mode: Mode) {
    let (world, made) = prepared(mode);
    let root = made.join("rootfs");
    Ns::host().must(&format!(
        "mkdir {0} && tar -xf {1}/root.tar -C {0}",
        root.display(),
        made.display()
    ));
    let says = |place: &str, line: &str| {
        let out = world.moat(&[
            "run", "--rm", "--net", "none", "--rootfs", place, "--", "/bin/sh", "-c", line,
        ]);
        assert!(out.ok(), "{place}: {out:?}");
        out.stdout
    };
    let path = root.display().to_string();
    let write = "echo x > /etc/new && cat /etc/new || echo no";
    assert_eq!(says(&path, write), "x\n");
    assert_eq!(says(&format!("{path}:ro"), write), "no\n");
    // The directories that are the container's own can be written.
    assert_eq!(
        says(&format!("{path}:ro"), "echo y > /tmp/z && cat /tmp/z"),
        "y\n"
    );
    assert!(!root.join("etc/new").exists());
    // As it was: no mount point was made in it.
    assert!(!root.join("proc").exists() && !root.join("etc/hosts").exists());
    world.is_clean();
}

fn in_a_topology(mode: Mode) {
    let (world, made) = prepared(mode);
    imported(&world, &made.join("oci"), "app");
    let file = made.join("compose.yaml");
    std::fs::write(
        &file,
        "name: p\nservices:\n  own:\n    image: app\n    command: [\"echo $$WHO $$(id -u); exec sleep 1000\"]\n  \
         other:\n    image: app:latest\n    entrypoint: [/bin/sh, -c]\n    command: [\"cat /etc/third; exec sleep 1000\"]\n",
    )
    .expect("writes");
    let path = file.display().to_string();
    world.ok(&["up", "-f", &path]);
    let containers = world.json(&["ps"]);
    let names: Vec<String> = containers
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| c["name"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in &names {
        let said = if name.contains("own") { "image 33" } else { "third" };
        let wrote = || world.ok(&["logs", name]).contains(said);
        assert!(
            until(Duration::from_secs(10), wrote),
            "{name}: {}",
            world.ok(&["logs", name])
        );
    }
    let out = world.moat(&["image", "rm", "app"]);
    assert!(out.code == 2 && out.stderr.contains("uses it"), "{out:?}");
    world.ok(&["down", "-f", &path]);
    world.ok(&["image", "rm", "app"]);
    // An image that is not there is a fault of the file, with its place.
    let out = world.moat(&["up", "-f", &path]);
    assert!(
        out.code == 2 && out.stderr.contains("no image is named `app`"),
        "{out:?}"
    );
    assert_eq!(world.json(&["ps", "-a"]).as_array().expect("a list").len(), 0);
    world.is_clean();
}
