//! `cni check`: what in a network configuration is wrong, or has no effect.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::keys::{self, Type};
use super::lines::Lines;
use super::overlap::{neighbours, ranges};
use super::{Finding, Level};
use crate::model::{Name, Subnet, overlaps};
use crate::ops::Result;

/// All there is to say about a file, its neighbours included.
///
/// # Errors
/// When the file cannot be read.
pub fn check(file: &Path, bin_dirs: &[PathBuf]) -> Result<Vec<Finding>> {
    let text = super::install::contents(file)?;
    let there = |plugin: &str| bin_dirs.iter().any(|d| d.join(plugin).exists());
    let mut found = read(&text, &there);
    if let Ok(this) = serde_json::from_str(&text) {
        found.extend(neighbours(file, &this));
    }
    Ok(found)
}

/// What the text alone tells; `there` says whether a plugin's program exists.
pub fn read(text: &str, there: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let document: Value = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(e) => {
            let text = format!("no JSON: {e}");
            return vec![Finding {
                line: Some(e.line()),
                level: Level::Error,
                text,
            }];
        }
    };
    let mut report = Report {
        lines: Lines::of(text),
        found: Vec::new(),
    };
    for path in report.lines.twice.clone() {
        report.warn(&path, format!("`{path}` is there twice; the last counts"));
    }
    match &document {
        Value::Object(list) if list.contains_key("plugins") => report.list(list, there),
        Value::Object(single) if single.contains_key("type") => {
            report.named(single);
            report.plugin(single, "", 0, &version(single), there);
        }
        _ => report.error(
            "",
            "neither a list with `plugins` nor a plugin with `type`".into(),
        ),
    }
    report.found
}

struct Report {
    lines: Lines,
    found: Vec<Finding>,
}

fn version(of: &Map<String, Value>) -> String {
    of.get("cniVersion")
        .and_then(Value::as_str)
        .unwrap_or("0.1.0")
        .to_owned()
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

impl Report {
    fn say(&mut self, level: Level, path: &str, text: String) {
        let line = self.lines.line(path);
        self.found.push(Finding { line, level, text });
    }

    fn warn(&mut self, path: &str, text: String) {
        self.say(Level::Warning, path, text);
    }

    fn error(&mut self, path: &str, text: String) {
        self.say(Level::Error, path, text);
    }

    fn list(&mut self, list: &Map<String, Value>, there: &dyn Fn(&str) -> bool) {
        self.named(list);
        for key in list.keys().filter(|k| !keys::LIST.contains(&k.as_str())) {
            self.warn(key, format!("nobody is known to read `{key}` of a list"));
        }
        self.versions(list);
        let Some(plugins) = list["plugins"].as_array().filter(|p| !p.is_empty()) else {
            return self.error("plugins", "`plugins` is no array with at least one plugin".into());
        };
        for (n, plugin) in plugins.iter().enumerate() {
            let path = format!("plugins[{n}]");
            match plugin.as_object() {
                Some(plugin) => self.plugin(plugin, &path, n, &version(list), there),
                None => self.error("plugins", format!("`{path}` is no object")),
            }
        }
    }

    fn named(&mut self, of: &Map<String, Value>) {
        match of.get("name").and_then(Value::as_str) {
            None => self.error("name", "it has no `name`".into()),
            Some(name) => {
                // The specification's pattern has no limit of length; moat's names do.
                let ours = of.get("plugins").and_then(|p| p.get(0)).unwrap_or(&Value::Null)["type"] == "moat";
                let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
                let rest = name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
                if !(first && rest) {
                    let text = format!(
                        "a network's name is of `a-z A-Z 0-9 _ . -`, first a letter or digit, not: `{name}`"
                    );
                    self.error("name", text);
                } else if let (true, Err(e)) = (ours, name.parse::<Name>()) {
                    self.error("name", e.to_string());
                }
            }
        }
    }

    fn versions(&mut self, list: &Map<String, Value>) {
        const KNOWN: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
        let own = version(list);
        let more = list.get("cniVersions").and_then(Value::as_array);
        let more = more.into_iter().flatten().filter_map(Value::as_str);
        for (key, v) in [("cniVersion", own.as_str())]
            .into_iter()
            .chain(more.map(|v| ("cniVersions", v)))
        {
            if !KNOWN.contains(&v) {
                self.error(key, format!("no plugin speaks CNI version `{v}`"));
            }
        }
        if own == "1.1.0" {
            let text = "podman 4 refuses 1.1.0; `\"cniVersion\": \"1.0.0\", \"cniVersions\": [\"1.0.0\", \"1.1.0\"]` \
                        serves all";
            self.warn("cniVersion", text.into());
        }
    }

    fn plugin(
        &mut self,
        plugin: &Map<String, Value>,
        path: &str,
        n: usize,
        version: &str,
        there: &dyn Fn(&str) -> bool,
    ) {
        let Some(name) = plugin.get("type").and_then(Value::as_str) else {
            return self.error(
                path,
                format!("`{}` has no `type`", if path.is_empty() { "it" } else { path }),
            );
        };
        let at = |key: &str| below(path, key);
        if !there(name) {
            self.error(
                &at("type"),
                format!("no program `{name}` where plugins are looked for"),
            );
        }
        self.ipam(plugin, path, there);
        let Some(known) = keys::TYPES.iter().find(|t| t.name == name) else {
            return;
        };
        if known.chained && n == 0 {
            self.error(
                &at("type"),
                format!("`{name}` changes what another plugin made, and cannot be the first"),
            );
        }
        if version < known.since {
            let text = format!("`{name}` speaks {} and later, not {version}", known.since);
            self.error(&at("type"), text);
        }
        for key in plugin.keys() {
            if !keys::ANY.contains(&key.as_str()) && !known.keys.contains(&key.as_str()) {
                self.warn(&at(key), format!("`{name}` does not read `{key}`"));
            }
        }
        self.capabilities(plugin, known, path);
        self.values(plugin, name, path);
    }

    fn capabilities(&mut self, plugin: &Map<String, Value>, known: &Type, path: &str) {
        let path = below(path, "capabilities");
        let declared = plugin.get("capabilities").and_then(Value::as_object);
        for (capability, on) in declared.into_iter().flatten() {
            let at = below(&path, capability);
            if !known.capabilities.contains(&capability.as_str()) {
                self.warn(
                    &at,
                    format!("`{}` makes no use of capability `{capability}`", known.name),
                );
            } else if on == &Value::Bool(false) {
                self.warn(
                    &at,
                    format!("capability `{capability}` is off: the runtime keeps it to itself"),
                );
            }
        }
        let inline = known.keys.iter().any(|k| plugin.contains_key(*k));
        let needed = match known.name {
            "moat" | "portmap" => Some("portMappings"),
            "bandwidth" if !inline => Some("bandwidth"),
            _ => None,
        };
        let chained = plugin.get("mode").is_some();
        if let Some(needed) = needed.filter(|n| !chained && declared.is_none_or(|d| !d.contains_key(*n))) {
            let text = format!(
                "`{}` without capability `{needed}` is never told of any",
                known.name
            );
            self.warn(&path, text);
        }
    }

    /// Values that are refused, or hide a surprise.
    fn values(&mut self, plugin: &Map<String, Value>, name: &str, path: &str) {
        let word = |key: &str| plugin.get(key).and_then(Value::as_str);
        for (_, key, words) in keys::WORDS.iter().filter(|(t, ..)| *t == name) {
            if let Some(w) = word(key).filter(|w| !words.contains(w)) {
                let text = format!("`{key}` is one of {}, not `{w}`", words.join(", "));
                self.error(&below(path, key), text);
            }
        }
        let subnets = plugin.get("subnets").and_then(Value::as_array);
        let mut seen: Vec<Subnet> = Vec::new();
        for subnet in subnets.into_iter().flatten() {
            let at = below(path, "subnets");
            match subnet.as_str().unwrap_or_default().parse::<Subnet>() {
                Err(e) => self.error(&at, e.to_string()),
                Ok(s) if seen.iter().any(|o| o.family() == s.family()) => {
                    self.error(
                        &at,
                        format!("a network has one subnet a family; `{s}` is one more"),
                    );
                }
                Ok(s) => seen.push(s),
            }
        }
        let flag = |key: &str| plugin.get(key) == Some(&Value::Bool(true));
        if flag("hairpinMode") && flag("promiscMode") {
            self.error(
                &below(path, "promiscMode"),
                "`hairpinMode` and `promiscMode` exclude each other".into(),
            );
        }
    }

    fn ipam(&mut self, plugin: &Map<String, Value>, path: &str, there: &dyn Fn(&str) -> bool) {
        let Some(ipam) = plugin.get("ipam").and_then(Value::as_object) else {
            return;
        };
        let path = below(path, "ipam");
        let kind = ipam.get("type").and_then(Value::as_str).unwrap_or_default();
        let built_in = ["", "moat"].contains(&kind);
        if !built_in && !there(kind) {
            self.error(
                &below(&path, "type"),
                format!("no program `{kind}` where plugins are looked for"),
            );
        }
        let Some((_, known)) = keys::IPAM.iter().find(|(t, _)| *t == kind) else {
            return;
        };
        for key in ipam.keys().filter(|k| !known.contains(&k.as_str())) {
            let who = if kind.is_empty() { "moat" } else { kind };
            self.warn(
                &below(&path, key),
                format!("`{who}` does not read `{key}` of `ipam`"),
            );
        }
        let ranges = ranges(&Value::Object(ipam.clone()));
        for (n, a) in ranges.iter().enumerate() {
            if let Some(b) = ranges[..n].iter().find(|b| overlaps(*a, **b)) {
                self.error(&path, format!("the ranges {b} and {a} overlap"));
            }
        }
    }
}
