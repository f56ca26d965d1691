//! `firewall`: walls around the bridge of the plugins before (`ingressPolicy`).
//!
//! `backend`, `iptablesAdminChainName` and `firewalldZone` say where the reference accepts
//! packets that a foreign chain would drop; nothing of the kind is done here.

use super::{chained, collect, key, on_host, place, ready};
use crate::cni::Plugin;
use crate::cni::call::{Call, Version};
use crate::cni::error::{Error, Result, code};
use crate::cni::result::Outcome;
use crate::ops::classic::{self, Ingress, firewall};

pub struct Firewall;

fn policy(call: &Call) -> Result<Option<Ingress>> {
    let conf = call.conf();
    for key in ["backend", "iptablesAdminChainName", "firewalldZone"] {
        conf.text(key)?;
    }
    match conf.text("ingressPolicy")? {
        None | Some("open") => Ok(None),
        Some("same-bridge") => Ok(Some(Ingress::SameBridge)),
        Some("isolated") => Ok(Some(Ingress::Isolated)),
        Some(other) => Err(Error::new(
            code::CONFIG,
            format!("unknown ingress policy: ingressPolicy: {other:?}"),
        )
        .with("open, same-bridge or isolated")),
    }
}

/// The bridge, and the other interfaces on the host.
fn bridge(outcome: &Outcome) -> Result<(&str, Vec<String>)> {
    let first = outcome.interfaces.first().map(|i| i.name.as_str());
    let bridge = first.filter(|name| !name.is_empty()).ok_or_else(|| {
        Error::new(
            code::CONFIG,
            "prevResult has no interface to put the ingress policy on",
        )
        .with("chain `firewall` after `bridge`")
    })?;
    let hosts = on_host(outcome).into_iter().filter(|name| *name != bridge);
    Ok((bridge, hosts.map(str::to_owned).collect()))
}

impl Plugin for Firewall {
    fn name(&self) -> &'static str {
        "firewall"
    }

    fn versions(&self) -> &'static [Version] {
        &[Version::V040, Version::V100, Version::V110]
    }

    fn add(&self, call: &Call) -> Result<Outcome> {
        let policy = policy(call)?;
        let outcome = chained(call)?;
        if policy.is_some() {
            let (bridge, hosts) = bridge(&outcome)?;
            let netns = call.netns.as_deref();
            firewall::add(
                &place(call),
                &key(call, self.name()),
                netns,
                bridge,
                policy,
                &hosts,
            )?;
        }
        Ok(outcome)
    }

    fn del(&self, call: &Call) -> Result<()> {
        Ok(classic::remove(&place(call), &key(call, self.name()))?)
    }

    fn check(&self, call: &Call) -> Result<()> {
        let policy = policy(call)?;
        let outcome = call.required_previous()?;
        if policy.is_none() {
            return Ok(());
        }
        let (_, hosts) = bridge(&outcome)?;
        Ok(firewall::check(
            &place(call),
            &key(call, self.name()),
            policy,
            &hosts,
        )?)
    }

    fn gc(&self, call: &Call) -> Result<()> {
        collect(call, self.name())
    }

    fn status(&self, call: &Call) -> Result<()> {
        policy(call)?;
        ready(call)
    }
}
