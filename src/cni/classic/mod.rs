//! The plugin types of the reference that make no interface: their configurations are read
//! here, what they do is in `ops::classic`.

mod bandwidth;
mod host_local;
mod loopback;
mod static_;
mod tuning;

use std::path::{Path, PathBuf};

pub use bandwidth::Bandwidth;
pub use host_local::HostLocal;
pub use loopback::Loopback;
pub use static_::Static;
pub use tuning::Tune;

use super::call::{Call, Version};
use super::error::{Error, Result, code};
use super::json::Node;
use super::result::{Outcome, Route};
use super::shape;
use crate::model::Family;
use crate::ops::classic::Key;
use crate::ops::{DEFAULT_DATA, DEFAULT_ROOT, Holder, Where};

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
