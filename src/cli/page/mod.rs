//! A matrix as one HTML page that loads nothing: squares to choose, the reason beside them, a filter.
//!
//! `policy test` and `reach` fill it. Script and style stand in the page; its policy of contents forbids the
//! browser to fetch anything.

mod live;

use std::collections::HashMap;
use std::hash::Hash;

use serde_json::json;

pub use live::matrix;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// More cells than a browser holds with ease: the page would have about 60 MB.
pub const LIMIT: usize = 2_000_000;

/// A row and a column.
#[derive(Clone, Debug)]
pub struct End {
    /// Within its group.
    pub name: String,
    /// Those of one stand together; empty: none.
    pub group: String,
    /// What else there is to say, such as its labels.
    pub about: String,
}

/// One flow; ends by their number in [`Page::ends`].
#[derive(Clone, Debug)]
pub struct Square<'a> {
    pub from: usize,
    pub to: usize,
    /// `81/TCP`.
    pub service: String,
    /// `ip4`.
    pub family: &'static str,
    pub decided: bool,
    pub observed: Option<bool>,
    pub expected: Option<bool>,
    /// Where the expectation stands.
    pub place: Option<String>,
    /// Lines; one that begins with two blanks belongs to that before it.
    pub reason: &'a [String],
}

/// Everything on the page.
#[derive(Debug)]
pub struct Page {
    title: String,
    summary: String,
    /// Whether groups are no part of names.
    flat: bool,
    ends: Vec<End>,
    services: Numbers<(String, &'static str)>,
    texts: Numbers<String>,
    reasons: Numbers<Vec<usize>>,
    /// Six numbers a cell, as `page.js` says.
    cells: Vec<i64>,
}

/// Each value once, by number.
#[derive(Debug)]
struct Numbers<T> {
    all: Vec<T>,
    of: HashMap<T, usize>,
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    fn none() -> Self {
        let (all, of) = (vec![], HashMap::new());
        Self { all, of }
    }

    fn of(&mut self, value: T) -> usize {
        *self.of.entry(value).or_insert_with_key(|value| {
            self.all.push(value.clone());
            self.all.len() - 1
        })
    }
}

impl Page {
    #[must_use]
    pub fn new(title: &str, summary: String, ends: Vec<End>, flat: bool) -> Self {
        Self {
            title: title.to_owned(),
            summary,
            flat,
            ends,
            services: Numbers::none(),
            texts: Numbers::none(),
            reasons: Numbers::none(),
            cells: vec![],
        }
    }

    pub fn add(&mut self, square: Square<'_>) {
        let flag = |is: bool, bit: i64| i64::from(is) * bit;
        let flags = flag(square.decided, 1)
            + flag(square.observed.is_some(), 2)
            + flag(square.observed == Some(true), 4)
            + flag(square.expected.is_some(), 8)
            + flag(square.expected == Some(true), 16);
        let lines = square.reason.iter().map(|line| self.texts.of(line.clone()));
        let reason = lines.collect::<Vec<_>>();
        let reason = self.reasons.of(reason);
        let service = self.services.of((square.service, square.family));
        let place = square.place.map_or(-1, |place| self.texts.of(place) as i64);
        let numbers = [square.from, square.to, service].map(|n| n as i64);
        self.cells.extend(numbers);
        self.cells.extend([flags, reason as i64, place]);
    }

    /// The document.
    #[must_use]
    pub fn html(&self) -> String {
        let ends = self.ends.iter().map(|e| json!([e.name, e.group, e.about]));
        let data = json!({
            "flat": self.flat,
            "ends": ends.collect::<Vec<_>>(),
            "services": self.services.all,
            "texts": self.texts.all,
            "reasons": self.reasons.all,
            "cells": self.cells,
        });
        // Within a script element only `<` could end the text early.
        let data = data.to_string().replace('<', "\\u003c");
        fill(&[
            ("#title", &escaped(&self.title)),
            ("#summary", &escaped(&self.summary)),
            ("#style", STYLE),
            ("#script", SCRIPT),
            ("#data", &data),
        ])
    }
}

/// The page with its places filled, each from left to right: what is filled in is not looked at again.
fn fill(values: &[(&str, &str)]) -> String {
    let mut page = String::new();
    let mut rest = HTML;
    while let Some((at, (mark, value))) = (values.iter())
        .filter_map(|v| Some((rest.find(v.0)?, v)))
        .min_by_key(|(at, _)| *at)
    {
        page.push_str(&rest[..at]);
        page.push_str(value);
        rest = &rest[at + mark.len()..];
    }
    page + rest
}

fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_files_cannot_leave_their_place() {
        let evil = "</script><script>alert(1)</script> #data";
        let end = End {
            name: evil.into(),
            group: String::new(),
            about: String::new(),
        };
        let mut page = Page::new(evil, evil.into(), vec![end], true);
        page.add(Square {
            from: 0,
            to: 0,
            service: "80/TCP".into(),
            family: "ip4",
            decided: true,
            observed: None,
            expected: Some(false),
            place: Some("a.yaml:1".into()),
            reason: &[evil.to_owned()],
        });
        let html = page.html();
        assert_eq!(html.matches("<script").count(), 2);
        assert_eq!(html.matches("</script>").count(), 2);
        assert!(html.contains("\"cells\":[0,0,0,9,0,1]"), "{html}");
        assert!(!html.contains("http:") && !html.contains("https:") && !html.contains("src=\""));
    }
}
