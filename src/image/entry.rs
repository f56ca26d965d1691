//! What an entry of an archive says, and what overlayfs is told.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::stat::FileStat;
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid};
use tar::Entry;

use super::error::{Error, Result};
use super::inside::is;

/// Copies an entry's data, leaving out what is zero.
pub(super) fn fill(file: &mut File, entry: &mut Entry<'_, impl Read>, shown: &[u8]) -> Result<()> {
    let size = entry.size();
    let mut buffer = vec![0; 128 << 10];
    let mut done = 0_u64;
    while done < size {
        let count = entry.read(&mut buffer).map_err(Error::archive)?;
        if count == 0 {
            return Err(Error::archive(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let part = &buffer[..count];
        let written = if part.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(count as i64)).map(drop)
        } else {
            file.write_all(part)
        };
        written.map_err(|source| Error::write(shown, source))?;
        done += count as u64;
    }
    let short = file.metadata().map(|meta| meta.size() < size);
    match short {
        Ok(true) => file.set_len(size).map_err(|source| Error::write(shown, source)),
        Ok(false) => Ok(()),
        Err(source) => Err(Error::write(shown, source)),
    }
}

pub(super) fn owner(entry: &Entry<'_, impl Read>, shown: &[u8]) -> Result<(Uid, Gid)> {
    let id = |number: std::io::Result<u64>| {
        number
            .ok()
            .and_then(|n| u32::try_from(n).ok())
            // The highest means "unchanged" to chown(2).
            .filter(|n| *n != u32::MAX)
            .ok_or_else(|| Error::entry(shown, "has an owner that nobody can be"))
    };
    let header = entry.header();
    Ok((Uid::from_raw(id(header.uid())?), Gid::from_raw(id(header.gid())?)))
}

pub(super) fn mtime(entry: &Entry<'_, impl Read>) -> TimeSpec {
    // The year 2242 is late enough, and every file system takes it.
    let seconds = entry.header().mtime().unwrap_or(0).min(1 << 33);
    TimeSpec::new(seconds as i64, 0)
}

pub(super) fn is_whiteout(stat: &FileStat) -> bool {
    is(stat, libc::S_IFCHR) && stat.st_rdev == 0
}

/// Hides what lower layers have in this directory, for overlays of root and of user namespaces.
pub(super) fn set_opaque(dir: &OwnedFd) -> nix::Result<()> {
    let set = |name: &str| {
        rustix::fs::fsetxattr(dir, name, b"y", rustix::fs::XattrFlags::empty())
            .map_err(|errno| Errno::from_raw(errno.raw_os_error()))
    };
    let trusted = set("trusted.overlay.opaque");
    set("user.overlay.opaque").or(trusted)
}
