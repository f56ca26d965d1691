//! `logs`: printing what a container wrote, and going on as it writes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
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
    last: Option<Tail>,
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
        let mut file = Tail::new(path);
        while let Some(line) = file.next()? {
            recent.push_back(line);
            if tail.is_some_and(|k| recent.len() > k) {
                recent.pop_front();
            }
        }
        stream.last = Some(file);
    }
    Ok(recent)
}

/// Goes on until each container has ended.
fn follow(mut streams: Vec<Stream<'_>>, timestamps: bool) -> Result<i32> {
    while !streams.is_empty() {
        let mut left = Vec::new();
        for mut stream in streams {
            let alive = still_runs(stream.log);
            // Nothing may have been written yet.
            let file = stream.last.get_or_insert_with(|| Tail::new(&stream.log.current));
            while let Some(line) = file.next()? {
                if !print(&line, &stream.prefix, timestamps) {
                    return Ok(0);
                }
            }
            if alive {
                left.push(stream);
            }
        }
        streams = left;
        if !streams.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(0)
}

/// A log that is read as it grows. When it is turned over, its writer copies it to `log.1` and cuts it, so
/// what was not read yet is at the same place there.
struct Tail {
    path: PathBuf,
    reader: Option<BufReader<File>>,
    /// Where the next record begins.
    at: u64,
}

impl Tail {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            reader: None,
            at: 0,
        }
    }

    /// The next whole record, if there is one.
    fn next(&mut self) -> Result<Option<String>> {
        if self.reader.is_none() {
            self.reader = open(&self.path)?;
        }
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let size = reader
            .get_ref()
            .metadata()
            .map_err(|e| fail(&self.path, e))?
            .len();
        if size < self.at {
            return self.turn_over();
        }
        let line = next_line(reader, &self.path)?;
        self.at += line.as_ref().map_or(0, |line| line.len() as u64);
        Ok(line.map(|line| String::from_utf8_lossy(&line).into_owned()))
    }

    /// The rest of what was cut, then the new beginning.
    fn turn_over(&mut self) -> Result<Option<String>> {
        let old = self.path.with_extension("1");
        if let Some(mut reader) = open(&old)? {
            reader.seek(SeekFrom::Start(self.at)).map_err(|e| fail(&old, e))?;
            if let Some(line) = next_line(&mut reader, &old)? {
                self.at += line.len() as u64;
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
        }
        (self.reader, self.at) = (None, 0);
        self.next()
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

fn next_line(reader: &mut BufReader<File>, path: &Path) -> Result<Option<Vec<u8>>> {
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
    Ok(Some(bytes))
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
