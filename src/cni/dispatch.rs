//! Which plugin type answers, and what a call comes to.

use serde_json::{Map, Value, json};

use super::Plugin;
use super::call::{Call, Env, Verb, Version};
use super::error::{Error, Result, code};
use super::read;
use crate::ops;

/// The plugin types, one a line.
const PLUGINS: &[fn() -> Box<dyn Plugin>] = &[
    || Box::new(super::moat::Moat),
    || Box::new(super::classic::Bandwidth),
    || Box::new(super::classic::HostLocal),
    || Box::new(super::classic::Loopback),
    || Box::new(super::classic::Static),
    || Box::new(super::classic::Tune),
    || Box::new(super::classic::Bridge),
    || Box::new(super::classic::Portmap),
    || Box::new(super::classic::Firewall),
];

/// The plugin type that answers to a name.
#[must_use]
pub fn plugin(name: &str) -> Option<Box<dyn Plugin>> {
    PLUGINS.iter().map(|make| make()).find(|p| p.name() == name)
}

/// The names of all plugin types.
#[must_use]
pub fn names() -> Vec<&'static str> {
    PLUGINS.iter().map(|make| make().name()).collect()
}

/// What a call prints on stdout, and the exit status: one JSON document or nothing, 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub stdout: String,
    pub code: i32,
}

impl Answer {
    fn done(document: Option<&Value>) -> Self {
        Self {
            stdout: document.map(|d| format!("{d}\n")).unwrap_or_default(),
            code: 0,
        }
    }

    pub(super) fn failed(error: &Error, version: Version) -> Self {
        Self {
            stdout: format!("{}\n", error.to_json(version)),
            code: 1,
        }
    }
}

/// Answers one call.
#[must_use]
pub fn run(plugin: &dyn Plugin, env: &Env, stdin: &[u8]) -> Answer {
    let config = read::config(stdin);
    let version = match &config {
        Ok(config) => read::version(config).unwrap_or(Version::LATEST),
        Err(_) => Version::LATEST,
    };
    match answer(plugin, env, config, version) {
        Ok(document) => Answer::done(document.as_ref()),
        Err(e) => Answer::failed(&e, version),
    }
}

/// Answers a call of a plugin that is not here.
#[must_use]
pub fn nobody(called: &str, stdin: &[u8]) -> Answer {
    let asked = read::config(stdin).and_then(|config| read::version(&config));
    let msg = format!("moat does not answer as plugin type `{called}`");
    let error = Error::new(code::CONFIG, msg).with(format!("it does as {}", names().join(", ")));
    Answer::failed(&error, asked.unwrap_or(Version::LATEST))
}

fn answer(
    plugin: &dyn Plugin,
    env: &Env,
    config: Result<Map<String, Value>>,
    asked: Version,
) -> Result<Option<Value>> {
    if read::verb(env)? == Verb::Version {
        let supported: Vec<&str> = plugin.versions().iter().map(|v| v.as_str()).collect();
        // Works without any configuration; what cannot be read asks for nothing.
        let echo = json!({ "cniVersion": asked.as_str(), "supportedVersions": supported });
        return Ok(Some(echo));
    }
    let mut call = Call::join(env, config)?;
    allow_version(plugin, &call)?;
    keep_out_of_own_netns(&mut call)?;
    if matches!(call.verb, Verb::Add | Verb::Check)
        && let Some(known) = plugin.args()
    {
        call.know_args(known)?;
    }
    act(plugin, &call)
}

fn act(plugin: &dyn Plugin, call: &Call) -> Result<Option<Value>> {
    match call.verb {
        Verb::Add => return add(plugin, call).map(Some),
        Verb::Del => plugin.del(call)?,
        Verb::Check => plugin.check(call)?,
        Verb::Gc => plugin.gc(call)?,
        Verb::Status => plugin.status(call)?,
        Verb::Version => {}
    }
    Ok(None)
}

/// A result that cannot be said is no success: what was made goes again.
fn add(plugin: &dyn Plugin, call: &Call) -> Result<Value> {
    let outcome = plugin.add(call)?;
    outcome.write(call.version).map_err(|e| match plugin.del(call) {
        Ok(()) => e,
        Err(left) => e.with(format!("undoing it failed: {}", left.msg)),
    })
}

fn allow_version(plugin: &dyn Plugin, call: &Call) -> Result<()> {
    let (asked, verb) = (call.version, call.verb);
    if asked < verb.since() {
        let msg = format!("config version does not allow {}", verb.as_str());
        let since = format!(
            "config is {:?}, {} came with {}",
            asked.as_str(),
            verb.as_str(),
            verb.since().as_str()
        );
        return Err(Error::new(code::VERSION, msg).with(since));
    }
    if plugin.versions().contains(&asked) {
        return Ok(());
    }
    Err(read::incompatible(asked.as_str(), plugin.versions()))
}

/// A plugin works in a container's namespace, never in the caller's own. DEL goes without it,
/// as for a namespace that is gone: nothing was made there.
fn keep_out_of_own_netns(call: &mut Call) -> Result<()> {
    let allowed = read::variable(&call.env, "CNI_NETNS_OVERRIDE")
        .is_some_and(|v| v == "1" || v.eq_ignore_ascii_case("true"));
    let Some(netns) = &call.netns else {
        return Ok(());
    };
    if allowed || !ops::netns::is_own(netns) {
        return Ok(());
    }
    if call.verb == Verb::Del {
        call.netns = None;
        return Ok(());
    }
    let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
    Err(Error::new(code::NETNS, msg).with(format!("CNI_NETNS={}", netns.display())))
}
