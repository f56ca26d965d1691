//! The picture of who may talk to whom, in text, DOT, Mermaid and SVG.

mod dot;
mod layout;
mod mermaid;
mod room;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use clap::ValueEnum;
use serde_json::json;

use super::print::Printer;
use crate::model::End;
use crate::model::picture::{Frame, Means, Node, Picture};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    /// For Graphviz
    Dot,
    /// For pages that draw Mermaid
    Mermaid,
    /// A drawing for a browser, light and dark
    Svg,
}

/// Prints the picture; with `--json` as lists of names and links.
pub fn show(p: &Printer, picture: &Picture, format: Format) -> i32 {
    if p.json {
        p.json(&data(picture));
        return 0;
    }
    let drawn = match format {
        Format::Text => text::draw(p, picture),
        Format::Dot => dot::draw(picture),
        Format::Mermaid => mermaid::draw(picture),
        Format::Svg => svg::draw(picture),
    };
    p.line(drawn.trim_end_matches('\n'));
    0
}

fn data(picture: &Picture) -> serde_json::Value {
    let name = |n: usize| picture.nodes[n].end.to_string();
    let containers = picture.nodes.iter().filter(|n| is_container(n));
    let edges = picture.arrows.iter().flat_map(|a| {
        let means = match a.means {
            Means::Opens(_) => "link",
            Means::Bears => "label",
            Means::Publishes(_) => "published",
        };
        let edge =
            |from, to| json!({ "from": name(from), "to": name(to), "means": means, "services": a.words() });
        let back = a.both.then(|| edge(a.to, a.from));
        std::iter::once(edge(a.from, a.to))
            .chain(back)
            .collect::<Vec<_>>()
    });
    json!({
        "nodes": containers.map(|n| n.end.to_string()).collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
    })
}

fn is_container(node: &Node) -> bool {
    matches!(node.end, End::Container(_))
}

/// An end's name. A label may hold what would move a terminal's cursor or what no XML may hold.
fn shown(end: &End) -> String {
    let odd = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    end.to_string().replace(odd, "\u{fffd}")
}

/// What stands in a box: the name, and below it what else is to say.
fn words(node: &Node) -> Vec<String> {
    let name = shown(&node.end);
    let name = name.strip_prefix("label:").map(str::to_owned).unwrap_or(name);
    [&[name], node.notes.as_slice()].concat()
}

/// What stands at the head of a frame.
fn title(frame: &Frame) -> Vec<String> {
    let name = [format!("network {}", frame.net)];
    vec![
        [&name, frame.notes.as_slice()].concat().join(" · "),
        frame.subnets.join(" · "),
    ]
}

/// The nodes of a frame, or those without one.
fn inside(picture: &Picture, frame: Option<usize>) -> impl Iterator<Item = (usize, &Node)> {
    let here = move |(_, n): &(usize, &Node)| n.frame == frame;
    picture.nodes.iter().enumerate().filter(here)
}
