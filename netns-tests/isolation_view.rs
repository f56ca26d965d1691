//! What of the host's files a container sees, and as whom: volumes that cannot be shifted, logs, accounts.

use crate::harness::{self, Story, own};
use crate::isolation::{run, sh};
use crate::net::Ns;
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[
    own("isolation::unshifted_volumes", unshifted_volumes),
    own("isolation::accounts_in_volumes", accounts_in_volumes),
    own("isolation::emptied", emptied),
    own("isolation::machine_ids", machine_ids),
];

/// `/proc` is a file system that cannot show owners shifted; so are NFS and 9p.
fn unshifted_volumes(mode: Mode) {
    let world = World::new(mode);
    let line = "cut -c 1-30 /proc/self/uid_map | awk '{print ($2 > 0)}'; cat /mnt/p/version | cut -d' ' -f1; \
                cat /mnt/p/1/environ 2>&1 | tr '\\0' '\\n' | grep -c MOAT_STORY; stat -c %U /mnt/p";
    // To be read: the container keeps ids of its own, and reads what everybody may.
    let out = sh(&world, &["-v", "/proc:/mnt/p:ro"], line);
    assert_eq!(out.stdout, "1\nLinux\n0\nnobody\n", "{out:?}");
    let note = |text: &str| text.matches("note: ").count();
    assert_eq!(note(&out.stderr), 1, "{out:?}");
    assert!(
        out.stderr.contains("`/proc`") && out.stderr.contains("--userns own"),
        "{out:?}"
    );
    // To be written: that needs its owner, so the container has the host's ids, and says so.
    let out = sh(&world, &["-v", "/proc:/mnt/p"], line);
    assert!(
        out.stdout.starts_with("0\nLinux\n") && out.stdout.ends_with("root\n"),
        "{out:?}"
    );
    assert_eq!(note(&out.stderr), 1, "{out:?}");
    assert!(
        out.stderr.contains("host's user ids") && out.stderr.contains("`/proc`"),
        "{out:?}"
    );
    for volume in ["/proc:/mnt/p", "/proc:/mnt/p:ro"] {
        let out = run(&world, &["-v", volume, "--userns", "own"], &["true"]);
        assert_eq!(out.code, 125, "{out:?}");
        assert!(
            out.stderr.contains("`/proc`") && !out.stderr.contains("note: it runs"),
            "{out:?}"
        );
    }
    // Nothing is said of what was asked for, of volumes that can be shifted, and with -q.
    let out = run(&world, &["-v", "/proc:/mnt/p", "--userns", "host"], &["true"]);
    assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{out:?}");
    let out = run(&world, &["-v", "/srv:/mnt/p:ro"], &["true"]);
    assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{out:?}");
    let out = run(&world, &["-q", "-v", "/proc:/mnt/p:ro"], &["true"]);
    assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{out:?}");
    // A topology says it as a warning.
    let dir = harness::dir().join("proc");
    std::fs::create_dir_all(&dir).expect("room");
    let text = "services:\n  x:\n    command: sleep 100\n    volumes: ['/proc:/mnt/p:ro']\n";
    let file = dir.join("compose.yaml");
    std::fs::write(&file, text).expect("room");
    let file = file.display().to_string();
    let out = world.moat(&["up", "-f", &file]);
    assert!(out.ok() && out.stderr.contains("nobody"), "{out:?}");
    world.ok(&["down", "-f", &file]);
}

/// A user is who the container's own files say, also where these are mounted into it.
fn accounts_in_volumes(mode: Mode) {
    let world = World::new(mode);
    let dir = harness::dir().join("etc");
    Ns::host().must(&format!(
        "mkdir -p {0} && echo 'ann:x:4321:4322::/home/ann:/bin/sh' > {0}/passwd && \
         printf 'ann:x:4322:\\ncrew:x:4323:ann\\n' > {0}/group",
        dir.display()
    ));
    let passwd = format!("{}/passwd:/etc/passwd:ro", dir.display());
    let group = format!("{}/group:/etc/group:ro", dir.display());
    let volumes = ["-v", &passwd, "-v", &group];
    for ids in ["auto", "host"] {
        let options = [&volumes[..], &["--userns", ids, "-u", "ann"]].concat();
        let out = sh(&world, &options, "id -u; id -g; id -G; echo $HOME");
        assert_eq!(out.stdout, "4321\n4322\n4322 4323\n/home/ann\n", "{ids}: {out:?}");
    }
    // Whom only the host knows, nobody is.
    let out = run(&world, &[&volumes[..], &["-u", "daemon"]].concat(), &["true"]);
    assert!(
        out.code == 125 && out.stderr.contains("no user is named `daemon`"),
        "{out:?}"
    );
}

/// Of logs, mail and databases a container sees the directories, with owner and mode; what it writes there
/// is its own.
fn emptied(mode: Mode) {
    let world = World::new(mode);
    let host = Ns::host();
    // As it is, and on a file system of its own.
    let files = "find /var/log /var/mail /var/spool /var/lib/postgresql -type f 2>/dev/null; true";
    assert!(!host.must("find /var/log -type f").is_empty());
    for options in [&[][..], &["--userns", "host"]] {
        let out = sh(&world, options, files);
        assert_eq!((out.code, out.stdout.as_str()), (0, ""), "{options:?}");
    }
    host.must(
        "mount -t tmpfs -o mode=755 tmpfs /var/log && mkdir -p /var/log/app/old/deep/er && \
         chown daemon:adm /var/log/app && chmod 2750 /var/log/app && echo treasure > /var/log/app/log && \
         echo treasure > /var/log/top",
    );
    let look = "stat -c '%a %U:%G' /var/log/app; find /var/log | sort | tr '\\n' ' '";
    for options in [&[][..], &["--userns", "host"]] {
        let out = sh(&world, options, look);
        // Two levels below, and no more.
        let wanted = "2750 daemon:adm\n/var/log /var/log/app /var/log/app/old ";
        assert_eq!(out.stdout, wanted, "{options:?}: {out:?}");
        let line = "echo mine > /var/log/app/log; setpriv --reuid=daemon --regid=adm --clear-groups \
                    sh -c 'echo his > /var/log/app/new'; cat /var/log/app/log /var/log/app/new";
        let said = world.ok(&[&["run", "--name", "w"], options, &["--", "sh", "-c", line]].concat());
        assert_eq!(said, "mine\nhis\n", "{options:?}");
        let changes = world.ok(&["diff", "w"]);
        assert!(
            changes.contains("/var/log/app/new") && !changes.contains("/top"),
            "{changes}"
        );
        let to = harness::dir().join("new");
        world.ok(&["cp", "w:/var/log/app/new", &to.display().to_string()]);
        assert_eq!(std::fs::read_to_string(&to).expect("copied"), "his\n");
        world.ok(&["rm", "w"]);
        assert_eq!(
            host.must("find /var/log -type f | xargs cat"),
            "treasure\ntreasure\n"
        );
    }
    let out = sh(&world, &["--read-only"], "echo x > /var/log/x");
    assert!(!out.ok() && out.stderr.contains("Read-only"), "{out:?}");
    // What is asked for is there, and nothing beside it.
    for (share, seen) in [("/var/log", "app top "), ("/var/log/app", "app ")] {
        let line = "cat /var/log/app/log; echo mine > /var/log/app/log; ls /var/log | tr '\\n' ' '";
        let out = sh(&world, &["--share", share], line);
        assert_eq!(out.stdout, format!("treasure\n{seen}"), "{share}: {out:?}");
        assert_eq!(host.must("cat /var/log/app/log"), "treasure\n");
    }
}

/// Each container has a machine id of its own, and none the host's.
fn machine_ids(mode: Mode) {
    let world = World::new(mode);
    Ns::host().must(&format!(
        "echo 0123456789abcdef0123456789abcdef > {0} && touch /etc/machine-id && mount --bind {0} /etc/machine-id",
        harness::dir().join("id").display()
    ));
    let id = |options: &[&str]| sh(&world, options, "cat /etc/machine-id").stdout;
    let (one, two) = (id(&[]), id(&["--userns", "host"]));
    for own in [&one, &two] {
        let digits = own.trim_end();
        assert!(
            digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit()),
            "{own}"
        );
        assert_ne!(digits, "0123456789abcdef0123456789abcdef");
    }
    assert_ne!(one, two);
    let shared = id(&["--share", "/etc/machine-id"]);
    assert_ne!(shared, one);
}
