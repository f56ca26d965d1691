//! One call of a plugin: the verb, the variables of the environment, and the configuration.

use std::path::PathBuf;

use serde_json::{Map, Value};

/// A version of the specification that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V010,
    V020,
    V030,
    V031,
    V040,
    V100,
    V110,
}

impl Version {
    pub const ALL: [Self; 7] = [
        Self::V010,
        Self::V020,
        Self::V030,
        Self::V031,
        Self::V040,
        Self::V100,
        Self::V110,
    ];
    pub const LATEST: Self = Self::V110;

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V010 => "0.1.0",
            Self::V020 => "0.2.0",
            Self::V030 => "0.3.0",
            Self::V031 => "0.3.1",
            Self::V040 => "0.4.0",
            Self::V100 => "1.0.0",
            Self::V110 => "1.1.0",
        }
    }

    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == text)
    }
}

/// `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

/// A call whose variables and common configuration keys were checked (FIELD points 4 to 20).
#[derive(Clone, Debug)]
pub struct Call {
    pub verb: Verb,
    /// Empty for GC, STATUS and VERSION.
    pub container: String,
    /// `None` when unset or empty.
    pub netns: Option<PathBuf>,
    pub ifname: String,
    /// `CNI_ARGS`, the last of repeated keys.
    pub args: Vec<(String, String)>,
    /// `CNI_PATH`.
    pub path: Vec<PathBuf>,
    pub version: Version,
    /// The network's name.
    pub name: String,
    /// The whole configuration as it came, for delegates too.
    pub config: Map<String, Value>,
}
