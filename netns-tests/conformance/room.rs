//! A host of its own for every telling of a row: a thread with network and mount namespaces
//! that nobody else has. What it starts is in them too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::Verdict;
use super::lab::{Lab, Subject};
use super::page::UNSPOKEN;

/// Begins to tell a row about a subject on a fresh host.
pub fn apart(subject: Subject, version: &'static str, tell: fn(&Lab) -> Verdict) -> JoinHandle<Verdict> {
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("unshare");
        let none = None::<&str>;
        for dir in ["/run", "/var/lib"] {
            mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), none).expect("tmpfs");
        }
        let lab = Lab::new(subject, version);
        // Debian's release may be older than the version; ours must not be.
        if subject == Subject::Reference && !lab.speaks() {
            return Err(UNSPOKEN.into());
        }
        catch_unwind(AssertUnwindSafe(|| tell(&lab))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.unwrap_or_else(|| "a panic".into()))
        })
    })
}

/// What it came to.
pub fn outcome(room: JoinHandle<Verdict>) -> Verdict {
    room.join().unwrap_or_else(|_| Err("no room".into()))
}
