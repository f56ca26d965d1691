//! One call of a plugin: the verb, the variables of the environment, and the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::error::{Error, Result, code};
use super::json::{Node, Object};
use super::result::Outcome;
use crate::ops::collect::{Attached, Census, Collect};

/// The key of what GC must leave alone.
const VALID: &str = "cni.dev/valid-attachments";

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

impl Verb {
    /// # Errors
    /// Code 4 for another word.
    pub fn read(word: &str) -> Result<Self> {
        Ok(match word {
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "GC" => Self::Gc,
            "STATUS" => Self::Status,
            "VERSION" => Self::Version,
            _ => {
                return Err(Error::new(
                    code::ENVIRONMENT,
                    format!("unknown CNI_COMMAND: {word}"),
                ));
            }
        })
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// The first version that has the verb.
    #[must_use]
    pub fn since(self) -> Version {
        match self {
            Self::Add | Self::Del | Self::Version => Version::V010,
            Self::Check => Version::V040,
            Self::Gc | Self::Status => Version::V110,
        }
    }
}

/// The variables of the environment.
pub type Env = BTreeMap<OsString, OsString>;

/// A call whose variables and common configuration keys were checked (FIELD points 4 to 20).
#[derive(Clone, Debug)]
pub struct Call {
    pub verb: Verb,
    /// Empty for GC and STATUS.
    pub container: String,
    /// `None` when unset or empty.
    pub netns: Option<PathBuf>,
    /// Empty for GC and STATUS.
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
    /// The whole environment, for delegates.
    pub env: Env,
}

/// An attachment that is to stay, as GC lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValidAttachment {
    pub container: String,
    pub ifname: String,
}

impl Call {
    /// The configuration, whatever the case of its keys.
    #[must_use]
    pub fn conf(&self) -> Object<'_> {
        Object::of_config(&self.config)
    }

    /// The result of the plugins before. It says its own version, or has that of the call.
    ///
    /// # Errors
    /// Code 6 when it cannot be read. DEL should go on without it then.
    pub fn previous(&self) -> Result<Option<Outcome>> {
        let Some(node) = self.conf().get("prevResult") else {
            return Ok(None);
        };
        Outcome::read(node.value, "prevResult", self.version).map(Some)
    }

    /// The same, for a plugin that cannot do without.
    ///
    /// # Errors
    /// Code 7 when there is none, 6 when it cannot be read.
    pub fn required_previous(&self) -> Result<Outcome> {
        self.previous()?
            .ok_or_else(|| Error::new(code::CONFIG, "Required prevResult missing"))
    }

    /// Which runtime calls, as far as `CNI_PATH` tells.
    #[must_use]
    pub fn caller(&self) -> String {
        let path = self.env.get(std::ffi::OsStr::new("CNI_PATH"));
        path.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// What GC asks for.
    ///
    /// # Errors
    /// As [`Call::valid_attachments`].
    pub fn census(&self, collect: Option<Collect>) -> Result<Census> {
        let valid = self.valid_attachments()?.into_iter();
        Ok(Census {
            valid: valid.map(|v| (v.container, v.ifname)).collect(),
            collect: collect.unwrap_or_default(),
        })
    }

    /// The same call of GC with more that is valid: what we spare, a delegate must, too.
    #[must_use]
    pub fn sparing(&self, spared: &[Attached]) -> Self {
        let mut call = self.clone();
        for key in [VALID, "cni.dev/attachments"] {
            let Some(list) = call.config.get_mut(key).filter(|_| !spared.is_empty()) else {
                continue;
            };
            let more = spared
                .iter()
                .map(|(container, ifname)| json!({ "containerID": container, "ifname": ifname }));
            let all: Vec<Value> = list
                .as_array()
                .into_iter()
                .flatten()
                .cloned()
                .chain(more)
                .collect();
            *list = Value::Array(all);
        }
        call
    }

    /// What GC must leave alone; everything else of the network goes.
    ///
    /// `null` means that nothing is valid: libcni writes it for an empty list. Without the key
    /// nobody said what is valid, and nothing may go.
    ///
    /// # Errors
    /// Code 7 without the key, or when it cannot be read.
    pub fn valid_attachments(&self) -> Result<BTreeSet<ValidAttachment>> {
        if !self.config.contains_key(VALID) {
            let hint = "nothing was removed; an empty list or null removes everything";
            return Err(Error::new(code::CONFIG, format!("missing key `{VALID}`")).with(hint));
        }
        let text = |object: &Object<'_>, key: &str| {
            let value = object.text(key)?;
            value
                .map(str::to_owned)
                .ok_or_else(|| Error::new(code::CONFIG, format!("missing key `{key}` of {}", object.path)))
        };
        let valid = self.conf().list(VALID, |node| {
            let object = node.object()?;
            Ok(ValidAttachment {
                container: text(&object, "containerID")?,
                ifname: text(&object, "ifname")?,
            })
        })?;
        Ok(valid.into_iter().collect())
    }
}

/// The key `gc`: what GC takes away.
///
/// # Errors
/// Code 7 for another word.
pub fn collect(node: &Node<'_>) -> Result<Collect> {
    match node.text()? {
        "own" => Ok(Collect::Own),
        "all" => Ok(Collect::All),
        "dead" => Ok(Collect::Dead),
        _ => Err(node.bad("own, all or dead")),
    }
}
