//! Where each box, frame and arrow of a picture goes; computed by `dagre`.
//!
//! A graph in layers from left to right, with frames around what they hold and room for the
//! words on arrows. Sizes are in pixels, of a font whose letters are all equally wide.

use dagre::graph::{Graph, GraphOptions};
use dagre::layout::types::LabelPos;
use dagre::{EdgeLabel, LayoutOptions, NodeLabel, RankDir};

use super::{inside, room, words};
use crate::model::picture::{Arrow, Means, Node, Picture};

/// The width of a letter and the height of a line, for names and for notes.
pub const NAME: (f64, f64) = (7.9, 19.0);
pub const NOTE: (f64, f64) = (6.7, 15.0);
/// Between a box and what stands in it.
pub const PAD: f64 = 9.0;
/// How many boxes without arrows stand in a row.
const ROW: usize = 4;

/// A rectangle by its upper left corner.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// Everything in its place.
pub struct Layout {
    pub width: f64,
    pub height: f64,
    pub frames: Vec<Area>,
    pub nodes: Vec<Area>,
    pub arrows: Vec<Line>,
}

/// The way of an arrow.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// First and last on the edges of the two boxes.
    pub bends: Vec<(f64, f64)>,
    /// The middle of its words.
    pub words: (f64, f64),
}

pub fn lay_out(picture: &Picture) -> Layout {
    let mut g: Graph<NodeLabel, EdgeLabel> = Graph::with_options(GraphOptions {
        directed: true,
        multigraph: true,
        compound: true,
    });
    for (n, node) in picture.nodes.iter().enumerate() {
        g.set_node(node_id(n), Some(node_label(node)));
    }
    for f in 0..picture.frames.len() {
        g.set_node(frame_id(f), Some(NodeLabel::default()));
    }
    for (n, node) in picture.nodes.iter().enumerate() {
        if let Some(f) = node.frame.or_else(|| home(picture, n)) {
            g.set_parent(&node_id(n), Some(&frame_id(f)));
        }
    }
    for (a, arrow) in picture.arrows.iter().enumerate() {
        let (from, to) = (node_id(arrow.from), node_id(arrow.to));
        g.set_edge(from, to, Some(edge_label(arrow)), Some(&a.to_string()));
    }
    spread(picture, &mut g);
    dagre::layout(&mut g, Some(options()));
    let mut layout = read(picture, &g);
    room::for_titles(picture, &mut layout);
    room::for_ends(picture, &mut layout);
    layout
}

/// The frame that holds all who have a label: it stands there too.
fn home(picture: &Picture, label: usize) -> Option<usize> {
    let mut bearers = (picture.arrows.iter())
        .filter(|a| a.means == Means::Bears && (a.from == label || a.to == label))
        .map(|a| picture.nodes[if a.from == label { a.to } else { a.from }].frame);
    let first = bearers.next()??;
    bearers.all(|f| f == Some(first)).then_some(first)
}

/// Boxes that no arrow touches stand in rows, not in one long column: invisible arrows join them.
fn spread(picture: &Picture, g: &mut Graph<NodeLabel, EdgeLabel>) {
    let frames = (0..picture.frames.len()).map(Some).chain([None]);
    for frame in frames {
        let lone: Vec<usize> = inside(picture, frame)
            .map(|(n, _)| n)
            .filter(|n| !picture.touches(*n))
            .collect();
        for row in lone.chunks(ROW) {
            for pair in row.windows(2) {
                let label = EdgeLabel::default();
                g.set_edge(node_id(pair[0]), node_id(pair[1]), Some(label), Some("row"));
            }
        }
    }
}

fn options() -> LayoutOptions {
    LayoutOptions {
        rankdir: RankDir::LR,
        nodesep: 26.0,
        edgesep: 14.0,
        ranksep: 34.0,
        ..LayoutOptions::default()
    }
}

fn node_id(n: usize) -> String {
    format!("n{n}")
}

fn frame_id(f: usize) -> String {
    format!("f{f}")
}

/// The width of a text: letters of other scripts may take two places.
pub fn text_width(text: &str, letter: f64) -> f64 {
    let places: u32 = text
        .chars()
        .map(|c| if c.is_ascii() || c == '·' { 1 } else { 2 })
        .sum();
    f64::from(places) * letter
}

/// The width of lines of notes.
pub fn widest(words: &[String]) -> f64 {
    words.iter().map(|w| text_width(w, NOTE.0)).fold(0.0, f64::max)
}

/// The height of lines of notes.
pub fn lines(words: &[String]) -> f64 {
    words.iter().map(|_| NOTE.1).sum()
}

fn node_label(node: &Node) -> NodeLabel {
    let words = words(node);
    let letters = std::iter::once(NAME.0).chain(std::iter::repeat(NOTE.0));
    let widths = words.iter().zip(letters).map(|(w, letter)| text_width(w, letter));
    NodeLabel {
        width: widths.fold(40.0, f64::max) + 2.0 * PAD,
        height: NAME.1 - NOTE.1 + lines(&words) + 2.0 * PAD,
        ..NodeLabel::default()
    }
}

fn edge_label(arrow: &Arrow) -> EdgeLabel {
    let words = arrow.words();
    EdgeLabel {
        width: widest(&words) + 8.0,
        height: lines(&words),
        labelpos: LabelPos::Center,
        ..EdgeLabel::default()
    }
}

/// What the library computed. It gives middles.
fn read(picture: &Picture, g: &Graph<NodeLabel, EdgeLabel>) -> Layout {
    let area = |id: &str| {
        let n = g.node(id).cloned().unwrap_or_default();
        let (x, y) = (n.x.unwrap_or(0.0), n.y.unwrap_or(0.0));
        Area {
            x: x - n.width / 2.0,
            y: y - n.height / 2.0,
            width: n.width,
            height: n.height,
        }
    };
    let line = |(a, arrow): (usize, &Arrow)| {
        let edge = g.edge(&node_id(arrow.from), &node_id(arrow.to), Some(&a.to_string()));
        let edge = edge.cloned().unwrap_or_default();
        Line {
            bends: edge.points.iter().map(|p| (p.x, p.y)).collect(),
            words: (edge.x.unwrap_or(0.0), edge.y.unwrap_or(0.0)),
        }
    };
    Layout {
        width: 0.0,
        height: 0.0,
        frames: (0..picture.frames.len()).map(|f| area(&frame_id(f))).collect(),
        nodes: (0..picture.nodes.len()).map(|n| area(&node_id(n))).collect(),
        arrows: picture.arrows.iter().enumerate().map(line).collect(),
    }
}
