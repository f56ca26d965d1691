//! Whose ids, rights, devices and file systems a container has.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::faulty::{says_one_error, words};
use crate::harness::{self, Story, own};
use crate::isolation::{PYTHON, run, sh};
use crate::net::{Ns, Out, until};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("isolation::user_ids", user_ids),
    own("isolation::users_and_groups", users_and_groups),
    own("isolation::seccomp", seccomp),
    own("isolation::limits_and_devices", limits_and_devices),
    own("isolation::hostile_links", hostile_links),
    own("isolation::other_file_systems", other_file_systems),
];

fn id_map(world: &World, options: &[&str]) -> String {
    let out = run(
        world,
        options,
        &["cat", "/proc/self/uid_map", "/proc/self/gid_map"],
    );
    assert!(out.ok(), "{out:?}");
    out.stdout
}

fn user_ids(mode: Mode) {
    let world = World::new(mode);
    let host = std::fs::read_to_string("/proc/self/uid_map").expect("a map");
    assert_eq!(id_map(&world, &["--userns", "host"]), format!("{host}{host}"));
    let map = id_map(&world, &["--userns", "own"]);
    assert_ne!(id_map(&world, &[]), format!("{host}{host}"), "it is the default");
    let fields: Vec<&str> = map.split_whitespace().collect();
    assert_eq!((fields[0], fields[2]), ("0", "65536"), "{map}");
    let x = world.idle("x", &[]);
    let first = world.json(&["inspect", "x"])["userns"]["first"]
        .as_u64()
        .expect("a range");
    assert!(first >= 1 << 30);
    let ids = |pid: u64| Ns::host().must(&format!("grep -h ^Uid: /proc/{pid}/status"));
    assert!(
        ids(x.pid)
            .split_whitespace()
            .skip(1)
            .all(|id| id == first.to_string()),
        "{}",
        ids(x.pid)
    );
    // Files belong on disk to whom they belong inside, in volumes and in the layer.
    let data = harness::dir().join("volume");
    Ns::host().must(&format!(
        "mkdir {0} && echo mine > {0}/given && chown 33:33 {0}/given && chmod 600 {0}/given",
        data.display()
    ));
    let volume = format!("{}:/mnt/v", data.display());
    let line = "stat -c %u:%g /mnt/v/given /mnt/v /etc/passwd; cat /mnt/v/given; touch /mnt/v/made; \
                touch /mnt/v/theirs && chown 33:34 /mnt/v/theirs && echo done";
    let out = sh(&world, &["-v", &volume], line);
    assert_eq!(out.stdout, "33:33\n0:0\n0:0\nmine\ndone\n", "{out:?}");
    let owner = |name: &str| {
        let meta = std::fs::metadata(data.join(name)).expect("made");
        (meta.uid(), meta.gid())
    };
    assert_eq!((owner("made"), owner("theirs")), ((0, 0), (33, 34)));
    // Rights inside are worth something inside.
    let line = "import socket,os\ns=socket.socket(); s.bind(('',80)); os.chown('/etc/passwd',1,1); os.setuid(33); print(os.getuid())";
    assert_eq!(run(&world, &[], &[PYTHON, "-c", line]).stdout, "33\n");
    // A terminal's owner and a daemon's log are the user's own.
    let out = sh(
        &world,
        &["-u", "33:33"],
        "echo out > /dev/stdout; echo err > /dev/stderr",
    );
    assert_eq!(
        (out.stdout.as_str(), out.stderr.as_str()),
        ("out\n", "err\n"),
        "{out:?}"
    );
    world.ok(&[
        &words("run -d --name d -u 33:33 -- sh -c")[..],
        &["echo logged > /dev/stdout"],
    ]
    .concat());
    assert!(until(Duration::from_secs(5), || world.ok(&["logs", "d"]) == "logged\n"));
    let out = world.exec(
        "x",
        &["sh", "-c", "cat /proc/self/uid_map; echo told > /dev/stdout"],
    );
    assert!(
        out.stdout.contains(&first.to_string()) && out.stdout.ends_with("told\n"),
        "{out:?}"
    );
    // An id the namespace does not have.
    let out = run(&world, &["-u", "70000"], &["true"]);
    assert_eq!(out.code, 125, "{out:?}");
    assert!(out.stderr.contains("--userns host"), "{out:?}");
    assert!(run(&world, &["-u", "70000", "--userns", "host"], &["true"]).ok());
    let out = run(&world, &["--userns", "mine"], &["true"]);
    says_one_error(&out.stderr, "--userns mine");
}

fn users_and_groups(mode: Mode) {
    let world = World::new(mode);
    let root = harness::dir().join("rootfs");
    Ns::host().must(&format!(
        "mkdir -p {0}/bin {0}/etc; for p in sh cat id; do cp -L $(command -v $p) {0}/bin/; done; \
         for l in $(ldd {0}/bin/* | grep -o '/[^ :]*' | grep '\\.so' | sort -u); do \
         mkdir -p {0}$(dirname $l); cp -L $l {0}$l; done; \
         printf 'root:x:0:0::/root:/bin/sh\\npg:x:105:109::/:/bin/sh\\n' > {0}/etc/passwd; \
         printf 'root:x:0:\\nssl:x:103:pg\\nadm:x:4:www,pg\\npg:x:109:\\n' > {0}/etc/group; \
         cp {0}/bin/id {0}/bin/sid; chmod 6755 {0}/bin/sid",
        root.display()
    ));
    let root = root.display().to_string();
    let says = |user: &str, command: &[&str]| {
        let out = run(&world, &["--rootfs", &root, "-u", user], command);
        assert!(out.ok(), "{user}: {out:?}");
        out.stdout.trim().to_owned()
    };
    assert_eq!(
        says("pg", &["id"]),
        "uid=105(pg) gid=109(pg) groups=109(pg),4(adm),103(ssl)"
    );
    assert_eq!(
        says("pg:ssl", &["id"]),
        "uid=105(pg) gid=103(ssl) groups=103(ssl)"
    );
    assert_eq!(says("7:8", &["id"]), "uid=7 gid=8 groups=8");
    // Set-uid bits of the image are worth nothing.
    assert_eq!(
        says("pg:ssl", &["sid"]),
        "uid=105(pg) gid=103(ssl) groups=103(ssl)"
    );
    assert_eq!(
        says("pg:ssl", &["cat", "/proc/self/cgroup"])
            .matches("moat")
            .count(),
        0
    );
    let out = run(&world, &["--rootfs", &root, "-u", "nobody-here"], &["id"]);
    says_one_error(&out.stderr, "an unknown user");
}

fn seccomp(mode: Mode) {
    let world = World::new(mode);
    let file = harness::dir().join("profile.json");
    let write = |text: &str| std::fs::write(&file, text).expect("writes");
    let option = format!("seccomp={}", file.display());
    let options = ["--security", option.as_str()];
    write(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#,
    );
    let out = sh(&world, &options, "mkdir /tmp/x; grep ^Seccomp: /proc/self/status");
    assert!(
        out.stderr.contains("No space left") && out.stdout.contains("\t2"),
        "{out:?}"
    );
    world.idle("x", &options);
    std::fs::remove_file(&file).expect("removes");
    // What is executed later has the filter of the start, whatever became of the file.
    let out = world.exec("x", &["mkdir", "/tmp/x"]);
    assert!(out.stderr.contains("No space left"), "{out:?}");
    let out = sh(
        &world,
        &["--security", "seccomp=off"],
        "mkdir /tmp/x && grep ^Seccomp: /proc/self/status",
    );
    assert_eq!(out.stdout, "Seccomp:\t0\n", "{out:?}");
    for text in ["{", r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#] {
        write(text);
        let out = run(&world, &options, &["true"]);
        assert_ne!(out.code, 0);
        says_one_error(&out.stderr, text);
    }
    let out = run(&world, &["--security", "seccomp=/nowhere"], &["true"]);
    says_one_error(&out.stderr, "a missing profile");
    // A profile that everybody uses, where podman is installed.
    let known = "/usr/share/containers/seccomp.json";
    if Path::new(known).exists() {
        let option = format!("seccomp={known}");
        let out = sh(
            &world,
            &["--security", &option],
            "ls / >/dev/null; grep ^Seccomp: /proc/self/status",
        );
        assert_eq!(out.stdout, "Seccomp:\t2\n", "{out:?}");
        let refused = "import ctypes,os; c=ctypes.CDLL(None,use_errno=True); c.syscall(246,0,0,0,0); print(ctypes.get_errno())";
        let out = run(&world, &["--security", &option], &[PYTHON, "-c", refused]);
        assert_eq!(out.stdout, "1\n", "kexec_load: {out:?}");
    }
    world.ok(&words("rm -f x"));
    world.is_clean();
}

fn limits_and_devices(mode: Mode) {
    let world = World::new(mode);
    let moat = |line: &str| {
        let mut c = Command::new("sh");
        c.args(["-c", &line.replace("MOAT", env!("CARGO_BIN_EXE_moat"))])
            .env("MOAT_ROOT", &world.root)
            .env("MOAT_DATA", harness::dir().join("data"));
        Out::of(&mut c)
    };
    // Raised where the caller may, else as far as it goes: never an error.
    let out =
        moat("ulimit -n 900; MOAT run --rm --ulimit nofile=5000:9000 -- sh -c 'ulimit -Sn; ulimit -Hn'");
    assert!(
        out.stdout == "900\n900\n" || out.stdout == "5000\n9000\n",
        "{out:?}"
    );
    let out = moat(
        "MOAT run --rm --ulimit nofile=200:300 --ulimit core=0 -- sh -c 'ulimit -n; ulimit -Hn; ulimit -c'",
    );
    assert_eq!(out.stdout, "200\n300\n0\n", "{out:?}");
    let nodes = "find /dev -type c -o -type b | sort | tr '\\n' ' '";
    let standard = sh(&world, &[], nodes).stdout;
    assert_eq!(
        standard,
        "/dev/full /dev/null /dev/pts/ptmx /dev/random /dev/tty /dev/urandom /dev/zero "
    );
    let line = "echo x | dd of=/dev/brim 2>&1 | grep -o denied; head -c 3 /dev/brim | wc -c; \
                echo x | dd of=/dev/brim 2>&1 | grep -o 'No space'";
    let out = sh(&world, &["--device", "/dev/full:/dev/brim"], line);
    assert!(out.stdout == "3\nNo space\n", "{out:?}");
    let out = sh(
        &world,
        &["--device", "/dev/full:/dev/sub/brim:r"],
        &line.replace("/dev/", "/dev/sub/"),
    );
    assert!(out.stdout == "denied\n3\n", "{out:?}");
    for (device, what) in [
        ("/dev/full:/etc/x", "elsewhere"),
        ("/etc/passwd", "a file"),
        ("/dev/nope", "nothing"),
    ] {
        let out = run(&world, &["--device", device], &["true"]);
        assert_ne!(out.code, 0, "{what}");
        says_one_error(&out.stderr, what);
    }
    let out = run(
        &world,
        &["--userns", "host", "--device", "/dev/full:r"],
        &["true"],
    );
    assert!(out.code == 125 && out.stderr.contains("--userns"), "{out:?}");
    world.is_clean();
}

/// Whatever an image makes of the places moat mounts on, the host's files stay as they are.
fn hostile_links(mode: Mode) {
    let world = World::new(mode);
    let base = harness::dir();
    let victim = base.join("victim");
    std::fs::create_dir(&victim).expect("makes");
    let out_there = victim.display().to_string();
    let up = "../../../../../../../..";
    Ns::host().must(&format!(
        "for f in hosts hostname resolv.conf passwd; do echo precious > {out_there}/$f; done"
    ));
    for (number, links) in [
        format!("ln -s {up}{out_there} etc"),
        format!("mkdir etc; ln -s {up}{out_there}/hosts etc/hosts; ln -s {out_there}/passwd etc/resolv.conf"),
        format!("mkdir etc; ln -s {out_there} proc; ln -s {out_there} sys; ln -s {out_there} dev"),
        format!("mkdir etc proc; ln -s {up}/proc sys; ln -s {out_there} run; ln -s {up}{out_there} tmp"),
        "mkdir etc; ln -s proc/self/root tmp; ln -s /proc/1/cwd run; ln -s /proc/self/fd/3 dev".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let root = base.join(format!("root{number}"));
        Ns::host().must(&format!(
            "mkdir -p {0}/bin && cd {0} && cp -L $(command -v sh) $(command -v cat) bin/ && \
             for l in $(ldd bin/* | grep -o '/[^ :]*' | grep '\\.so' | sort -u); do \
             mkdir -p ./$(dirname $l); cp -L $l ./$l; done && {links}",
            root.display()
        ));
        let root = root.display().to_string();
        let volume = format!("{out_there}:/etc/deep/er");
        for options in [&[][..], &["--tmpfs", "/tmp/deep"], &["-v", &volume]] {
            let options = [&["--rootfs", root.as_str()], options].concat();
            let look = "cat /proc/sys/kernel/osrelease && echo x > /proc/sys/kernel/domainname";
            let out = run(&world, &options, &["/bin/sh", "-c", look]);
            // It starts with its mounts where they belong below its root, or it does not start.
            if out.code == 125 {
                says_one_error(&out.stderr, links);
            } else {
                assert!(!out.ok(), "{links}: {out:?}");
            }
            let kept = Ns::host().must(&format!("cat {out_there}/*; ls -A {out_there} | wc -l"));
            assert_eq!(kept, format!("{}4\n", "precious\n".repeat(4)), "{links}: {out:?}");
        }
    }
    world.is_clean();
}

fn other_file_systems(mode: Mode) {
    let world = World::new(mode);
    let host = Ns::host();
    host.must(
        "mount -t tmpfs tmpfs /srv && mkdir /srv/disk /srv/net /srv/fixed && echo part > /srv/part && \
         mount --bind /usr/share /srv/disk && mount -t tmpfs tmpfs /srv/net && echo x > /srv/net/x && \
         mount --bind /usr/lib /srv/fixed && mount -o remount,bind,ro /srv/fixed",
    );
    let line = "cat /srv/part; ls /srv/disk | head -1; ls /srv/fixed | head -1; ls /srv/net; \
                echo new > /srv/part; echo new > /srv/disk/moat-made; \
                (echo new > /srv/fixed/moat-made) 2>/dev/null || echo fixed";
    let wanted = host.must("cat /srv/part; ls /usr/share | head -1; ls /usr/lib | head -1; echo fixed");
    for options in [&[][..], &["--userns", "host"]] {
        let out = sh(&world, options, line);
        assert_eq!(out.stdout, wanted, "{options:?}: {out:?}");
        assert_eq!(
            host.must("cat /srv/part; ls /srv/disk | grep moat || true"),
            "part\n"
        );
    }
    // What is not shown is named.
    let doctor = world.moat(&["doctor"]);
    assert!(doctor.stdout.contains("/srv/net"), "{doctor:?}");
    let out = sh(&world, &["-v", "/srv/net:/srv/net"], "cat /srv/net/x");
    assert_eq!(out.stdout, "x\n", "{out:?}");
    world.is_clean();
}
