//! The picture as a Mermaid flowchart, for pages that draw it.

use std::fmt::Write as _;

use super::{inside, title, words};
use crate::model::End;
use crate::model::picture::{Means, Node, Picture};

pub fn draw(picture: &Picture) -> String {
    let mut out = String::from("flowchart LR\n");
    for (f, frame) in picture.frames.iter().enumerate() {
        let _ = writeln!(out, "  subgraph net{f} [{}]", quoted(&title(frame).join("\n")));
        for (n, node) in inside(picture, Some(f)) {
            let _ = writeln!(out, "    {}", line(n, node));
        }
        out += "  end\n";
    }
    for (n, node) in inside(picture, None) {
        let _ = writeln!(out, "  {}", line(n, node));
    }
    for a in &picture.arrows {
        let label = quoted(&a.words().join("\n"));
        let arrow = match a.means {
            Means::Opens(_) if a.both => format!("<-->|{label}|"),
            Means::Opens(_) => format!("-->|{label}|"),
            Means::Bears => "-.-".to_owned(),
            Means::Publishes(_) => format!("==>|{label}|"),
        };
        let _ = writeln!(out, "  n{} {arrow} n{}", a.from, a.to);
    }
    out
}

fn line(n: usize, node: &Node) -> String {
    let label = quoted(&words(node).join("\n"));
    match node.end {
        End::Container(_) => format!("n{n}[{label}]"),
        End::Label(..) => format!("n{n}{{{{{label}}}}}"),
        End::Host | End::World | End::Cidr(_) => format!("n{n}([{label}])"),
    }
}

/// A quoted text: what could end it, or be read as HTML or Markdown, as an entity of Mermaid's.
fn quoted(text: &str) -> String {
    let one = |c: char| match c {
        '\n' => "<br>".to_owned(),
        c if c.is_alphanumeric() || " .,:=/-_()·[]".contains(c) => c.to_string(),
        c => format!("#{};", u32::from(c)),
    };
    format!("\"{}\"", text.chars().map(one).collect::<String>())
}
