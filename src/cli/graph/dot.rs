//! The picture in Graphviz's language: `moat graph --format dot | dot -Tpdf`.

use std::fmt::Write as _;

use super::{inside, title, words};
use crate::model::End;
use crate::model::picture::{Means, Node, Picture};

pub fn draw(picture: &Picture) -> String {
    let mut out = String::from(
        "digraph moat {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"monospace\"];\n  edge [fontname=\"monospace\", fontsize=11];\n",
    );
    for (f, frame) in picture.frames.iter().enumerate() {
        let _ = writeln!(
            out,
            "  subgraph cluster_{f} {{\n    label={};\n    style=rounded;",
            quoted(&title(frame).join("\n"))
        );
        for (n, node) in inside(picture, Some(f)) {
            let _ = writeln!(out, "    {}", line(n, node));
        }
        out += "  }\n";
    }
    for (n, node) in inside(picture, None) {
        let _ = writeln!(out, "  {}", line(n, node));
    }
    for a in &picture.arrows {
        let label = quoted(&a.words().join("\n"));
        let look = match a.means {
            Means::Opens(_) if a.both => format!("label={label}, dir=both"),
            Means::Opens(_) => format!("label={label}"),
            Means::Bears => "style=dashed, arrowhead=none".to_owned(),
            Means::Publishes(_) => format!("label={label}, style=bold"),
        };
        let _ = writeln!(out, "  n{} -> n{} [{look}];", a.from, a.to);
    }
    out + "}\n"
}

fn line(n: usize, node: &Node) -> String {
    let label = quoted(&words(node).join("\n"));
    let shape = match node.end {
        End::Container(_) => "",
        End::Label(..) => ", style=\"rounded,dashed\"",
        End::Host | End::World | End::Cidr(_) => ", shape=ellipse",
    };
    format!("n{n} [label={label}{shape}];")
}

/// A quoted string of DOT: only the quote and the backslash mean something in it.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n"))
}
