//! Two state roots in one network namespace.

use crate::harness::{Story, own};
use crate::net::{Ns, Out};
use crate::world::Mode;

pub const STORIES: &[Story] = &[own("roots::one_number_for_two", one_number_for_two)];

/// Paths whose numbers are equal.
const ROOTS: [&str; 2] = ["/run/r186", "/run/r300"];

fn moat(root: &str, line: &str) -> Out {
    let moat = env!("CARGO_BIN_EXE_moat");
    Ns::host().sh(&format!("{moat} --root {root} {line}"))
}

fn ifaces() -> String {
    Ns::host().must("ip -br link | cut -d' ' -f1 | grep -v '^lo' || true")
}

fn host() -> String {
    Ns::host().must("ip -o link | sed 's/ link-netnsid [a-z0-9]*//'; nft -s list ruleset; ip rule")
}

/// The second root is refused whatever it wants, and what the first made stays.
#[track_caller]
fn is_refused(lines: &[&str]) {
    let before = host();
    for line in lines {
        let out = moat(ROOTS[1], line);
        let says = out.stderr.contains("another state root") && out.stderr.contains("--root");
        assert!(out.code == 2 && says, "{line}: {out:?}");
    }
    assert_eq!(host(), before);
}

/// Each alone has the same names; while one has made something, the other is refused. A root that
/// was lost with its database is still its own.
fn one_number_for_two(_: Mode) {
    Ns::host().must("mount -t tmpfs none /run");
    let mut names = Vec::new();
    for root in ROOTS {
        let made = moat(root, "net create a");
        assert!(made.ok(), "{made:?}");
        names.push(ifaces());
        assert!(moat(root, "net rm a").ok());
        assert_eq!(ifaces(), "");
    }
    assert!(!names[0].is_empty() && names[0] == names[1], "{names:?}");
    for mode in ["own", "host"] {
        assert!(moat(ROOTS[0], &format!("net create a --router {mode}")).ok());
        is_refused(&["net create b", "ps", "fsck --fix"]);
        // Nor when nobody can be asked but the interfaces.
        Ns::host().must("nft flush ruleset");
        is_refused(&["net create b", "fsck --fix"]);
        assert!(moat(ROOTS[0], "ps").ok() && moat(ROOTS[0], "fsck").ok());
        Ns::host().must(&format!("umount {0}/*/router; rm -rf {0}", ROOTS[0]));
        is_refused(&["net create b"]);
        let anew = moat(ROOTS[0], "ps");
        assert!(anew.ok(), "{anew:?}");
        assert_eq!(ifaces(), "");
        assert_eq!(Ns::host().must("nft list ruleset"), "");
    }
    assert!(moat(ROOTS[1], "net create b").ok() && moat(ROOTS[1], "net rm b").ok());
}
