//! What a plugin answers when it cannot do what was asked: a code, a message, details.
//!
//! Codes below 100 are the specification's, those from 100 on are in the contract.

use serde_json::{Value, json};

use super::call::Version;
use crate::ops;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The codes of the CNI specification, section 5, and of `pkg/types` in its library.
pub mod code {
    pub const VERSION: u32 = 1;
    pub const UNSUPPORTED_FIELD: u32 = 2;
    pub const UNKNOWN_CONTAINER: u32 = 3;
    pub const ENVIRONMENT: u32 = 4;
    pub const IO: u32 = 5;
    pub const DECODE: u32 = 6;
    pub const CONFIG: u32 = 7;
    pub const NETNS: u32 = 8;
    pub const TRY_AGAIN: u32 = 11;
    pub const NOT_READY: u32 = 50;
    pub const LIMITED: u32 = 51;
    pub const INTERNAL: u32 = 999;
    /// Ours.
    pub const EXHAUSTED: u32 = 100;
    pub const PORT_TAKEN: u32 = 101;
    pub const NO_PORT_LEFT: u32 = 102;
    pub const LINK_TARGET: u32 = 103;
    pub const POLICY: u32 = 104;
}

/// An error as the runtime gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: u32,
    /// One line.
    pub msg: String,
    /// What helps further; may be empty.
    pub details: String,
}

impl Error {
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// Adds what helps further.
    #[must_use]
    pub fn with(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The error object for stdout.
    #[must_use]
    pub fn to_json(&self, version: Version) -> Value {
        let mut object = json!({ "cniVersion": version.as_str(), "code": self.code, "msg": self.msg });
        if !self.details.is_empty() {
            object["details"] = json!(self.details);
        }
        object
    }
}

impl From<ops::Error> for Error {
    fn from(e: ops::Error) -> Self {
        let mut details = e.hint().unwrap_or_default();
        if let Some(note) = e.note() {
            details = if details.is_empty() {
                note.to_owned()
            } else {
                format!("{note}; {details}")
            };
        }
        Self::new(e.cni_code(), e.to_string()).with(details)
    }
}
