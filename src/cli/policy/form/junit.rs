//! The report as JUnit XML: a suite for each receiver, a test for each cell.
//!
//! A cell of which nothing is expected and to which nobody sent a packet is skipped: it was decided, and nothing
//! was judged. An expectation that does not hold is a failure; packets that did something else than was decided
//! are an error, because that is no fault of the policies.

use std::io;

use quick_xml::events::{BytesDecl, BytesText, Event};
use quick_xml::writer::Writer;

use super::{Cell, Report, because, reasons, title, word, wrong};

type Xml = Writer<Vec<u8>>;

#[derive(Clone, Copy, Default)]
struct Counts {
    tests: usize,
    failures: usize,
    errors: usize,
    skipped: usize,
}

impl Counts {
    fn of(report: &Report, cells: &[Cell]) -> Self {
        let mut counts = Self::default();
        for cell in cells {
            counts.tests += 1;
            match outcome(report, cell) {
                Outcome::Held => {}
                Outcome::Failed => counts.failures += 1,
                Outcome::Wrong => counts.errors += 1,
                Outcome::Unjudged => counts.skipped += 1,
            }
        }
        counts
    }

    fn attributes(self, name: &str) -> Vec<(&str, String)> {
        let Self {
            tests,
            failures,
            errors,
            skipped,
        } = self;
        vec![
            ("name", name.to_owned()),
            ("tests", tests.to_string()),
            ("failures", failures.to_string()),
            ("errors", errors.to_string()),
            ("skipped", skipped.to_string()),
        ]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Held,
    Failed,
    Wrong,
    Unjudged,
}

fn outcome(report: &Report, cell: &Cell) -> Outcome {
    if Report::disagrees(cell) {
        Outcome::Wrong
    } else if report.is_unexpected(cell) {
        Outcome::Failed
    } else if cell.line.is_some() || cell.observed.is_some() {
        Outcome::Held
    } else {
        Outcome::Unjudged
    }
}

pub fn junit(report: &Report) -> String {
    let mut xml = Writer::new_with_indent(vec![], b' ', 2);
    // Memory takes everything.
    let _ = suites(report, &mut xml);
    String::from_utf8(xml.into_inner()).unwrap_or_default()
}

fn suites(report: &Report, xml: &mut Xml) -> io::Result<()> {
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    // Cells of one receiver, whatever the family, are one suite.
    let mut cells = report.cells.clone();
    cells.sort_by_key(|c| (c.to, c.from, c.port, c.proto, c.family));
    let mut head = Counts::of(report, &cells).attributes("moat policy test");
    head.push(("time", format!("{:.3}", report.took.as_secs_f64())));
    let attributes = head.iter().map(|(k, v)| (*k, v.as_str()));
    xml.create_element("testsuites")
        .with_attributes(attributes)
        .write_inner_content(|xml| {
            for of_one in cells.chunk_by(|a, b| a.to == b.to) {
                suite(report, of_one, xml)?;
            }
            Ok(())
        })?;
    Ok(())
}

fn suite(report: &Report, cells: &[Cell], xml: &mut Xml) -> io::Result<()> {
    let name = cells.first().map(|c| report.name(c.to)).unwrap_or_default();
    let head = Counts::of(report, cells).attributes(&name);
    xml.create_element("testsuite")
        .with_attributes(head.iter().map(|(k, v)| (*k, v.as_str())))
        .write_inner_content(|xml| cells.iter().try_for_each(|c| case(report, c, &name, xml)))?;
    Ok(())
}

fn case(report: &Report, cell: &Cell, receiver: &str, xml: &mut Xml) -> io::Result<()> {
    let title = title(report, cell);
    let mut head = vec![
        ("classname", receiver.to_owned()),
        ("name", title.clone()),
        ("time", "0".to_owned()),
    ];
    if let Some(line) = report.line(cell) {
        head.push(("file", line.place.file.to_string()));
        head.push(("line", line.place.pos.line.to_string()));
    }
    let test = (xml.create_element("testcase")).with_attributes(head.iter().map(|(k, v)| (*k, v.as_str())));
    let outcome = outcome(report, cell);
    let kind = match outcome {
        Outcome::Held => {
            test.write_empty()?;
            return Ok(());
        }
        Outcome::Failed => "failure",
        Outcome::Wrong => "error",
        Outcome::Unjudged => "skipped",
    };
    let message = match wrong(report, cell) {
        Some(wrong) => format!("{title}: {wrong}: {}", because(report, cell)),
        None => format!("nothing is expected of it; {}", word(cell.decided)),
    };
    test.write_inner_content(|xml| {
        let said = xml.create_element(kind).with_attribute(("message", &*message));
        if outcome == Outcome::Unjudged {
            said.write_empty()?;
            return Ok(());
        }
        let said = said.with_attribute((
            "type",
            if kind == "error" {
                "disagreement"
            } else {
                "expectation"
            },
        ));
        said.write_text_content(BytesText::new(&text(report, cell, &title)))?;
        Ok(())
    })?;
    Ok(())
}

/// Everything about a cell that is not as it should be.
fn text(report: &Report, cell: &Cell, title: &str) -> String {
    let mut lines = vec![title.to_owned()];
    lines.extend(wrong(report, cell));
    if let Some(line) = report.line(cell) {
        lines.push(format!("expected {} at {}", word(line.allowed), line.place));
    }
    lines.extend(reasons(report, cell, &report.verdict(cell)));
    lines.join("\n")
}
