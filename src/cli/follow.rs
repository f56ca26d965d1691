//! `logs`: printing what a container wrote, and going on as it writes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use super::print::Printer;
use crate::ops::life::{Log, still_runs};
use crate::ops::{Error, Result};

pub fn logs(p: &Printer, log: &Log, follow: bool, tail: Option<usize>, timestamps: bool) -> Result<i32> {
    if log.foreground {
        p.say(format!(
            "`{}` runs in the foreground: its output goes to where it was started",
            log.name
        ));
    }
    let mut recent: VecDeque<String> = VecDeque::new();
    let mut last = None;
    for path in &log.files {
        let Some(mut reader) = open(path)? else { continue };
        while let Some(line) = next_line(&mut reader, path)? {
            recent.push_back(line);
            if tail.is_some_and(|k| recent.len() > k) {
                recent.pop_front();
            }
        }
        last = Some((path, reader));
    }
    for line in recent {
        if !print(&line, timestamps) {
            return Ok(0);
        }
    }
    let Some((path, mut reader)) = last.filter(|_| follow) else {
        return Ok(0);
    };
    loop {
        let alive = still_runs(log);
        while let Some(line) = next_line(&mut reader, path)? {
            if !print(&line, timestamps) {
                return Ok(0);
            }
        }
        if !alive {
            return Ok(0);
        }
        // Rotation begins a new file under the name.
        if let Some(fresh) = rotated(path, &reader)? {
            reader = fresh;
            continue;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn fail(path: &Path, source: std::io::Error) -> Error {
    Error::State {
        path: path.display().to_string(),
        source,
    }
}

fn open(path: &Path) -> Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(fail(path, e)),
    }
}

/// The new file, when the one that is being read is not the one at the path any more.
fn rotated(path: &Path, reader: &BufReader<File>) -> Result<Option<BufReader<File>>> {
    use std::os::unix::fs::MetadataExt;
    let Some(fresh) = open(path)? else { return Ok(None) };
    let inode = |f: &File| f.metadata().map(|m| m.ino()).map_err(|e| fail(path, e));
    Ok((inode(fresh.get_ref())? != inode(reader.get_ref())?).then_some(fresh))
}

fn next_line(reader: &mut BufReader<File>, path: &Path) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    let n = reader.read_until(b'\n', &mut bytes).map_err(|e| fail(path, e))?;
    if n == 0 {
        return Ok(None);
    }
    if bytes.last() != Some(&b'\n') {
        // Half a record: its writer is not done.
        let back = i64::try_from(n).unwrap_or_default();
        reader.seek_relative(-back).map_err(|e| fail(path, e))?;
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// One record, `TIME STREAM F|P TEXT`, to the stream it came from; false when nobody reads.
fn print(record: &str, timestamps: bool) -> bool {
    let mut fields = record.splitn(4, ' ');
    let (time, stream, whole, text) = match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(time), Some(stream), Some(kind), Some(text)) => (time, stream, kind == "F", text),
        _ => ("", "stdout", true, record),
    };
    let text = if whole { text } else { text.trim_end_matches('\n') };
    let line = if timestamps {
        format!("{time} {text}")
    } else {
        text.to_owned()
    };
    let done = if stream == "stderr" {
        std::io::stderr().lock().write_all(line.as_bytes())
    } else {
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes()).and_then(|()| out.flush())
    };
    done.is_ok()
}
