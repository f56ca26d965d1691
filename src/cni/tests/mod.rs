//! The protocol against the numbered points of the specification, with a plugin that makes
//! nothing.

mod calls;
mod delegates;
mod entry;
mod environment;
mod fuzz;

mod results;
mod versions;
mod wishes;

use std::cell::RefCell;

use serde_json::{Value, json};

use super::call::{Call, Env, Version};
use super::error::{Error, Result, code};
use super::result::{Ip, Outcome};
use super::{Answer, Plugin, run};

/// Looks at everything that a call says, makes nothing, and remembers what it was asked.
struct Mute {
    name: &'static str,
    versions: &'static [Version],
    args: Option<&'static [&'static str]>,
    /// What ADD answers when there is no earlier result.
    outcome: Outcome,
    asked: RefCell<Vec<&'static str>>,
}

impl Mute {
    fn new() -> Self {
        let address = "10.1.2.3/16".parse().unwrap();
        let ip = Ip {
            interface: None,
            address,
            gateway: None,
        };
        Self {
            name: "mute",
            versions: &Version::ALL,
            args: None,
            outcome: Outcome {
                ips: vec![ip],
                ..Outcome::default()
            },
            asked: RefCell::new(Vec::new()),
        }
    }

    fn asked(&self) -> Vec<&'static str> {
        self.asked.take()
    }
}

impl Plugin for Mute {
    fn name(&self) -> &'static str {
        self.name
    }
    fn versions(&self) -> &'static [Version] {
        self.versions
    }
    fn args(&self) -> Option<&'static [&'static str]> {
        self.args
    }
    fn add(&self, call: &Call) -> Result<Outcome> {
        self.asked.borrow_mut().push("ADD");
        call.wishes()?;
        call.runtime()?;
        Ok(call.previous()?.unwrap_or_else(|| self.outcome.clone()))
    }
    fn del(&self, call: &Call) -> Result<()> {
        self.asked.borrow_mut().push(if call.netns.is_some() {
            "DEL"
        } else {
            "DEL without netns"
        });
        let _ = call.previous();
        Ok(())
    }
    fn check(&self, call: &Call) -> Result<()> {
        self.asked.borrow_mut().push("CHECK");
        call.required_previous().map(drop)
    }
    fn gc(&self, call: &Call) -> Result<()> {
        self.asked.borrow_mut().push("GC");
        call.valid_attachments().map(drop)
    }
    fn status(&self, call: &Call) -> Result<()> {
        self.asked.borrow_mut().push("STATUS");
        match call.ipam()? {
            Some(_) => Err(Error::new(code::NOT_READY, "no address management")),
            None => Ok(()),
        }
    }
}

/// A whole environment for a verb; a later pair wins over the standard ones.
fn env(verb: &str, pairs: &[(&str, &str)]) -> Env {
    let standard = [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/nowhere/netns"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/nowhere/bin"),
    ];
    let all = standard.iter().chain(pairs);
    all.map(|(k, v)| (k.into(), v.into())).collect()
}

/// The least configuration in a version.
fn config(version: Version) -> Value {
    json!({ "cniVersion": version.as_str(), "name": "net", "type": "mute" })
}

/// The same with further keys.
fn config_with(version: Version, more: Value) -> Value {
    let mut config = config(version);
    let more = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(more);
    config
}

fn ask(plugin: &Mute, env: &Env, config: &Value) -> Answer {
    run(plugin, env, config.to_string().as_bytes())
}

/// The error object of a call that must fail.
#[track_caller]
fn failure(answer: &Answer) -> Value {
    assert_eq!(answer.code, 1, "{answer:?}");
    let error: Value = serde_json::from_str(&answer.stdout).expect("one document");
    assert!(error["msg"].as_str().is_some_and(|m| !m.is_empty()), "{error}");
    error
}

/// The result of an ADD that must succeed.
#[track_caller]
fn success(answer: &Answer) -> Value {
    assert_eq!(answer.code, 0, "{answer:?}");
    serde_json::from_str(&answer.stdout).expect("one document")
}

/// A call that was read, for asking what it says.
#[track_caller]
fn call(env: &Env, config: &Value) -> Call {
    Call::read(env, config.to_string().as_bytes()).expect("a call")
}
