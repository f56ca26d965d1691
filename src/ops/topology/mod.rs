//! `up` and `down`: whole topologies from a Compose file, one project a file.
//!
//! What a file says is read and planned in `model::topology`; here it is done, step by step, each with the
//! intents of its own use case (`run`, `link`, `net`, `rm`). A killed `up` so leaves what single commands
//! would have left, and the next `up` goes on.

mod down;
mod file;
mod links;
mod parts;
mod request;
mod start;
mod up;
mod wait;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::model::Name;
pub use crate::model::topology::Why;
pub use down::{Removal, down};
pub use file::{Explained, Source, explain, read};
pub use up::{Outcome, Request, members, up};

/// Something that was done, as it happens.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// What is odd in the file, and no error.
    Warning {
        text: String,
    },
    Network {
        name: Name,
    },
    Volume {
        path: PathBuf,
    },
    Link {
        text: String,
    },
    Unlink {
        text: String,
    },
    Kept {
        name: Name,
    },
    Removed {
        name: Name,
        why: Why,
    },
    Started {
        name: Name,
        why: Why,
        took: Duration,
    },
    /// A container that could not be replaced runs again.
    Restored {
        name: Name,
    },
    Waiting {
        name: Name,
        until: String,
    },
    Ready {
        name: Name,
        took: Duration,
    },
}

/// Who hears of it.
pub type Tell<'a> = &'a mut dyn FnMut(&Event);
