//! Who may talk to whom, as a picture in text.

use super::print::{Look, Printer};
use crate::ops::{link, list};

/// Each container with the arrows that leave it; those that nothing joins stand alone.
pub fn text(p: &Printer, containers: &[list::View], links: &[link::View]) -> i32 {
    if p.json {
        p.json(&serde_json::json!({
            "nodes": containers.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
            "edges": links,
        }));
        return 0;
    }
    let width = containers
        .iter()
        .map(|c| c.name.as_str().len())
        .max()
        .unwrap_or(0)
        .max(5);
    for c in containers {
        let joins = |end: &str| end == c.name.as_str() || label_fits(end, c);
        let out: Vec<&link::View> = links.iter().filter(|l| joins(&l.from)).collect();
        let touched = !out.is_empty() || links.iter().any(|l| joins(&l.to));
        p.line(format!("┌─{}─┐", "─".repeat(width)));
        let name = p.paint(Look::Strong, c.name.as_str());
        let pad = " ".repeat(width - c.name.as_str().len());
        let note = if touched {
            String::new()
        } else {
            p.paint(Look::Dim, "   (linked to nothing)")
        };
        let mut arrows = out.iter().map(|l| arrow(l));
        let first = arrows.next().map_or(note, |a| a);
        p.line(format!("│ {name}{pad} │{first}"));
        for a in arrows {
            p.line(format!("│ {} │{a}", " ".repeat(width)));
        }
        p.line(format!("└─{}─┘", "─".repeat(width)));
    }
    0
}

fn arrow(l: &link::View) -> String {
    let service = match (&l.port, l.proto) {
        (Some(port), Some(proto)) => format!(" {port}/{proto} "),
        (None, Some(proto)) => format!(" {proto} "),
        _ => " everything ".to_owned(),
    };
    format!("──{service:─<16}──▶ {}", l.to)
}

fn label_fits(end: &str, c: &list::View) -> bool {
    let label = end.strip_prefix("label:").and_then(|l| l.split_once('='));
    label.is_some_and(|(k, v)| c.labels.get(k).is_some_and(|x| x == v))
}
