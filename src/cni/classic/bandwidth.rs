//! `bandwidth`: rates of the container's interface, from the configuration or the runtime.
//! Without any it passes the result on.

use super::{census, key, netns, on_host, place};
use crate::cni::Plugin;
use crate::cni::call::{Call, Version};
use crate::cni::error::Result;
use crate::cni::result::{Interface, Outcome};
use crate::cni::runtime::{self, Rate};
use crate::ops::classic::bandwidth::{self, Limit, Limits, PLUGIN};

/// The plugin type.
pub struct Bandwidth;

/// Since there are interfaces in results.
const VERSIONS: &[Version] = &[
    Version::V030,
    Version::V031,
    Version::V040,
    Version::V100,
    Version::V110,
];

impl Plugin for Bandwidth {
    fn name(&self) -> &'static str {
        PLUGIN
    }

    fn versions(&self) -> &'static [Version] {
        VERSIONS
    }

    fn add(&self, call: &Call) -> Result<Outcome> {
        let limits = limits(call)?;
        let mut outcome = call.required_previous()?;
        if let Some(limits) = limits {
            let key = key(call, PLUGIN);
            let ifb = bandwidth::add(&place(call), &key, netns(call)?, &on_host(&outcome), limits)?;
            outcome.interfaces.extend(ifb.map(|(name, mac)| Interface {
                name,
                mac: mac.to_string(),
                ..Interface::default()
            }));
        }
        Ok(outcome)
    }

    fn del(&self, call: &Call) -> Result<()> {
        Ok(bandwidth::del(&place(call), &key(call, PLUGIN))?)
    }

    fn check(&self, call: &Call) -> Result<()> {
        let previous = call.required_previous()?;
        let Some(limits) = limits(call)? else {
            return Ok(());
        };
        let (place, key) = (place(call), key(call, PLUGIN));
        Ok(bandwidth::check(
            &place,
            &key,
            netns(call)?,
            &on_host(&previous),
            limits,
        )?)
    }

    fn gc(&self, call: &Call) -> Result<()> {
        Ok(bandwidth::gc(&place(call), &call.name, &census(call)?)?)
    }

    fn status(&self, call: &Call) -> Result<()> {
        limits(call).map(drop)
    }
}

/// Those of the configuration if it has any of the keys, else the runtime's.
fn limits(call: &Call) -> Result<Option<Limits>> {
    let conf = call.conf();
    let keys = ["ingressRate", "ingressBurst", "egressRate", "egressBurst"];
    let wanted = if keys.iter().any(|key| conf.get(key).is_some()) {
        runtime::bandwidth(&conf)?
    } else {
        call.runtime()?.bandwidth
    };
    let limit = |r: Rate| Limit {
        rate: r.rate,
        burst: r.burst,
    };
    Ok(wanted.map(|w| Limits {
        ingress: w.ingress.map(limit),
        egress: w.egress.map(limit),
    }))
}
