//! `host-local`: addresses from ranges.

use std::net::IpAddr;
use std::path::Path;

use super::{holder, ipam, routes, sayable, valid};
use crate::cni::Plugin;
use crate::cni::call::Call;
use crate::cni::error::{Error, Result, code};
use crate::cni::json::Node;
use crate::cni::result::{Dns, Ip, Outcome};
use crate::cni::runtime::{IpRange, ip_range};
use crate::model::{Range, RangeSet};
use crate::ops::classic::host_local::{self, Lease, Pool};

/// The plugin type.
pub struct HostLocal;

impl Plugin for HostLocal {
    fn name(&self) -> &'static str {
        "host-local"
    }

    fn args(&self) -> Option<&'static [&'static str]> {
        Some(&["IP"])
    }

    fn add(&self, call: &Call) -> Result<Outcome> {
        let (ipam, sets) = (ipam(call)?, sets(call)?);
        let mut outcome = Outcome {
            routes: routes(&ipam)?,
            dns: dns(&ipam)?,
            ..Outcome::default()
        };
        let leases = pool(call)?.add(&holder(call), &sets, &wishes(call)?)?;
        outcome.ips = leases.iter().map(ip).collect();
        Ok(outcome)
    }

    /// Works from the files: of the configuration only `dataDir` matters.
    fn del(&self, call: &Call) -> Result<()> {
        Ok(pool(call)?.del(&holder(call))?)
    }

    fn check(&self, call: &Call) -> Result<()> {
        let previous = call.previous()?.unwrap_or_default();
        let expected: Vec<IpAddr> = previous.ips.iter().map(|ip| ip.address.ip()).collect();
        Ok(pool(call)?.check(&holder(call), &sets(call)?, &expected)?)
    }

    fn gc(&self, call: &Call) -> Result<()> {
        Ok(pool(call)?.gc(&valid(call)?)?)
    }

    fn status(&self, call: &Call) -> Result<()> {
        let ready = pool(call)?.status(&sets(call)?).map_err(Error::from);
        ready.map_err(|e| Error {
            code: code::NOT_READY,
            ..e
        })
    }
}

fn pool(call: &Call) -> Result<Pool> {
    let ipam = call.conf().object("ipam")?;
    let dir = ipam.map_or(Ok(None), |o| o.text("dataDir"))?;
    Ok(Pool {
        data_dir: dir.unwrap_or(host_local::DATA_DIR).into(),
        network: call.name.clone(),
    })
}

/// The sets of ranges: those of the runtime, then the one without `ranges` around it, then those.
fn sets(call: &Call) -> Result<Vec<RangeSet>> {
    let ipam = ipam(call)?;
    let object = ipam.object()?;
    let mut all = call.runtime()?.ip_ranges;
    if object.get("subnet").is_some() {
        all.push(vec![ip_range(&ipam)?]);
    }
    all.extend(object.list("ranges", |set| set.items()?.iter().map(ip_range).collect())?);
    let sets: Vec<RangeSet> = all.iter().map(|set| range_set(set)).collect::<Result<_>>()?;
    if sets.is_empty() {
        return Err(
            Error::new(code::CONFIG, "no IP ranges specified").with("ipam needs `subnet` or `ranges`")
        );
    }
    RangeSet::apart(&sets).map_err(config)?;
    sayable(call, sets.iter().map(RangeSet::family))?;
    Ok(sets)
}

fn range_set(set: &[IpRange]) -> Result<RangeSet> {
    let range = |r: &IpRange| Range::new(r.subnet, r.start, r.end, r.gateway);
    let ranges = set.iter().map(range).collect::<Result<_, _>>().map_err(config)?;
    RangeSet::new(ranges).map_err(config)
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn config(e: impl ToString) -> Error {
    Error::new(code::CONFIG, format!("ipam: {}", e.to_string()))
}

/// All the addresses that somebody asks for, wherever.
fn wishes(call: &Call) -> Result<Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = Vec::new();
    for wish in call.wanted_ips()?.into_iter().flatten() {
        let ip = wish.address.to_canonical();
        if !all.contains(&ip) {
            all.push(ip);
        }
    }
    Ok(all)
}

fn ip(lease: &Lease) -> Ip {
    Ip {
        interface: None,
        address: lease.address,
        gateway: Some(lease.gateway),
    }
}

/// What the file says that `resolvConf` names.
fn dns(ipam: &Node<'_>) -> Result<Dns> {
    let Some(path) = ipam.object()?.text("resolvConf")? else {
        return Ok(Dns::default());
    };
    let conf = host_local::resolv_conf(Path::new(path))?;
    Ok(Dns {
        nameservers: conf.nameservers,
        domain: conf.domain,
        search: conf.search,
        options: conf.options,
    })
}
