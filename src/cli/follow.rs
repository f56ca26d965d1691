//! `logs`: printing what a container wrote, and going on as it writes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use super::print::Printer;
use crate::ops::life::{Log, still_runs};
use crate::ops::{Error, Result};

/// What of the logs to print, and how.
#[derive(Clone, Copy)]
pub struct Wish {
    pub follow: bool,
    /// Of each container the last so many lines.
    pub tail: Option<usize>,
    pub timestamps: bool,
}

/// The log of one container, as far as it has been read.
struct Stream<'a> {
    log: &'a Log,
    /// Its name in its colour, where there are several.
    prefix: String,
    last: Option<(&'a Path, BufReader<File>)>,
}

/// Prints what containers wrote: of several in the order of time, each line with the name before it.
pub fn logs(p: &Printer, logs: &[Log], wish: Wish) -> Result<i32> {
    let width = logs.iter().map(|l| l.name.as_str().len()).max().unwrap_or(0);
    let mut streams = Vec::new();
    let mut recent: Vec<(String, usize)> = Vec::new();
    for (n, log) in logs.iter().enumerate() {
        if log.foreground {
            p.say(format!(
                "`{}` runs in the foreground: its output goes to where it was started",
                log.name
            ));
        }
        let prefix = if logs.len() > 1 {
            p.tag(n, &format!("{:width$} |", log.name.as_str())) + " "
        } else {
            String::new()
        };
        let mut stream = Stream {
            log,
            prefix,
            last: None,
        };
        recent.extend(so_far(&mut stream, wish.tail)?.into_iter().map(|line| (line, n)));
        streams.push(stream);
    }
    if logs.len() > 1 {
        // Each begins with its time; those of one container stay as they are.
        recent.sort_by(|(a, _), (b, _)| time_of(a).cmp(time_of(b)));
    }
    for (line, n) in recent {
        if !print(&line, &streams[n].prefix, wish.timestamps) {
            return Ok(0);
        }
    }
    if wish.follow {
        follow(streams, wish.timestamps)
    } else {
        Ok(0)
    }
}

fn time_of(record: &str) -> &str {
    record.split(' ').next().unwrap_or_default()
}

/// What a container wrote until now, or the last lines of it.
fn so_far(stream: &mut Stream<'_>, tail: Option<usize>) -> Result<VecDeque<String>> {
    let mut recent: VecDeque<String> = VecDeque::new();
    for path in &stream.log.files {
        let Some(mut reader) = open(path)? else { continue };
        while let Some(line) = next_line(&mut reader, path)? {
            recent.push_back(line);
            if tail.is_some_and(|k| recent.len() > k) {
                recent.pop_front();
            }
        }
        stream.last = Some((path, reader));
    }
    Ok(recent)
}

/// Goes on until each container has ended.
fn follow(mut streams: Vec<Stream<'_>>, timestamps: bool) -> Result<i32> {
    while !streams.is_empty() {
        let mut left = Vec::new();
        let mut turned = false;
        for mut stream in streams {
            let alive = still_runs(stream.log);
            if stream.last.is_none() {
                // Nothing was written yet.
                stream.last = match &stream.log.current {
                    path if path.exists() => open(path)?.map(|r| (path.as_path(), r)),
                    _ => None,
                };
            }
            if let Some((path, reader)) = &mut stream.last {
                while let Some(line) = next_line(reader, path)? {
                    if !print(&line, &stream.prefix, timestamps) {
                        return Ok(0);
                    }
                }
                // Rotation begins a new file under the name.
                if let Some(fresh) = rotated(path, reader)?.filter(|_| alive) {
                    *reader = fresh;
                    turned = true;
                }
            }
            if alive {
                left.push(stream);
            }
        }
        streams = left;
        if !turned && !streams.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(0)
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
fn print(record: &str, prefix: &str, timestamps: bool) -> bool {
    let mut fields = record.splitn(4, ' ');
    let (time, stream, whole, text) = match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(time), Some(stream), Some(kind), Some(text)) => (time, stream, kind == "F", text),
        _ => ("", "stdout", true, record),
    };
    let text = if whole { text } else { text.trim_end_matches('\n') };
    let line = if timestamps {
        format!("{prefix}{time} {text}")
    } else {
        format!("{prefix}{text}")
    };
    let done = if stream == "stderr" {
        std::io::stderr().lock().write_all(line.as_bytes())
    } else {
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes()).and_then(|()| out.flush())
    };
    done.is_ok()
}
