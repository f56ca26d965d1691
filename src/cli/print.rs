//! Data on stdout, talk on stderr.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use serde::Serialize;

use super::args::{Colour, Global};
use crate::ops::{Error, Result};

/// How to print.
#[derive(Clone, Debug)]
pub struct Printer {
    pub json: bool,
    pub quiet: bool,
    pub verbose: bool,
    colour: Colour,
}

/// A look of a word on a terminal.
#[derive(Clone, Copy)]
pub enum Look {
    Good,
    Bad,
    Dim,
    Strong,
}

impl Printer {
    #[must_use]
    pub fn new(global: &Global, verbose: bool) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose,
            colour: global.color,
        }
    }

    /// A line of data.
    #[allow(clippy::unused_self)] // called as `p.say` is: where a line goes is the printer's matter
    pub fn line(&self, text: impl AsRef<str>) {
        let _ = write(&mut std::io::stdout().lock(), text.as_ref()).map_err(|e| note(&e));
    }

    /// A line of talk; not with `-q`.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            let _ = write(&mut std::io::stderr().lock(), text.as_ref());
        }
    }

    /// Data as one JSON document.
    pub fn json(&self, data: &impl Serialize) {
        // Our own structures always serialise.
        let text = serde_json::to_string_pretty(data).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"));
        self.line(text);
    }

    /// An error in up to three lines: what failed, what was undone, what to do.
    pub fn error(&self, e: &Error) {
        let mut err = std::io::stderr().lock();
        let _ = write(
            &mut err,
            &format!("{} {e}", self.paint_for(err_is_terminal(), Look::Bad, "error:")),
        );
        if let Some(note) = e.note() {
            let _ = write(&mut err, &format!("note: {note}"));
        }
        if let Some(hint) = e.hint() {
            let _ = write(&mut err, &format!("hint: {hint}"));
        }
    }

    /// A word for stdout, coloured where that is wanted.
    #[must_use]
    pub fn paint(&self, look: Look, text: &str) -> String {
        self.paint_for(std::io::stdout().is_terminal(), look, text)
    }

    /// The nth of several words that are to be told apart by their colours, for stdout.
    #[must_use]
    pub fn tag(&self, n: usize, text: &str) -> String {
        const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "31"];
        self.escape(std::io::stdout().is_terminal(), COLOURS[n % COLOURS.len()], text)
    }

    /// A word for [`Printer::say`].
    #[must_use]
    pub fn paint_talk(&self, look: Look, text: &str) -> String {
        self.paint_for(err_is_terminal(), look, text)
    }

    fn paint_for(&self, terminal: bool, look: Look, text: &str) -> String {
        let code = match look {
            Look::Good => "32",
            Look::Bad => "31",
            Look::Dim => "2",
            Look::Strong => "1",
        };
        self.escape(terminal, code, text)
    }

    fn escape(&self, terminal: bool, code: &str, text: &str) -> String {
        let on = match self.colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        if on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Rows with a head, in columns as wide as they need.
    pub fn table(&self, head: &[&str], rows: &[Vec<String>]) {
        self.line(self.table_text(head, rows).trim_end());
    }

    /// The same as text.
    #[must_use]
    pub fn table_text(&self, head: &[&str], rows: &[Vec<String>]) -> String {
        let mut widths: Vec<usize> = head.iter().map(|h| h.len()).collect();
        for row in rows {
            for (w, cell) in widths.iter_mut().zip(row) {
                *w = (*w).max(cell.chars().count());
            }
        }
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
        let mut text = self.paint(Look::Dim, &line(&head)) + "\n";
        for row in rows {
            text += &line(row);
            text.push('\n');
        }
        text
    }
}

/// Writes a file that a person named.
///
/// # Errors
/// It cannot be written whole; then it is not there.
pub fn save(path: &Path, text: &str) -> Result<()> {
    let wrong = |e: std::io::Error| Error::Input {
        value: path.display().to_string(),
        reason: format!("it cannot be written ({e})"),
        hint: Some("name another file; is the disk full?".into()),
    };
    let mut file = std::fs::File::create(path).map_err(wrong)?;
    file.write_all(text.as_bytes()).map_err(|e| {
        // A report that was begun and not finished would be read as one.
        if path.is_file() {
            let _ = std::fs::remove_file(path);
        }
        wrong(e)
    })
}

fn err_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// A line of talk before anybody knows how to print.
pub fn talk(text: &str) {
    let _ = write(&mut std::io::stderr().lock(), text);
}

/// Why an answer did not get to where it should, if it did not. A reader that went away is no
/// error of ours.
#[must_use]
pub fn unwritten() -> Option<std::io::Error> {
    let _ = std::io::stdout().flush().map_err(|e| note(&e));
    let code = UNWRITTEN.load(Ordering::Relaxed);
    (code != 0).then(|| std::io::Error::from_raw_os_error(code))
}

/// The error of the first line of data that could not be written.
static UNWRITTEN: AtomicI32 = AtomicI32::new(0);

fn note(e: &std::io::Error) {
    let gone = [std::io::ErrorKind::BrokenPipe].contains(&e.kind());
    if let Some(code) = e.raw_os_error().filter(|_| !gone) {
        let _ = UNWRITTEN.compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn write(to: &mut impl Write, text: &str) -> std::io::Result<()> {
    to.write_all(text.as_bytes()).and_then(|()| to.write_all(b"\n"))
}
