//! `link`, `unlink`, `links`: permissions, live.

use std::collections::BTreeMap;

use serde::Serialize;

use super::context::{Moat, Where, clock, date};
use super::error::{Error, Result};
use super::fault;
use crate::kernel::linux::Flows;
use crate::model::{End, Family, Link, Name, Network, Service, World};
use crate::plan::{Element, Object, Place, Plan, State, desired, elements};
use crate::store::{Phase, Store};

/// What `link` was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub from: End,
    pub to: End,
    pub service: Service,
    /// The other direction too.
    pub both: bool,
    /// Seconds until it ends by itself.
    pub lasting: Option<u64>,
}

/// A link as `moat links --json` prints it.
#[derive(Debug, Serialize)]
pub struct View {
    pub from: String,
    pub to: String,
    pub port: Option<String>,
    pub proto: Option<crate::model::Proto>,
    pub expires: Option<String>,
    pub packets: u64,
    pub bytes: u64,
}

impl Request {
    fn links(&self) -> Result<Vec<Link>> {
        let expires = self.lasting.map(|d| clock() + d);
        let link = |from: &End, to: &End| Link {
            from: from.clone(),
            to: to.clone(),
            service: self.service,
            expires,
        };
        let mut all = vec![link(&self.from, &self.to)];
        if self.both {
            if !matches!(self.to, End::Container(_) | End::Label(..)) {
                let reason = "only containers and labels can be linked with --both".to_owned();
                return Err(Error::Input {
                    value: self.to.to_string(),
                    reason,
                    hint: None,
                });
            }
            all.push(link(&self.to, &self.from));
        }
        Ok(all)
    }
}

/// Opens a service from one end to another.
///
/// # Errors
/// An end does not exist, or the kernel refused; then nothing is changed.
pub fn link(place: &Where, request: &Request, dry: bool) -> Result<Option<Plan>> {
    let wanted = format!("link `{}` to `{}`", request.from, request.to);
    let mut moat = Moat::settled(place)?;
    open(&mut moat, request, dry).map_err(|e| e.while_doing(wanted))
}

/// As [`link`], in a world that is open already.
///
/// # Errors
/// As there.
pub(super) fn open(moat: &mut Moat, request: &Request, dry: bool) -> Result<Option<Plan>> {
    let request = &Request {
        from: resolve(&moat.store, &request.from)?,
        to: resolve(&moat.store, &request.to)?,
        ..request.clone()
    };
    let links = request.links()?;
    for end in [&request.from, &request.to] {
        if let End::Container(word) = end {
            moat.refuse_classic(word.as_str())?;
        }
    }
    check(moat, request)?;
    let _lock = moat.locks.links()?;
    let before = affected(moat, &links)?;
    if dry {
        moat.store.begin()?;
        let added = links.iter().try_for_each(|l| moat.store.add_link(l));
        let after = added.map_err(Error::from).and_then(|()| affected(moat, &links));
        moat.store.roll_back()?;
        return Ok(Some(Plan::change(&before, &after?)));
    }
    let (intent, replaced) = moat.store.write(|s| {
        // Again, now that nobody can remove them meanwhile.
        for end in [&request.from, &request.to] {
            check_end(s, end, None)?;
        }
        let old = s
            .links_with(std::slice::from_ref(&request.from))?
            .into_iter()
            .map(|r| r.link);
        let replaced: Vec<Link> = old
            .filter(|o| links.iter().any(|l| same_but_time(l, o)))
            .collect();
        links.iter().try_for_each(|l| s.add_link(l))?;
        let what = format!("link {} {}", request.from, request.to);
        Ok::<_, Error>((s.intend(&what, moat.me.0, moat.me.1)?, replaced))
    })?;
    let done = fault::step("opening the link")
        .and_then(|()| converge(moat, &before, &links))
        .and_then(|()| refresh(moat, &links));
    if let Err(e) = done {
        let undone = restore(moat, &links, &replaced);
        return Err(moat.undone(e, undone, intent));
    }
    moat.store.finish(intent)?;
    Ok(None)
}

/// The end that a word means: a container's own name goes before what others call it.
///
/// # Errors
/// Several containers are called so, or the store cannot be read.
pub fn resolve(s: &Store, end: &End) -> Result<End> {
    let End::Container(word) = end else {
        return Ok(end.clone());
    };
    if s.is_container(word)? {
        return Ok(end.clone());
    }
    match s.called(word.as_str())?.as_slice() {
        [] => Ok(end.clone()),
        [only] => Ok(End::Container(only.parse()?)),
        several => Err(Error::Refused {
            what: format!("{} containers are called `{word}`", several.len()),
            hint: format!("name one of them: {}", several.join(", ")),
        }),
    }
}

/// Opens links that are recorded already, between containers that are attached.
///
/// # Errors
/// When the kernel refused.
pub fn open_all(moat: &mut Moat, links: &[Link]) -> Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    let _lock = moat.locks.links()?;
    let after = affected(moat, links)?;
    moat.apply(&Plan::add(&after))?;
    refresh(moat, links)
}

/// Forgets links and closes what they opened.
///
/// # Errors
/// When the kernel refused.
pub fn close_all(moat: &mut Moat, links: &[Link]) -> Result<()> {
    if links.is_empty() {
        return Ok(());
    }
    let _lock = moat.locks.links()?;
    restore(moat, links, &[])
}

/// Brings the kernel from what it held before the rows changed to what they say now.
fn converge(moat: &mut Moat, before: &State, links: &[Link]) -> Result<()> {
    let after = affected(moat, links)?;
    moat.change(before, &after)
}

/// Puts these rows in the place of all between the ends of the links, and the kernel after.
fn restore(moat: &mut Moat, links: &[Link], rows: &[Link]) -> Result<()> {
    let attempted = affected(moat, links)?;
    moat.store.write(|s| {
        links
            .iter()
            .try_for_each(|l| s.remove_links(&l.from, &l.to, Some(l.service)).map(drop))?;
        rows.iter().try_for_each(|l| s.add_link(l))
    })?;
    let before = affected(moat, links)?;
    moat.apply_all(&Plan::change(&attempted, &before))?;
    refresh(moat, links)
}

fn same_but_time(a: &Link, b: &Link) -> bool {
    (&a.from, &a.to, a.service) == (&b.from, &b.to, b.service)
}

/// Closes what a link opened, for flows that exist too.
///
/// # Errors
/// There is no such link, or the kernel refused.
pub fn unlink(
    place: &Where,
    from: &End,
    to: &End,
    service: Option<Service>,
    dry: bool,
) -> Result<Option<Plan>> {
    let wanted = format!("unlink `{from}` from `{to}`");
    let mut moat = Moat::settled(place)?;
    let (from, to) = (resolve(&moat.store, from)?, resolve(&moat.store, to)?);
    close(&mut moat, &from, &to, service, dry).map_err(|e| e.while_doing(wanted))
}

/// As [`unlink`], in a world that is open already.
///
/// # Errors
/// As there.
pub(super) fn close(
    moat: &mut Moat,
    from: &End,
    to: &End,
    service: Option<Service>,
    dry: bool,
) -> Result<Option<Plan>> {
    let links = [Link {
        from: from.clone(),
        to: to.clone(),
        service: service.unwrap_or(Service::Any),
        expires: None,
    }];
    let _lock = moat.locks.links()?;
    let before = affected(moat, &links)?;
    if dry {
        moat.store.begin()?;
        let after = remove_rows(&moat.store, from, to, service).and_then(|()| affected(moat, &links));
        moat.store.roll_back()?;
        return Ok(Some(Plan::change(&before, &after?)));
    }
    let (intent, removed) = moat.store.write(|s| {
        let there = s.links_with(std::slice::from_ref(from))?.into_iter();
        let asked = |l: &Link| l.from == *from && l.to == *to && service.is_none_or(|s| s == l.service);
        let removed: Vec<Link> = there.map(|r| r.link).filter(asked).collect();
        remove_rows(s, from, to, service)?;
        let what = format!("unlink {from} {to}");
        Ok::<_, Error>((s.intend(&what, moat.me.0, moat.me.1)?, removed))
    })?;
    let done = fault::step("closing the link")
        .and_then(|()| converge(moat, &before, &links))
        .and_then(|()| fault::step("ending the flows"))
        .and_then(|()| end_flows(moat, from, to))
        .and_then(|()| refresh(moat, &links));
    if let Err(e) = done {
        let undone = restore(moat, &links, &removed);
        return Err(moat.undone(e, undone, intent));
    }
    moat.store.finish(intent)?;
    Ok(None)
}

fn remove_rows(s: &Store, from: &End, to: &End, service: Option<Service>) -> Result<()> {
    if s.remove_links(from, to, service)? > 0 {
        return Ok(());
    }
    let there = s.links_with(std::slice::from_ref(from))?;
    let there = there.iter().find(|l| l.link.from == *from && l.link.to == *to);
    Err(Error::Refused {
        what: match service {
            Some(service) => format!("no link from `{from}` to `{to}` opens exactly {service}"),
            None => format!("there is no link from `{from}` to `{to}`"),
        },
        hint: there.map_or("`moat links` lists them".into(), |l| {
            format!("there is the {}", l.link.words())
        }),
    })
}

/// Every packet is judged, so nothing passes any more; this lets the tables forget it too. Not what
/// other links between the same ends still open: where only the server sends, its packets are answers
/// as long as the flow is known.
fn end_flows(moat: &mut Moat, from: &End, to: &End) -> Result<()> {
    let (world, _) = moat.store.world(clock())?;
    let mut flows: BTreeMap<Place, Vec<Flows>> = BTreeMap::new();
    for a in elements::ends(&world, from) {
        let Some(at) = world.networks.get(&a.network).map(desired::place) else {
            continue;
        };
        let all = flows.entry(at).or_default();
        for b in elements::ends(&world, to) {
            let left = world.links.iter().filter(|l| a.is(&l.from) && b.is(&l.to));
            let kept: Vec<Service> = left.map(|l| l.service).collect();
            for family in Family::BOTH {
                if let (Some(client), Some(server)) = (a.address(family), b.address(family)) {
                    let kept = kept.clone();
                    all.push(Flows::Between { client, server, kept });
                }
            }
        }
    }
    for (at, flows) in flows {
        moat.kernel.forget_flows(&at, &flows)?;
    }
    Ok(())
}

/// The set elements that any link between these ends has a part in.
fn affected(moat: &mut Moat, links: &[Link]) -> Result<State> {
    let mut names: Vec<Name> = Vec::new();
    for link in links {
        for end in [&link.from, &link.to] {
            names.extend(moat.store.named_by(end)?);
        }
    }
    names.sort();
    names.dedup();
    let world = moat.around(&names.iter().collect::<Vec<_>>())?;
    let mut s = State::new();
    for link in links {
        for from in elements::ends(&world, &link.from) {
            s.extend(elements_of(moat, &world, from, &link.to));
        }
    }
    Ok(s)
}

fn elements_of(moat: &Moat, world: &World, from: &crate::model::Endpoint, to: &End) -> State {
    match to {
        End::Container(_) | End::Label(..) => {
            // The peer entries serve both directions, so both are looked at.
            let pairs = elements::ends(world, to);
            pairs
                .flat_map(|t| [elements::pair(world, from, t), elements::pair(world, t, from)])
                .flatten()
                .collect()
        }
        End::Host | End::World | End::Cidr(_) => elements::reach_of(&moat.names, world, from),
    }
}

fn refresh(moat: &mut Moat, links: &[Link]) -> Result<()> {
    let mut names = Vec::new();
    for link in links {
        names.extend(moat.store.named_by(&link.from)?);
    }
    moat.refresh_hosts(&names)
}

/// Whether both ends can be linked.
fn check(moat: &mut Moat, request: &Request) -> Result<()> {
    if let (End::Container(from), End::Container(to)) = (&request.from, &request.to)
        && from == to
    {
        return Err(Error::Refused {
            what: "a container reaches itself without a link".into(),
            hint: "its own services are at 127.0.0.1 and at its own address".into(),
        });
    }
    check_end(&moat.store, &request.from, None)?;
    let from = match &request.from {
        End::Container(name) => moat.store.endpoint(name)?,
        _ => None,
    };
    let network = from
        .map(|(e, _)| moat.store.network(&e.network))
        .transpose()?
        .flatten();
    check_end(&moat.store, &request.to, network.as_ref().map(|r| &r.network))?;
    if let End::Cidr(range) = request.to {
        let world = moat.world()?;
        if world.is_near(range) && range.prefix() > 0 {
            return Err(Error::Refused {
                what: format!(
                    "{range} shares addresses with containers or the host, which links by name open"
                ),
                hint: "link to the container's name, a label, or `host`".into(),
            });
        }
    }
    Ok(())
}

/// Whether an end exists, and meets `from`'s router.
///
/// # Errors
/// It does not.
pub fn check_end(store: &Store, end: &End, from: Option<&Network>) -> Result<()> {
    let End::Container(name) = end else { return Ok(()) };
    let found = store
        .container(name.as_str())?
        .filter(|c| c.name == *name && c.phase != Phase::Removing);
    if found.is_none() {
        let all = store.containers()?;
        let near = super::error::nearest(name.as_str(), all.iter().map(|c| c.name.as_str()));
        return Err(Error::Unknown {
            kind: "container",
            name: name.to_string(),
            near,
        });
    }
    let to = match store.endpoint(name)? {
        Some((e, _)) => store.network(&e.network)?.map(|r| r.network),
        None => None,
    };
    match (from, to) {
        (Some(a), Some(b)) if !a.meets(&b) => Err(Error::Refused {
            what: format!(
                "networks `{}` and `{}` are in different routers, which no link joins",
                a.name, b.name
            ),
            hint: "make both with the same --router".into(),
        }),
        _ => Ok(()),
    }
}

/// All links, with what they have carried.
///
/// # Errors
/// When store or kernel cannot be read.
pub fn links(place: &Where) -> Result<Vec<View>> {
    let mut moat = Moat::settled(place)?;
    let rows = moat.store.links()?;
    let world = moat.world()?;
    let mut wanted: Vec<Vec<Element>> = Vec::new();
    for row in &rows {
        let mut own = Vec::new();
        for from in elements::ends(&world, &row.link.from) {
            let all = elements_of(&moat, &world, from, &row.link.to);
            own.extend(all.into_iter().filter_map(|o| match o {
                Object::Element(e) if speaks_of(&e, &row.link, &world, from) => Some(e),
                _ => None,
            }));
        }
        wanted.push(own);
    }
    let flat: Vec<Element> = wanted.iter().flatten().cloned().collect();
    let counters = if flat.is_empty() {
        vec![]
    } else {
        moat.kernel.counters(&flat)?
    };
    let mut counters = counters.into_iter();
    Ok(rows
        .into_iter()
        .zip(wanted)
        .map(|(row, own)| {
            let mine = counters.by_ref().take(own.len()).flatten();
            let (packets, bytes) = mine.fold((0, 0), |(p, b), (x, y)| (p + x, b + y));
            row_view(&row.link, packets, bytes)
        })
        .collect())
}

/// Whether an element carries the traffic of this link: same direction, same kind of service.
fn speaks_of(e: &Element, link: &Link, world: &World, from: &crate::model::Endpoint) -> bool {
    use crate::plan::{Field, SetName as S};
    let to_here = |ip: std::net::IpAddr| match &link.to {
        End::Container(_) | End::Label(..) => world.holder(ip).is_some_and(|t| t.is(&link.to)),
        _ => world.holder(ip).is_none(),
    };
    let source = matches!(e.key.first(), Some(Field::Ip(ip)) if from.addresses.contains(ip));
    let target = match e.key.get(1) {
        Some(Field::Ip(ip)) => to_here(*ip),
        _ => link.to == End::World,
    };
    let kind = match (e.set, link.service) {
        (S::Pair(_) | S::World(_) | S::Cidr(_), Service::Any) => true,
        (S::Proto(f), Service::Proto(p)) => e.key.get(2) == Some(&Field::Proto(p.number(f))),
        (S::Port(f) | S::Range(f) | S::CidrPort(f), s) => {
            let proto = s.proto().map(|p| Field::Proto(p.number(f)));
            let inside = match (e.key.get(3), s.ports()) {
                (Some(Field::Port(port)), Some(ports)) => ports.contains(*port),
                _ => true,
            };
            e.key.get(2) == proto.as_ref() && inside
        }
        _ => false,
    };
    source && target && kind
}

fn row_view(link: &Link, packets: u64, bytes: u64) -> View {
    View {
        from: link.from.to_string(),
        to: link.to.to_string(),
        port: link.service.ports().map(|p| p.to_string()),
        proto: link.service.proto(),
        expires: link.expires.map(|e| super::time::rfc3339(date(e))),
        packets,
        bytes,
    }
}
