//! ADD: record, attach, say what there is; each step undone when a later one fails.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{Attached, Guest, Id, PLUGIN, Record, Request, Via, lives, network, of, refused};
use crate::kernel::linux::cookie_of;
use crate::model::{End, ExtraRoute, Family, Link, Name, Network};
use crate::ops::classic::bandwidth::Limits;
use crate::ops::context::{Moat, Where, now};
use crate::ops::error::{Error, Result};
use crate::ops::{fault, link, net, publish, remove, run};
use crate::plan::{Place, desired};
use crate::store::{self, Attachment, Container, NewEndpoint, Phase, Stage, Store};

/// What a variable of the environment must be: the code of the specification.
const ENVIRONMENT: u32 = 4;

/// How often a network may vanish between looking and recording.
const ATTEMPTS: u32 = 8;

/// Records that a delegate is about to give this interface addresses.
///
/// # Errors
/// It has some already, or the store cannot be written.
pub fn reserve(place: &Where, id: &Id, netns: &std::path::Path, delegate: &str) -> Result<()> {
    let moat = super::open(place)?;
    moat.store.write(|s| {
        is_new(s, id)?;
        let record = Record {
            delegate: Some(delegate.to_owned()),
            ..Record::default()
        };
        Ok(s.put_attachment(&attachment(&moat, id, netns, &record)?)?)
    })
}

/// Attaches a container's namespace.
///
/// # Errors
/// What failed; nothing of the attachment stays.
pub fn add(place: &Where, request: &Request) -> Result<Attached> {
    let wanted = format!("attach {}", request.id.words());
    let mut moat = super::open(place)?;
    start(&mut moat, request).map_err(|e| e.while_doing(wanted))
}

pub(in crate::ops) fn start(moat: &mut Moat, request: &Request) -> Result<Attached> {
    let found = look(moat, request)?;
    publish::check_free(&request.ports).map_err(|e| e.coded(101))?;
    let entered = match record(moat, request, &found) {
        Err(e) if is_exhausted(&e) && release_dead(moat, &request.id.network)? => {
            record(moat, request, &found)
        }
        other => other,
    };
    let (name, network, intent, new_links) = entered?;
    match attach(moat, &name, request, &network, &new_links) {
        Ok(attached) => {
            moat.store.finish(intent)?;
            Ok(attached)
        }
        Err(e) => {
            let undone = undo(moat, &name, &new_links);
            Err(moat.undone(e, undone, intent))
        }
    }
}

/// A namespace as it was found.
struct Found {
    /// What tells it from others.
    cookie: String,
    /// It has default routes already.
    leads_out: bool,
}

/// Whether the namespace is there, and the interface's name free in it.
fn look(moat: &mut Moat, request: &Request) -> Result<Found> {
    let path = request.netns.display();
    let Some(cookie) = cookie_of(&request.netns)? else {
        let hint = "CNI_NETNS is the path of a network namespace, as /run/netns/NAME or /proc/PID/ns/net";
        return Err(refused(format!("{path} is no network namespace"), hint).coded(ENVIRONMENT));
    };
    let inside = Place::Sandbox(request.netns.clone());
    let made = moat.kernel.mac(&inside, &request.id.ifname)?.is_some();
    if made && request.foreign.is_none() {
        let what = format!("an interface named `{}` exists in {path}", request.id.ifname);
        return Err(refused(what, "choose another CNI_IFNAME, or call DEL first").coded(ENVIRONMENT));
    }
    let leads_out = moat.kernel.has_default_route(&inside)?;
    Ok(Found { cookie, leads_out })
}

/// The rows of a new attachment, with all it asks for.
type Entered = (Name, Network, i64, Vec<Link>);

fn record(moat: &mut Moat, request: &Request, found: &Found) -> Result<Entered> {
    for _ in 0..ATTEMPTS {
        if moat.store.network(&request.id.network)?.is_none() {
            moat.learn_host()?;
        }
        let entered = moat.store.write(|s| enter(moat, s, request, found))?;
        if let Some(entered) = entered {
            return Ok(entered);
        }
    }
    let what = format!("network `{}` comes and goes", request.id.network);
    Err(refused(what, "try again").coded(11))
}

fn enter(moat: &Moat, s: &Store, request: &Request, found: &Found) -> Result<Option<Entered>> {
    let network = match request.id.via {
        Via::Cni => network::find_or_make(moat, s, &request.id.network, &request.network)?,
        Via::Hook => network::find_known(moat, s, &request.id.network)?,
    };
    let Some(network) = network else { return Ok(None) };
    let name = is_new(s, &request.id)?;
    for ip in &request.addresses {
        net::check_address(&network, *ip)?;
    }
    s.add_container(&container(moat, &name, request)?)?;
    if let Some((pid, started)) = request.process {
        s.set_process(&name, pid, started)?;
    }
    let wish = NewEndpoint {
        addresses: request.addresses.clone(),
        pools: request.pools.clone(),
        mac: request.mac,
        iface: Some(request.id.ifname.clone()),
        routes: routes(&network, request)?,
        aliases: request.aliases.clone(),
        foreign: request.foreign.clone(),
        given: request.foreign.is_some() || request.delegate.is_some(),
        runtime_id: Some(request.id.container.clone()),
        sandbox: Some((request.netns.clone(), found.cookie.clone())),
        further: found.leads_out,
    };
    s.add_endpoint(&name, &network, &request.labels, &wish)?;
    let own = End::Container(name.clone());
    for (to, service) in &request.links {
        let to = link::resolve(s, to)?;
        link::check_end(s, &to, Some(&network))?;
        s.add_link(&Link {
            from: own.clone(),
            to,
            service: *service,
            expires: None,
        })?;
    }
    let new_links = enter_network_links(s, &network, request)?;
    for p in request.ports.iter().flat_map(|map| map.each(&name)) {
        s.publish(&p)?;
    }
    let addresses = s.endpoint(&name)?.map_or(vec![], |(e, _)| e.addresses);
    let record = Record {
        addresses,
        delegate: request.delegate.clone(),
        slowed: request.limits.egress.is_some(),
    };
    let row = attachment(moat, &request.id, &request.netns, &record)?;
    s.put_attachment(&row)?;
    let intent = s.intend(&format!("attach {name}"), moat.me.0, moat.me.1)?;
    Ok(Some((name, network, intent, new_links)))
}

/// The routes beside the default ones; nothing but the gateway leads anywhere.
fn routes(network: &Network, request: &Request) -> Result<Vec<ExtraRoute>> {
    let mut all = Vec::new();
    for (route, via) in &request.routes {
        let known = |ip: &IpAddr| network.every_gateway().any(|g| g == *ip) || *ip == desired::GATEWAY6;
        if let Some(via) = via.filter(|ip| !known(ip)) {
            let what = format!(
                "the route to {} goes by way of {via}, which is no gateway of network `{}`",
                route.to, network.name
            );
            return Err(refused(
                what,
                "leave `gw` out: everything goes to the network's gateway",
            ));
        }
        let is_default = route.to.prefix() == 0 && route.table.is_none();
        if !is_default && !all.contains(route) {
            all.push(route.clone());
        }
    }
    Ok(all)
}

/// Records the links of the network's configuration; those that were not there.
fn enter_network_links(s: &Store, network: &Network, request: &Request) -> Result<Vec<Link>> {
    let mut new = Vec::new();
    for (from, to, service) in &request.network_links {
        let (from, to) = (link::resolve(s, from)?, link::resolve(s, to)?);
        link::check_end(s, &from, None)?;
        link::check_end(s, &to, Some(network))?;
        let link = Link {
            from,
            to,
            service: *service,
            expires: None,
        };
        if s.add_network_link(&link, &network.name)? {
            new.push(link);
        }
    }
    Ok(new)
}

/// The name under which an interface is recorded, unless it is already.
fn is_new(s: &Store, id: &Id) -> Result<Name> {
    let [first, further] = id.names().map_err(|e| e.coded(ENVIRONMENT))?;
    let Some(other) = s.container(first.as_str())?.filter(|c| c.name == first) else {
        return Ok(first);
    };
    let same = of(&other).is_none_or(|o| o.ifname == id.ifname);
    if same || s.container(further.as_str())?.is_some_and(|c| c.name == further) {
        let what = format!("{} is attached already", id.words());
        return Err(refused(what, "a runtime calls DEL before it calls ADD again"));
    }
    Ok(further)
}

fn container(moat: &Moat, name: &Name, request: &Request) -> Result<Container> {
    Ok(Container {
        id: run::new_id()?,
        name: name.clone(),
        phase: Phase::Creating,
        owner: moat.me,
        pid: None,
        exit_code: None,
        created: now(),
        finished: None,
        auto_remove: request.process.is_some(),
        labels: request.labels.clone(),
        spec: json(&Guest {
            id: &request.id,
            hosts_of_runtime: request.hosts.as_deref(),
        })?,
    })
}

fn attachment(moat: &Moat, id: &Id, netns: &std::path::Path, record: &Record) -> Result<Attachment> {
    Ok(Attachment {
        key: id.key(),
        stage: Stage::Adding,
        owner: moat.me,
        netns: Some(netns.display().to_string()),
        created: now(),
        caller: moat.caller.clone(),
        record: json(record)?,
    })
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::Input {
        value: PLUGIN.to_owned(),
        reason: e.to_string(),
        hint: None,
    })
}

/// Makes what the records say.
fn attach(
    moat: &mut Moat,
    name: &Name,
    request: &Request,
    network: &Network,
    new_links: &[Link],
) -> Result<Attached> {
    fault::step("making the world")?;
    moat.ensure_live()?;
    moat.attach(name)?;
    if request.limits != Limits::default() {
        fault::step("limiting its rates")?;
        moat.limit(name, network, request.limits)?;
    }
    fault::step("opening the links of the configuration")?;
    link::open_all(moat, new_links)?;
    let mut peers = moat.who_names(name)?;
    peers.push(name.clone());
    moat.refresh_hosts(&peers)?;
    let attached = describe(moat, name, network)?;
    fault::step("noting that it is attached")?;
    moat.store.write(|s| {
        s.set_phase(name, Phase::Running, moat.me)?;
        if let Some(a) = s.attachment(&request.id.key())? {
            s.put_attachment(&Attachment {
                stage: Stage::Added,
                ..a
            })?;
        }
        Ok::<_, Error>(())
    })?;
    Ok(attached)
}

/// What was made, for the result.
fn describe(moat: &mut Moat, name: &Name, net: &Network) -> Result<Attached> {
    let Some((e, _)) = moat.store.endpoint(name)? else {
        return Err(refused(format!("`{name}` was removed meanwhile"), "try again").coded(11));
    };
    let port = moat.names.port(e.id);
    let port_mac = moat.kernel.mac(&desired::place(net), &port)?;
    let ips = e.addresses.iter().filter_map(|ip| {
        let family = Family::of(*ip);
        Some((net.subnet(family)?.of(*ip), net.gateway(family)))
    });
    // As the kernel has them: IPv6 goes by way of the bridge's link-local address.
    let via = |ip: &IpNetwork| match Family::of(ip.ip()) {
        Family::Ip4 => net.gateway(Family::Ip4),
        Family::Ip6 => Some(desired::GATEWAY6.into()),
    };
    let ips: Vec<_> = ips.collect();
    let defaults = ips.iter().filter_map(|(ip, _)| {
        let family = Family::of(ip.ip());
        let all = match net.subnet(family) {
            Some(own) if e.further => own.network(),
            _ => family.everything(),
        };
        Some((all, via(&all)?, None))
    });
    let further = e.routes.iter().filter_map(|r| Some((r.to, via(&r.to)?, r.table)));
    Ok(Attached {
        bridge: (moat.names.bridge(e.bridge), desired::bridge_mac(e.bridge)),
        routes: defaults.chain(further).collect(),
        port: (port, port_mac),
        mac: e.mac,
        mtu: net.mtu,
        ips,
    })
}

/// Takes back everything of an attachment that could not be made.
fn undo(moat: &mut Moat, name: &Name, new_links: &[Link]) -> Result<()> {
    link::close_all(moat, new_links)?;
    if let Some(c) = moat.store.container(name.as_str())? {
        remove::erase(moat, &c)?;
    }
    remove::sweep_some(moat)
}

fn is_exhausted(e: &Error) -> bool {
    matches!(e, Error::Store(store::Error::Exhausted { .. }))
}

/// Before a pool is said to be exhausted: whose namespace is gone needs no address. Whether
/// there was anybody.
fn release_dead(moat: &mut Moat, network: &Name) -> Result<bool> {
    let mut any = false;
    for (name, (path, cookie)) in moat.store.cookies(None)? {
        let Some(c) = moat.store.container(name.as_str())? else {
            continue;
        };
        if of(&c).is_some_and(|id| id.network == *network) && !lives(&path, &cookie) {
            remove::remove(moat, &c, true)?;
            any = true;
        }
    }
    Ok(any)
}
