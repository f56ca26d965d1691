//! Looking into JSON as the callers of CNI expect it.
//!
//! They are written in Go, whose decoder takes `HostPort` for `hostPort` and `null` for a
//! missing key (`encoding/json`), and go-cni relies on it. What is wrong is told with the way to
//! it and its value, as the specification wants for codes 2 and 7.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::error::{Error, Result, code};

/// What an IP address is called in errors.
pub const IP: &str = "an IP address";

/// What a hardware address is called in errors.
pub const MAC: &str = "a unicast MAC address like 02:42:ac:11:00:02";

/// How much of a wrong value an error shows, in characters.
const SHOWN: usize = 80;

/// A value, and the way to it from the document's top.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    pub value: &'a Value,
    pub path: String,
    code: u32,
}

/// An object, and the way to it.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    pub map: &'a Map<String, Value>,
    pub path: String,
    code: u32,
}

impl<'a> Object<'a> {
    /// The top of a configuration; what is wrong in it has code 7.
    #[must_use]
    pub fn of_config(map: &'a Map<String, Value>) -> Self {
        Self {
            map,
            path: String::new(),
            code: code::CONFIG,
        }
    }

    /// The value of a key: first the key itself, then one that differs in case. `None` for
    /// `null`, too.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Node<'a>> {
        let same = |(k, _): &(&'a String, &'a Value)| k.eq_ignore_ascii_case(key);
        let value = match self.map.get(key) {
            Some(value) => value,
            None => self.map.iter().find(same)?.1,
        };
        (!value.is_null()).then(|| self.node(key, value))
    }

    /// A key's value, read by `read`.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn field<T>(&self, key: &str, read: impl FnOnce(&Node<'a>) -> Result<T>) -> Result<Option<T>> {
        self.get(key).as_ref().map(read).transpose()
    }

    /// The items of a key's list, none without the key.
    ///
    /// # Errors
    /// When it is no list, and those of `read`.
    pub fn list<T>(&self, key: &str, read: impl FnMut(&Node<'a>) -> Result<T>) -> Result<Vec<T>> {
        match self.get(key) {
            Some(node) => node.items()?.iter().map(read).collect(),
            None => Ok(Vec::new()),
        }
    }

    /// A key's object.
    ///
    /// # Errors
    /// When it is something else.
    pub fn object(&self, key: &str) -> Result<Option<Object<'a>>> {
        self.field(key, Node::object)
    }

    /// A key's text; an empty one counts as missing.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>> {
        Ok(self.field(key, Node::text)?.filter(|t| !t.is_empty()))
    }

    /// A key's list of texts.
    ///
    /// # Errors
    /// When it is something else.
    pub fn texts(&self, key: &str) -> Result<Vec<String>> {
        self.list(key, |n| Ok(n.text()?.to_owned()))
    }

    /// What a key's text stands for; an empty text counts as missing.
    ///
    /// # Errors
    /// When it is no text, or not what is `expected`, as in `an IP address`.
    pub fn parsed<T: FromStr>(&self, key: &str, expected: &str) -> Result<Option<T>> {
        let node = self.get(key).filter(|n| n.value != "");
        node.map(|n| n.parsed(expected)).transpose()
    }

    /// A key's whole number.
    ///
    /// # Errors
    /// When it is something else, or does not fit.
    pub fn number<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>> {
        self.field(key, Node::number)
    }

    /// A key's truth value, `false` without the key.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(&self, key: &str) -> Result<bool> {
        Ok(self.field(key, Node::flag)?.unwrap_or(false))
    }

    /// All keys with a value.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> + '_ {
        let set = self.map.iter().filter(|(_, v)| !v.is_null());
        set.map(|(k, v)| (k.as_str(), self.node(k, v)))
    }

    fn node(&self, key: &str, value: &'a Value) -> Node<'a> {
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Node {
            value,
            path,
            code: self.code,
        }
    }
}

impl<'a> Node<'a> {
    /// A document whose errors have this code.
    #[must_use]
    pub fn new(value: &'a Value, path: &str, code: u32) -> Self {
        Self {
            value,
            path: path.to_owned(),
            code,
        }
    }

    /// The error for this value: `expected` says what would be right.
    #[must_use]
    pub fn bad(&self, expected: impl Display) -> Error {
        let whole = self.value.to_string();
        let mut shown: String = whole.chars().take(SHOWN).collect();
        if shown.len() < whole.len() {
            shown.push('…');
        }
        Error::new(self.code, format!("{} must be {expected}: {shown}", self.path))
    }

    /// # Errors
    /// When it is something else.
    pub fn object(&self) -> Result<Object<'a>> {
        let map = self.value.as_object().ok_or_else(|| self.bad("an object"))?;
        Ok(Object {
            map,
            path: self.path.clone(),
            code: self.code,
        })
    }

    /// The items of a list.
    ///
    /// # Errors
    /// When it is something else.
    pub fn items(&self) -> Result<Vec<Node<'a>>> {
        let list = self.value.as_array().ok_or_else(|| self.bad("a list"))?;
        let item = |(i, value)| Node {
            value,
            path: format!("{}[{i}]", self.path),
            code: self.code,
        };
        Ok(list.iter().enumerate().map(item).collect())
    }

    /// # Errors
    /// When it is something else.
    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.bad("a text"))
    }

    /// # Errors
    /// When it is something else.
    pub fn flag(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.bad("true or false"))
    }

    /// # Errors
    /// When it is something else, or does not fit.
    pub fn number<T: TryFrom<u64>>(&self) -> Result<T> {
        let number = self.value.as_u64().ok_or_else(|| self.bad("a whole number"))?;
        T::try_from(number).map_err(|_| self.bad("a smaller number"))
    }

    /// # Errors
    /// When it is no text, or not what is `expected`.
    pub fn parsed<T: FromStr>(&self, expected: &str) -> Result<T> {
        let text = self.value.as_str().ok_or_else(|| self.bad(expected))?;
        text.parse().map_err(|_| self.bad(expected))
    }
}
