//! `moat hook`: what a runtime says on standard input, and installing the hook.

use std::io::{IsTerminal as _, Read as _};

use serde_json::json;

use super::args::{Hook, HookWhat};
use super::print::Printer;
use crate::ops::hook::{self, Done, install};
use crate::ops::{Error, Result, Where};

/// No state is larger.
const LARGEST: u64 = 4 << 20;

pub fn run(place: &Where, hook: Hook, dry: bool, p: &Printer) -> Result<i32> {
    match hook.what {
        None if dry => Err(Error::Refused {
            what: "a hook is called for what it does".into(),
            hint: "leave --dry-run out".into(),
        }),
        None => called(place, p),
        Some(HookWhat::Install { dir, force }) => {
            let program = std::env::current_exe().map_err(|source| Error::State {
                path: "/proc/self/exe".into(),
                source,
            })?;
            let request = install::Request { dir, force, program };
            let done = install::install(place, &request, dry)?;
            if p.json {
                p.json(&done);
            } else {
                let did = if dry { "would write" } else { "wrote" };
                p.say(format!("{did} {}", done.hook.display()));
            }
            Ok(0)
        }
    }
}

fn called(place: &Where, p: &Printer) -> Result<i32> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Error::Refused {
            what: "a hook reads the state of a container from standard input".into(),
            hint: "a runtime calls it; `moat hook install` tells podman to".into(),
        });
    }
    let mut text = String::new();
    stdin
        .lock()
        .take(LARGEST)
        .read_to_string(&mut text)
        .map_err(|e| Error::Input {
            value: "standard input".into(),
            reason: e.to_string(),
            hint: None,
        })?;
    // A runtime may show what a hook says: without need it says nothing.
    match hook::hook(place, &text)? {
        Done::Attached { name } if p.json => p.json(&json!({ "attached": name })),
        Done::Removed { name } if p.json => p.json(&json!({ "removed": name })),
        Done::Already { .. } | Done::Nothing | Done::Attached { .. } | Done::Removed { .. } => {}
    }
    Ok(0)
}
