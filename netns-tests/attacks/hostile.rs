//! Roots and volumes that somebody made to hurt whoever starts a container on them or enters it.

use std::time::{Duration, Instant};

use super::escape::NAIVE;
use crate::harness;
use crate::isolation::PYTHON;
use crate::net::{Ns, until};
use crate::world::{Mode, World};

/// A root that its owner made to hurt whoever starts or enters it: nothing hangs, nothing is read or
/// written outside, no program of it runs with rights of the caller.
pub fn a_hostile_root(mode: Mode) {
    let w = World::new(mode);
    let base = harness::dir();
    Ns::host().must(&format!(
        "echo 'ann:x:0:0::/:/bin/sh' > {}/victim",
        base.display()
    ));
    let cases = [
        ("fifo", "mkfifo etc/passwd etc/group"),
        ("endless", "ln -s /dev/zero etc/passwd; ln -s /dev/zero etc/group"),
        ("huge", "truncate -s 20G etc/passwd"),
        ("long", "head -c 40000000 /dev/zero | tr '\\\\0' x > etc/passwd"),
        ("outside", "ln -s ../../../../../../../../victim etc/passwd"),
        (
            "self",
            "ln -s /proc/self/fd/0 etc/passwd; ln -s /proc/1/environ etc/group",
        ),
        ("directory", "mkdir etc/passwd etc/group"),
        (
            "socket",
            "/usr/bin/python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('etc/passwd')\"",
        ),
    ];
    for (name, spoil) in cases {
        let root = base.join(format!("hostile-{name}"));
        Ns::host().must(&format!(
            "mkdir -p {0}/bin {0}/etc && cd {0} && cp $(command -v busybox) bin/sh && cp bin/sh bin/sleep && \
             cp bin/sh bin/id && printf '#!/proc/self/exe\\n' > bin/evil && chmod 755 bin/evil && echo /bin/evil > etc/ld.so.preload && {spoil}",
            root.display()
        ));
        let root = root.display().to_string();
        let begun = Instant::now();
        let out = w.moat(&["run", "--rm", "--rootfs", &root, "-u", "ann", "--", "/bin/id"]);
        assert!(
            out.code == 125 && !out.stderr.contains("panicked"),
            "{name}: {out:?}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{name}: {:?}",
            begun.elapsed()
        );
        w.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--rootfs",
            &root,
            "--",
            "/bin/sleep",
            "100",
        ]);
        let out = w.moat(&["exec", "-u", "ann", name, "/bin/id"]);
        assert!(
            !out.ok() && begun.elapsed() < Duration::from_secs(20),
            "{name}: {out:?}"
        );
        // The interpreter of this is what is executed: were it ours, it would run in there.
        let before = Ns::host().must(&format!("sha256sum {}", env!("CARGO_BIN_EXE_moat")));
        let out = w.moat(&["exec", name, "/bin/evil"]);
        assert!(!out.ok() && !out.stdout.contains("Usage"), "{name}: {out:?}");
        assert_eq!(
            before,
            Ns::host().must(&format!("sha256sum {}", env!("CARGO_BIN_EXE_moat")))
        );
        w.ok(&["rm", "-f", name]);
    }
    w.is_clean();
}

/// Set-uid programs on a volume are worth nothing inside; in bare namespaces they are.
pub fn set_uid_on_a_volume(mode: Mode) {
    let w = World::new(mode);
    let dir = harness::dir().join("bin");
    Ns::host().must(&format!(
        "chmod 755 {1}; mkdir {0} && cp $(command -v id) {0}/sid && chmod 4755 {0}/sid",
        dir.display(),
        harness::dir().display()
    ));
    let program = dir.join("sid").display().to_string();
    let bare = Ns::host().must(&format!(
        "{NAIVE} setpriv --reuid 33 --regid 33 --clear-groups {program} -u"
    ));
    assert_eq!(bare, "0\n");
    let volume = format!("{}:/srv/v", dir.display());
    for ids in ["auto", "host"] {
        let out = w.moat(&[
            "run",
            "--rm",
            "-v",
            &volume,
            "--userns",
            ids,
            "-u",
            "33:33",
            "--",
            "/srv/v/sid",
            "-u",
        ]);
        assert_eq!(out.stdout, "33\n", "{ids}: {out:?}");
    }
}

/// Exchanges a directory for a link and back, as fast as it can (renameat2, RENAME_EXCHANGE).
const EXCHANGE: &str = "
import ctypes, os
c = ctypes.CDLL(None)
os.chdir('/mnt/v')
os.makedirs('a', exist_ok=True)
os.path.islink('b') or os.symlink('/opt', 'b')
print('ready', flush=True)
while True: c.renameat2(-100, b'a', -100, b'b', 2)
";

/// CVE-2021-30465: while a container exchanges a mount's target for a link, nothing is mounted
/// anywhere but below the root of the one that starts.
pub fn mounts_that_race(mode: Mode) {
    let w = World::new(mode);
    let (shared, gift) = (harness::dir().join("shared"), harness::dir().join("gift"));
    Ns::host().must(&format!(
        "mkdir {} {}; touch {}/mark",
        shared.display(),
        gift.display(),
        gift.display()
    ));
    let volume = format!("{}:/mnt/v", shared.display());
    w.run_d("racer", &["-v", &volume], &[PYTHON, "-c", EXCHANGE]);
    assert!(until(Duration::from_secs(10), || w
        .ok(&["logs", "racer"])
        .contains("ready")));
    let second = format!("{}:/mnt/v/a", gift.display());
    let mut started = 0;
    for _ in 0..12 {
        let look = "cat /proc/self/mountinfo | cut -d' ' -f5";
        let out = w.moat(&[
            "run", "--rm", "-v", &volume, "-v", &second, "--", "sh", "-c", look,
        ]);
        if out.ok() {
            started += 1;
            let at = out
                .stdout
                .lines()
                .filter(|l| l.starts_with("/mnt/"))
                .collect::<Vec<_>>();
            assert!(
                at.iter().all(|l| l.starts_with("/mnt/v") || *l == "/opt"),
                "{at:?}"
            );
        } else {
            assert_eq!(out.code, 125, "{out:?}");
        }
        let outside = Ns::host().must("cat /proc/self/mountinfo; ls /opt");
        assert!(
            !outside.contains("gift") && !outside.contains("mark"),
            "{outside}"
        );
    }
    println!("{started} of 12 started");
    w.ok(&["rm", "-f", "racer"]);
    w.is_clean();
}
