//! Files by name, in a directory or in a tar that can be sought in: what layouts and archives are made of.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::error::{Error, Result};
use super::inside::clean;

/// More and longer descriptions than any image has.
const MOST_NAMES: usize = 100_000;
const LONGEST_JSON: u64 = 8 << 20;
const HEADER: u64 = 4 << 20;

pub struct Bundle {
    /// What it is called in errors.
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Dir,
    Tar {
        file: File,
        index: BTreeMap<PathBuf, Slot>,
    },
}

enum Slot {
    File { at: u64, size: u64 },
    Link(PathBuf),
}

/// One file of a bundle, to be read once.
pub struct Part {
    pub size: u64,
    pub reader: Box<dyn Read>,
}

impl Bundle {
    #[must_use]
    pub fn dir(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            kind: Kind::Dir,
        }
    }

    /// Reads the names in a tar.
    ///
    /// # Errors
    /// It is none, or has too many.
    pub fn tar(path: &Path, file: File) -> Result<Self> {
        let own = file.try_clone().map_err(Error::archive)?;
        let mut archive = tar::Archive::new(Careful { file, left: HEADER });
        let mut index = BTreeMap::new();
        for entry in archive.entries_with_seek().map_err(Error::archive)? {
            let entry = entry.map_err(Error::archive)?;
            let kind = entry.header().entry_type();
            let name = clean(&entry.path_bytes());
            let slot = if kind.is_file() {
                let (at, size) = (entry.raw_file_position(), entry.size());
                Some(Slot::File { at, size })
            } else if kind.is_symlink() || kind.is_hard_link() {
                link(&entry, name.as_deref(), kind.is_symlink()).map(Slot::Link)
            } else {
                None
            };
            if let (Some(name), Some(slot)) = (name, slot) {
                index.insert(name, slot);
            }
            if index.len() > MOST_NAMES {
                return Err(Error::TooMuch {
                    what: "files",
                    limit: MOST_NAMES as u64,
                });
            }
        }
        let kind = Kind::Tar { file: own, index };
        Ok(Self {
            path: path.to_owned(),
            kind,
        })
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match &self.kind {
            Kind::Dir => self.path.join(name).exists(),
            Kind::Tar { index, .. } => index.contains_key(Path::new(name)),
        }
    }

    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn open(&self, name: &str) -> Result<Part> {
        let inner = clean(name.as_bytes()).ok_or_else(|| {
            let shown = super::error::readable(name.as_bytes());
            Error::form(format!("it names the file `{shown}`, which leads out of it"))
        })?;
        match &self.kind {
            Kind::Dir => open_regular(&self.path.join(inner)),
            Kind::Tar { file, index } => {
                let missing = || Error::form(format!("it names the file `{}` and has none", inner.display()));
                let (at, size) = find(index, &inner).ok_or_else(missing)?;
                let read = || -> io::Result<Part> {
                    // One part is read at a time: they share the position.
                    let mut file = file.try_clone()?;
                    file.seek(SeekFrom::Start(at))?;
                    let reader = Box::new(file.take(size));
                    Ok(Part { size, reader })
                };
                read().map_err(|source| Error::path("reading", &self.path, source))
            }
        }
    }

    /// # Errors
    /// There is no such file, it cannot be read, or it is too long to be a description.
    pub fn text(&self, name: &str) -> Result<Vec<u8>> {
        let part = self.open(name)?;
        if part.size > LONGEST_JSON {
            return Err(Error::form(format!(
                "`{name}` is longer than a description should be"
            )));
        }
        let mut bytes = Vec::new();
        part.reader
            .take(LONGEST_JSON)
            .read_to_end(&mut bytes)
            .map_err(|source| Error::path("reading", self.path.join(name), source))?;
        Ok(bytes)
    }

    /// # Errors
    /// As [`Bundle::text`], or it says something else.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        parse(name, &self.text(name)?)
    }
}

/// # Errors
/// It is no JSON of this form.
pub fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::form(format!("`{name}` is not as it should be: {error}")))
}

/// A regular file; never waits for a pipe.
pub fn open_regular(path: &Path) -> Result<Part> {
    let open = || -> io::Result<(File, u64)> {
        let mut options = File::options();
        let file = options
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        let meta = file.metadata()?;
        if meta.is_file() {
            Ok((file, meta.len()))
        } else {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
    };
    let (file, size) = open().map_err(|source| Error::path("opening", path, source))?;
    let reader = Box::new(file);
    Ok(Part { size, reader })
}

fn link(entry: &tar::Entry<'_, impl Read>, name: Option<&Path>, relative: bool) -> Option<PathBuf> {
    let target = entry.link_name_bytes()?;
    let base = if relative { name?.parent()? } else { Path::new("") };
    let joined = base.join(std::ffi::OsStr::new(std::str::from_utf8(&target).ok()?));
    clean(joined.as_os_str().as_encoded_bytes())
}

fn find(index: &BTreeMap<PathBuf, Slot>, name: &Path) -> Option<(u64, u64)> {
    let mut name = name;
    for _ in 0..8 {
        match index.get(name)? {
            Slot::File { at, size } => return Some((*at, *size)),
            Slot::Link(to) => name = to,
        }
    }
    None
}

/// A file of which only headers are read: so many bytes between two seeks.
struct Careful {
    file: File,
    left: u64,
}

impl Read for Careful {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 && !buffer.is_empty() {
            return Err(io::Error::other("a header is longer than any should be"));
        }
        let count = self.file.read(&mut buffer[..most])?;
        self.left -= count as u64;
        Ok(count)
    }
}

impl Seek for Careful {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.left = HEADER;
        self.file.seek(to)
    }
}
