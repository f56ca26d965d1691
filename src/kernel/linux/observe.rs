//! Everything of ours that is in the kernel.
//!
//! Dumps of each namespace, read into objects by `read`. A thing that is there but not as
//! we make it is told as it is, or (where no property says it) left out or told with an MTU
//! of 0, so that a plan makes it again.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use super::read::{Iface, Ifaces, Kind};
use super::{Linux, entering, namespace, reading, ruleset, sysctl};
use crate::kernel::{Error, Scope, words};
use crate::plan::{Hop, Object, Place, Ruleset, SetName, State};

/// The interfaces of every namespace in the scope.
type Everywhere = HashMap<Place, Ifaces>;

/// Of a veth end in a namespace, by index: where its other end is, and that interface.
type Pairs = HashMap<(Place, u32), (Place, Iface)>;

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
        for sandbox in scope.sandboxes.iter().chain(scope.foreign.iter().map(|f| &f.0)) {
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
            if is_outside(at) || scope.sandboxes.contains(at) {
                let ours = self.ours(at, &everywhere, &pairs);
                self.observe_entries(at, &ours, &mut out)?;
            }
            let Some(all) = everywhere.get(at) else { continue };
            let named = |i: &Iface| scope.foreign.contains(&(at.clone(), i.name.clone()));
            let theirs: Ifaces = all
                .iter()
                .filter(|(_, i)| named(i))
                .map(|(n, i)| (*n, i.clone()))
                .collect();
            self.observe_foreign(at, &theirs, all, &mut out)?;
        }
        for (at, key) in &scope.sysctls {
            if places.contains(at) {
                out.extend(self.value(at, key)?);
            }
        }
        Ok(out)
    }

    /// Of each of our veth ends outside the containers, where the other end is and its interface.
    fn pairs(&mut self, everywhere: &Everywhere) -> Result<Pairs, Error> {
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

    fn observe_links(&self, everywhere: &Everywhere, pairs: &Pairs, out: &mut State) {
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

    pub(super) fn link(&self, at: &Place, i: &Iface, peer: Option<&(Place, Iface)>) -> Option<Object> {
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
    fn ours(&self, at: &Place, everywhere: &Everywhere, pairs: &Pairs) -> Ifaces {
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
            Place::Host => &[Ruleset::Wall, Ruleset::WayOut, Ruleset::Classic],
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

    /// What hangs on interfaces that others made, and in our routing tables, whatever it leads to.
    fn observe_foreign(
        &mut self,
        at: &Place,
        theirs: &Ifaces,
        all: &Ifaces,
        out: &mut State,
    ) -> Result<(), Error> {
        let names = self.names.clone();
        if theirs.is_empty() && *at != Place::Host {
            return Ok(());
        }
        let what = "the ports and routes that others made";
        for i in theirs.values().filter(|i| i.closed) {
            let bridge = i.master.and_then(|m| all.get(&m));
            out.extend(bridge.map(|b| Object::ClosedPort {
                at: at.clone(),
                port: i.name.clone(),
                bridge: b.name.clone(),
            }));
        }
        if theirs.values().any(|i| i.master.is_some()) {
            out.extend(self.rtnl(at)?.forwarding(at, theirs).map_err(failed(what, at))?);
        }
        let routes = self.rtnl(at)?.routes(at, all).map_err(failed(what, at))?;
        out.extend(routes.into_iter().filter(|o| match o {
            Object::Route { table, .. } => {
                *at == Place::Host && names.owns_table(*table)
                    || theirs.values().any(|i| o.iface() == Some(&i.name))
            }
            _ => false,
        }));
        Ok(())
    }

    pub(super) fn value(&mut self, at: &Place, key: &str) -> Result<Option<Object>, Error> {
        let opened = self.open(at)?;
        let found = sysctl::read(opened.namespace.as_ref(), &[key]).map_err(failed(key, at))?;
        Ok(found.into_iter().flatten().next().map(|value| Object::Sysctl {
            at: at.clone(),
            key: key.to_owned(),
            value,
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

pub(super) fn failed(what: &str, at: &Place) -> impl FnOnce(io::Error) -> Error + use<> {
    reading(&format!("{what} of {}", words::place(at)))
}
