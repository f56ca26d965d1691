//! Names of images, as users of other engines write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `[REGISTRY/]PATH[:TAG][@DIGEST]`, complete: `busybox` is `docker.io/library/busybox:latest`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName {
    registry: String,
    path: String,
    tag: String,
    digest: Option<String>,
}

/// Why a text is no name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: `{value}`")]
pub struct ImageNameError {
    pub value: String,
    pub reason: &'static str,
}

const HUB: &str = "docker.io";
const OFFICIAL: &str = "library/";
const LATEST: &str = "latest";

impl ImageName {
    /// As short as it can be written.
    #[must_use]
    pub fn short(&self) -> String {
        let path = match self.registry.as_str() {
            HUB => self.path.strip_prefix(OFFICIAL).unwrap_or(&self.path).to_owned(),
            other => format!("{other}/{}", self.path),
        };
        match &self.digest {
            Some(digest) => format!("{path}@{digest}"),
            None => format!("{path}:{}", self.tag),
        }
    }

    /// The last part of the path: what it is.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)?;
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => write!(f, ":{}", self.tag),
        }
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for ImageName {
    type Error = ImageNameError;

    fn try_from(text: String) -> Result<Self, ImageNameError> {
        text.parse()
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let no = |reason| ImageNameError {
            value: text.escape_debug().to_string(),
            reason,
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return Err(no("a digest is `sha256:` and 64 hex digits")),
            None => (text, None),
        };
        // A colon in the last part is the tag's, one in the first a registry's port.
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((before, tag)) if !tag.contains('/') => (before, tag),
            _ => (rest, LATEST),
        };
        if !is_tag(tag) {
            return Err(no("a tag is 1 to 128 of `a-z A-Z 0-9 _ . -`"));
        }
        let (registry, path) = match rest.split_once('/') {
            Some((first, path)) if is_registry(first) => (first, path.to_owned()),
            Some(_) => (HUB, rest.to_owned()),
            None => (HUB, format!("{OFFICIAL}{rest}")),
        };
        let registry = if registry == "index.docker.io" {
            HUB
        } else {
            registry
        };
        if path.len() > 255 || !path.split('/').all(is_part) {
            return Err(no(
                "an image's name is `[REGISTRY/]PATH[:TAG]`, the path of `a-z 0-9 _ . - /`",
            ));
        }
        Ok(Self {
            registry: registry.to_owned(),
            path,
            tag: tag.to_owned(),
            digest,
        })
    }
}

/// A first part is a registry's when no path could look like it.
fn is_registry(part: &str) -> bool {
    let form = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    (part.contains(['.', ':']) || part == "localhost")
        && part.chars().all(form)
        && part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
}

fn is_part(part: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    edge(part.chars().next()) && edge(part.chars().last()) && part.chars().all(inner) && !part.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&tag.len())
        && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
        && tag.starts_with(word)
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_and_shortened() {
        let hex = "a".repeat(64);
        for (text, whole, short) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("me/app", "docker.io/me/app:latest", "me/app:latest"),
            ("docker.io/library/a", "docker.io/library/a:latest", "a:latest"),
            (
                "localhost:5000/a/b",
                "localhost:5000/a/b:latest",
                "localhost:5000/a/b:latest",
            ),
            ("[::1]:5000/a:x", "[::1]:5000/a:x", "[::1]:5000/a:x"),
            ("quay.io/a/b:v1_2", "quay.io/a/b:v1_2", "quay.io/a/b:v1_2"),
        ] {
            let name: ImageName = text.parse().expect(text);
            assert_eq!((name.to_string().as_str(), name.short().as_str()), (whole, short));
            assert_eq!(whole.parse::<ImageName>().expect(whole), name);
        }
        let pinned: ImageName = format!("a@sha256:{hex}").parse().expect("a digest");
        assert_eq!(pinned.short(), format!("a@sha256:{hex}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "/",
            "A",
            "a//b",
            "../a",
            "a/..",
            "a:",
            "a:b c",
            "a@sha256:1",
            "-a",
            "a-",
            "a\n",
            "a/b/",
            ":x",
            "a:-x",
            "http://a/b",
        ] {
            assert!(text.parse::<ImageName>().is_err(), "{text:?}");
        }
    }
}
