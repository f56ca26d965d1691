//! Reading a call: variables, then the configuration, then what joins them.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::call::{Call, Env, Verb, Version};
use super::error::{Error, Result, code};
use super::json::Object;

/// Bytes that a configuration may have. Ten thousand port mappings take about one million.
pub const LIMIT: usize = 64 << 20;

/// A variable; an empty one counts as unset.
#[must_use]
pub fn variable<'a>(env: &'a Env, name: &str) -> Option<&'a OsStr> {
    let value = env.get(OsStr::new(name)).map(OsString::as_os_str);
    value.filter(|v| !v.is_empty())
}

/// `CNI_COMMAND`.
///
/// # Errors
/// Code 4 when it is unset or unknown.
pub fn verb(env: &Env) -> Result<Verb> {
    let word = variable(env, "CNI_COMMAND").ok_or_else(|| missing(&["CNI_COMMAND"]))?;
    Verb::read(&word.to_string_lossy())
}

/// The configuration.
///
/// # Errors
/// Code 6 when it is no JSON object.
pub fn config(stdin: &[u8]) -> Result<Map<String, Value>> {
    let bad = |what: String| Error::new(code::DECODE, format!("error unmarshall network config: {what}"));
    if stdin.len() > LIMIT {
        return Err(bad(format!("more than {LIMIT} bytes")));
    }
    match serde_json::from_slice(stdin) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(bad("not an object".into())),
        Err(e) => Err(bad(e.to_string())),
    }
}

/// The version that a configuration asks for. Missing means 0.1.0 (SPEC, section 1).
///
/// # Errors
/// Code 6 when it is no text, 1 when nobody speaks it.
pub fn version(config: &Map<String, Value>) -> Result<Version> {
    let Some(node) = Object::of_config(config).get("cniVersion") else {
        return Ok(Version::V010);
    };
    let bad = || Error::new(code::DECODE, format!("cniVersion is no text: {}", node.value));
    match node.value.as_str().ok_or_else(bad)? {
        "" => Ok(Version::V010),
        text => Version::read(text).ok_or_else(|| incompatible(text, &Version::ALL)),
    }
}

/// The error for a version that is not among those that can be answered.
#[must_use]
pub fn incompatible(asked: &str, supported: &[Version]) -> Error {
    let supported: Vec<&str> = supported.iter().map(|v| v.as_str()).collect();
    Error::new(code::VERSION, "incompatible CNI versions")
        .with(format!("config is {asked:?}, plugin supports {supported:?}"))
}

impl Call {
    /// Reads a call other than VERSION.
    ///
    /// # Errors
    /// Code 4 for the environment, then 6, 7 or 1 for the configuration.
    pub fn read(env: &Env, stdin: &[u8]) -> Result<Self> {
        Self::join(env, config(stdin))
    }

    /// The same with a configuration that was read. The environment's errors come first.
    pub(super) fn join(env: &Env, config: Result<Map<String, Value>>) -> Result<Self> {
        let verb = verb(env)?;
        require(env, verb)?;
        let has_container = matches!(verb, Verb::Add | Verb::Del | Verb::Check);
        let (container, ifname) = if has_container {
            (container(env)?, ifname(env)?)
        } else {
            Default::default()
        };
        let netns = text(env, "CNI_NETNS")?.filter(|_| has_container);
        let args = match args(env) {
            // What was added must go, whatever words come with it.
            Err(_) if !matches!(verb, Verb::Add | Verb::Check) => Vec::new(),
            args => args?,
        };
        let path = variable(env, "CNI_PATH").map_or_else(Vec::new, |p| env::split_paths(p).collect());
        let config = config?;
        Ok(Self {
            verb,
            container,
            netns: netns.map(PathBuf::from),
            ifname,
            args,
            path,
            name: name(&config)?,
            version: version(&config)?,
            config,
            env: env.clone(),
        })
    }
}

fn missing(names: &[&str]) -> Error {
    let names = names.join(",");
    Error::new(
        code::ENVIRONMENT,
        format!("required env variables [{names}] missing"),
    )
}

/// The variables without which a verb makes no sense. `CNI_PATH` is asked for where a delegate
/// is called: the specification makes it optional.
fn require(env: &Env, verb: Verb) -> Result<()> {
    let required: &[&str] = match verb {
        Verb::Add | Verb::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
        Verb::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
        Verb::Gc | Verb::Status | Verb::Version => &[],
    };
    let unset = |name: &&&str| variable(env, name).is_none();
    let unset: Vec<&str> = required.iter().filter(unset).copied().collect();
    if unset.is_empty() {
        Ok(())
    } else {
        Err(missing(&unset))
    }
}

/// A variable whose value goes into JSON: UTF-8.
fn text<'a>(env: &'a Env, name: &str) -> Result<Option<&'a str>> {
    let Some(value) = variable(env, name) else {
        return Ok(None);
    };
    let bad = || {
        Error::new(
            code::ENVIRONMENT,
            format!("{name} is not UTF-8: {}", value.display()),
        )
    };
    value.to_str().ok_or_else(bad).map(Some)
}

fn container(env: &Env) -> Result<String> {
    let id = text(env, "CNI_CONTAINERID")?.unwrap_or_default();
    if is_name(id) {
        return Ok(id.to_owned());
    }
    Err(Error::new(
        code::ENVIRONMENT,
        format!("invalid characters in CNI_CONTAINERID: {id:?}"),
    ))
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]*`: container IDs and names of networks.
fn is_name(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric();
    text.bytes().next().is_some_and(word) && text.bytes().all(|b| word(b) || b"_.-".contains(&b))
}

/// `CNI_IFNAME` as the kernel takes it (`dev_valid_name` in `net/core/dev.c`).
fn ifname(env: &Env) -> Result<String> {
    let name = text(env, "CNI_IFNAME")?.unwrap_or_default();
    let separates = |c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0';
    let wrong = if name.len() > 15 {
        "longer than 15 bytes"
    } else if name == "." || name == ".." {
        "no name"
    } else if name.contains(separates) {
        "with `/`, `:` or white space"
    } else {
        return Ok(name.to_owned());
    };
    Err(Error::new(
        code::ENVIRONMENT,
        format!("CNI_IFNAME is {wrong}: {name:?}"),
    ))
}

/// The pairs of `CNI_ARGS`, the last of repeated keys.
fn args(env: &Env) -> Result<Vec<(String, String)>> {
    let mut pairs = BTreeMap::new();
    for pair in text(env, "CNI_ARGS")?.into_iter().flat_map(|t| t.split(';')) {
        let (key, value) = pair
            .split_once('=')
            .filter(|(_, value)| !value.contains('='))
            .ok_or_else(|| Error::new(code::ENVIRONMENT, format!("CNI_ARGS: invalid pair {pair:?}")))?;
        pairs.insert(key.to_owned(), value.to_owned());
    }
    Ok(pairs.into_iter().collect())
}

fn name(config: &Map<String, Value>) -> Result<String> {
    let name = Object::of_config(config)
        .text("name")
        .map_err(|e| Error {
            code: code::DECODE,
            ..e
        })?
        .ok_or_else(|| Error::new(code::CONFIG, "missing network name"))?;
    if is_name(name) {
        return Ok(name.to_owned());
    }
    Err(Error::new(
        code::CONFIG,
        format!("invalid characters found in network name: {name:?}"),
    ))
}
