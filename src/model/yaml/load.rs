//! From text to nodes: the parser's events, with anchors, merge keys, and bounds.
//!
//! The parser (`saphyr-parser`) gives events and does not recurse; the tree is as deep as [`DEPTH`] at
//! most. An alias is a copy, so ten lines could stand for a billion: [`Bounds`] says how much may come out.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{Fault, Key, Node, Pos, Value};

/// How deep values may be nested.
const DEPTH: usize = 64;

/// How large a file may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub bytes: usize,
    /// Values, aliases counted with all that they stand for.
    pub nodes: usize,
}

impl Bounds {
    /// More than any file that a person writes.
    pub const WRITTEN: Self = Self {
        bytes: 8 << 20,
        nodes: 200_000,
    };
    /// What a program may print of a whole cluster.
    pub const PRINTED: Self = Self {
        bytes: 256 << 20,
        nodes: 10_000_000,
    };
}

/// The documents of a text that a person wrote; empty ones are left out.
///
/// # Errors
/// It is no YAML, a key occurs twice, or it is larger than any file of people.
pub fn load(text: &str) -> Result<Vec<Node>, Fault> {
    load_within(text, Bounds::WRITTEN)
}

/// The documents of a text; empty ones are left out.
///
/// # Errors
/// It is no YAML, a key occurs twice, or it is larger than the bounds.
pub fn load_within(text: &str, bounds: Bounds) -> Result<Vec<Node>, Fault> {
    let start = Pos { line: 1, column: 1 };
    if text.len() > bounds.bytes {
        let what = format!("more than {} MiB of YAML", bounds.bytes >> 20);
        return Err(Fault::new(start, what));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        limit: bounds.nodes,
        ..Builder::default()
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) =
            event.map_err(|e| Fault::new(pos(*e.marker()), format!("no YAML: {}", e.info())))?;
        builder.event(event, pos(span.start))?;
    }
    Ok(builder.documents)
}

fn pos(marker: Marker) -> Pos {
    Pos {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// A collection that is being read.
struct Open {
    pos: Pos,
    anchor: usize,
    /// `None` is a list.
    keys: Option<Vec<(Key, Node)>>,
    items: Vec<Node>,
    /// The key whose value comes next.
    key: Option<Key>,
    seen: BTreeSet<String>,
}

/// How many values one is with all inside, and how deep.
#[derive(Clone, Copy)]
struct Extent {
    count: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, Extent)>,
    count: usize,
    limit: usize,
    documents: Vec<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, pos: Pos) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref(), pos)?;
                let one = Extent { count: 1, depth: 0 };
                self.place(Node { pos, value }, anchor, one, 1)
            }
            Event::SequenceStart(anchor, tag) => self.begin(pos, anchor, None, tag.as_deref()),
            Event::MappingStart(anchor, tag) => self.begin(pos, anchor, Some(vec![]), tag.as_deref()),
            Event::SequenceEnd | Event::MappingEnd => self.end(pos),
            Event::Alias(anchor) => {
                let Some((_, extent)) = self.anchors.get(&anchor) else {
                    return Err(Fault::new(pos, "the alias stands inside of what it stands for"));
                };
                self.fits(*extent, extent.count, pos)?;
                let Some((node, extent)) = self.anchors.get(&anchor).cloned() else {
                    return Ok(());
                };
                self.place(node, 0, extent, extent.count)
            }
            Event::DocumentStart(_) | Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
        }
    }

    fn begin(
        &mut self,
        pos: Pos,
        anchor: usize,
        keys: Option<Vec<(Key, Node)>>,
        tag: Option<&Tag>,
    ) -> Result<(), Fault> {
        if let Some(tag) = tag.filter(|t| !t.is_yaml_core_schema()) {
            return Err(foreign(tag, pos));
        }
        self.fits(Extent { count: 1, depth: 1 }, 0, pos)?;
        self.open.push(Open {
            pos,
            anchor,
            keys,
            items: vec![],
            key: None,
            seen: BTreeSet::new(),
        });
        Ok(())
    }

    fn end(&mut self, pos: Pos) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else {
            return Err(Fault::new(pos, "no YAML: an end without a beginning"));
        };
        let value = match open.keys {
            Some(keys) => Value::Map(merged(keys)?),
            None => Value::List(open.items),
        };
        let node = Node { pos: open.pos, value };
        let extent = measure(&node);
        self.place(node, open.anchor, extent, 1)
    }

    /// Whether a value of this extent may come here; `new` is how many of it were not counted yet.
    fn fits(&self, extent: Extent, new: usize, pos: Pos) -> Result<(), Fault> {
        if self.open.len() + extent.depth > DEPTH {
            return Err(Fault::new(pos, format!("values are nested deeper than {DEPTH}")));
        }
        if self.count + new > self.limit {
            let what = format!("more than {} values, aliases counted in", self.limit);
            return Err(Fault::new(pos, what));
        }
        Ok(())
    }

    /// Puts a finished value where it belongs.
    fn place(&mut self, node: Node, anchor: usize, extent: Extent, new: usize) -> Result<(), Fault> {
        self.fits(extent, new, node.pos)?;
        self.count += new;
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), extent));
        }
        let Some(open) = self.open.last_mut() else {
            if !node.is_null() {
                self.documents.push(node);
            }
            return Ok(());
        };
        let Some(keys) = &mut open.keys else {
            open.items.push(node);
            return Ok(());
        };
        if let Some(key) = open.key.take() {
            keys.push((key, node));
            return Ok(());
        }
        let Value::Text(text) = node.value else {
            let what = format!("a key is a single value, not {}", node.kind());
            return Err(Fault::new(node.pos, what));
        };
        if !open.seen.insert(text.clone()) {
            return Err(Fault::new(
                node.pos,
                format!("the key `{text}` stands here twice"),
            ));
        }
        open.key = Some(Key { pos: node.pos, text });
        Ok(())
    }
}

fn measure(node: &Node) -> Extent {
    let inside: Vec<Extent> = match &node.value {
        Value::List(items) => items.iter().map(measure).collect(),
        Value::Map(entries) => entries.iter().map(|(_, n)| measure(n)).collect(),
        Value::Null | Value::Text(_) => return Extent { count: 1, depth: 0 },
    };
    Extent {
        count: 1 + inside.iter().map(|e| e.count).sum::<usize>(),
        depth: 1 + inside.iter().map(|e| e.depth).max().unwrap_or(0),
    }
}

/// A mapping with what its `<<` bring: its own keys go before.
fn merged(entries: Vec<(Key, Node)>) -> Result<Vec<(Key, Node)>, Fault> {
    if entries.iter().all(|(k, _)| k.text != "<<") {
        return Ok(entries);
    }
    let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(k, _)| k.text == "<<");
    for (_, node) in merges {
        let sources = match node.value {
            Value::List(nodes) => nodes,
            _ => vec![node],
        };
        for source in sources {
            let what = "what `<<` merges";
            for (key, value) in source.map(what)? {
                if own.iter().all(|(k, _)| k.text != key.text) {
                    own.push((key.clone(), value.clone()));
                }
            }
        }
    }
    Ok(own)
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, pos: Pos) -> Result<Value, Fault> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() => {}
        // `!` alone says that it is text.
        Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => {}
        Some(tag) => return Err(foreign(tag, pos)),
        None => {
            if style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
                return Ok(Value::Null);
            }
        }
    }
    if text.contains('\0') {
        return Err(Fault::new(pos, "a value holds a NUL character"));
    }
    Ok(Value::Text(text.to_owned()))
}

fn foreign(tag: &Tag, pos: Pos) -> Fault {
    Fault::new(
        pos,
        format!("the tag `{}{}` is not supported", tag.handle, tag.suffix),
    )
}
