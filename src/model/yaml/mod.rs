//! YAML as values that know where they stand: what a file's reader needs to name line and column.
//!
//! Owns the step from text to [`Node`]s and the typed reading of these ([`Fields`]). It knows no format:
//! Compose files and manifests are read by others. A key that occurs twice is refused, aliases and depth
//! are bounded, and everything but `true`, `false` and `null` stays text until somebody asks for a number.

mod fields;
mod load;
#[cfg(test)]
mod tests;

use std::fmt;

pub use fields::Fields;
pub use load::{Bounds, load, load_within};

/// A place in a file, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub pos: Pos,
    pub what: String,
    pub hint: Option<String>,
}

impl Fault {
    #[must_use]
    pub fn new(pos: Pos, what: impl Into<String>) -> Self {
        Self {
            pos,
            what: what.into(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hinting(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the file it is in.
    #[must_use]
    pub fn within(self, file: impl Into<String>) -> Error {
        Error {
            file: file.into(),
            fault: self,
        }
    }
}

/// What is wrong in a file: `compose.yaml:12:5: …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{}: {}", fault.pos, fault.what)]
pub struct Error {
    pub file: String,
    pub fault: Fault,
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub pos: Pos,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    /// In the order of the file; every key once.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub pos: Pos,
    pub text: String,
}

impl Node {
    /// What it is, in words.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// An empty mapping at a place.
    #[must_use]
    pub fn empty(pos: Pos) -> Self {
        let value = Value::Map(vec![]);
        Self { pos, value }
    }

    /// What stands behind a key, for readers that leave other keys alone; `None` also for nothing.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let found = entries.iter().find(|(k, _)| k.text == key);
        found.map(|(_, node)| node).filter(|node| !node.is_null())
    }

    /// What is wrong with this value.
    #[must_use]
    pub fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::new(self.pos, what)
    }

    /// A single value as text.
    ///
    /// # Errors
    /// It is a list or a mapping; `what` names the thing it should have been.
    pub fn text(&self, what: &str) -> Result<&str, Fault> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.fault(format!("{what} is a single value, not {}", self.kind()))),
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// It is anything else.
    pub fn boolean(&self, what: &str) -> Result<bool, Fault> {
        match self.text(what)? {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(self.fault(format!("{what} is `true` or `false`, not: `{other}`"))),
        }
    }

    /// A number, or whatever else can be read from text.
    ///
    /// # Errors
    /// It cannot; `form` says in words what can.
    pub fn parse<T: std::str::FromStr>(&self, what: &str, form: &str) -> Result<T, Fault> {
        let text = self.text(what)?;
        let wrong = || self.fault(format!("{what} is {form}, not: `{text}`"));
        text.parse().map_err(|_| wrong())
    }

    /// The entries of a list; nothing is an empty one.
    ///
    /// # Errors
    /// It is no list.
    pub fn list(&self, what: &str) -> Result<&[Node], Fault> {
        match &self.value {
            Value::List(nodes) => Ok(nodes),
            Value::Null => Ok(&[]),
            _ => Err(self.fault(format!("{what} is a list, not {}", self.kind()))),
        }
    }

    /// The entries of a mapping; nothing is an empty one.
    ///
    /// # Errors
    /// It is no mapping.
    pub fn map(&self, what: &str) -> Result<&[(Key, Node)], Fault> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            Value::Null => Ok(&[]),
            _ => Err(self.fault(format!("{what} is a mapping, not {}", self.kind()))),
        }
    }

    /// A mapping to be read key by key; `what` names it in errors.
    ///
    /// # Errors
    /// It is no mapping.
    pub fn fields(&self, what: impl Into<String>) -> Result<Fields<'_>, Fault> {
        let what = what.into();
        Ok(Fields::new(self.map(&what)?, self.pos, what))
    }
}
