//! The picture as one SVG file that needs nothing else, in light and dark.

use std::fmt::Write as _;

use super::layout::{Area, Layout, NAME, NOTE, PAD, lay_out, lines, widest};
use super::{shown, title, words};
use crate::model::End;
use crate::model::picture::{Arrow, Frame, Means, Node, Picture};

const STYLE: &str = include_str!("svg.css");

/// The tip of an arrow, once for each colour.
const TIPS: [&str; 2] = ["tip", "tip-in"];

pub fn draw(picture: &Picture) -> String {
    let layout = lay_out(picture);
    let Layout { width, height, .. } = layout;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n\
         <title>Who may talk to whom</title>\n<style>\n{STYLE}</style>\n<defs>\n"
    );
    for tip in TIPS {
        let _ = writeln!(
            out,
            "<marker id=\"{tip}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
             markerUnits=\"userSpaceOnUse\" orient=\"auto-start-reverse\"><path d=\"M0,0.6 L8,4 L0,7.4 Z\"/></marker>"
        );
    }
    out += "</defs>\n";
    for (f, area) in picture.frames.iter().zip(&layout.frames) {
        frame(&mut out, f, *area);
    }
    // Words last: no arrow crosses them out.
    for (a, line) in picture.arrows.iter().zip(&layout.arrows) {
        shaft(&mut out, picture, a, &line.bends);
    }
    for (n, area) in picture.nodes.iter().zip(&layout.nodes) {
        node(&mut out, n, *area);
    }
    for (a, line) in picture.arrows.iter().zip(&layout.arrows) {
        carried(&mut out, a, line.words);
    }
    if picture.nodes.is_empty() {
        out += "<text class=\"note\" x=\"24\" y=\"34\">no container runs</text>\n";
    }
    out + "</svg>\n"
}

fn frame(out: &mut String, f: &Frame, a: Area) {
    let _ = write!(
        out,
        "<g class=\"frame\"><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"10\"/>",
        a.x, a.y, a.width, a.height
    );
    let mut y = a.y + PAD / 2.0;
    for line in title(f) {
        y += NOTE.1;
        text(out, "note", a.x + PAD, y, &line);
    }
    *out += "</g>\n";
}

fn node(out: &mut String, n: &Node, a: Area) {
    let (class, round) = match n.end {
        End::Container(_) => ("node", 6.0),
        End::Label(..) => ("node label", 6.0),
        End::Host | End::World | End::Cidr(_) => ("node beyond", a.height / 2.0),
    };
    let _ = write!(
        out,
        "<g class=\"{class}\" data-name=\"{}\"><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round:.1}\"/>",
        escaped(&shown(&n.end)),
        a.x,
        a.y,
        a.width,
        a.height
    );
    let mut y = a.y + PAD + NAME.1 - 5.0;
    for (i, line) in words(n).iter().enumerate() {
        text(out, if i == 0 { "name" } else { "note" }, a.x + PAD, y, line);
        y += NOTE.1;
    }
    *out += "</g>\n";
}

fn class(a: &Arrow) -> &'static str {
    match a.means {
        Means::Opens(_) => "arrow",
        Means::Bears => "arrow bears",
        Means::Publishes(_) => "arrow publishes",
    }
}

fn shaft(out: &mut String, picture: &Picture, a: &Arrow, bends: &[(f64, f64)]) {
    let end = |n: usize| escaped(&shown(&picture.nodes[n].end));
    let tip = match a.means {
        Means::Opens(_) if a.both => " marker-start=\"url(#tip)\" marker-end=\"url(#tip)\"",
        Means::Opens(_) => " marker-end=\"url(#tip)\"",
        Means::Bears => "",
        Means::Publishes(_) => " marker-end=\"url(#tip-in)\"",
    };
    let _ = writeln!(
        out,
        "<g class=\"{}\" data-from=\"{}\" data-to=\"{}\"><path d=\"{}\"{tip}/></g>",
        class(a),
        end(a.from),
        end(a.to),
        curve(bends)
    );
}

/// A smooth line that is level at every bend.
fn curve(bends: &[(f64, f64)]) -> String {
    let Some((x, y)) = bends.first() else {
        return "M0,0".to_owned();
    };
    let mut d = format!("M{x:.1},{y:.1}");
    for pair in bends.windows(2) {
        let ((x, y), (u, v)) = (pair[0], pair[1]);
        let half = f64::midpoint(x, u);
        let _ = write!(d, " C{half:.1},{y:.1} {half:.1},{v:.1} {u:.1},{v:.1}");
    }
    d
}

fn carried(out: &mut String, a: &Arrow, (x, y): (f64, f64)) {
    let words = a.words();
    if words.is_empty() {
        return;
    }
    let (width, height) = (widest(&words) + 4.0, lines(&words));
    let _ = write!(
        out,
        "<g class=\"{}\"><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"4\"/>",
        class(a),
        x - width / 2.0,
        y - height / 2.0
    );
    let mut y = y - (height - NOTE.1) / 2.0 + 4.0;
    for line in words {
        text(out, "carried", x, y, &line);
        y += NOTE.1;
    }
    *out += "</g>\n";
}

fn text(out: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let _ = write!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escaped(words)
    );
}

/// Text of XML; `shown` has taken what no XML may hold.
fn escaped(text: &str) -> String {
    let one = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}
