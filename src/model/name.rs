//! Names of containers and networks.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that is right: 1 to 63 of `a-z A-Z 0-9 _ . -`, starting with a letter or digit,
/// and none of the words that mean something else in a link (`host`, `world`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name is 1 to 63 of `a-z A-Z 0-9 _ . -`, first a letter or digit, not: `{0}`")]
    Form(String),
    #[error("`{0}` is a word with a meaning of its own in links and cannot name a container or network")]
    Reserved(String),
}

/// What the names of containers that came through CNI begin with.
const CNI: &str = "cni:";
/// The same for those that came through the OCI hook.
const OCI: &str = "oci:";

impl Name {
    /// The name of an interface of a container that came through CNI: `cni:NETWORK/ID`, and of
    /// a further one on the same network `cni:NETWORK/ID/IFNAME`.
    ///
    /// # Errors
    /// When a part is no word of a name.
    pub fn through_cni(network: &Self, id: &str, ifname: Option<&str>) -> Result<Self, NameError> {
        let ifname = ifname.map(|i| format!("/{i}")).unwrap_or_default();
        format!("{CNI}{network}/{id}{ifname}").parse()
    }

    /// The name of a container that came through the OCI hook: `oci:ID`.
    ///
    /// # Errors
    /// When the id is no word of a name.
    pub fn through_hook(id: &str) -> Result<Self, NameError> {
        format!("{OCI}{id}").parse()
    }

    /// Whether it is the name of another runtime's container, which came through CNI or through
    /// the OCI hook: somebody else's process.
    #[must_use]
    pub fn is_anothers(&self) -> bool {
        self.0.starts_with(CNI) || self.0.starts_with(OCI)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        // `cni:NETWORK/ID` names a container that came through CNI, `cni:NETWORK/ID/IFNAME` a
        // further interface of it on the same network, `oci:ID` one that came through the hook;
        // the parts obey the same rule.
        let (rest, count, limit) = match (s.strip_prefix(CNI), s.strip_prefix(OCI)) {
            (Some(rest), _) => (rest, 2..=3, 255),
            (_, Some(rest)) => (rest, 1..=1, 255),
            _ => (s, 1..=1, 63),
        };
        let parts: Vec<&str> = rest.split('/').collect();
        if !count.contains(&parts.len()) || parts.iter().any(|p| !is_plain(p, limit)) {
            return Err(NameError::Form(s.chars().take(80).collect()));
        }
        if matches!(s, "host" | "world" | "none") {
            return Err(NameError::Reserved(s.to_owned()));
        }
        Ok(Self(s.to_owned()))
    }
}

fn is_plain(s: &str, limit: usize) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    s.len() <= limit && s.bytes().all(inner) && s.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(s: String) -> Result<Self, NameError> {
        s.parse()
    }
}

impl From<Name> for String {
    fn from(n: Name) -> Self {
        n.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_once() {
        for good in [
            "web",
            "a",
            "db-1",
            "x.y_z",
            "9",
            "cni:podman/3f2a9c",
            "cni:podman/3f2a9c/net1",
            "oci:3f2a9c",
        ] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a/b",
            "../x",
            "a b",
            "a:b",
            "host",
            "world",
            "cni:x",
            "cni:/x",
            "cni:x/y/z/w",
            "cni:x/y/",
            "oci:",
            "oci:x/y",
            "oci:cni:x",
            "é",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
