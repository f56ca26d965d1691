//! Files as a tar stream, and such a stream into its place: the two halves of a copy.
//!
//! Each half works below one open directory and follows no link out of it ([`Inside`]); the one that reads
//! may see files change under its hands, and sends a whole stream all the same. Before the tar goes one byte
//! that says whether it is a directory.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, fstat};
use tar::{Builder, EntryType, Header};

use super::error::{Error, Result};
use super::inside::{Inside, clean, enter, is, look, names, read_file};
use super::limits::Limits;
use super::stream::Tap;
use super::unpack::{Rules, Top, unpack};

const DIRECTORY: u8 = b'd';
const FILE: u8 = b'f';
const DEEPEST: usize = 256;

/// One end of a copy, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    /// `DIR/.`: what is in it, without itself.
    contents: bool,
    /// `DIR/`: it must be a directory.
    slash: bool,
}

impl Place {
    /// # Errors
    /// It is no path below a root.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = text.as_bytes();
        let path = clean(bytes).ok_or_else(|| Error::entry(bytes, "is no path below the root"))?;
        let contents = text == "." || text.ends_with("/.") || path.as_os_str().is_empty();
        Ok(Self {
            path,
            contents,
            slash: contents || text.ends_with('/') || text.ends_with("/.."),
        })
    }

    /// What a copy of it is called.
    #[must_use]
    pub fn name(&self) -> OsString {
        self.path
            .file_name()
            .map_or_else(|| "root".into(), OsStr::to_owned)
    }

    #[must_use]
    pub fn is_contents(&self) -> bool {
        self.contents
    }
}

/// Writes what is at `place` below `tree`: the byte, if `marked`, and the tar. How many files were left out.
///
/// # Errors
/// There is nothing, or it cannot be read or written.
pub fn send(tree: &Inside, place: &Place, marked: bool, mut out: impl Write) -> Result<u64> {
    let shown = place.path.as_os_str().as_bytes().to_owned();
    let missing = |errno| match errno {
        Errno::ENOENT => Error::place(&place.path, "does not exist"),
        Errno::ENOTDIR => Error::place(&place.path, "is no directory"),
        errno => Error::read(&shown, errno),
    };
    let top = place.name();
    let dir = if place.slash {
        Some(tree.dir(&place.path).map_err(missing)?)
    } else {
        None
    };
    let parent = tree
        .dir(place.path.parent().unwrap_or(Path::new("")))
        .map_err(missing)?;
    let stat = match &dir {
        Some(dir) => fstat(dir).map_err(missing)?,
        None => look(&parent, &top)
            .map_err(missing)?
            .ok_or_else(|| missing(Errno::ENOENT))?,
    };
    if marked {
        let mark = if is(&stat, libc::S_IFDIR) { DIRECTORY } else { FILE };
        out.write_all(&[mark]).map_err(Error::archive)?;
    }
    let mut packer = Packer {
        tar: Builder::new(out),
        linked: BTreeMap::new(),
        left_out: 0,
    };
    match dir {
        Some(dir) => packer.directory(&dir, &stat, Path::new(&top), 0)?,
        None => packer.entry(&parent, &top, &stat, Path::new(&top), 0)?,
    }
    packer.tar.finish().map_err(Error::archive)?;
    Ok(packer.left_out)
}

struct Packer<W: Write> {
    tar: Builder<W>,
    /// Files of several names, and under which they were sent.
    linked: BTreeMap<(u64, u64), PathBuf>,
    /// Sockets and devices.
    left_out: u64,
}

impl<W: Write> Packer<W> {
    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        stat: &FileStat,
        path: &Path,
        depth: usize,
    ) -> Result<()> {
        let shown = path.as_os_str().as_bytes();
        let failed = |errno: Errno| Error::read(shown, errno);
        match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => {
                let inner = enter(dir, name).map_err(failed)?;
                self.directory(&inner, stat, path, depth)
            }
            libc::S_IFREG => self.file(dir, name, path),
            libc::S_IFLNK => {
                let target = nix::fcntl::readlinkat(dir, name).map_err(failed)?;
                let mut header = header(stat, EntryType::Symlink);
                self.tar
                    .append_link(&mut header, path, &target)
                    .map_err(Error::archive)
            }
            libc::S_IFIFO => {
                let mut header = header(stat, EntryType::Fifo);
                self.tar
                    .append_data(&mut header, path, io::empty())
                    .map_err(Error::archive)
            }
            _ => {
                self.left_out += 1;
                Ok(())
            }
        }
    }

    fn directory(&mut self, dir: &OwnedFd, stat: &FileStat, path: &Path, depth: usize) -> Result<()> {
        let shown = path.as_os_str().as_bytes();
        if depth > DEEPEST {
            return Err(Error::entry(shown, "is deeper than any tree should be"));
        }
        let mut header = header(stat, EntryType::Directory);
        self.tar
            .append_data(&mut header, path, io::empty())
            .map_err(Error::archive)?;
        for (name, stat) in names(dir).map_err(|errno| Error::read(shown, errno))? {
            match self.entry(dir, &name, &stat, &path.join(&name), depth + 1) {
                // It was there a moment ago.
                Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn file(&mut self, dir: &OwnedFd, name: &OsStr, path: &Path) -> Result<()> {
        let failed = |source: io::Error| Error::read(path.as_os_str().as_bytes(), source);
        let file = read_file(dir, name).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let stat = fstat(&file).map_err(|errno| failed(errno.into()))?;
        let key = (meta.dev(), meta.ino());
        if let Some(known) = self.linked.get(&key) {
            let mut header = header(&stat, EntryType::Link);
            return self
                .tar
                .append_link(&mut header, path, known)
                .map_err(Error::archive);
        }
        if meta.nlink() > 1 {
            self.linked.insert(key, path.to_owned());
        }
        let size = meta.len();
        let mut header = header(&stat, EntryType::Regular);
        header.set_size(size);
        // As long as it was said to be, even if somebody cuts it now.
        let data = file.take(size).chain(io::repeat(0)).take(size);
        self.tar
            .append_data(&mut header, path, data)
            .map_err(Error::archive)
    }
}

fn header(stat: &FileStat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

/// What is to become of a stream that [`send`] wrote.
pub struct Delivery {
    pub to: Place,
    /// What it was called where it comes from.
    pub name: OsString,
    /// Only what is in it.
    pub contents: bool,
    /// Set-user-id and set-group-id bits are kept.
    pub set_ids: bool,
}

/// Puts a marked stream in its place below `tree`: into a directory that is there, or under a new name.
///
/// # Errors
/// There is no such place, or it cannot be written.
pub fn receive(tree: &Inside, delivery: &Delivery, mut from: impl Read + 'static) -> Result<u64> {
    let mut mark = [0];
    from.read_exact(&mut mark).map_err(Error::archive)?;
    let is_dir = mark == [DIRECTORY];
    let to = &delivery.to;
    let shown = to.path.as_os_str().as_bytes();
    let (into, top) = match tree.dir(&to.path) {
        Ok(dir) if delivery.contents && is_dir => (dir, Top::Strip),
        Ok(dir) => (dir, Top::Rename(delivery.name.clone())),
        Err(Errno::ENOENT) if to.slash && !is_dir => return Err(Error::place(&to.path, "does not exist")),
        Err(Errno::ENOTDIR) if is_dir || to.slash => return Err(Error::place(&to.path, "is no directory")),
        Err(Errno::ENOENT | Errno::ENOTDIR) => {
            let parent = tree.dir(to.path.parent().unwrap_or(Path::new("")));
            let parent = parent.map_err(|_| Error::place(&to.path, "is in no directory that exists"))?;
            (parent, Top::Rename(to.name()))
        }
        Err(errno) => return Err(Error::write(shown, errno)),
    };
    place(into, top, delivery.set_ids, from)
}

/// Unpacks a tar from somewhere else into a directory that is there.
///
/// # Errors
/// There is none, or the tar is no tar, or leads out.
pub fn extract(tree: &Inside, to: &Place, set_ids: bool, from: impl Read + 'static) -> Result<u64> {
    let shown = to.path.as_os_str().as_bytes();
    let into = tree.resolve(&to.path, OFlag::O_RDONLY | OFlag::O_DIRECTORY);
    let into = into.map_err(|errno| match errno {
        Errno::ENOENT | Errno::ENOTDIR => Error::place(&to.path, "is no directory that exists"),
        errno => Error::write(shown, errno),
    })?;
    place(into, Top::Keep, set_ids, from)
}

fn place(into: OwnedFd, top: Top, set_ids: bool, from: impl Read + 'static) -> Result<u64> {
    let rules = Rules {
        whiteouts: false,
        replace: false,
        set_ids,
        top,
    };
    let stream = Tap::new(from);
    // A person asked for it, and a full disk will say so.
    let mut limits = Limits::new(u64::MAX, u64::MAX);
    let outcome = unpack(&stream, &Inside::of(into), &rules, &mut limits)?;
    // The sender would not like to be cut off.
    stream.finish(u64::MAX).map_err(Error::archive)?;
    Ok(outcome.devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_from_the_end_of_a_path() {
        let place = |text| Place::parse(text).expect("a path");
        for (text, name, contents, slash) in [
            ("/a/b", "b", false, false),
            ("a/b/", "b", false, true),
            ("a/b/.", "b", true, true),
            ("/", "root", true, true),
            ("a/..", "root", true, true),
        ] {
            let place = place(text);
            assert_eq!(
                (place.name(), place.contents, place.slash),
                (name.into(), contents, slash),
                "{text}"
            );
        }
        assert!(Place::parse("/..").is_err());
    }
}
