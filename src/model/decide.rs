//! The one function that says whether a flow may pass, and why.
//!
//! `why`, `reach` and `graph` ask it; the tests assert that real packets and the compiled
//! sets agree with it.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::{End, Endpoint, Family, Link, Name, Published, Service, World};

/// Who sends, or is sent to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    Container(Name),
    Host,
    /// Somewhere that is neither a container nor the host.
    World,
    Address(IpAddr),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(n) => write!(f, "{n}"),
            Self::Host => f.write_str("host"),
            Self::World => f.write_str("world"),
            Self::Address(a) => write!(f, "{a}"),
        }
    }
}

/// The question: may `from` open a flow to `to`, of this service, in this family?
/// A service wider than one port asks whether all of it may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub from: Party,
    pub to: Party,
    pub service: Service,
    pub family: Family,
}

/// The kind of thing that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// A link, or the lack of one.
    Link,
    /// A published port, or the lack of one.
    Port,
    /// What holds without either.
    Default,
    /// An end that does not exist or has no address of the family.
    Missing,
}

/// One reason, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub rule: Rule,
    pub text: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub because: Vec<Reason>,
    /// The command that would change the answer.
    pub change: Option<String>,
}

impl Decision {
    fn yes(rule: Rule, text: String, change: Option<String>) -> Self {
        Self {
            allowed: true,
            because: vec![Reason { rule, text }],
            change,
        }
    }

    fn no(rule: Rule, text: String, change: Option<String>) -> Self {
        Self {
            allowed: false,
            because: vec![Reason { rule, text }],
            change,
        }
    }

    fn also(mut self, rule: Rule, text: String) -> Self {
        self.because.push(Reason { rule, text });
        self
    }
}

/// Decides one flow.
#[must_use]
pub fn decide(world: &World, flow: &Flow) -> Decision {
    let flow = &Flow {
        from: resolve(world, &flow.from),
        to: resolve(world, &flow.to),
        ..flow.clone()
    };
    match (&flow.from, &flow.to) {
        (Party::Container(a), Party::Container(b)) if a == b => Decision::yes(
            Rule::Default,
            format!("`{a}` reaches itself without leaving its namespace"),
            None,
        ),
        (Party::Container(a), to) => match endpoint(world, a, flow.family) {
            Ok(from) => match to {
                Party::Container(b) => match endpoint(world, b, flow.family) {
                    Ok(to) => between(world, from, to, flow),
                    Err(missing) => missing,
                },
                Party::Host => to_host(world, from, flow),
                Party::World | Party::Address(_) => to_world(world, from, flow),
            },
            Err(missing) => missing,
        },
        (_, Party::Container(b)) => match endpoint(world, b, flow.family) {
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
        Party::Address(ip) => match world.holder(*ip) {
            Some(e) => Party::Container(e.container.clone()),
            None if world.host.contains(ip) => Party::Host,
            None => party.clone(),
        },
        _ => party.clone(),
    }
}

fn endpoint<'w>(world: &'w World, name: &Name, family: Family) -> Result<&'w Endpoint, Decision> {
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
    let mut forward = world.links.iter().filter(|l| joins(l, from, to));
    if let Some(link) = forward.clone().find(|l| l.service.contains(flow.service)) {
        return Decision::yes(Rule::Link, link.words(), Some(unlink_command(link)));
    }
    let change = Some(format!("moat link {a} {}", target(b.as_str(), flow.service)));
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

fn to_host(world: &World, from: &Endpoint, flow: &Flow) -> Decision {
    let a = &from.container;
    let mut links = world
        .links
        .iter()
        .filter(|l| l.to == End::Host && from.is(&l.from));
    match links.find(|l| l.service.contains(flow.service)) {
        Some(link) => Decision::yes(Rule::Link, link.words(), Some(unlink_command(link))),
        None => Decision::no(
            Rule::Default,
            format!("the host's own services are closed to `{a}`"),
            Some(format!("moat link {a} {}", target("host", flow.service))),
        ),
    }
}

fn to_world(world: &World, from: &Endpoint, flow: &Flow) -> Decision {
    let a = &from.container;
    if let Party::Address(ip) = flow.to {
        if Family::of(ip) != flow.family {
            let text = format!("{ip} is no IPv{} address", flow.family.digit());
            return Decision::no(Rule::Missing, text, None);
        }
        if world.is_inside(ip) {
            return Decision::no(Rule::Missing, format!("no container has the address {ip}"), None);
        }
    }
    let opens = |l: &&Link| match (&l.to, &flow.to) {
        (End::World, _) => true,
        (End::Cidr(range), Party::Address(ip)) => range.contains(*ip),
        (End::Cidr(range), _) => *range == flow.family.everything(),
        _ => false,
    };
    let mut links = world.links.iter().filter(|l| from.is(&l.from)).filter(opens);
    let link = links.find(|l| l.service.contains(flow.service));
    let network = world.networks.get(&from.network);
    match (network.is_some_and(|n| n.internal), link) {
        (false, _) => Decision::yes(
            Rule::Default,
            format!("network `{}` has a way out", from.network),
            Some(format!(
                "moat net create NAME --internal, and run `{a}` with --net NAME"
            )),
        ),
        (true, Some(link)) => Decision::yes(Rule::Link, link.words(), Some(unlink_command(link))),
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

fn from_outside(world: &World, to: &Endpoint, flow: &Flow) -> Decision {
    let b = &to.container;
    let fits = |p: &&Published| {
        p.container == *b
            && Service::Ports(p.proto, super::Ports { first: p.port, last: p.port }).contains(flow.service)
            && p.host_ip.is_none_or(|ip| Family::of(ip) == flow.family)
            // Published on loopback means: for the host alone.
            && (flow.from == Party::Host || p.host_ip.is_none_or(|ip| !ip.is_loopback()))
    };
    match world.published.iter().find(fits) {
        Some(p) => Decision::yes(Rule::Port, p.words(), None),
        None => {
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
    }
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
