//! Why an image, or an archive of files, cannot be read or kept.

use std::io;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this layer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} `{}`: {source}", path.display())]
    Path {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The bytes of a stream are not what they should be, or end too early.
    #[error("the archive cannot be read: {source}")]
    Stream { source: io::Error },
    #[error("layer {number}: {source}")]
    Layer { number: usize, source: Box<Error> },
    #[error("entry `{entry}` {reason}")]
    Entry { entry: String, reason: String },
    #[error("entry `{entry}` cannot be written: {source}")]
    Write { entry: String, source: io::Error },
    #[error("entry `{entry}` cannot be read: {source}")]
    Read { entry: String, source: io::Error },
    /// An end of a copy.
    #[error("`/{}` {reason}", path.display())]
    Place { path: PathBuf, reason: &'static str },
    #[error("the digest of {what} is {found}, but {wanted} was promised")]
    Digest {
        what: &'static str,
        found: String,
        wanted: String,
    },
    #[error("it holds more than {limit} {what}")]
    TooMuch { what: &'static str, limit: u64 },
    #[error("it is no image: {reason}")]
    Form { reason: String },
    #[error("it holds no image that fits: {reason}")]
    Choice { reason: String },
    #[error("a layer of it was removed meanwhile by another command")]
    Gone,
    #[error("no image is named `{name}`")]
    Unknown { name: String, near: Option<String> },
    #[error("several images have an id that begins with `{id}`")]
    Ambiguous { id: String },
    #[error("container `{container}` uses it")]
    InUse { container: String },
    #[error("another moat command holds the images for more than {seconds} s")]
    Busy { seconds: u64 },
    #[error("`skopeo` is not installed")]
    NoSkopeo,
    #[error("skopeo: {reason}")]
    Skopeo { reason: String },
    #[error("{}: {source}", path.display())]
    Record {
        path: PathBuf,
        source: serde_json::Error,
    },
}

impl Error {
    pub(super) fn path(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Path {
            what,
            path: path.into(),
            source: source.into(),
        }
    }

    /// What a reader of archives says, on one line: it may quote what it read.
    #[must_use]
    pub fn archive(source: io::Error) -> Self {
        if source.raw_os_error().is_some() {
            return Self::Stream { source };
        }
        let text = source.to_string();
        let line = text.lines().next().unwrap_or_default();
        Self::Stream {
            source: io::Error::new(source.kind(), readable(line.as_bytes())),
        }
    }

    pub(super) fn form(reason: impl Into<String>) -> Self {
        Self::Form {
            reason: reason.into(),
        }
    }

    pub(super) fn entry(entry: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry {
            entry: readable(entry),
            reason: reason.into(),
        }
    }

    pub(super) fn write(entry: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Write {
            entry: readable(entry),
            source: source.into(),
        }
    }

    pub(super) fn read(entry: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Read {
            entry: readable(entry),
            source: source.into(),
        }
    }

    pub(super) fn place(path: &std::path::Path, reason: &'static str) -> Self {
        Self::Place {
            path: path.to_owned(),
            reason,
        }
    }

    /// Whether it is only that the other end of a pipe went away.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Stream { source }
            if matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe))
    }

    /// What the person can do about it, if we know.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Layer { source, .. } => return source.hint(),
            Self::Path { source, .. }
            | Self::Write { source, .. }
            | Self::Stream { source }
            | Self::Read { source, .. } => {
                return stream_hint(source).map(str::to_owned);
            }
            Self::Entry { .. } | Self::Digest { .. } => {
                "nothing of it was kept; get it again from where it came from"
            }
            Self::TooMuch { what: "bytes", .. } => {
                "that is what the file system of images has free; `moat image rm` frees more"
            }
            Self::Place { .. } => "`moat exec NAME ls -l` shows what is there",
            Self::TooMuch { .. } => "nothing of it was kept",
            Self::Form { .. } => {
                "moat reads OCI layouts, archives of `docker save` or `podman save`, and tars of a root"
            }
            Self::Choice { .. } => {
                "give its NAME with the tag after the path: `moat image import PATH NAME:TAG`"
            }
            Self::Gone => "do it again",
            Self::Unknown { near: Some(near), .. } => {
                return Some(format!("did you mean `{near}`? `moat image ls` lists the images"));
            }
            Self::Unknown { .. } => {
                "`moat image ls` lists the images; `moat image import` and `pull` bring one"
            }
            Self::Ambiguous { .. } => "give more of it",
            Self::InUse { container } => {
                return Some(format!("`moat rm -f {container}` removes the container"));
            }
            Self::Busy { .. } => "`ps` shows it; a stopped process holds its lock until it ends",
            Self::NoSkopeo => {
                "install the package skopeo, or bring the image as a file: `docker save` or `podman save` there, \
                 `moat image import` here"
            }
            Self::Skopeo { reason } if reason.contains("HTTP response to HTTPS") => {
                "this registry speaks plain HTTP: `--plain-http`"
            }
            Self::Skopeo { .. } => "`skopeo inspect docker://NAME` tries the same by hand",
            Self::Record { .. } => "`moat image rm` of it, and bring it again",
        };
        Some(text.to_owned())
    }
}

fn stream_hint(source: &io::Error) -> Option<&'static str> {
    match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => Some("the disk is full; nothing of it was kept"),
        Some(libc::EPERM | libc::EACCES) => {
            Some("this needs root, or a user namespace in which you are root")
        }
        Some(libc::ENOENT) => Some("it is the path of a layout, an archive or a tar; `-` is standard input"),
        None if source.kind() == io::ErrorKind::UnexpectedEof => {
            Some("the file is not complete: get it again")
        }
        _ => None,
    }
}

/// A name out of an archive, fit to be shown.
pub(super) fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let short: String = text.chars().take(120).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{}{more}", short.escape_debug())
}
