//! `watch`: printing what it finds and mends.

use serde_json::json;

use super::print::{Look, Printer};
use crate::ops::watch::{Said, watch};
use crate::ops::{Result, Where};

/// Watches until it is ended.
pub fn run(place: &Where, heal: bool, p: &Printer) -> Result<i32> {
    watch(place, heal, &mut |said| {
        let (look, word, all) = match said {
            Said::Watching => return p.say("watching"),
            Said::Found(all) => (Look::Strong, "found", all),
            Said::Mended(all) => (Look::Good, "mended", all),
            Said::Failed(why) => (Look::Bad, "failed", vec![why]),
            Said::Waiting(time) => (
                Look::Bad,
                "waiting",
                vec![format!(
                    "somebody undoes what is mended: nothing is mended for {} s",
                    time.as_secs()
                )],
            ),
        };
        if p.json {
            // One document a line: there is no last one.
            p.line(json!({ "event": word, "findings": all }).to_string());
        } else {
            all.iter()
                .for_each(|text| p.line(format!("{}: {text}", p.paint(look, word))));
        }
    })
    .map(|()| 0)
}
