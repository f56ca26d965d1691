//! Everything of ours that is in the kernel.
//!
//! Dumps of each namespace, read into objects by [`read`]. A thing that is there but not as
//! we make it is told as it is, or (where no property says it) left out or told with an MTU
//! of 0, so that a plan makes it again.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::RuleMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::read::{self, Iface, Ifaces, Kind};
use super::rtnl::Rtnl;
use super::{Linux, entering, namespace, reading, ruleset, sysctl};
use crate::kernel::{Error, Scope, words};
use crate::plan::{Hop, Names, Object, Place, Ruleset, SetName, State};

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// The interfaces of every namespace in the scope.
type Everywhere = HashMap<Place, Ifaces>;

impl Linux {
    pub(super) fn observe_all(&mut self, scope: &Scope) -> Result<State, Error> {
        self.refresh();
        let mut out = State::new();
        let mut places = vec![Place::Host];
        let path = &self.router_path;
        if namespace::is_namespace(path).map_err(entering(path))? {
            out.insert(Object::Namespace);
            places.push(Place::Router);
        }
        for sandbox in &scope.sandboxes {
            if !places.contains(sandbox) && self.is_there(sandbox)? {
                places.push(sandbox.clone());
            }
        }
        let mut everywhere = Everywhere::new();
        for at in &places {
            let ifaces = self.rtnl(at)?.ifaces().map_err(failed("the interfaces", at))?;
            everywhere.insert(at.clone(), ifaces);
        }
        let pairs = self.pairs(&everywhere)?;
        self.observe_links(&everywhere, &pairs, &mut out);
        for at in &places {
            self.observe_rulesets(at, &mut out)?;
            let ours = self.ours(at, &everywhere, &pairs);
            self.observe_entries(at, &ours, &mut out)?;
        }
        for (at, key) in &scope.sysctls {
            if places.contains(at) {
                out.extend(self.value(at, key)?);
            }
        }
        Ok(out)
    }

    /// Of each of our veth ends outside the containers, where the other end is and its interface.
    fn pairs(&mut self, everywhere: &Everywhere) -> Result<HashMap<(Place, u32), (Place, Iface)>, Error> {
        let mut out = HashMap::new();
        for (at, ifaces) in everywhere.iter().filter(|(at, _)| is_outside(at)) {
            let ends: Vec<&Iface> = ifaces
                .values()
                .filter(|i| i.kind == Kind::Veth && self.names.owns(&i.name))
                .collect();
            if ends.is_empty() {
                continue;
            }
            let numbers = self.numbers(at, everywhere)?;
            for end in ends {
                let Some((index, number)) = end.peer else {
                    continue;
                };
                let there = match number {
                    None => Some(at),
                    Some(n) => numbers.get(&n).copied(),
                };
                let peer = there.and_then(|t| Some((t, everywhere.get(t)?.get(&index)?)));
                if let Some((there, peer)) = peer {
                    out.insert((at.clone(), end.index), (there.clone(), peer.clone()));
                }
            }
        }
        Ok(out)
    }

    /// The numbers by which one namespace calls the others.
    fn numbers<'a>(
        &mut self,
        at: &Place,
        everywhere: &'a Everywhere,
    ) -> Result<HashMap<i32, &'a Place>, Error> {
        let own;
        let mut out = HashMap::new();
        let thread = namespace::Namespace::open("/proc/thread-self/ns/net".as_ref());
        own = thread.map_err(failed("the host's namespace", at))?;
        for there in everywhere.keys().filter(|there| *there != at) {
            let fd = match self.open(there)?.namespace.as_ref() {
                Some(ns) => ns.file.as_raw_fd(),
                None => own.file.as_raw_fd(),
            };
            let fd = u32::try_from(fd).unwrap_or(u32::MAX);
            let number = self.rtnl(at)?.number(fd);
            if let Some(n) = number.map_err(failed("the namespaces", at))? {
                out.insert(n, there);
            }
        }
        Ok(out)
    }

    fn observe_links(
        &self,
        everywhere: &Everywhere,
        pairs: &HashMap<(Place, u32), (Place, Iface)>,
        out: &mut State,
    ) {
        for (at, ifaces) in everywhere {
            for i in ifaces.values() {
                if !is_outside(at) {
                    continue;
                }
                if !self.names.owns(&i.name) {
                    continue;
                }
                let peer = pairs.get(&(at.clone(), i.index));
                out.extend(self.link(at, i, peer));
                let bridge = i.master.and_then(|m| ifaces.get(&m));
                if let Some(bridge) = bridge.filter(|_| i.closed) {
                    out.insert(Object::BridgePort {
                        at: at.clone(),
                        port: i.name.clone(),
                        bridge: bridge.name.clone(),
                    });
                }
            }
        }
    }

    fn link(&self, at: &Place, i: &Iface, peer: Option<&(Place, Iface)>) -> Option<Object> {
        match i.kind {
            Kind::Bridge => Some(Object::Bridge {
                at: at.clone(),
                name: i.name.clone(),
                mac: i.mac?,
                mtu: mtu([i]),
            }),
            // The router's end is told with the host's.
            Kind::Veth if i.name == self.names.uplink_router() => None,
            Kind::Veth if i.name == self.names.uplink_host() => Some(Object::Uplink {
                host: i.name.clone(),
                router: peer.map(|(_, p)| p.name.clone()).unwrap_or_default(),
                mtu: mtu(std::iter::once(i).chain(peer.map(|(_, p)| p))),
            }),
            Kind::Veth => {
                let (sandbox, inside) = match peer {
                    Some((there, p)) => (there.clone(), p),
                    // Nobody knows where it leads: like no pair that anybody wants.
                    None => (Place::Sandbox(PathBuf::new()), i),
                };
                Some(Object::Veth {
                    at: at.clone(),
                    port: i.name.clone(),
                    sandbox,
                    inside: peer.map(|(_, p)| p.name.clone()).unwrap_or_default(),
                    mac: inside.mac?,
                    mtu: mtu([i, inside]),
                })
            }
            Kind::Other => None,
        }
    }

    /// The interfaces of a namespace whose addresses and routes are ours.
    fn ours(
        &self,
        at: &Place,
        everywhere: &Everywhere,
        pairs: &HashMap<(Place, u32), (Place, Iface)>,
    ) -> Ifaces {
        let Some(ifaces) = everywhere.get(at) else {
            return Ifaces::new();
        };
        let is_ours = |i: &Iface| {
            if is_outside(at) {
                self.names.owns(&i.name)
            } else {
                i.name == "lo" || pairs.values().any(|(there, p)| there == at && p.index == i.index)
            }
        };
        ifaces
            .iter()
            .filter(|(_, i)| is_ours(i))
            .map(|(n, i)| (*n, i.clone()))
            .collect()
    }

    fn observe_rulesets(&mut self, at: &Place, out: &mut State) -> Result<(), Error> {
        let possible: &[Ruleset] = match at {
            Place::Host => &[Ruleset::Wall, Ruleset::WayOut],
            Place::Router => &[Ruleset::Wall],
            Place::Sandbox(_) => &[],
        };
        for which in possible {
            // What is not whole is loaded again, and its elements with it.
            if !self.has_ruleset(at, *which)? {
                continue;
            }
            out.insert(Object::Ruleset {
                at: at.clone(),
                which: *which,
            });
            for table in ruleset::tables(*which) {
                for set in SetName::of(*table) {
                    let found = self.nft(at)?.elements(at, *table, set);
                    let found = found.map_err(failed("the links", at))?;
                    out.extend(found.into_iter().map(Object::Element));
                }
            }
        }
        Ok(())
    }

    fn observe_entries(&mut self, at: &Place, ours: &Ifaces, out: &mut State) -> Result<(), Error> {
        let names = self.names.clone();
        let rtnl = self.rtnl(at)?;
        for i in ours.values().filter(|i| i.up) {
            out.insert(Object::Up {
                at: at.clone(),
                iface: i.name.clone(),
            });
        }
        let mut own = ours.clone();
        own.retain(|_, i| i.name != "lo");
        if own.is_empty() && !is_outside(at) {
            return Ok(());
        }
        let what = "the addresses, neighbours, routes and rules";
        let mut add = |found: io::Result<Vec<Object>>| -> Result<(), Error> {
            out.extend(found.map_err(failed(what, at))?);
            Ok(())
        };
        add(rtnl.addresses(at, &own, 0))?;
        add(rtnl.neighbours(at, &own))?;
        if is_outside(at) {
            add(rtnl.forwarding(at, &own))?;
            add(rtnl.rules(at, &names))?;
        }
        let is_ours = |o: &Object| match o {
            Object::Route { table, hop, .. } => {
                *at == Place::Router || *table == names.route_table || !matches!(hop, Hop::Prohibit)
            }
            _ => true,
        };
        let routes = rtnl.routes(at, &own);
        add(routes.map(|r| r.into_iter().filter(is_ours).collect()))
    }

    fn value(&mut self, at: &Place, key: &str) -> Result<Option<Object>, Error> {
        let opened = self.open(at)?;
        let found = sysctl::read(opened.namespace.as_ref(), &[key]).map_err(failed(key, at))?;
        Ok(found.into_iter().flatten().next().map(|value| Object::Sysctl {
            at: at.clone(),
            key: key.to_owned(),
            value,
        }))
    }

    pub(super) fn has_object(&mut self, object: &Object) -> Result<bool, Error> {
        self.refresh();
        if let Object::Namespace = object {
            return namespace::is_namespace(&self.router_path).map_err(entering(&self.router_path));
        }
        let at = object.place();
        if !self.is_there(at)? {
            return Ok(false);
        }
        let names = self.names.clone();
        let found = match object {
            Object::Ruleset { at, which } => return self.has_ruleset(at, *which),
            Object::Sysctl { key, .. } => return Ok(self.value(at, key)?.as_ref() == Some(object)),
            Object::Element(e) => self.nft(at)?.has(e),
            Object::Uplink { host, router, .. } => {
                return self.has_pair(object, host, &Place::Router, router);
            }
            Object::Veth {
                port,
                sandbox,
                inside,
                ..
            } => return self.has_pair(object, port, sandbox, inside),
            Object::Rule { .. } => self.rtnl(at)?.rules(at, &names).map(|all| all.contains(object)),
            Object::Bridge { name, .. } | Object::Up { iface: name, .. } => self.has_link(at, name, object),
            Object::BridgePort { port, bridge, .. } => self.rtnl(at)?.has_port(port, bridge),
            Object::Fdb { port, .. } => {
                let own = self.one(at, port)?;
                self.rtnl(at)?
                    .forwarding(at, &own)
                    .map(|all| all.contains(object))
            }
            Object::Address { iface, .. } => {
                let own = self.one(at, iface)?;
                let index = own.keys().next().copied().unwrap_or_default();
                self.rtnl(at)?
                    .addresses(at, &own, index)
                    .map(|all| all.contains(object))
            }
            Object::Neighbour { iface, .. } => {
                let own = self.one(at, iface)?;
                self.rtnl(at)?
                    .neighbours(at, &own)
                    .map(|all| all.contains(object))
            }
            Object::Route { hop, .. } => {
                let own = match hop {
                    Hop::Dev(d) | Hop::Via(_, d) => self.one(at, d)?,
                    Hop::Prohibit => Ifaces::new(),
                };
                self.rtnl(at)?.routes(at, &own).map(|all| all.contains(object))
            }
            Object::Namespace => Ok(true),
        };
        found.map_err(reading(&words::object(object)))
    }

    /// The interface of that name, as a set of one or none.
    pub(super) fn one(&mut self, at: &Place, name: &str) -> Result<Ifaces, Error> {
        let link = self.rtnl(at)?.link(name).map_err(failed("an interface", at))?;
        Ok(link.iter().map(|l| (l.header.index, read::iface(l))).collect())
    }

    fn has_link(&mut self, at: &Place, name: &str, object: &Object) -> io::Result<bool> {
        let found = self.one(at, name).map_err(io::Error::other)?;
        Ok(found.values().any(|i| match object {
            Object::Up { .. } => i.up,
            _ => self.link(at, i, None).as_ref() == Some(object),
        }))
    }

    fn has_pair(&mut self, object: &Object, outer: &str, there: &Place, inner: &str) -> Result<bool, Error> {
        let at = object.place();
        let outer = self.one(at, outer)?;
        if outer.is_empty() || !self.is_there(there)? {
            return Ok(false);
        }
        let inner = self.one(there, inner)?;
        let found = outer.into_values().zip(inner.into_values()).next();
        Ok(found.is_some_and(|(o, i)| {
            o.is_peer_of(&i) && self.link(at, &o, Some(&(there.clone(), i))).as_ref() == Some(object)
        }))
    }
}

impl Rtnl {
    pub(super) fn ifaces(&mut self) -> io::Result<Ifaces> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
        let all = self.dump(&Message::GetLink(message))?;
        Ok(all
            .iter()
            .filter_map(|m| match m {
                Message::NewLink(l) => Some((l.header.index, read::iface(l))),
                _ => None,
            })
            .collect())
    }

    /// The addresses of interfaces; of one only, unless `index` is 0.
    pub(super) fn addresses(&mut self, at: &Place, own: &Ifaces, index: u32) -> io::Result<Vec<Object>> {
        let mut out = Vec::new();
        for family in FAMILIES {
            let mut message = AddressMessage::default();
            message.header.family = family;
            message.header.index = index;
            out.extend(
                self.dump(&Message::GetAddress(message))?
                    .iter()
                    .filter_map(|m| match m {
                        Message::NewAddress(a) => read::address(at, own, a),
                        _ => None,
                    }),
            );
        }
        Ok(out)
    }

    fn neighbours(&mut self, at: &Place, own: &Ifaces) -> io::Result<Vec<Object>> {
        let mut out = Vec::new();
        for family in FAMILIES {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            out.extend(
                self.dump(&Message::GetNeighbour(message))?
                    .iter()
                    .filter_map(|m| match m {
                        Message::NewNeighbour(n) => read::neighbour(at, own, n),
                        _ => None,
                    }),
            );
        }
        Ok(out)
    }

    fn forwarding(&mut self, at: &Place, own: &Ifaces) -> io::Result<Vec<Object>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        let all = self.dump(&Message::GetNeighbour(message))?;
        Ok(all
            .iter()
            .filter_map(|m| match m {
                Message::NewNeighbour(n) => read::fdb(at, own, n),
                _ => None,
            })
            .collect())
    }

    fn routes(&mut self, at: &Place, own: &Ifaces) -> io::Result<Vec<Object>> {
        let all = self.all_routes()?;
        Ok(all.iter().filter_map(|r| read::route(at, own, r)).collect())
    }

    /// Every route of both families in every table.
    pub(super) fn all_routes(&mut self) -> io::Result<Vec<RouteMessage>> {
        let mut out = Vec::new();
        for family in FAMILIES {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let all = self.dump(&Message::GetRoute(message))?;
            out.extend(all.into_iter().filter_map(|m| match m {
                Message::NewRoute(r) => Some(r),
                _ => None,
            }));
        }
        Ok(out)
    }

    fn rules(&mut self, at: &Place, names: &Names) -> io::Result<Vec<Object>> {
        let mut out = Vec::new();
        for family in FAMILIES {
            let mut message = RuleMessage::default();
            message.header.family = family;
            out.extend(
                self.dump(&Message::GetRule(message))?
                    .iter()
                    .filter_map(|m| match m {
                        Message::NewRule(r) => read::rule(at, names, r),
                        _ => None,
                    }),
            );
        }
        Ok(out)
    }

    fn has_port(&mut self, port: &str, bridge: &str) -> io::Result<bool> {
        let (Some(port), Some(bridge)) = (self.link(port)?, self.link(bridge)?) else {
            return Ok(false);
        };
        let port = read::iface(&port);
        Ok(port.closed && port.master == Some(bridge.header.index))
    }

    /// The number by which this namespace calls the one behind a descriptor.
    fn number(&mut self, fd: u32) -> io::Result<Option<i32>> {
        let mut message = NsidMessage::default();
        message.attributes = vec![NsidAttribute::Fd(fd)];
        let found = self.ask(Message::GetNsId(message))?;
        Ok(found.iter().find_map(|m| match m {
            Message::NewNsId(n) => n.attributes.iter().find_map(|a| match a {
                NsidAttribute::Id(id) => Some(*id),
                _ => None,
            }),
            _ => None,
        }))
    }
}

fn is_outside(at: &Place) -> bool {
    !matches!(at, Place::Sandbox(_))
}

/// The MTU of all, if they agree and have nothing else to repair; otherwise 0.
fn mtu<'a>(ifaces: impl IntoIterator<Item = &'a Iface>) -> u32 {
    let mut ifaces = ifaces.into_iter();
    let first = ifaces.next().filter(|i| i.plain).map_or(0, |i| i.mtu);
    if ifaces.all(|i| i.plain && i.mtu == first) {
        first
    } else {
        0
    }
}

fn failed(what: &str, at: &Place) -> impl FnOnce(io::Error) -> Error + use<> {
    reading(&format!("{what} of {}", words::place(at)))
}
