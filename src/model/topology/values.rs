//! The small forms of a Compose file: durations, sizes, words of a command, lists and maps of pairs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::bytes_of;
use crate::model::yaml::{Fault, Node, Value};

/// `1m30s`, `500ms`, `2h`, `10s`.
pub fn duration(node: &Node, what: &str) -> Result<Duration, Fault> {
    let text = node.text(what)?;
    let wrong = || {
        node.fault(format!(
            "{what} is a duration like `90s`, `1m30s` or `500ms`, not: `{text}`"
        ))
    };
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return Err(wrong()),
            };
        rest = &rest[end..];
    }
    // A year is longer than anybody waits.
    if text.is_empty() || total > 31_536_000.0 {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

/// Bytes: `64m`, `1gb`, `512k`, `4096`.
pub fn size(node: &Node, what: &str) -> Result<u64, Fault> {
    let text = node.text(what)?;
    let wrong = || node.fault(format!("{what} is a size like `512m` or `1g`, not: `{text}`"));
    bytes_of(text).ok_or_else(wrong)
}

/// A command: a list of words, or one line that is cut into words as a shell would, without a shell.
pub fn words(node: &Node, what: &str) -> Result<Vec<String>, Fault> {
    match &node.value {
        Value::Text(line) => {
            shell_words::split(line).map_err(|_| node.fault(format!("{what} has a quote that is not closed")))
        }
        _ => texts(node, what),
    }
}

/// A list of single values.
pub fn texts(node: &Node, what: &str) -> Result<Vec<String>, Fault> {
    let list = node.list(what)?;
    list.iter().map(|n| Ok(n.text(what)?.to_owned())).collect()
}

/// One value, or a list of them.
pub fn one_or_more(node: &Node, what: &str) -> Result<Vec<(Node, String)>, Fault> {
    if let Value::Text(text) = &node.value {
        return Ok(vec![(node.clone(), text.clone())]);
    }
    let list = node.list(what)?;
    let pair = |n: &Node| Ok((n.clone(), n.text(what)?.to_owned()));
    list.iter().map(pair).collect()
}

/// A mapping, or a list of `KEY=VALUE`; `None` where no value is given.
pub fn pairs(node: &Node, what: &str) -> Result<BTreeMap<String, Option<String>>, Fault> {
    let mut all = BTreeMap::new();
    if let Value::Map(entries) = &node.value {
        for (key, value) in entries {
            let value = match value.value {
                Value::Null => None,
                _ => Some(value.text(what)?.to_owned()),
            };
            all.insert(key.text.clone(), value);
        }
    } else {
        for item in node.list(what)? {
            let text = item.text(what)?;
            let (key, value) = match text.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (text, None),
            };
            if all.insert(key.to_owned(), value).is_some() {
                return Err(item.fault(format!("{what} has `{key}` twice")));
            }
        }
    }
    match all.keys().find(|k| k.is_empty() || k.contains(['=', '\0', '\n'])) {
        Some(key) => Err(node.fault(format!("{what} has no such name: `{key}`"))),
        None => Ok(all),
    }
}
