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

fn uplinks() -> String {
    Ns::host().must("ip -o link | grep -o 'm[0-9a-f]*up@' || true")
}

/// Each alone has the same names; while one has made something, the other is refused, and
/// what the first made stays.
fn one_number_for_two(_: Mode) {
    Ns::host().must("mount -t tmpfs none /run");
    let mut names = Vec::new();
    for root in ROOTS {
        let made = moat(root, "net create a");
        assert!(made.ok(), "{made:?}");
        names.push(uplinks());
        assert!(moat(root, "net rm a").ok());
        assert_eq!(uplinks(), "");
    }
    assert!(!names[0].is_empty() && names[0] == names[1], "{names:?}");
    for mode in ["own", "host"] {
        assert!(moat(ROOTS[0], &format!("net create a --router {mode}")).ok());
        let before = Ns::host().must("ip -o link; nft -s list ruleset; ip rule");
        for line in ["net create b", "ps", "fsck --fix"] {
            let out = moat(ROOTS[1], line);
            let says = out.stderr.contains("another state root") && out.stderr.contains("--root");
            assert!(out.code == 2 && says, "{line}: {out:?}");
        }
        assert_eq!(
            Ns::host().must("ip -o link; nft -s list ruleset; ip rule"),
            before
        );
        assert!(moat(ROOTS[0], "fsck").ok());
        assert!(moat(ROOTS[0], "net rm a").ok());
    }
    assert!(moat(ROOTS[1], "net create b").ok() && moat(ROOTS[1], "net rm b").ok());
}
