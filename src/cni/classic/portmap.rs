//! `portmap`: publishes the ports that the runtime asks for (capability `portMappings`).

use ipnetwork::IpNetwork;

use super::{chained, collect, key, place, ready, unsupported};
use crate::cni::Plugin;
use crate::cni::call::Call;
use crate::cni::error::{Error, Result, code};
use crate::cni::result::Outcome;
use crate::model::Family;
use crate::ops::classic::{self, Hidden, Mapping, portmap};

pub struct Portmap;

/// The keys of the reference.
struct Config {
    maps: Vec<Mapping>,
    hidden: Hidden,
}

fn config(call: &Call) -> Result<Config> {
    let conf = call.conf();
    for key in ["conditionsV4", "conditionsV6"] {
        let conditions = conf.texts(key)?;
        if !conditions.is_empty() {
            let why =
                "conditions are fragments of iptables rules, and ports are no rules here; leave them out";
            return Err(unsupported(key, format_args!("{conditions:?}"), why));
        }
    }
    if let Some(backend) = conf.text("backend")?
        && !["iptables", "nftables"].contains(&backend)
    {
        return Err(Error::new(
            code::CONFIG,
            format!("unrecognized backend {backend:?}"),
        ));
    }
    // Both say how the reference remembers whom to masquerade, which sets do here.
    let bit: Option<u32> = conf.number("markMasqBit")?;
    if bit.is_some() && conf.text("externalSetMarkChain")?.is_some() {
        let msg = "Cannot specify externalSetMarkChain and markMasqBit";
        return Err(Error::new(code::CONFIG, msg));
    }
    if let Some(bit) = bit.filter(|b| *b > 31) {
        let msg = format!("markMasqBit must be between 0 and 31: {bit}");
        return Err(Error::new(code::CONFIG, msg));
    }
    let snat = conf.get("snat").map_or(Ok(true), |n| n.flag())?;
    let hidden = match (snat, conf.flag("masqAll")?) {
        (_, true) => Hidden::Everybody,
        (true, false) => Hidden::Near,
        (false, false) => Hidden::Nobody,
    };
    let maps = call.runtime()?.port_mappings.into_iter().map(|p| Mapping {
        host_ip: p.host_ip,
        host_port: p.host_port,
        port: p.container_port,
        proto: p.proto,
    });
    Ok(Config {
        maps: maps.collect(),
        hidden,
    })
}

/// The first address of each family that is not known to be another interface's.
fn addresses(call: &Call, outcome: &Outcome) -> Vec<IpNetwork> {
    let ours = |index: Option<usize>| match index.and_then(|i| outcome.interfaces.get(i)) {
        Some(i) => i.name == call.ifname && !i.sandbox.is_empty(),
        None => true,
    };
    let first = |family| {
        let mut ips = outcome.ips.iter().filter(|ip| ours(ip.interface));
        ips.find(|ip| Family::of(ip.address.ip()) == family)
            .map(|ip| ip.address)
    };
    Family::BOTH.into_iter().filter_map(first).collect()
}

impl Plugin for Portmap {
    fn name(&self) -> &'static str {
        "portmap"
    }

    fn add(&self, call: &Call) -> Result<Outcome> {
        let config = config(call)?;
        let outcome = chained(call)?;
        if !config.maps.is_empty() {
            portmap::add(
                &place(call),
                &key(call, self.name()),
                call.netns.as_deref(),
                &addresses(call, &outcome),
                &config.maps,
                config.hidden,
            )?;
        }
        Ok(outcome)
    }

    fn del(&self, call: &Call) -> Result<()> {
        Ok(classic::remove(&place(call), &key(call, self.name()))?)
    }

    fn check(&self, call: &Call) -> Result<()> {
        let config = config(call)?;
        let outcome = call.required_previous()?;
        if config.maps.is_empty() {
            return Ok(());
        }
        let addresses = addresses(call, &outcome);
        Ok(portmap::check(
            &place(call),
            &key(call, self.name()),
            &addresses,
            &config.maps,
        )?)
    }

    fn gc(&self, call: &Call) -> Result<()> {
        collect(call, self.name())
    }

    fn status(&self, call: &Call) -> Result<()> {
        config(call)?;
        ready(call)
    }
}
