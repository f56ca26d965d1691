//! Breaking a right configuration in a few places.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

/// Texts in place of a value, most of them JSON that no value of `serde_json` can stand for.
const RAW: [&str; 16] = [
    "1e999",
    "-1e-999",
    "18446744073709551616",
    "-9223372036854775809",
    "340282366920938463463374607431768211456",
    "0.1",
    "-0",
    "1e3",
    "NaN",
    "01",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "{\"a\":1,\"a\":2}",
    "{\"\":{}}",
    "",
    "'x'",
];

/// What is done to a configuration: to places of its tree one after the other, then to its text.
#[derive(Clone, Debug)]
pub struct Spoiling {
    breaks: Vec<(Index, Break)>,
    cut: Cut,
}

/// Something done to one place of the tree.
#[derive(Clone, Debug)]
enum Break {
    Put(Value),
    Raw(String),
    Remove,
    /// The key in the other case.
    Case,
    /// The key twice.
    Repeat(Value),
    Nest(usize),
    /// A list of as many of it.
    Many(usize),
}

/// Something done to the text.
#[derive(Clone, Debug)]
enum Cut {
    Nothing,
    Until(Index),
    Insert(Index, u8),
    Before(&'static str),
    After(&'static str),
}

pub fn spoiling() -> impl Strategy<Value = Spoiling> {
    let breaks = proptest::collection::vec((any::<Index>(), breaking()), 0..4);
    (breaks, cutting()).prop_map(|(breaks, cut)| Spoiling { breaks, cut })
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![
            "",
            "/",
            "..",
            "10.0.0.1",
            "::1",
            "10.0.0.0/8",
            "fd00::/128",
            "0.0.0.0/0",
            "br\0",
            "lo",
            "%s"
        ])
        .prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-zA-Z.]{0,8}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn breaking() -> impl Strategy<Value = Break> {
    prop_oneof![
        4 => value().prop_map(Break::Put),
        2 => select(&RAW[..]).prop_map(|raw| Break::Raw(raw.to_owned())),
        2 => Just(Break::Remove),
        2 => Just(Break::Case),
        1 => value().prop_map(Break::Repeat),
        1 => select(vec![1, 126, 127, 128, 5000]).prop_map(Break::Nest),
        1 => select(vec![0, 2, 300]).prop_map(Break::Many),
    ]
}

fn cutting() -> impl Strategy<Value = Cut> {
    prop_oneof![
        20 => Just(Cut::Nothing),
        1 => any::<Index>().prop_map(Cut::Until),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Cut::Insert(at, byte)),
        1 => select(vec!["\u{feff}", " \n", "[", "{}"]).prop_map(Cut::Before),
        1 => select(vec!["\n", "}", "{}", "\0"]).prop_map(Cut::After),
    ]
}

impl Spoiling {
    /// The text of what was a right configuration.
    pub fn apply(&self, mut tree: Value) -> Vec<u8> {
        let mut raw = Vec::new();
        for (at, how) in &self.breaks {
            let mut places = Vec::new();
            places_of(&tree, &mut Vec::new(), &mut places);
            if !places.is_empty() {
                do_to(&mut tree, at.get::<Vec<String>>(&places), how, &mut raw);
            }
        }
        let mut text = tree.to_string();
        // The last first: a text may have been put into one that was put aside before it.
        for (n, raw) in raw.iter().enumerate().rev() {
            text = text.replace(&Value::from(placeholder(n)).to_string(), raw);
        }
        let mut bytes = text.into_bytes();
        match &self.cut {
            Cut::Nothing => {}
            Cut::Until(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Cut::Insert(at, byte) => bytes.insert(at.index(bytes.len() + 1), *byte),
            Cut::Before(text) => drop(bytes.splice(0..0, text.bytes())),
            Cut::After(text) => bytes.extend(text.bytes()),
        }
        bytes
    }
}

/// What stands in the tree where the text is to have something else.
fn placeholder(n: usize) -> String {
    format!("\u{1}{n}\u{1}")
}

/// The ways to all values below the top, as keys and indices.
fn places_of(value: &Value, way: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => return,
    };
    for (step, child) in children {
        way.push(step);
        all.push(way.clone());
        places_of(child, way, all);
        way.pop();
    }
}

fn step<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    if value.is_array() {
        &mut value[key.parse::<usize>().expect("an index")]
    } else {
        &mut value[key]
    }
}

fn do_to(tree: &mut Value, way: &[String], how: &Break, raw: &mut Vec<String>) {
    let (key, ways) = way.split_last().expect("a place below the top");
    let parent = ways.iter().fold(tree, |value, key| step(value, key));
    let mut aside = |text: String| {
        raw.push(text);
        Value::from(placeholder(raw.len() - 1))
    };
    match how {
        Break::Put(value) => *step(parent, key) = value.clone(),
        Break::Raw(text) => *step(parent, key) = aside(text.clone()),
        Break::Nest(depth) => {
            let inner = step(parent, key).to_string();
            *step(parent, key) = aside(format!("{}{inner}{}", "[".repeat(*depth), "]".repeat(*depth)));
        }
        Break::Many(count) => {
            let one = step(parent, key).take();
            *step(parent, key) = Value::Array(vec![one; *count]);
        }
        Break::Remove | Break::Case | Break::Repeat(_) => {
            let Some(map) = parent.as_object_mut() else {
                return;
            };
            let value = map.remove(key).expect("the place");
            if let Break::Case = how {
                map.insert(key.to_uppercase(), value);
            } else if let Break::Repeat(other) = how {
                let name = Value::from(key.as_str());
                let rest = serde_json::to_string(map).expect("JSON");
                let comma = if map.is_empty() { "" } else { "," };
                let twice = format!("{{{name}:{value},{name}:{other}{comma}{}", &rest[1..]);
                *parent = aside(twice);
            }
        }
    }
}
