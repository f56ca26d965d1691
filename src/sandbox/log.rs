//! The container's output on disk: one record a line, `TIME STREAM F|P TEXT`, as Kubernetes does.
//!
//! `F` is a full line, `P` a part of one that goes on in the next record. At its limit the log is copied to
//! `log.1` and cut: the writer holds two open files and no directory, so that pid 1 keeps no way into the
//! host's tree. Write errors are dropped: a full disk must not stop a container.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::clock;
use super::error::{Error, Result};

/// Where the log is turned over, unless the container says otherwise.
const LIMIT: u64 = 16 << 20;
/// A longer line is split.
const LONGEST: usize = 16 << 10;

/// Where the log of the container with run-time directory `dir` is: older first; the newest, which may still
/// be empty, last.
#[must_use]
pub fn logs(dir: &Path) -> Vec<PathBuf> {
    let (old, new) = (dir.join("log.1"), dir.join("log"));
    let turned = old.metadata().is_ok_and(|meta| meta.len() > 0);
    [turned.then_some(old), new.exists().then_some(new)]
        .into_iter()
        .flatten()
        .collect()
}

pub(super) struct Log {
    file: File,
    old: File,
    size: u64,
    limit: u64,
}

impl Log {
    pub fn open(dir: &Path, limit: Option<u64>) -> Result<Self> {
        let open = |name: &str| {
            let path = dir.join(name);
            let mut options = OpenOptions::new();
            options
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW);
            options
                .open(&path)
                .map_err(|source| Error::path("opening the log", path, source))
        };
        let (file, old) = (open("log")?, open("log.1")?);
        let size = file.metadata().map_or(0, |meta| meta.len());
        let limit = limit.unwrap_or(LIMIT);
        Ok(Self {
            file,
            old,
            size,
            limit,
        })
    }

    pub fn fds(&self) -> [RawFd; 2] {
        [self.file.as_raw_fd(), self.old.as_raw_fd()]
    }

    fn write(&mut self, mut records: &[u8]) {
        while !records.is_empty() {
            let room = self.limit.saturating_sub(self.size);
            let (part, rest) = records.split_at(fitting(records, room));
            if part.is_empty() && self.size > 0 && self.rotate().is_ok() {
                self.size = 0;
                continue;
            }
            // A record that is longer than a whole log, or a log that cannot be turned over: over the limit.
            let (part, rest) = if part.is_empty() {
                (records, &[][..])
            } else {
                (part, rest)
            };
            if self.file.write_all(part).is_ok() {
                self.size += part.len() as u64;
            }
            records = rest;
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.old.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        let copied = io::copy(&mut (&self.file).take(self.size), &mut self.old);
        // Cut even if the copy failed: a full disk is the likely reason.
        self.file.set_len(0)?;
        copied.map(drop)
    }
}

/// The length of as many whole records as there is room for.
fn fitting(records: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if records.len() <= room {
        return records.len();
    }
    let end = records[..room].iter().rposition(|byte| *byte == b'\n');
    end.map_or(0, |end| end + 1)
}

/// One stream on its way into the log.
pub(super) struct Stream {
    name: &'static str,
    rest: Vec<u8>,
}

impl Stream {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            rest: Vec::new(),
        }
    }

    pub fn push(&mut self, bytes: &[u8], log: &mut Log) {
        self.rest.extend_from_slice(bytes);
        let records = self.take_records(&clock::now());
        log.write(&records);
    }

    /// Writes what came without an end of line.
    pub fn finish(&mut self, log: &mut Log) {
        if !self.rest.is_empty() {
            let mut records = Vec::new();
            record(&mut records, &clock::now(), self.name, b'P', &self.rest);
            self.rest.clear();
            log.write(&records);
        }
    }

    fn take_records(&mut self, time: &str) -> Vec<u8> {
        let mut records = Vec::with_capacity(self.rest.len() + 64);
        let mut start = 0;
        while let Some(line) = next_piece(&self.rest[start..]) {
            let full = line.last() == Some(&b'\n');
            let text = if full { &line[..line.len() - 1] } else { line };
            record(
                &mut records,
                time,
                self.name,
                if full { b'F' } else { b'P' },
                text,
            );
            start += line.len();
        }
        self.rest.drain(..start);
        records
    }
}

/// The next line with its end, or a part of one that is too long.
fn next_piece(bytes: &[u8]) -> Option<&[u8]> {
    let window = &bytes[..bytes.len().min(LONGEST)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(end) => Some(&bytes[..=end]),
        None if window.len() == LONGEST => Some(window),
        None => None,
    }
}

fn record(to: &mut Vec<u8>, time: &str, stream: &str, tag: u8, text: &[u8]) {
    for part in [
        time.as_bytes(),
        b" ",
        stream.as_bytes(),
        b" ",
        &[tag],
        b" ",
        text,
        b"\n",
    ] {
        to.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(stream: &mut Stream, bytes: &[u8]) -> String {
        stream.rest.extend_from_slice(bytes);
        String::from_utf8(stream.take_records("T")).expect("text")
    }

    #[test]
    fn lines_become_records_and_the_rest_waits() {
        let mut stream = Stream::new("stdout");
        assert_eq!(records(&mut stream, b"a\n\nb"), "T stdout F a\nT stdout F \n");
        assert_eq!(records(&mut stream, b"c\n"), "T stdout F bc\n");
        assert!(stream.rest.is_empty());
    }

    #[test]
    fn a_flood_stays_within_twice_the_limit_and_loses_only_what_is_old() {
        let dir = std::env::temp_dir().join(format!("moat-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("creates");
        let mut log = Log::open(&dir, Some(4096)).expect("opens");
        let mut stream = Stream::new("stdout");
        let flood: String = (0..2000).map(|n| format!("line {n}\n")).collect();
        stream.push(flood.as_bytes(), &mut log);
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("reads");
        let (old, new) = (read("log.1"), read("log"));
        assert!(
            old.len() <= 4096 && new.len() <= 4096,
            "{} {}",
            old.len(),
            new.len()
        );
        let kept = old + &new;
        let count = kept.lines().count();
        for (line, n) in kept.lines().zip(2000 - count..) {
            assert!(
                line.ends_with(&format!(" stdout F line {n}")),
                "{line} is not {n}"
            );
        }
        std::fs::remove_dir_all(&dir).expect("removes");
    }

    #[test]
    fn a_long_line_is_split() {
        let mut stream = Stream::new("stderr");
        let text = records(&mut stream, &[b'x'; LONGEST + 3]);
        assert_eq!(text.len(), LONGEST + "T stderr P \n".len());
        assert_eq!(records(&mut stream, b"\n"), "T stderr F xxx\n");
    }
}
