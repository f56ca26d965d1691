//! Each container as a box, with the arrows that leave it and the ports that lead to it.

use std::fmt::Write as _;

use super::super::print::{Look, Printer};
use super::{is_container, shown};
use crate::model::picture::{Means, Picture};

/// The width of what stands on an arrow.
const SHAFT: usize = 16;

pub fn draw(p: &Printer, picture: &Picture) -> String {
    let mut boxes: Vec<(String, usize)> = (picture.nodes.iter().enumerate())
        .filter(|(_, n)| is_container(n))
        .map(|(i, n)| (shown(&n.end), i))
        .collect();
    boxes.sort();
    let width = boxes
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(5);
    let mut out = String::new();
    for (name, node) in boxes {
        let mut notes = arrows(picture, node);
        if !picture.touches(node) {
            let alone = &picture.nodes[node];
            let why = alone.notes.last().filter(|_| alone.frame.is_none());
            let why = why.map_or("linked to nothing", String::as_str);
            notes.push(p.paint(Look::Dim, &format!("   ({why})")));
        }
        let _ = writeln!(out, "┌─{}─┐", "─".repeat(width));
        let pad = " ".repeat(width - name.chars().count());
        let first = notes.first().map_or("", String::as_str);
        let _ = writeln!(out, "│ {}{pad} │{first}", p.paint(Look::Strong, &name));
        for note in notes.iter().skip(1) {
            let _ = writeln!(out, "│ {} │{note}", " ".repeat(width));
        }
        let _ = writeln!(out, "└─{}─┘", "─".repeat(width));
    }
    out
}

/// What leaves a container, also by a label it has, and the host's ports that lead to it.
fn arrows(picture: &Picture, node: usize) -> Vec<String> {
    let by_label = (picture.leaving(node))
        .filter(|(a, _)| a.means == Means::Bears)
        .map(|(_, label)| label);
    let mut out = Vec::new();
    for from in std::iter::once(node).chain(by_label) {
        for (arrow, to) in picture.leaving(from) {
            if let Means::Opens(_) = arrow.means {
                let to = shown(&picture.nodes[to].end);
                let line = |words: String| format!("──{:─<SHAFT$}──▶ {to}", format!(" {words} "));
                out.extend(arrow.words().into_iter().map(line));
            }
        }
    }
    for arrow in picture.arrows.iter().filter(|a| a.to == node) {
        if let Means::Publishes(_) = arrow.means {
            let from = shown(&picture.nodes[arrow.from].end);
            let line = |words: String| format!("◀─{:─<SHAFT$}─── {from}", format!(" {words} "));
            out.extend(arrow.words().into_iter().map(line));
        }
    }
    out
}
