//! Plugin type `moat`: a network with walls, its own address management unless the
//! configuration names another, published ports, links by label.
//!
//! Translates between what runtimes say and what `ops::cni` does; decides nothing else.

mod config;
mod policy;

use std::path::PathBuf;

use super::Plugin;
use super::call::{self, Call, Verb};
use super::delegate::Delegate;
use super::error::{Error, Result, code};
use super::result::{Interface, Ip, Outcome, Route};
use crate::ops::cni::{self, Attached, Expected, Id, Request, Via};
use crate::ops::{DEFAULT_DATA, DEFAULT_ROOT, Where};

/// The type `moat`.
pub struct Moat;

impl Plugin for Moat {
    fn name(&self) -> &'static str {
        cni::PLUGIN
    }

    /// Those of podman, nerdctl and the Kubernetes runtimes.
    fn args(&self) -> Option<&'static [&'static str]> {
        Some(&[
            "IP",
            "MAC",
            "K8S_POD_NAMESPACE",
            "K8S_POD_NAME",
            "K8S_POD_INFRA_CONTAINER_ID",
            "K8S_POD_UID",
            "NERDCTL_CNI_DHCP_HOSTNAME",
        ])
    }

    fn add(&self, call: &Call) -> Result<Outcome> {
        if policy::is_asked(call)? {
            return policy::add(call, &place(call));
        }
        let previous = call.previous()?;
        let (place, mut request) = (place(call), config::request(call)?);
        let dns = config::dns(call)?;
        let Some(ipam) = config::delegate(call)? else {
            let attached = cni::add(&place, &request)?;
            return Ok(outcome(call, previous, &attached, dns));
        };
        let own = serde_json::Value::Object(call.config.clone()).to_string();
        cni::reserve(&place, &request.id, &request.netns, &own)?;
        request.delegate = Some(own);
        let leased = ipam
            .lease()
            .inspect_err(|_| drop(cni::forget(&place, &request.id)))?;
        let attached =
            config::take_lease(&mut request, &leased).and_then(|()| Ok(cni::add(&place, &request)?));
        let attached = attached.map_err(|e| give_back(&place, &request, &ipam, e))?;
        let dns = if dns.is_empty() { leased.dns } else { dns };
        Ok(outcome(call, previous, &attached, dns))
    }

    fn del(&self, call: &Call) -> Result<()> {
        take_away(call, &place(call), &id(call)?)
    }

    fn check(&self, call: &Call) -> Result<()> {
        let told = call.required_previous()?;
        let is_ours = |i: &Interface| i.name == call.ifname && !i.sandbox.is_empty();
        if !told.interfaces.iter().any(is_ours) {
            let msg = format!("prevResult has no interface `{}` in a sandbox", call.ifname);
            return Err(Error::new(code::CONFIG, msg));
        }
        let on_ours = |ip: &&Ip| {
            ip.interface
                .and_then(|n| told.interfaces.get(n))
                .is_some_and(is_ours)
        };
        let expected = Expected {
            limits: config::limits(call)?,
            addresses: told
                .ips
                .iter()
                .filter(on_ours)
                .map(|ip| ip.address.ip())
                .collect(),
        };
        if let Some(ipam) = config::delegate(call)? {
            ipam.run(Verb::Check)?;
        }
        Ok(cni::check(&place(call), &id(call)?, &expected)?)
    }

    fn gc(&self, call: &Call) -> Result<()> {
        let census = call.census(call.conf().field("gc", call::collect)?)?;
        let (place, network) = (place(call), config::network(call)?);
        let found = cni::stale(&place, &network, &census)?;
        let mut failed: Vec<Error> = Vec::new();
        for key in found.stale {
            let mut own = call.clone();
            own.container.clone_from(&key.container);
            own.ifname.clone_from(&key.ifname);
            failed.extend(take_away(&own, &place, &id(&own)?).err());
        }
        if let Some(ipam) = config::delegate(&call.sparing(&found.spared))? {
            failed.extend(ipam.run(Verb::Gc).err());
        }
        let more = failed.len().saturating_sub(1);
        match failed.into_iter().next() {
            None => Ok(()),
            Some(e) if more == 0 => Err(e),
            Some(e) => Err(Error {
                msg: format!("{} (and {more} more)", e.msg),
                ..e
            }),
        }
    }

    fn status(&self, call: &Call) -> Result<()> {
        if policy::is_asked(call)? {
            return policy::status(call, &place(call));
        }
        let delegate = config::delegate(call)?;
        let wish = config::wish(call)?;
        cni::status(&place(call), &config::network(call)?, &wish, delegate.is_none())?;
        delegate.map_or(Ok(()), |ipam| ipam.run(Verb::Status))
    }
}

/// Where the state of this call's world is: as for the command line.
fn place(call: &Call) -> Where {
    let dir = |key: &str, default: &str| {
        let set = call.env.get(std::ffi::OsStr::new(key)).filter(|v| !v.is_empty());
        set.map_or_else(|| PathBuf::from(default), PathBuf::from)
    };
    Where {
        root: dir("MOAT_ROOT", DEFAULT_ROOT),
        data: dir("MOAT_DATA", DEFAULT_DATA),
        caller: call.caller(),
    }
}

fn id(call: &Call) -> Result<Id> {
    Ok(Id {
        network: config::network(call)?,
        container: call.container.clone(),
        ifname: call.ifname.clone(),
        via: Via::Cni,
    })
}

/// Detaches an interface, and tells the delegate that gave its addresses: the recorded one,
/// and without a record the one of the configuration.
fn take_away(call: &Call, place: &Where, id: &Id) -> Result<()> {
    let recorded = cni::detach(place, id)?;
    let config = recorded
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    let Some(config) = config else {
        // Nothing is known of it: a delegate that cannot be found has nothing of ours.
        let ipam = config::delegate(call).ok().flatten();
        return ipam.map_or(Ok(()), |ipam| ipam.run(Verb::Del));
    };
    let made = Call {
        config,
        ..call.clone()
    };
    if let Some(ipam) = config::delegate(&made)? {
        ipam.run(Verb::Del)?;
    }
    Ok(cni::forget(place, id)?)
}

/// What a delegate gave to an attachment that failed goes back.
fn give_back(place: &Where, request: &Request, ipam: &Delegate<'_>, e: Error) -> Error {
    match ipam
        .run(Verb::Del)
        .and_then(|()| Ok(cni::forget(place, &request.id)?))
    {
        Ok(()) => e,
        Err(left) => {
            let details = format!("{}; giving the addresses back failed: {}", e.details, left.msg);
            e.with(details.trim_start_matches("; "))
        }
    }
}

/// The result: what was there before, the bridge, the port, the interface.
fn outcome(call: &Call, previous: Option<Outcome>, a: &Attached, dns: super::result::Dns) -> Outcome {
    let mut out = previous.unwrap_or_default();
    let interface = |name: &str, mac: String| Interface {
        name: name.to_owned(),
        mac,
        mtu: Some(a.mtu),
        ..Interface::default()
    };
    let port_mac = a.port.1.map(|m| m.to_string()).unwrap_or_default();
    let netns = call.netns.as_deref().map(|p| p.display().to_string());
    out.interfaces.extend([
        interface(&a.bridge.0, a.bridge.1.to_string()),
        interface(&a.port.0, port_mac),
        Interface {
            sandbox: netns.unwrap_or_default(),
            ..interface(&call.ifname, a.mac.to_string())
        },
    ]);
    let ours = out.interfaces.len() - 1;
    out.ips.extend(a.ips.iter().map(|(address, gateway)| Ip {
        interface: Some(ours),
        address: *address,
        gateway: *gateway,
    }));
    out.routes.extend(a.routes.iter().map(|(dst, gw, table)| Route {
        dst: *dst,
        gw: Some(*gw),
        mtu: None,
        advmss: None,
        priority: None,
        table: *table,
        scope: None,
    }));
    if !dns.is_empty() {
        out.dns = dns;
    }
    out
}
