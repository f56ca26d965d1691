//! The machine's clock is set: links that end do so when they should, and never open again.

use std::time::{Duration, Instant};

use crate::harness::{self, Story, own};
use crate::net::{Ns, Out, until};
use crate::world::{Mode, World};

pub const STORIES: &[Story] = &[own("clock::set_back_and_forward", set_back_and_forward)];

/// Stands before the C library: the clock that people set is off by `SHIFT` seconds.
const SHIFTED: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *t) {
    int done = syscall(SYS_clock_gettime, clock, t);
    const char *shift = getenv("SHIFT");
    if (done == 0 && clock == CLOCK_REALTIME && shift) t->tv_sec += atol(shift);
    return done;
}"#;

fn set_back_and_forward(mode: Mode) {
    let w = World::new(mode);
    let dir = harness::dir();
    std::fs::write(dir.join("shift.c"), SHIFTED).expect("writes");
    Ns::host().must(&format!(
        "gcc -shared -fPIC -o {0}/shift.so {0}/shift.c",
        dir.display()
    ));
    let at = |shift: &str, args: &[&str]| {
        let mut c = w.command(args);
        Out::of(c.env("LD_PRELOAD", dir.join("shift.so")).env("SHIFT", shift))
    };
    let (a, b) = (w.idle("a", &[]), w.idle("b", &[]));
    let audit = at("86400", &["link", "a", "b:1/udp", "--for", "1h"]);
    assert!(audit.ok(), "{audit:?}");
    let expires = |shift: &str| {
        let out = at(shift, &["links", "--json"]);
        let all: serde_json::Value = serde_json::from_str(&out.stdout).expect("links");
        all[0]["expires"].as_str().unwrap_or_default().to_owned()
    };
    // The library does what it should: the date is that of the shifted clock.
    assert_ne!(expires("0")[..10], expires("86400")[..10], "the clock is shifted");

    let begun = Instant::now();
    w.ok(&["link", "a", "b", "--for", "4s"]);
    assert!(a.ns.pings(&b.ip4));
    // Set forward by a day: it goes on until its end.
    assert!(at("86400", &["ps"]).ok());
    assert!(at("86400", &["fsck", "--fix"]).ok());
    if begun.elapsed() < Duration::from_millis(2500) {
        assert!(a.ns.pings(&b.ip4), "the link ended early");
    }
    let ends = || !a.ns.pings(&b.ip4);
    assert!(until(Duration::from_secs(15), ends), "the kernel ends it");
    // Set back by a day: its end is in the past all the same.
    for args in [&["ps"][..], &["fsck", "--fix"], &["links"]] {
        let out = at("-86400", args);
        assert!(out.ok(), "{out:?}");
        assert!(
            !a.ns.pings(&b.ip4) && !a.ns.pings(&b.ip6),
            "{args:?} opened it again"
        );
    }
    let out = at("-86400", &["links"]);
    assert!(!out.stdout.contains("any"), "{out:?}");
    w.is_clean();
}
