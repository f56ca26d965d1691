//! `moat lab`, and what runs in one because its caller is not root.

use std::ffi::OsString;

use super::print::Printer;
use crate::ops::{Error, Result, Where, lab};

pub fn run(place: &Where, command: &[String], p: &Printer) -> Result<i32> {
    lab::lab(place, command, |text| p.say(text))
}

/// This very command line, in a lab.
pub fn around(place: &Where, words: &[OsString], p: &Printer) -> Result<i32> {
    let word = |w: &OsString| {
        let text = w.to_str().map(str::to_owned);
        text.ok_or_else(|| Error::Input {
            value: w.display().to_string(),
            reason: "not UTF-8".into(),
            hint: None,
        })
    };
    let rest = words.iter().skip(1).map(word);
    let command = std::iter::once(Ok("moat".to_owned())).chain(rest);
    let command: Vec<String> = command.collect::<Result<_>>()?;
    p.say("note: without root this runs in a lab, which goes with it: see `moat lab --help`");
    run(place, &command, p)
}
