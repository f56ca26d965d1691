//! The reference plugins' types, for conflists that exist: their keys, their results.

pub mod bridge;
mod bridge_config;
pub mod firewall;
pub mod portmap;

use std::path::PathBuf;

use super::call::Call;
use super::error::{Error, Result, code};
use super::result::Outcome;
use crate::ops::classic::{self, Key};
use crate::ops::{DEFAULT_DATA, DEFAULT_ROOT, Where};

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

/// Interfaces of the host in a result.
fn on_host(outcome: &Outcome) -> impl Iterator<Item = &str> {
    let host = outcome.interfaces.iter().filter(|i| i.sandbox.is_empty());
    host.map(|i| i.name.as_str())
}

/// GC of a chained plugin: every attachment that is not valid goes; the first error, after all.
fn collect(call: &Call, plugin: &str) -> Result<()> {
    let place = place(call);
    let valid = call.valid_attachments()?;
    let valid = valid.into_iter().map(|v| (v.container, v.ifname)).collect();
    let mut outcome = Ok(());
    for (key, _) in classic::stale(&place, plugin, &call.name, &valid)? {
        let gone = classic::remove(&place, &key);
        outcome = outcome.and(gone.map_err(Error::from));
    }
    outcome
}

/// STATUS without a delegate.
fn ready(call: &Call) -> Result<()> {
    classic::ready(&place(call)).map_err(|e| {
        let e = Error::from(e);
        Error::new(code::NOT_READY, e.msg).with(e.details)
    })
}
