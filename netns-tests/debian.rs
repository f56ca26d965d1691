//! A whole Debian as mmdebstrap makes it, for `make debian`: told only where `MOAT_DEBIAN` names its tar.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::faulty::words;
use crate::harness::{self, Story, long};
use crate::net::{Ns, Out, until};
use crate::world::{FAMILIES, Mode, World};

pub const TAR: &str = "MOAT_DEBIAN";
pub const STORIES: &[Story] = &[long("debian::as_image_and_directory", as_image_and_directory)];

/// What a tar holds, a line an entry, as find(1) prints it of a tree.
const LIST: &str = r"
import sys, tarfile
own = ('etc/hosts', 'etc/hostname', 'etc/resolv.conf')
for m in tarfile.open(sys.argv[1]):
    name = m.name.removeprefix('./').rstrip('/')
    if not name or name == '.' or name in own or name.split('/')[0] in ('dev', 'proc', 'sys', 'run', 'tmp'):
        continue
    link = ' ' + m.linkname if m.issym() else ''
    print('%s %o %d %d%s' % (name, 0o777 if m.issym() else m.mode, m.uid, m.gid, link))";

/// The same of the container's root. What it has of its own was left out above, too.
const FIND: &str = "find / -xdev -mindepth 1 ! -path '/dev*' ! -path '/proc*' ! -path '/sys*' ! -path '/run*' ! -path '/tmp*' \
    ! -path /etc/hosts ! -path /etc/hostname ! -path /etc/resolv.conf \
    \\( -type l -printf '%P %m %U %G %l\\n' -o -printf '%P %m %U %G\\n' \\)";

const SERVE: &str = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 7000, Listen => 5) or die; \
    while (my $c = $s->accept) { print $c \"hello\\n\"; close $c }";

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn as_image_and_directory(mode: Mode) {
    let world = World::new(mode);
    let tar = PathBuf::from(std::env::var_os(TAR).expect("the tar's path"));
    let path = tar.display().to_string();
    world.ok(&["image", "import", &path, "debian"]);
    let directory = harness::dir().join("debian");
    Ns::host().must(&format!(
        "mkdir {0} && tar -xf {path} -C {0}",
        directory.display()
    ));
    let directory = directory.display().to_string();

    let listed = Out::of(Command::new("/usr/bin/python3").args(["-c", LIST, &path]));
    let listed = sorted(&listed.stdout);
    assert!(listed.len() > 3000, "{}", listed.len());
    for root in [["--image", "debian"], ["--rootfs", &directory]] {
        let sh = |line: &str| {
            let out = world.moat(&[&["run", "--rm"], &root[..], &["--", "sh", "-c", line]].concat());
            assert!(out.ok(), "{root:?} {line}: {out:?}");
            out.stdout
        };
        // Every file with its mode, its owner, and where it leads.
        let found = sh(FIND);
        let differ: Vec<_> = differences(&listed, &sorted(&found));
        assert!(differ.is_empty(), "{root:?}: {differ:#?}");
        // It is a system in which packages can be made, installed and removed, and users added.
        let line = "mkdir -p /tmp/p/DEBIAN /tmp/p/opt && echo hi > /tmp/p/opt/hi && \
            printf 'Package: hi\\nVersion: 1\\nArchitecture: all\\nMaintainer: x\\nDescription: x\\n' > /tmp/p/DEBIAN/control && \
            dpkg-deb -b /tmp/p /tmp/hi.deb >/dev/null && dpkg -i /tmp/hi.deb >/dev/null 2>&1 && cat /opt/hi && \
            dpkg -r hi >/dev/null 2>&1 && test ! -e /opt/hi && dpkg --audit && \
            useradd -m ann && id -un ann && su -s /bin/sh ann -c 'id -un' 2>&1";
        let said = sh(line);
        assert!(said.starts_with("hi\nann\n"), "{said}");
        // Thrown away.
        assert_eq!(sh("id ann 2>/dev/null; ls /opt"), "", "{root:?}");
    }

    // Behind the wall, as all are.
    let server = world.run_d("db", &["--image", "debian"], &["perl", "-e", SERVE]);
    world.run_d("web", &["--rootfs", &directory], &["sleep", "1000"]);
    let ask = format!("exec 3<>/dev/tcp/{}/7000; cat <&3", server.ip4);
    let asks = || world.exec("web", &["timeout", "2", "bash", "-c", &ask]).stdout == "hello\n";
    assert!(!asks());
    for family in FAMILIES {
        assert!(!world.container("web").ns.pings(server.ip(family)));
    }
    world.ok(&words("link web db:7000/tcp"));
    assert!(until(Duration::from_secs(5), asks), "linked");
    world.ok(&words("exec web touch /etc/mine"));
    assert!(world.ok(&["diff", "web"]).contains("/etc/mine"));
    world.ok(&words("rm -f web db"));
    world.ok(&words("image rm debian"));
    world.is_clean();
}

/// What one list has and the other has not, the first few.
fn differences(wanted: &[&str], found: &[&str]) -> Vec<String> {
    let missing = wanted.iter().filter(|l| found.binary_search(l).is_err());
    let more = found.iter().filter(|l| wanted.binary_search(l).is_err());
    let missing = missing.map(|l| format!("missing: {l}"));
    missing
        .chain(more.map(|l| format!("more: {l}")))
        .take(10)
        .collect()
}
