//! The example in docs/examples/shop: ten real servers from one file, as `make demo-shop` tries them.

use std::path::Path;
use std::process::Command;

use crate::harness::{self, Story, own};
use crate::net::Out;
use crate::world::Mode;

pub const STORIES: &[Story] = &[own("shop::as_shown", as_shown)];

/// What the demo must have proved, in its order. It says each only when it holds, ends at the first that
/// does not, and compares the host inside and the machine outside before and after.
const CLAIMS: [&str; 10] = [
    "the load balancer answers from both web servers by turns",
    "every service is ready",
    "web1 wrote a row to the primary, and it is read from the standby (in recovery)",
    "web2 wrote to Redis, and its replica has it",
    "20 flows pass, as the file says",
    "the web servers and the standby reach the database on 5432, and nothing else reaches it",
    "nobody reaches the other Redis",
    "same address, same links, and the standby follows again",
    "ten containers are gone in",
    "ip, nft, mounts, cgroups, processes, sysctls, files: identical",
];

fn as_shown(_: Mode) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/demo/demo-shop");
    let drawing = harness::dir().join("shop.svg");
    let mut demo = Command::new("bash");
    // The path of the drawing is that of the caller's directory, as from the Makefile.
    demo.arg(script).arg(env!("CARGO_BIN_EXE_moat")).arg("shop.svg");
    demo.current_dir(harness::dir());
    let out = Out::of(&mut demo);
    assert!(out.ok(), "{}\n{}", out.stdout, out.stderr);
    let mut rest = out.stdout.as_str();
    for claim in CLAIMS {
        let Some((_, after)) = rest.split_once(claim) else {
            panic!("not proved, or not in this order: {claim}\n{}", out.stdout);
        };
        rest = after;
    }
    let drawn = std::fs::read_to_string(&drawing).expect("the drawing");
    assert!(drawn.starts_with("<svg") || drawn.starts_with("<?xml"), "{drawn}");
}
