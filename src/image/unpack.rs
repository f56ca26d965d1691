//! A tar stream into a directory, contained: see [`Inside`].
//!
//! Refuses what leads out, leaves device nodes out, and turns the whiteouts of image layers into those of
//! overlayfs (overlayfs.rst): `.wh.x` becomes a character device 0:0, `.wh..wh..opq` the attribute `opaque`.
//! Set-user-id bits are kept: a container's root is mounted without them, and the directory of images is
//! closed to others.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, futimens, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{fchown, fchownat, linkat, mkfifoat, symlinkat};
use tar::{Entry, EntryType};

use super::entry::{fill, is_whiteout, mtime, owner, set_opaque};
use super::error::{Error, Result};
use super::inside::{Inside, clean, clear, enter, is, look};
use super::limits::Limits;
use super::stream::Tap;

/// A header with its long names and attributes may take so many bytes.
const HEADER: u64 = 4 << 20;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What is done with entries, beside unpacking them.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `.wh.` names mean what they do in layers.
    pub whiteouts: bool,
    /// A file may replace a directory.
    pub replace: bool,
    /// Set-user-id and set-group-id bits are kept.
    pub set_ids: bool,
    /// What becomes of the first part of every path.
    pub top: Top,
}

#[derive(Clone, Debug)]
pub enum Top {
    Keep,
    Rename(OsString),
    Strip,
}

/// What was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub entries: u64,
    pub bytes: u64,
    pub devices: u64,
    /// Files whose owner is not known in this user namespace.
    pub unowned: u64,
}

/// Unpacks the whole stream.
///
/// # Errors
/// The first entry that cannot be unpacked; what came before it is there.
pub fn unpack(stream: &Tap, into: &Inside, rules: &Rules, limits: &mut Limits) -> Result<Outcome> {
    let broken = Error::archive;
    let mut archive = tar::Archive::new(stream.clone());
    let mut unpacker = Unpacker {
        into,
        rules,
        outcome: Outcome::default(),
        times: Vec::new(),
        parent: None,
    };
    stream.allow(HEADER);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        limits.take_entry()?;
        limits.take_bytes(entry.size())?;
        // Its data, padded, and then the next header.
        let data = entry.header().entry_size().unwrap_or(0).max(entry.size());
        stream.allow(data.saturating_add(HEADER));
        unpacker.entry(&mut entry)?;
        unpacker.outcome.entries += 1;
    }
    unpacker.finish();
    Ok(unpacker.outcome)
}

struct Unpacker<'a> {
    into: &'a Inside,
    rules: &'a Rules,
    outcome: Outcome,
    /// Times of directories, set when nothing is made in them any more.
    times: Vec<(PathBuf, TimeSpec)>,
    /// The directory that the last entry was in.
    parent: Option<(PathBuf, OwnedFd)>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let shown = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            return Ok(());
        }
        let outside = || Error::entry(&shown, "leads out of the image");
        let path = self.place(clean(&shown).ok_or_else(outside)?);
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The root itself.
            if matches!(self.rules.top, Top::Keep) && kind.is_dir() {
                let dir = self.into.dir(&path).map_err(|e| Error::write(&shown, e))?;
                self.dress(&dir, entry, &shown)?;
                self.times.push((path, mtime(entry)));
            }
            return Ok(());
        };
        let at = path.parent().unwrap_or(Path::new(""));
        if self.rules.whiteouts && name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(at, &name, &shown);
        }
        let dir = self.enter_parent(at, &shown)?;
        let done = match kind {
            EntryType::Directory => self.directory(&dir, &path, &name, entry, &shown),
            // The oldest tars mark directories by a slash at the end.
            EntryType::Regular if shown.ends_with(b"/") => self.directory(&dir, &path, &name, entry, &shown),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&dir, &name, entry, &shown)
            }
            EntryType::Symlink => self.symlink(&dir, &name, entry, &shown),
            EntryType::Link => self.hard_link(&dir, &path, &name, entry, &shown),
            EntryType::Fifo => self.fifo(&dir, &name, entry, &shown),
            EntryType::Char | EntryType::Block => {
                self.outcome.devices += 1;
                Ok(())
            }
            other => {
                let reason = format!(
                    "is of a kind that is not known here: {:?}",
                    char::from(other.as_byte())
                );
                Err(Error::entry(&shown, reason))
            }
        };
        if !matches!(kind, EntryType::Directory | EntryType::Regular) {
            self.parent = None;
        } else if done.is_ok() && self.parent.is_none() {
            self.parent = Some((at.to_owned(), dir));
        }
        done
    }

    fn place(&self, path: PathBuf) -> PathBuf {
        let rest = || path.components().skip(1).collect::<PathBuf>();
        match &self.rules.top {
            Top::Keep => path,
            Top::Strip => rest(),
            Top::Rename(name) if path.as_os_str().is_empty() => name.into(),
            Top::Rename(name) => Path::new(name).join(rest()),
        }
    }

    fn enter_parent(&mut self, at: &Path, shown: &[u8]) -> Result<OwnedFd> {
        if let Some((known, fd)) = self.parent.take()
            && known == at
        {
            return Ok(fd);
        }
        self.into.make_dir(at).map_err(|errno| match errno {
            Errno::EEXIST | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP => {
                Error::entry(shown, "is below something that is no directory of the image")
            }
            errno => Error::write(shown, errno),
        })
    }

    /// Makes room for something that is no directory.
    fn make_room(&mut self, dir: &OwnedFd, name: &OsStr, shown: &[u8]) -> Result<()> {
        let there = look(dir, name).map_err(|e| Error::write(shown, e))?;
        if !self.rules.replace && there.is_some_and(|stat| is(&stat, libc::S_IFDIR)) {
            return Err(Error::entry(shown, "would replace a directory"));
        }
        if there.is_some() {
            clear(dir, name).map_err(|e| Error::write(shown, e))?;
        }
        Ok(())
    }

    fn directory(
        &mut self,
        dir: &OwnedFd,
        path: &Path,
        name: &OsStr,
        entry: &mut Entry<'_, impl Read>,
        shown: &[u8],
    ) -> Result<()> {
        let failed = |errno| Error::write(shown, errno);
        let there = look(dir, name).map_err(failed)?;
        let hidden = self.rules.whiteouts && there.is_some_and(|stat| is_whiteout(&stat));
        match there {
            Some(stat) if is(&stat, libc::S_IFDIR) => {}
            // A copy into a container goes through its links, which stay inside.
            Some(stat) if !self.rules.replace && is(&stat, libc::S_IFLNK) => {
                return Err(Error::entry(
                    shown,
                    "would replace a symbolic link by a directory",
                ));
            }
            Some(_) if !self.rules.replace => {
                return Err(Error::entry(shown, "would replace a file by a directory"));
            }
            there => {
                if there.is_some() {
                    clear(dir, name).map_err(failed)?;
                }
                mkdirat(dir, name, Mode::from_bits_truncate(0o700)).map_err(failed)?;
            }
        }
        let made = enter(dir, name).map_err(failed)?;
        if hidden {
            // What the whiteout hid stays hidden below the directory that takes its place.
            set_opaque(&made).map_err(failed)?;
        }
        self.dress(&made, entry, shown)?;
        self.times.push((path.to_owned(), mtime(entry)));
        Ok(())
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        entry: &mut Entry<'_, impl Read>,
        shown: &[u8],
    ) -> Result<()> {
        self.make_room(dir, name, shown)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = nix::fcntl::openat(dir, name, flags, Mode::from_bits_truncate(0o600));
        let mut file = File::from(made.map_err(|e| Error::write(shown, e))?);
        fill(&mut file, entry, shown)?;
        self.outcome.bytes += entry.size();
        self.dress(&file, entry, shown)?;
        let time = mtime(entry);
        futimens(&file, &time, &time).map_err(|e| Error::write(shown, e))
    }

    fn symlink(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        entry: &Entry<'_, impl Read>,
        shown: &[u8],
    ) -> Result<()> {
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        if target.is_empty() || target.contains(&0) {
            return Err(Error::entry(shown, "is a symbolic link to nowhere"));
        }
        self.make_room(dir, name, shown)?;
        symlinkat(OsStr::from_bytes(&target), dir, name).map_err(|e| Error::write(shown, e))?;
        self.own(dir, name, entry, shown)
    }

    fn hard_link(
        &mut self,
        dir: &OwnedFd,
        path: &Path,
        name: &OsStr,
        entry: &Entry<'_, impl Read>,
        shown: &[u8],
    ) -> Result<()> {
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        let words = |what: &str| {
            let to = super::error::readable(&target);
            Error::entry(shown, format!("is a hard link to `{to}`, which {what}"))
        };
        let to = self.place(clean(&target).ok_or_else(|| words("leads out of the image"))?);
        if to == path {
            return Ok(());
        }
        let to_name = to.file_name().ok_or_else(|| words("is no file of the image"))?;
        let holder = self
            .into
            .dir(to.parent().unwrap_or(Path::new("")))
            .map_err(|_| words("is not in it"))?;
        let there = look(&holder, to_name).map_err(|e| Error::write(shown, e))?;
        match there {
            None => return Err(words("is not in it")),
            Some(stat) if is(&stat, libc::S_IFDIR) => return Err(words("is a directory")),
            Some(_) => {}
        }
        self.make_room(dir, name, shown)?;
        linkat(&holder, to_name, dir, name, AtFlags::empty()).map_err(|e| Error::write(shown, e))
    }

    fn fifo(
        &mut self,
        dir: &OwnedFd,
        name: &OsStr,
        entry: &Entry<'_, impl Read>,
        shown: &[u8],
    ) -> Result<()> {
        self.make_room(dir, name, shown)?;
        let mode = Mode::from_bits_truncate(entry.header().mode().unwrap_or(0o600) & 0o777);
        mkfifoat(dir, name, mode).map_err(|e| Error::write(shown, e))?;
        self.own(dir, name, entry, shown)
    }

    fn whiteout(&mut self, at: &Path, name: &OsStr, shown: &[u8]) -> Result<()> {
        let failed = |errno| Error::write(shown, errno);
        let dir = self.enter_parent(at, shown)?;
        if name.as_bytes() == OPAQUE {
            return set_opaque(&dir).map_err(failed);
        }
        let hidden = OsStr::from_bytes(&name.as_bytes()[WHITEOUT.len()..]);
        if name.as_bytes().starts_with(b".wh..wh.") {
            // What aufs kept for itself.
            return Ok(());
        }
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(Error::entry(shown, "hides no file"));
        }
        match look(&dir, hidden).map_err(failed)? {
            // It is about what is below; this layer has its own.
            Some(stat) if is(&stat, libc::S_IFDIR) => enter(&dir, hidden)
                .and_then(|inner| set_opaque(&inner))
                .map_err(failed),
            Some(_) => Ok(()),
            None => mknodat(&dir, hidden, SFlag::S_IFCHR, Mode::empty(), 0).map_err(failed),
        }
    }

    /// Owner, mode and attributes of an open file or directory.
    fn dress(&mut self, file: &impl AsFd, entry: &mut Entry<'_, impl Read>, shown: &[u8]) -> Result<()> {
        let (uid, gid) = owner(entry, shown)?;
        match fchown(file.as_fd(), Some(uid), Some(gid)) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::EPERM) => self.outcome.unowned += 1,
            Err(errno) => return Err(Error::write(shown, errno)),
        }
        let kept = if self.rules.set_ids { 0o7777 } else { 0o1777 };
        let mode = entry.header().mode().unwrap_or(0o600) & kept;
        // After the owner, since chown clears the set-id bits.
        fchmod(file.as_fd(), Mode::from_bits_truncate(mode)).map_err(|e| Error::write(shown, e))?;
        super::attributes::set(file, entry, shown)
    }

    fn own(&mut self, dir: &OwnedFd, name: &OsStr, entry: &Entry<'_, impl Read>, shown: &[u8]) -> Result<()> {
        let (uid, gid) = owner(entry, shown)?;
        match fchownat(dir, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::EPERM) => self.outcome.unowned += 1,
            Err(errno) => return Err(Error::write(shown, errno)),
        }
        let time = mtime(entry);
        // A time is not worth an error.
        let _ = utimensat(dir, name, &time, &time, UtimensatFlags::NoFollowSymlink);
        Ok(())
    }

    fn finish(&mut self) {
        for (path, time) in self.times.drain(..).rev() {
            if let Ok(dir) = self.into.dir(&path) {
                let _ = futimens(&dir, &time, &time);
            }
        }
    }
}
