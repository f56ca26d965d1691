//! The one function that says whether a flow may pass, and why.
//!
//! `why`, `reach` and `graph` ask it; the tests assert that real packets and the compiled
//! sets agree with it.

use std::net::IpAddr;

use super::{
    Decision, DefaultPolicy, End, Endpoint, Family, Flow, Link, Name, Party, Ports, Published, Reason, Rule,
    Service, World, bystander,
};

/// Decides one flow.
#[must_use]
pub fn decide(world: &World, flow: &Flow) -> Decision {
    for party in [&flow.from, &flow.to] {
        if let Party::Address(ip) = party
            && Family::of(*ip) != flow.family
        {
            let text = format!("{ip} is no IPv{} address", flow.family.digit());
            return Decision::no(Rule::Missing, text, None);
        }
    }
    let flow = &Flow {
        from: resolve(world, &flow.from),
        to: resolve(world, &flow.to),
        ..flow.clone()
    };
    if flow.from != flow.to
        && let Some(decision) = bystander::decide(world, flow)
    {
        return decision;
    }
    match (&flow.from, &flow.to) {
        (Party::Container(a), Party::Container(b)) if a == b => Decision::yes(
            Rule::Default,
            format!("`{a}` reaches itself without leaving its namespace"),
            None,
        ),
        (Party::Container(a), to) => match walled(world, a, flow.family) {
            Ok(from) => match to {
                Party::Container(b) => match walled(world, b, flow.family) {
                    Ok(to) => between(world, from, to, flow),
                    Err(missing) => missing,
                },
                Party::Host => to_host(world, from, flow),
                Party::World | Party::Address(_) => to_world(world, from, flow),
            },
            Err(missing) => missing,
        },
        (_, Party::Container(b)) => match walled(world, b, flow.family) {
            Ok(to) => from_outside(world, to, flow),
            Err(missing) => missing,
        },
        (from, to) => Decision::yes(
            Rule::Default,
            format!("moat has no say over flows from {from} to {to}: no container takes part"),
            None,
        ),
    }
}

/// An address stands for the container or host that has it.
fn resolve(world: &World, party: &Party) -> Party {
    match party {
        Party::Address(ip) => match world.name_of(*ip) {
            Some(name) => Party::Container(name.clone()),
            None if world.host.contains(ip) => Party::Host,
            None => party.clone(),
        },
        _ => party.clone(),
    }
}

/// A container behind the wall.
pub(super) fn walled<'w>(world: &'w World, name: &Name, family: Family) -> Result<&'w Endpoint, Decision> {
    let Some(e) = world.endpoints.get(name) else {
        let text = format!("no running container with a network is named `{name}`");
        return Err(Decision::no(Rule::Missing, text, None));
    };
    if e.address(family).is_none() {
        let text = format!("`{name}` has no IPv{} address", family.digit());
        return Err(Decision::no(Rule::Missing, text, None));
    }
    Ok(e)
}

fn between(world: &World, from: &Endpoint, to: &Endpoint, flow: &Flow) -> Decision {
    let (a, b) = (&from.container, &to.container);
    let joins = |l: &&Link, x: &Endpoint, y: &Endpoint| x.is(&l.from) && y.is(&l.to);
    if !world.joins(from, to) {
        let text = format!(
            "no link joins `{a}` on network `{}` to `{b}` on `{}`: one is in the router namespace, one on the host",
            from.network, to.network
        );
        return Decision::no(Rule::Default, text, None);
    }
    if let Some(net) = world.networks.get(&from.network)
        && net.default_policy == DefaultPolicy::Open
        && from.network == to.network
    {
        let text = format!("network `{}` is open inside", net.name);
        return Decision::yes(Rule::Default, text, None);
    }
    let mut forward = world.links.iter().filter(|l| joins(l, from, to));
    if let Some(decision) = by_links(forward.clone(), flow.service) {
        return decision;
    }
    let change = Some(format!("moat link {a} {}", target(b.as_str(), flow.service)));
    if let Some(governed) = world.governed_of(from)
        && let Some(decision) = governed.between(a, b, flow.service, flow.family)
    {
        // What policies deny, a link opens.
        let change = change.filter(|_| !decision.allowed);
        return Decision { change, ..decision };
    }
    let text = match forward.next() {
        Some(narrow) => format!(
            "a link from `{a}` to `{b}` opens {}, not {}",
            narrow.service, flow.service
        ),
        None => format!("no link from `{a}` to `{b}`"),
    };
    let decision = Decision::no(Rule::Link, text, change);
    let back = world.links.iter().find(|l| joins(l, to, from));
    let decision = match back {
        Some(link) => decision.also(
            Rule::Link,
            format!("the {} lets only answers come back", link.words()),
        ),
        None => decision,
    };
    let published = world.published.iter().any(|p| p.container == *b);
    if published {
        decision.also(
            Rule::Port,
            format!("published ports of `{b}` are for the outside, not for containers"),
        )
    } else {
        decision
    }
}

/// Yes, when the links together open all of a service: one link, or several ranges side by side.
fn by_links<'l>(links: impl Iterator<Item = &'l Link> + Clone, asked: Service) -> Option<Decision> {
    let one = links.clone().find(|l| l.service.contains(asked));
    let used: Vec<&Link> = match (one, asked) {
        (Some(link), _) => vec![link],
        (None, Service::Ports(proto, wanted)) => {
            let ranges = links.filter_map(|l| match l.service {
                Service::Ports(p, r) if p == proto => Some((r, l)),
                _ => None,
            });
            cover(ranges, wanted)?
        }
        (None, _) => return None,
    };
    let reason = |l: &&Link| Reason {
        rule: Rule::Link,
        text: l.words(),
    };
    Some(Decision {
        allowed: true,
        because: used.iter().map(reason).collect(),
        change: used.first().map(|l| unlink_command(l)),
    })
}

/// What brings the ranges that cover all of `wanted`, if they do.
#[allow(clippy::needless_pass_by_value)] // an iterator is what it is called with
fn cover<T>(ranges: impl Iterator<Item = (Ports, T)> + Clone, wanted: Ports) -> Option<Vec<T>> {
    let mut used = Vec::new();
    let mut next = wanted.first;
    loop {
        let (range, what) = ranges
            .clone()
            .filter(|(r, _)| r.contains(next))
            .max_by_key(|(r, _)| r.last)?;
        used.push(what);
        if range.last >= wanted.last {
            return Some(used);
        }
        next = range.last + 1;
    }
}

fn to_host(world: &World, from: &Endpoint, flow: &Flow) -> Decision {
    let a = &from.container;
    let links = world
        .links
        .iter()
        .filter(|l| l.to == End::Host && from.is(&l.from));
    by_links(links, flow.service).unwrap_or_else(|| {
        Decision::no(
            Rule::Default,
            format!("the host's own services are closed to `{a}`"),
            Some(format!("moat link {a} {}", target("host", flow.service))),
        )
    })
}

pub(super) fn to_world(world: &World, from: &Endpoint, flow: &Flow) -> Decision {
    let a = &from.container;
    if let Party::Address(ip) = flow.to
        && world.is_inside(ip)
    {
        return nobodys(ip);
    }
    let opens = |l: &&Link| match (&l.to, &flow.to) {
        (End::World, _) => true,
        (End::Cidr(range), Party::Address(ip)) => range.contains(*ip),
        (End::Cidr(range), _) => *range == flow.family.everything(),
        _ => false,
    };
    let links = world.links.iter().filter(|l| from.is(&l.from)).filter(opens);
    let network = world.networks.get(&from.network);
    if network.is_some_and(|n| !n.internal)
        && let Some(governed) = world.governed_of(from)
        && let Some(decision) = governed.outwards(a, &flow.to, flow.service, flow.family)
    {
        return decision;
    }
    match (network.is_some_and(|n| n.internal), by_links(links, flow.service)) {
        (false, _) => Decision::yes(
            Rule::Default,
            format!("network `{}` has a way out", from.network),
            Some(format!(
                "moat net create NAME --internal, and run `{a}` with --net NAME"
            )),
        ),
        (true, Some(decision)) => decision,
        (true, None) => Decision::no(
            Rule::Default,
            format!("network `{}` is internal: it has no way out", from.network),
            Some(format!(
                "moat link {a} {}",
                target(&flow.to.to_string(), flow.service)
            )),
        ),
    }
}

pub(super) fn from_outside(world: &World, to: &Endpoint, flow: &Flow) -> Decision {
    let b = &to.container;
    if let Party::Address(ip) = flow.from
        && world.is_inside(ip)
    {
        return nobodys(ip);
    }
    let fits = |p: &&Published| {
        p.container == *b
            && p.host_ip.is_none_or(|ip| Family::of(ip) == flow.family)
            // Published on loopback means: for the host alone.
            && (flow.from == Party::Host || p.host_ip.is_none_or(|ip| !ip.is_loopback()))
            && Some(p.proto) == flow.service.proto()
    };
    let ports = |p| Ports { first: p, last: p };
    let maps = world.published.iter().filter(fits).map(|p| (ports(p.port), p));
    let used = flow.service.ports().and_then(|wanted| cover(maps, wanted));
    if let Some(used) = used {
        let mut decisions = used.iter().map(|p| Decision::yes(Rule::Port, p.words(), None));
        if let Some(first) = decisions.next() {
            return decisions.fold(first, |all, d| Decision {
                because: [all.because, d.because].concat(),
                ..all
            });
        }
    }
    if to.foreign.is_some() {
        let text = format!(
            "moat publishes no port of `{b}`; what another plugin of network `{}` publishes on the host reaches it",
            to.network
        );
        return Decision::no(Rule::Port, text, None);
    }
    let port = flow
        .service
        .ports()
        .map_or_else(|| "PORT".to_owned(), |p| p.to_string());
    let proto = flow.service.proto().map_or("tcp", super::Proto::as_str);
    Decision::no(
        Rule::Port,
        format!("`{b}` publishes no port that covers {}", flow.service),
        Some(format!("moat run --name {b} -p {port}:{port}/{proto} …")),
    )
}

/// The answer where an address is inside a network, and nobody's.
fn nobodys(ip: IpAddr) -> Decision {
    Decision::no(Rule::Missing, format!("no container has the address {ip}"), None)
}

/// `db:5432/tcp` as `moat link` takes it.
fn target(end: &str, service: Service) -> String {
    match service {
        Service::Any => end.to_owned(),
        _ if end.contains(':') && end.parse::<ipnetwork::IpNetwork>().is_ok() => format!("[{end}]:{service}"),
        _ => format!("{end}:{service}"),
    }
}

fn unlink_command(link: &Link) -> String {
    format!(
        "moat unlink {} {}",
        link.from,
        target(&link.to.to_string(), link.service)
    )
}

impl Link {
    /// The link in words: "link web -> db 5432/tcp".
    #[must_use]
    pub fn words(&self) -> String {
        match self.service {
            Service::Any => format!("link {} -> {}", self.from, self.to),
            s => format!("link {} -> {} {s}", self.from, self.to),
        }
    }
}

impl Published {
    /// The port map in words.
    #[must_use]
    pub fn words(&self) -> String {
        let host = match self.host_ip {
            Some(IpAddr::V6(ip)) => format!("[{ip}]:"),
            Some(ip) => format!("{ip}:"),
            None => String::new(),
        };
        format!(
            "published: host {host}{}/{} -> `{}` {}",
            self.host_port, self.proto, self.container, self.port
        )
    }
}
