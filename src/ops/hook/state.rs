//! The state of a container as a runtime tells it, and what its annotations ask for.
//!
//! Source: runtime.md of the OCI runtime specification. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::model::{End, Mac, Name, Service};
use crate::ops::annotation::{self, LABELS, LABELS_FORM, LINKS, PREFIX};
use crate::ops::error::{Error, Result};
use crate::ops::publish::PortMap;

const NETWORK: &str = "moat.dev/network";
const PORTS: &str = "moat.dev/ports";
const NAME: &str = "moat.dev/name";
const IP: &str = "moat.dev/ip";
const MAC: &str = "moat.dev/mac";
const KNOWN: [&str; 7] = [NETWORK, LABELS, LINKS, PORTS, NAME, IP, MAC];

/// The network without an annotation.
const DEFAULT: &str = "moat";

/// How far the container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its namespaces are there, its program is not started.
    Creating,
    /// The same in older runtimes, and for `createRuntime` of crun.
    Created,
    Running,
    Stopped,
}

/// A container's state.
#[derive(Clone, Debug, Deserialize)]
pub struct State {
    pub id: String,
    pub status: Status,
    #[serde(default)]
    pub pid: Option<i32>,
    #[serde(default)]
    pub bundle: PathBuf,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl State {
    /// # Errors
    /// It is no state.
    pub fn read(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| Error::Refused {
            what: format!("standard input is not the state of an OCI container: {e}"),
            hint: "a runtime calls `moat hook`; `moat hook install` tells podman to".into(),
        })
    }
}

/// What the annotations ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    pub network: Name,
    /// By this it is linked, beside its id.
    pub name: Option<Name>,
    pub labels: BTreeMap<String, String>,
    pub links: Vec<(End, Service)>,
    pub ports: Vec<PortMap>,
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
    pub mac: Option<Mac>,
}

impl Wishes {
    /// # Errors
    /// The first annotation of ours that is unknown or cannot be read.
    pub fn read(state: &State) -> Result<Self> {
        let none = BTreeMap::new();
        let all = state.annotations.as_ref().unwrap_or(&none);
        if let Some(key) = all
            .keys()
            .find(|k| k.starts_with(PREFIX) && !KNOWN.contains(&k.as_str()))
        {
            return Err(Error::Input {
                value: key.clone(),
                reason: "no such annotation".into(),
                hint: Some(format!("there are {}", KNOWN.join(", "))),
            });
        }
        let text = |key: &str| all.get(key).map_or("", |v| v.trim());
        let wrong = |key: &str, reason: String| Error::Input {
            value: text(key).to_owned(),
            reason: format!("annotation {key}: {reason}"),
            hint: None,
        };
        let given = |key: &str| Some(text(key)).filter(|t| !t.is_empty());
        let name = |key: &str| -> Result<Option<Name>> {
            let read = given(key).map(str::parse::<Name>).transpose();
            read.map_err(|e| wrong(key, e.to_string()))
        };
        let own = name(NAME)?;
        if own.as_ref().is_some_and(Name::is_anothers) {
            return Err(wrong(NAME, "a name of one's own has no `:`".into()));
        }
        let links = annotation::links(text(LINKS)).map_err(|e| wrong(LINKS, e.to_string()))?;
        let ports: Result<Vec<PortMap>> = annotation::words(text(PORTS)).map(str::parse).collect();
        let mac = given(MAC).map(str::parse::<Mac>).transpose();
        Ok(Self {
            network: name(NETWORK)?.map_or_else(|| DEFAULT.parse(), Ok)?,
            name: own,
            labels: annotation::labels(text(LABELS)).ok_or_else(|| wrong(LABELS, LABELS_FORM.into()))?,
            links,
            ports: ports.map_err(|e| wrong(PORTS, e.to_string()))?,
            addresses: addresses(text(IP)).map_err(|reason| wrong(IP, reason.into()))?,
            mac: mac.map_err(|e| wrong(MAC, e.to_string()))?,
        })
    }
}

fn addresses(text: &str) -> Result<Vec<IpAddr>, &'static str> {
    let read: Result<Vec<IpAddr>, _> = annotation::words(text).map(str::parse).collect();
    let all = read.map_err(|_| "addresses, with a comma between them")?;
    let count = |v4: bool| all.iter().filter(|ip| ip.is_ipv4() == v4).count();
    if count(true) > 1 || count(false) > 1 {
        return Err("one address of each family");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(annotations: &serde_json::Value) -> Result<Wishes> {
        let state = serde_json::json!({
            "ociVersion": "1.0.2", "id": "a", "status": "creating", "pid": 4,
            "bundle": "/b", "annotations": annotations,
        });
        Wishes::read(&State::read(&state.to_string())?)
    }

    #[test]
    fn annotations_are_read() {
        let all = wishes(&serde_json::json!({
            "org.opencontainers.image.title": "x", "moat.dev/network": "lab", "moat.dev/name": "web",
            "moat.dev/labels": "app=web", "moat.dev/links": "db:5432/tcp,world",
            "moat.dev/ports": "8080:80, 127.0.0.1:53:53/udp", "moat.dev/ip": "10.9.0.7,fd00::7",
            "moat.dev/mac": "02:00:00:00:00:07",
        }))
        .unwrap();
        assert_eq!(
            (all.network.as_str(), all.name.as_ref().map(Name::as_str)),
            ("lab", Some("web"))
        );
        assert_eq!((all.links.len(), all.ports.len(), all.addresses.len()), (2, 2, 2));
        assert!(all.mac.is_some() && all.labels["app"] == "web");
        for nothing in [serde_json::json!({}), serde_json::Value::Null] {
            let none = wishes(&nothing).unwrap();
            assert_eq!((none.network.as_str(), none.name), ("moat", None));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (key, value) in [
            ("moat.dev/link", "db"),
            ("moat.dev/links", "db:0"),
            ("moat.dev/labels", "app"),
            ("moat.dev/ports", "80"),
            ("moat.dev/ip", "10.9.0.1,10.9.0.2"),
            ("moat.dev/ip", "x"),
            ("moat.dev/mac", "01"),
            ("moat.dev/name", "oci:x"),
            ("moat.dev/network", "a b"),
        ] {
            let e = wishes(&serde_json::json!({ key: value }))
                .unwrap_err()
                .to_string();
            assert!(e.contains(key), "{key}={value}: {e}");
        }
    }

    #[test]
    fn other_texts_are_no_states() {
        for text in [
            "",
            "{}",
            "[]",
            "x",
            r#"{"id": 1, "status": "created"}"#,
            r#"{"id": "a", "status": "paused"}"#,
            r#"{"id": "a", "status": "created", "pid": "4"}"#,
            r#"{"id": "a", "status": "created", "annotations": {"a": 1}}"#,
        ] {
            assert!(State::read(text).is_err(), "{text}");
        }
    }
}
