//! The plugin types of the reference: their configurations are read here, what they do is in
//! `ops::classic`.

mod bandwidth;
mod bridge;
mod bridge_config;
mod firewall;
mod host_local;
mod loopback;
mod portmap;
mod static_;
mod tuning;

use std::path::{Path, PathBuf};

pub use bandwidth::Bandwidth;
pub use bridge::Bridge;
pub use firewall::Firewall;
pub use host_local::HostLocal;
pub use loopback::Loopback;
pub use portmap::Portmap;
pub use static_::Static;
pub use tuning::Tune;

use super::call::{self, Call, Version};
use super::error::{Error, Result, code};
use super::json::Node;
use super::result::{Outcome, Route};
use super::shape;
use crate::model::Family;
use crate::ops::classic::{self, Key};
use crate::ops::collect::Census;
use crate::ops::{self, DEFAULT_DATA, DEFAULT_ROOT, Holder, Where};

/// Which world the call is about.
fn place(call: &Call) -> Where {
    let path = |name: &str, default: &str| {
        let value = call.env.get(std::ffi::OsStr::new(name));
        value
            .filter(|v| !v.is_empty())
            .map_or_else(|| PathBuf::from(default), PathBuf::from)
    };
    Where {
        root: path("MOAT_ROOT", DEFAULT_ROOT),
        data: path("MOAT_DATA", DEFAULT_DATA),
        caller: call.caller(),
    }
}

fn key(call: &Call, plugin: &str) -> Key {
    Key {
        plugin: plugin.to_owned(),
        network: call.name.clone(),
        container: call.container.clone(),
        ifname: call.ifname.clone(),
    }
}

/// Interfaces of the host in a result.
fn on_host(outcome: &Outcome) -> Vec<&str> {
    let host = outcome.interfaces.iter().filter(|i| i.sandbox.is_empty());
    host.map(|i| i.name.as_str()).collect()
}

/// The container's namespace; ADD and CHECK come with one.
fn netns(call: &Call) -> Result<&Path> {
    let missing = || Error::new(code::ENVIRONMENT, "required env variables [CNI_NETNS] missing");
    call.netns.as_deref().ok_or_else(missing)
}

/// Whose attachment it is.
fn holder(call: &Call) -> Holder {
    Holder {
        container: call.container.clone(),
        ifname: call.ifname.clone(),
    }
}

/// Whose attachments GC is to leave alone.
fn valid(call: &Call) -> Result<Vec<Holder>> {
    let all = call.valid_attachments()?.into_iter();
    Ok(all
        .map(|a| Holder {
            container: a.container,
            ifname: a.ifname,
        })
        .collect())
}

/// `ipam` of the configuration: address plugins get that of the plugin that calls them.
fn ipam(call: &Call) -> Result<Node<'_>> {
    let missing = || Error::new(code::CONFIG, "IPAM config missing 'ipam' key");
    call.conf().get("ipam").ok_or_else(missing)
}

fn routes(ipam: &Node<'_>) -> Result<Vec<Route>> {
    ipam.object()?.list("routes", shape::route)
}

/// Versions before 0.3.0 have a place for one address of each family.
fn sayable(call: &Call, families: impl Iterator<Item = Family>) -> Result<()> {
    let families: Vec<Family> = families.collect();
    let count = |family| families.iter().filter(|f| **f == family).count();
    if call.version >= Version::V030 || Family::BOTH.into_iter().all(|f| count(f) <= 1) {
        return Ok(());
    }
    let version = call.version.as_str();
    let msg = format!("CNI version {version} does not support more than 1 address per family");
    Err(Error::new(code::CONFIG, msg))
}

/// A key that is understood and cannot be honoured: code 2, with key and value.
fn unsupported(key: &str, value: impl std::fmt::Display, why: &str) -> Error {
    let msg = format!("unsupported field {key}: {value}");
    Error::new(code::UNSUPPORTED_FIELD, msg).with(why)
}

/// The result of the plugins before, which a chained plugin passes on.
fn chained(call: &Call) -> Result<Outcome> {
    call.previous()?.ok_or_else(|| {
        Error::new(
            code::CONFIG,
            "must be called as chained plugin: prevResult missing",
        )
    })
}

/// GC of a chained plugin: every attachment that is not valid goes; the first error, after all.
fn collect(call: &Call, plugin: &str) -> Result<()> {
    let place = place(call);
    let mut outcome = Ok(());
    for key in classic::stale(&place, plugin, &call.name, &census(call)?)?.stale {
        let gone = classic::remove(&place, &key);
        outcome = outcome.and(gone.map_err(Error::from));
    }
    outcome
}

/// What GC asks for. The key is within `moat`, as all of ours in configurations of others.
fn census(call: &Call) -> Result<Census> {
    let ours = call.conf().object("moat")?;
    let collect = ours.map_or(Ok(None), |o| o.field("gc", call::collect))?;
    call.census(collect)
}

/// STATUS without a delegate.
fn ready(call: &Call) -> Result<()> {
    classic::ready(&place(call)).map_err(not_ready)
}

/// An error of STATUS: existing containers are cut off, too, only if it says so.
fn not_ready(e: ops::Error) -> Error {
    let e = Error::from(e);
    let limited = e.code == code::LIMITED;
    let code = if limited { code::LIMITED } else { code::NOT_READY };
    Error { code, ..e }
}
