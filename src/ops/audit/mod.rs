//! The audit log: who changed which link, port map or network, and when; one JSON object a line.
//!
//! The store notes a change in the transaction that makes it (`Store::noting`); the command
//! writes it to the log before it ends, and the next command does so for one that died. A log
//! that cannot be written fails no command: what it lacks waits in the store, and is complained of.

mod log;
mod who;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::context::{Moat, Where};
use super::error::{Error, Result};
use super::lock;
use crate::store::Change;

pub use log::Follower;
pub use who::who;

/// How long to wait for another command that writes the log.
const PATIENCE: Duration = Duration::from_secs(5);

static COMPLAINT: Mutex<Option<String>> = Mutex::new(None);
/// Said once a command, however often it tries.
static COMPLAINED: AtomicBool = AtomicBool::new(false);

/// Why the log lacks what this command changed, if it does; once.
#[must_use]
pub fn complaint() -> Option<String> {
    let text = COMPLAINT.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    (!COMPLAINED.swap(true, Ordering::Relaxed)).then_some(text)
}

impl Moat {
    /// Writes what changed to the log, also what commands before this one could not.
    pub fn write_audit(&self) {
        if let Err(e) = self.try_write_audit() {
            let dropped = self.store.drop_old_changes().unwrap_or_default();
            let lost = match dropped {
                0 => "what changed waits in the state, and the next command tries again".to_owned(),
                n => format!("{n} changes are lost to it"),
            };
            let text = format!("the audit log cannot be written ({e}): {lost}");
            *COMPLAINT.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
    }

    fn try_write_audit(&self) -> Result<()> {
        if !self.store.has_changes()? {
            return Ok(());
        }
        super::context::make_dir(self.data_root())?;
        let file = file(self.data_root());
        let _lock = lock::exclusive(&file.with_extension("lock"), PATIENCE)?;
        // Under the lock: another command may have written them meanwhile.
        for change in self.store.changes()? {
            let fail = |e| super::context::state(&file, e);
            log::append(&file, &self.audited(&change)).map_err(fail)?;
            self.store.forget_changes(change.id)?;
        }
        Ok(())
    }

    fn audited(&self, change: &Change) -> Value {
        // What is no JSON stays a text.
        let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
        let side = |text: &Option<String>| {
            let mut value = text.as_deref().map_or(Value::Null, read);
            // A reader of the log knows dates, and nothing of boots.
            if let Some(end) = value["expires"].as_u64() {
                value["expires"] = super::time::rfc3339(super::context::date(end)).into();
            }
            value
        };
        let world = self.data.file_name().unwrap_or_default().to_string_lossy();
        let mut record = json!({
            "time": super::time::rfc3339(change.at),
            "root": self.root.display().to_string(),
            "world": world,
            "number": change.id,
            "what": change.what,
            "object": change.object,
            "before": side(&change.before),
            "after": side(&change.after),
        });
        if let (Some(all), Value::Object(who)) = (record.as_object_mut(), read(&change.who)) {
            all.extend(who);
        }
        record
    }
}

/// The log of a data root.
fn file(data: &std::path::Path) -> PathBuf {
    data.join("audit.log")
}

/// The records of a state root, the oldest first; the value goes on to give what comes.
///
/// # Errors
/// Not root, or the log cannot be read.
pub fn audit(place: &Where) -> Result<Follower> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    // What a command that died left; a broken world keeps nobody from reading.
    let root = match Moat::open(place) {
        Ok(moat) => {
            moat.write_audit();
            moat.root.clone()
        }
        Err(_) => place.root.clone(),
    };
    Ok(Follower::new(file(&place.data), root.display().to_string()))
}
