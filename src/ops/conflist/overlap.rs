//! Which ranges a configuration has, and whether those of its neighbours meet them.

use std::path::Path;

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::{Finding, Level};
use crate::model::overlaps;

/// All subnets in a configuration, whatever the type of plugin.
pub fn ranges(of: &Value) -> Vec<IpNetwork> {
    let read = |v: &Value| v.as_str().and_then(|s| s.parse().ok());
    match of {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| match (key.as_str(), value) {
                ("subnet", v) => read(v).into_iter().collect(),
                ("subnets", Value::Array(all)) => all.iter().filter_map(read).collect(),
                (_, v) => ranges(v),
            })
            .collect(),
        Value::Array(all) => all.iter().flat_map(ranges).collect(),
        _ => Vec::new(),
    }
}

/// What the other files of the directory have to do with it.
pub fn neighbours(file: &Path, this: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    let own = ranges(this);
    for other in super::install::configurations(file.parent().unwrap_or(Path::new("."))) {
        if other.file_name() == file.file_name() {
            continue;
        }
        let text = std::fs::read_to_string(&other).unwrap_or_default();
        let Ok(theirs) = serde_json::from_str::<Value>(&text) else {
            continue;
        };
        let shown = other.display();
        let mut say = |level, text| {
            found.push(Finding {
                line: None,
                level,
                text,
            });
        };
        if theirs["name"] == this["name"] {
            say(Level::Error, format!("{shown} has the same `name`"));
        }
        for b in ranges(&theirs) {
            if let Some(a) = own.iter().find(|a| overlaps(**a, b)) {
                say(Level::Error, format!("{a} overlaps with {b} of {shown}"));
            }
        }
    }
    found
}
