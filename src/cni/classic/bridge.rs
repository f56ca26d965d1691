//! `bridge`: a veth pair to a bridge of the host, with the addresses of a delegate.

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use super::bridge_config::{Config, complete, config};
use super::{census, key, not_ready, place, ready};
use crate::cni::Plugin;
use crate::cni::call::{Call, Verb};
use crate::cni::delegate::Delegate;
use crate::cni::error::{Error, Result, code};
use crate::cni::result::{Interface, Outcome, Route};
use crate::model::{Family, Mac};
use crate::ops::classic::bridge::{Adding, Plugged, Request};
use crate::ops::classic::fill::{self, Expected, Filling};
use crate::ops::classic::{self, Key, RouteWish, unplug};

pub struct Bridge;

fn ipam<'a>(call: &'a Call, config: &Config) -> Result<Option<Delegate<'a>>> {
    let delegate = call.ipam()?;
    if delegate.is_some() && config.down {
        let msg = "cannot use IPAM when DisableContainerInterface flag is set";
        return Err(Error::new(code::CONFIG, msg));
    }
    Ok(delegate)
}

fn request(call: &Call, config: &Config, delegated: bool) -> Result<Request> {
    let wishes = call.wishes()?;
    Ok(Request {
        key: key(call, "bridge"),
        netns: call.netns.clone().unwrap_or_default(),
        bridge: config.bridge.clone(),
        mtu: config.mtu,
        promiscuous: config.promiscuous,
        hairpin: config.hairpin,
        isolated: config.isolated,
        walled: config.walled,
        mac: wishes.mac,
        check_mac: config.check_mac,
        aliases: call.names(&call.runtime()?),
        labels: wishes.labels,
        delegate: delegated.then(|| Value::Object(call.config.clone())),
    })
}

/// A route without a gateway goes through its family's, if there is one.
fn routes(outcome: &Outcome) -> Vec<RouteWish> {
    let gateway = |family| {
        let gateways = outcome.ips.iter().filter_map(|ip| ip.gateway);
        gateways.into_iter().find(|g| Family::of(*g) == family)
    };
    let wish = |r: &Route| RouteWish {
        to: r.dst,
        via: r.gw.or_else(|| gateway(Family::of(r.dst.ip()))),
        mtu: r.mtu,
        advmss: r.advmss,
        priority: r.priority,
        table: r.table,
        scope: r.scope,
    };
    outcome.routes.iter().map(wish).collect()
}

/// Gateways as addresses of the bridge.
fn gateways(outcome: &Outcome, config: &Config) -> Vec<IpNetwork> {
    let of = |ip: &crate::cni::result::Ip| IpNetwork::new(ip.gateway?, ip.address.prefix()).ok();
    let all = outcome.ips.iter().filter(|_| config.gateway);
    all.filter_map(of).collect()
}

fn filling(outcome: &Outcome, config: &Config) -> Filling {
    Filling {
        addresses: outcome.ips.iter().map(|ip| ip.address).collect(),
        routes: routes(outcome),
        gateways: gateways(outcome, config),
        force: config.force_address,
        masquerade: config.masquerade,
        detect: config.detect,
    }
}

/// What is done after the container is plugged in, up to the interfaces as they are then.
fn finish(
    adding: &mut Adding,
    config: &Config,
    delegate: Option<&Delegate<'_>>,
    outcome: &mut Outcome,
    leased: &mut bool,
) -> Result<Plugged> {
    if let Some(delegate) = delegate {
        *outcome = delegate.lease()?;
        *leased = true;
        complete(outcome, config);
        adding.address(&filling(outcome, config))?;
    } else if !config.down {
        adding.raise()?;
    }
    Ok(adding.done()?)
}

/// The result, after those of the plugins before if there are any.
fn result(call: &Call, config: Config, plugged: Plugged, mut outcome: Outcome) -> Result<Outcome> {
    let text = |mac: Option<Mac>| mac.map(|m| m.to_string()).unwrap_or_default();
    let interface = |(name, mac): (String, Option<Mac>), mtu, sandbox| Interface {
        name,
        mac: text(mac),
        mtu: Some(mtu),
        sandbox,
        ..Interface::default()
    };
    let sandbox = call.netns.as_ref().map(|p| p.display().to_string());
    let (outer, inner) = plugged.mtu;
    let mut before = call.previous()?.unwrap_or_default();
    let index = before.interfaces.len() + 2;
    outcome.ips.iter_mut().for_each(|ip| ip.interface = Some(index));
    before.interfaces.extend([
        interface(plugged.bridge, outer, String::new()),
        interface(plugged.host, inner, String::new()),
        interface(
            (call.ifname.clone(), plugged.mac),
            inner,
            sandbox.unwrap_or_default(),
        ),
    ]);
    before.ips.extend(outcome.ips);
    before.routes.extend(outcome.routes);
    if !config.dns.is_empty() {
        before.dns = config.dns;
    } else if !outcome.dns.is_empty() {
        before.dns = outcome.dns;
    }
    Ok(before)
}

/// Takes an attachment away; then its addresses are released, as the record says, or else the
/// configuration.
fn detach(call: &Call, key: &Key) -> Result<()> {
    let recorded = unplug::remove(&place(call), key, call.netns.as_deref());
    let (config, gone) = match recorded {
        Ok(config) => (config, Ok(())),
        Err(e) => (None, Err(Error::from(e))),
    };
    let config: Map<String, Value> = match config {
        Some(Value::Object(config)) => config,
        _ => call.config.clone(),
    };
    let then = Call {
        verb: Verb::Del,
        config,
        ..call.clone()
    };
    let released = match then.ipam() {
        Ok(Some(delegate)) => delegate.run(Verb::Del),
        Ok(None) => Ok(()),
        Err(e) => Err(e),
    };
    gone.and(released)
}

/// The call that GC makes for an attachment which its runtime forgot.
fn forgotten(call: &Call, key: &Key) -> Call {
    let mut then = call.clone();
    then.container.clone_from(&key.container);
    then.ifname.clone_from(&key.ifname);
    let mut set = |name: &str, value: &str| then.env.insert(name.into(), value.into());
    set("CNI_CONTAINERID", &key.container);
    set("CNI_IFNAME", &key.ifname);
    set("CNI_NETNS", "");
    set("CNI_ARGS", "");
    then.config.remove("cni.dev/valid-attachments");
    then.config.remove("cni.dev/attachments");
    then
}

fn expected(call: &Call, config: &Config, previous: &Outcome) -> Expected {
    let ours = |i: &Interface| i.name == call.ifname && !i.sandbox.is_empty();
    let place = previous.interfaces.iter().position(ours);
    let host = previous
        .interfaces
        .iter()
        .find(|i| i.sandbox.is_empty() && i.name.starts_with("veth"));
    let own = Outcome {
        ips: previous
            .ips
            .iter()
            .filter(|ip| ip.interface.is_none() || ip.interface == place)
            .cloned()
            .collect(),
        ..previous.clone()
    };
    Expected {
        bridge: config.bridge.clone(),
        hairpin: config.hairpin,
        isolated: config.isolated,
        promiscuous: config.promiscuous,
        up: !config.down,
        host: host.map(|i| (i.name.clone(), i.mac.parse().ok())),
        mac: place.and_then(|p| previous.interfaces[p].mac.parse().ok()),
        addresses: own.ips.iter().map(|ip| ip.address).collect(),
        routes: routes(&own),
        gateways: gateways(&own, config),
    }
}

impl Plugin for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn args(&self) -> Option<&'static [&'static str]> {
        Some(&["MAC"])
    }

    fn add(&self, call: &Call) -> Result<Outcome> {
        let config = config(call)?;
        let delegate = ipam(call, &config)?;
        call.previous()?;
        let request = request(call, &config, delegate.is_some())?;
        let mut adding = Adding::begin(&place(call), request)?;
        let (mut outcome, mut leased) = (Outcome::default(), false);
        match finish(&mut adding, &config, delegate.as_ref(), &mut outcome, &mut leased) {
            Ok(plugged) => result(call, config, plugged, outcome),
            Err(e) => {
                let e = match adding.abort() {
                    Ok(()) => e,
                    Err(left) => e.with(format!("undoing it failed: {left}; DEL tries again")),
                };
                Err(match delegate.filter(|_| leased).map(|d| d.run(Verb::Del)) {
                    Some(Err(left)) => e.with(format!("releasing its addresses failed: {}", left.msg)),
                    _ => e,
                })
            }
        }
    }

    fn del(&self, call: &Call) -> Result<()> {
        detach(call, &key(call, self.name()))
    }

    fn check(&self, call: &Call) -> Result<()> {
        let config = config(call)?;
        let previous = call.required_previous()?;
        if let Some(delegate) = ipam(call, &config)? {
            delegate.run(Verb::Check)?;
        }
        let netns = call.netns.clone().unwrap_or_default();
        let expected = expected(call, &config, &previous);
        Ok(fill::check(
            &place(call),
            &key(call, self.name()),
            &netns,
            &expected,
        )?)
    }

    fn gc(&self, call: &Call) -> Result<()> {
        let mut outcome = Ok(());
        let found = classic::stale(&place(call), self.name(), &call.name, &census(call)?)?;
        for key in found.stale {
            outcome = outcome.and(detach(&forgotten(call, &key), &key));
        }
        let passed = call.sparing(&found.spared);
        let delegated = match passed.ipam() {
            Ok(Some(delegate)) => delegate.run(Verb::Gc),
            Ok(None) => Ok(()),
            Err(e) => Err(e),
        };
        outcome.and(delegated)
    }

    fn status(&self, call: &Call) -> Result<()> {
        let config = config(call)?;
        ready(call)?;
        if config.gateway {
            classic::forwards(&place(call)).map_err(not_ready)?;
        }
        match ipam(call, &config)? {
            Some(delegate) => delegate.run(Verb::Status),
            None => Ok(()),
        }
    }
}
