//! The file: appending a record whole, turning it over when it is long, reading it again.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file longer than this is turned over.
const LONG: u64 = 8 << 20;
/// How many older files are kept: `audit.log.1` is the youngest.
const OLDER: usize = 4;

fn older(path: &Path, n: usize) -> PathBuf {
    path.with_extension(format!("log.{n}"))
}

/// Appends a record with one write, or nothing of it. Needs the log's lock.
pub(super) fn append(path: &Path, record: &Value) -> io::Result<()> {
    let mut file = open(path)?;
    let mut before = file.metadata()?.len();
    if before > LONG {
        for n in (1..OLDER).rev() {
            // A gap in the row of files is no reason to stop.
            let _ = std::fs::rename(older(path, n), older(path, n + 1));
        }
        std::fs::rename(path, older(path, 1))?;
        file = open(path)?;
        before = 0;
    }
    let line = format!("{record}\n");
    let written = file.write(line.as_bytes())?;
    if written < line.len() {
        file.set_len(before)?;
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Reads the records of one state root, and what is appended later.
pub struct Follower {
    path: PathBuf,
    root: String,
    /// The inode of the file being read, and how far it is read.
    at: Option<(u64, u64)>,
    /// A command that died between writing and noting so leaves a record twice.
    seen: BTreeSet<(String, i64)>,
}

impl Follower {
    pub(super) fn new(path: PathBuf, root: String) -> Self {
        Self {
            path,
            root,
            at: None,
            seen: BTreeSet::new(),
        }
    }

    /// The records since the last call; at the first call all of them.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn records(&mut self) -> io::Result<Vec<Value>> {
        let mut lines = Vec::new();
        let inode = |path: &Path| path.metadata().map(|m| m.ino()).ok();
        let from = match self.at {
            None => OLDER,
            Some((read, _)) if inode(&self.path) == Some(read) => 0,
            // Turned over once since: what is left of the old one, then the new one.
            Some(_) => 1,
        };
        for n in (0..=from).rev() {
            let path = if n == 0 {
                self.path.clone()
            } else {
                older(&self.path, n)
            };
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let now = file.metadata()?.ino();
            let begin = self.at.filter(|(read, _)| *read == now).map_or(0, |(_, to)| to);
            let end = whole_lines(file, begin, &mut lines)?;
            self.at = Some((now, end));
        }
        let records = lines.iter().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        let mut found = Vec::new();
        for record in records.filter(|r| r["root"] == self.root.as_str()) {
            let world = record["world"].as_str().unwrap_or_default().to_owned();
            if self
                .seen
                .insert((world, record["number"].as_i64().unwrap_or_default()))
            {
                found.push(record);
            }
        }
        Ok(found)
    }
}

/// Adds the lines after `begin` that have their end; where the next one begins.
fn whole_lines(mut file: File, begin: u64, lines: &mut Vec<String>) -> io::Result<u64> {
    file.seek(SeekFrom::Start(begin))?;
    let mut at = begin;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        at += line.len() as u64;
        lines.push(String::from_utf8_lossy(&line).into_owned());
        line.clear();
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_long_log_is_turned_over_and_read_in_order() {
        let dir = std::env::temp_dir().join(format!("moat-audit-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("audit.log");
        let record =
            |n: usize| json!({ "root": "/r", "world": "w", "number": n, "text": "x".repeat(900_000) });
        let mut early = Follower::new(path.clone(), "/r".into());
        let mut followed = 0;
        for n in 0..50 {
            append(&path, &record(n)).unwrap();
            followed += early.records().unwrap().len();
        }
        assert_eq!(followed, 50, "who reads all along misses nothing");
        append(&path, &record(49)).unwrap();
        let all = Follower::new(path.clone(), "/r".into()).records().unwrap();
        let numbers: Vec<i64> = all.iter().map(|r| r["number"].as_i64().unwrap()).collect();
        assert!(numbers.is_sorted() && numbers.last() == Some(&49) && numbers.len() > 30);
        let mut unique = numbers.clone();
        unique.dedup();
        assert_eq!(unique, numbers, "nothing twice");
        let files = std::fs::read_dir(&dir).unwrap().count();
        assert_eq!(files, OLDER + 1);
        assert!(Follower::new(path, "/other".into()).records().unwrap().is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
