//! The report for the summary of a CI run: what is wrong first, then the table, folded away.

use std::fmt::Write;

use super::super::{summary, table};
use super::{Report, because, title, wrong};

/// GitHub takes summaries of 1 MiB; a person reads fewer lines than these.
const SHOWN: usize = 100;
/// Longer tables are left out.
const TABLE: usize = 200_000;

pub fn markdown(report: &Report) -> String {
    let all: Vec<_> = (report.cells.iter())
        .filter_map(|cell| Some((cell, wrong(report, cell)?)))
        .collect();
    let judged = report
        .cells
        .iter()
        .any(|c| c.line.is_some() || c.observed.is_some());
    let head = match all.len() {
        0 if judged => "✅ Network policies: all as expected".to_owned(),
        0 => "Network policies".to_owned(),
        1 => "❌ Network policies: 1 flow is not as expected".to_owned(),
        n => format!("❌ Network policies: {n} flows are not as expected"),
    };
    let mut text = format!("## {head}\n\n{}\n", summary(report));
    if !all.is_empty() {
        text.push_str("\n| flow | what is wrong | why | expected at |\n|---|---|---|---|\n");
        for (cell, wrong) in all.iter().take(SHOWN) {
            let place = report.line(cell).map(|l| code(&l.place.to_string()));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                code(&title(report, cell)),
                plain(wrong),
                plain(&because(report, cell)),
                place.unwrap_or_default()
            );
        }
        if all.len() > SHOWN {
            let _ = writeln!(text, "\n… and {} more", all.len() - SHOWN);
        }
    }
    let table = table::table(report);
    if table.len() <= TABLE {
        let _ = write!(
            text,
            "\n<details><summary>Who reaches whom</summary>\n\n```text\n{table}\n```\n\n</details>"
        );
    }
    text
}

/// Text in a cell of a table that means nothing but itself.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            _ => out.push(c),
        }
    }
    out
}

/// A name as code; those of manifests hold no backtick, those of files may.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_cell_is_markup() {
        assert_eq!(
            plain("a|b <i>*x*</i>\n`y`"),
            "a\\|b &lt;i&gt;\\*x\\*&lt;/i&gt; \\`y\\`"
        );
        assert_eq!(code("a|b`c"), "`a\\|b'c`");
    }
}
