//! `$NAME` and `${NAME:-default}` in values, as the Compose Specification says: braces with `:-`, `-`,
//! `:?`, `?`, `:+` and `+`, which may be nested; `$$` is a dollar sign.

use crate::model::yaml::{Fault, Node, Value};

/// How deep defaults may hold variables.
const DEPTH: usize = 16;
/// How long a value may become.
const LENGTH: usize = 1 << 20;

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces the variables in every value below a node; keys stay. `unset` gets the names of those that
/// nobody set.
///
/// # Errors
/// The first value with a variable that cannot be read, or that must be set and is not.
pub fn interpolate_all(node: &mut Node, lookup: Lookup<'_>, unset: &mut Vec<String>) -> Result<(), Fault> {
    match &mut node.value {
        Value::Null => {}
        Value::Text(text) => {
            if text.contains('$') {
                *text = interpolate(text, lookup, unset).map_err(|what| Fault::new(node.pos, what))?;
            }
        }
        Value::List(items) => {
            for item in items {
                interpolate_all(item, lookup, unset)?;
            }
        }
        Value::Map(entries) => {
            for (_, value) in entries {
                interpolate_all(value, lookup, unset)?;
            }
        }
    }
    Ok(())
}

/// One text with its variables replaced.
///
/// # Errors
/// In words, what cannot be read.
pub fn interpolate(text: &str, lookup: Lookup<'_>, unset: &mut Vec<String>) -> Result<String, String> {
    expand(text, lookup, unset, 0)
}

fn expand(text: &str, lookup: Lookup<'_>, unset: &mut Vec<String>, depth: usize) -> Result<String, String> {
    if depth > DEPTH {
        return Err(format!("variables are nested deeper than {DEPTH}"));
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(more) = after.strip_prefix('$') {
            out.push('$');
            rest = more;
        } else if let Some(inside) = after.strip_prefix('{') {
            let end = closing(inside).ok_or_else(|| format!("`${{` is not closed: `{text}`"))?;
            out.push_str(&braces(&inside[..end], lookup, unset, depth)?);
            rest = &inside[end + 1..];
        } else {
            let name = name(after);
            if name.is_empty() {
                return Err(format!("a single `$` is written `$$`: `{text}`"));
            }
            out.push_str(&value(name, lookup, unset));
            rest = &after[name.len()..];
        }
        if out.len() > LENGTH {
            return Err(format!("a value of more than {LENGTH} bytes"));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn value(name: &str, lookup: Lookup<'_>, unset: &mut Vec<String>) -> String {
    lookup(name).unwrap_or_else(|| {
        unset.push(name.to_owned());
        String::new()
    })
}

/// What stands between `${` and `}`.
fn braces(inside: &str, lookup: Lookup<'_>, unset: &mut Vec<String>, depth: usize) -> Result<String, String> {
    let name = name(inside);
    if name.is_empty() {
        return Err(format!("no name of a variable: `${{{inside}}}`"));
    }
    let rest = &inside[name.len()..];
    if rest.is_empty() {
        return Ok(value(name, lookup, unset));
    }
    let (strict, rest) = rest.strip_prefix(':').map_or((false, rest), |r| (true, r));
    let found = lookup(name).filter(|v| !(strict && v.is_empty()));
    let mut letters = rest.chars();
    let (operator, word) = (letters.next(), letters.as_str());
    match (operator, found) {
        (Some('-' | '?'), Some(found)) => Ok(found),
        (Some('-'), None) | (Some('+'), Some(_)) => expand(word, lookup, unset, depth + 1),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) => {
            let message = expand(word, lookup, unset, depth + 1)?;
            let message = if message.is_empty() {
                "it is not set"
            } else {
                &message
            };
            Err(format!("the variable `{name}` is needed: {message}"))
        }
        _ => Err(format!(
            "`${{NAME}}` knows `:-`, `-`, `:?`, `?`, `:+` and `+`, not: `${{{inside}}}`"
        )),
    }
}

/// The letters of a name at the beginning.
fn name(text: &str) -> &str {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let end = text.bytes().position(|b| !inside(b)).unwrap_or(text.len());
    if text.bytes().next().is_some_and(|b| b.is_ascii_digit()) {
        return "";
    }
    &text[..end]
}

/// Where the brace is closed that was opened before.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 1;
            }
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}
