//! `moat image`: what it prints, and how far an import has come.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::args::Image;
use super::print::Printer;
use crate::ops::image::{self, Brought, Progress, Registry, Teller, View};
use crate::ops::{Error, Result, Where};

pub fn run(place: &Where, command: Image, dry: bool, p: &Printer) -> Result<i32> {
    if dry && !matches!(command, Image::Ls) {
        return Err(Error::Refused {
            what: "images are no part of the kernel: there is no plan to print".into(),
            hint: "leave --dry-run out".into(),
        });
    }
    match command {
        Image::Import { path, name } => {
            let name = name.as_deref().map(str::parse).transpose()?;
            let brought = image::import(place, &path, name.as_ref(), &teller(p));
            clear(p);
            Ok(show(p, &brought?))
        }
        Image::Pull { name, plain_http } => {
            let how = if plain_http {
                Registry::Plain
            } else {
                Registry::Tls
            };
            let brought = image::pull(place, &name.parse()?, how, shows(p), &teller(p));
            clear(p);
            Ok(show(p, &brought?))
        }
        Image::Ls => Ok(list(p, &image::ls(place)?)),
        Image::Rm { names } => {
            let removed = image::rm(place, &names)?;
            if p.json {
                p.json(&serde_json::json!({ "removed": removed }));
            } else {
                removed.iter().for_each(|name| p.say(format!("removed {name}")));
            }
            Ok(0)
        }
    }
}

fn show(p: &Printer, brought: &[Brought]) -> i32 {
    for one in brought {
        one.notes.iter().for_each(|note| p.say(format!("note: {note}")));
    }
    if p.json {
        p.json(&brought);
    } else {
        brought.iter().for_each(|one| p.line(&one.image.name));
    }
    0
}

fn list(p: &Printer, images: &[View]) -> i32 {
    if p.json {
        p.json(&images);
        return 0;
    }
    let row = |image: &View| {
        let id = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        let layers = image.layers.len().to_string();
        vec![
            image.name.clone(),
            id,
            layers,
            size(image.size),
            image.imported.clone(),
        ]
    };
    let rows: Vec<_> = images.iter().map(row).collect();
    p.table(&["NAME", "ID", "LAYERS", "SIZE", "IMPORTED"], &rows);
    0
}

/// Bytes as people say them.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1_000),
    ];
    match UNITS.iter().find(|(_, factor)| bytes >= *factor) {
        Some((unit, factor)) => {
            let tenths = bytes / (factor / 10);
            format!("{}.{} {unit}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

fn shows(p: &Printer) -> bool {
    !p.quiet && std::io::stderr().is_terminal()
}

/// Says on a terminal how far the import is, ten times a second.
fn teller(p: &Printer) -> Teller {
    if !shows(p) {
        return Rc::new(|_| {});
    }
    let last = Cell::new(Instant::now());
    Rc::new(move |at: Progress| {
        if last.get().elapsed() < Duration::from_millis(100) {
            return;
        }
        last.set(Instant::now());
        let done = if at.kept {
            "is there already".to_owned()
        } else {
            format!("{} of {}", size(at.done), size(at.size))
        };
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "\r\x1b[Klayer {} of {}: {done}", at.layer, at.layers);
        let _ = err.flush();
    })
}

fn clear(p: &Printer) {
    if shows(p) {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_500, "1.5 kB"),
            (170_000_000, "170.0 MB"),
            (5_000_000_000_000, "5.0 TB"),
        ] {
            assert_eq!(super::size(bytes), text);
        }
    }
}
