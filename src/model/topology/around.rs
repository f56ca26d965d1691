//! What a file's meaning depends on beside its text, and files of variables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::interpolate::interpolate;
use crate::model::yaml::{Fault, Pos};

/// Where a file stands, the variables around it, and how to read a file that it names.
pub struct Around<'a> {
    /// Absolute; relative paths are meant from here.
    pub dir: &'a Path,
    pub variables: BTreeMap<String, String>,
    pub read: &'a dyn Fn(&Path) -> std::io::Result<String>,
}

impl Around<'_> {
    /// A path as it is meant: `~` is the home directory.
    #[must_use]
    pub fn path(&self, text: &str) -> PathBuf {
        let home = || self.variables.get("HOME").map_or("/root", String::as_str);
        let path = match text.strip_prefix('~') {
            Some("") => PathBuf::from(home()),
            Some(rest) if rest.starts_with('/') => PathBuf::from(home()).join(&rest[1..]),
            _ => self.dir.join(text),
        };
        // Without `.` and `..`, so that one path has one form.
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                std::path::Component::ParentDir => {
                    plain.pop();
                }
                std::path::Component::CurDir => {}
                part => plain.push(part),
            }
        }
        plain
    }
}

/// The variables of a file like `.env`: `K=V` lines, with comments, quotes and `${…}` in them.
///
/// # Errors
/// A line that is none of this.
pub fn dotenv(text: &str, around: &BTreeMap<String, String>) -> Result<Vec<(String, Option<String>)>, Fault> {
    let mut known = around.clone();
    let mut out = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let pos = Pos {
            line: n + 1,
            column: 1,
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((key, value)) = line.split_once('=') else {
            check_key(line, pos)?;
            out.push((line.to_owned(), around.get(line).cloned()));
            continue;
        };
        let key = key.trim_end();
        check_key(key, pos)?;
        let value = unquoted(value.trim_start(), &known, pos)?;
        known.insert(key.to_owned(), value.clone());
        out.push((key.to_owned(), Some(value)));
    }
    Ok(out)
}

fn check_key(key: &str, pos: Pos) -> Result<(), Fault> {
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(Fault::new(pos, format!("a variable is KEY=VALUE, not: `{key}`")));
    }
    Ok(())
}

fn unquoted(value: &str, known: &BTreeMap<String, String>, pos: Pos) -> Result<String, Fault> {
    let open = || Fault::new(pos, "the quote is not closed on this line");
    let lookup = |name: &str| known.get(name).cloned();
    if let Some(rest) = value.strip_prefix('\'') {
        return Ok(rest.split_once('\'').ok_or_else(open)?.0.to_owned());
    }
    if let Some(rest) = value.strip_prefix('"') {
        let mut plain = String::new();
        let mut letters = rest.chars();
        loop {
            match letters.next().ok_or_else(open)? {
                '"' => break,
                '\\' => match letters.next().ok_or_else(open)? {
                    'n' => plain.push('\n'),
                    't' => plain.push('\t'),
                    'r' => plain.push('\r'),
                    '$' => plain.push_str("$$"),
                    other => plain.push(other),
                },
                letter => plain.push(letter),
            }
        }
        return interpolate(&plain, &lookup, &mut vec![]).map_err(|e| Fault::new(pos, e));
    }
    let end = value.find(" #").unwrap_or(value.len());
    interpolate(value[..end].trim_end(), &lookup, &mut vec![]).map_err(|e| Fault::new(pos, e))
}
