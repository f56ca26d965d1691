//! Manifests that were applied: each file as it was, and which of its objects count.

use serde::{Deserialize, Serialize};

use super::{Error, Store};

const KEY: &str = "manifests";

/// One file, with the objects that no file after it replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// As messages show it.
    pub name: String,
    pub text: String,
    pub objects: Vec<Applied>,
}

/// A policy or a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Applied {
    pub kind: String,
    /// `None` for what is of the whole world.
    pub namespace: Option<String>,
    pub name: String,
}

/// `shop/db`, or the name alone.
impl std::fmt::Display for Applied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Store {
    /// In the order in which they were applied.
    ///
    /// # Errors
    /// A database error or a record that cannot be read.
    pub fn manifests(&self) -> Result<Vec<Manifest>, Error> {
        match self.meta(KEY)? {
            Some(text) => serde_json::from_str(&text).map_err(|e| self.record(e)),
            None => Ok(vec![]),
        }
    }

    /// Puts these in the place of all.
    ///
    /// # Errors
    /// A database error.
    pub fn set_manifests(&self, all: &[Manifest]) -> Result<(), Error> {
        let text = serde_json::to_string(all).map_err(|e| self.record(e))?;
        self.set_meta(KEY, Some(text.as_str()).filter(|_| !all.is_empty()))
    }
}
