//! Doing steps: in order, elements of one namespace together, and nothing that goes by itself.
//!
//! Relies on the kernel taking along what hangs on a thing: deleting a namespace deletes
//! what is in it, deleting a veth end its pair. A step that such a deletion makes needless is
//! left out, and counts as done when the deletion is: asking for both costs an RCU grace
//! period (20 ms) for each interface.

use std::collections::HashMap;
use std::io;
use std::thread;

use super::change::Change;
use super::namespace::Namespace;
use super::pair::Pair;
use super::routing::{self, Rule};
use super::{Linux, entering, entries, links, namespace, ruleset, sysctl};
use crate::kernel::fate::{self, Fate};
use crate::kernel::{Error, words};
use crate::plan::{Element, Object, Place, Ruleset, SetName, Step};

impl Linux {
    pub(super) fn apply_steps(&mut self, steps: &[Step], done: &mut dyn FnMut(usize)) -> Result<(), Error> {
        self.refresh();
        let mut fates = fate::fates(steps, |at| self.is_there(at).unwrap_or(true));
        let mut with: HashMap<usize, Vec<usize>> = HashMap::new();
        for (i, fate) in fates.iter().enumerate() {
            if let Fate::With(n) = fate {
                with.entry(*n).or_default().push(i);
            }
        }
        let mut report = |from: usize, to: usize| {
            for n in from..to {
                done(n);
                with.remove(&n).into_iter().flatten().for_each(&mut *done);
            }
        };
        // Where the router goes nothing is left to guard, and what destroys a table can wait for
        // its grace period beside what destroys the uplink.
        let router_goes = steps.contains(&Step::Del(Object::Namespace));
        let is_early = |s: &Step| matches!(s, Step::Del(Object::Ruleset { at: Place::Host, .. }));
        for i in (0..steps.len()).filter(|i| router_goes && fates[*i] == Fate::Do && is_early(&steps[*i])) {
            self.run(&steps[i..=i]).map_err(|(_, e)| e)?;
            report(i, i + 1);
        }
        let is_done = |i: usize| router_goes && is_early(&steps[i]);
        for (i, fate) in fates.iter_mut().enumerate() {
            if *fate == Fate::Do && is_done(i) {
                *fate = Fate::With(i);
            }
        }
        let mut i = 0;
        while i < steps.len() {
            if fates[i] != Fate::Do {
                i += 1;
                continue;
            }
            let end = i + group_len(&steps[i..], &fates[i..]);
            match self.run(&steps[i..end]) {
                Ok(()) => report(i, end),
                Err((n, e)) => {
                    report(i, i + n);
                    return Err(e);
                }
            }
            i = end;
        }
        for (i, _) in fates.iter().enumerate().filter(|f| *f.1 == Fate::Later) {
            self.wait_gone(&steps[i]).map_err(failed(&steps[i]))?;
            report(i, i + 1);
        }
        Ok(())
    }

    /// Does a group of steps. On failure tells how many of them hold.
    fn run(&mut self, group: &[Step]) -> Result<(), (usize, Error)> {
        match &group[0] {
            Step::Add(Object::Element(_)) | Step::Del(Object::Element(_)) => self.change_elements(group),
            Step::Add(Object::Sysctl { at, .. }) => self.write_values(at, group),
            Step::Add(Object::Ruleset { .. }) => self.load_rulesets(group),
            Step::Add(o) => self.add(o, &group[0]).map_err(|e| (0, e)),
            Step::Del(o) => self.del(o, &group[0]).map_err(|e| (0, e)),
        }
    }

    fn change_elements(&mut self, group: &[Step]) -> Result<(), (usize, Error)> {
        let at = group[0].object().place();
        let adds = group.iter().any(|s| matches!(s, Step::Add(_)));
        if !adds && !self.is_there(at).map_err(|e| (0, e))? {
            return Ok(());
        }
        let changes: Vec<Change<'_>> = group.iter().filter_map(as_change).collect();
        let nft = self.nft(at).map_err(|e| (0, e))?;
        // What a refused transaction held is unknown to be done: none of it is reported.
        nft.change(&changes).map_err(|(i, e)| (0, failed(&group[i])(e)))
    }

    fn write_values(&mut self, at: &Place, group: &[Step]) -> Result<(), (usize, Error)> {
        let values: Vec<(&str, &str)> = group
            .iter()
            .filter_map(|s| match s {
                Step::Add(Object::Sysctl { key, value, .. }) => Some((key.as_str(), value.as_str())),
                _ => None,
            })
            .collect();
        let opened = self.open(at).map_err(|e| (0, e))?;
        let (n, outcome) = sysctl::write(opened.namespace.as_ref(), &values)
            .map_err(failed(&group[0]))
            .map_err(|e| (0, e))?;
        outcome.map_err(|e| (n, failed(&group[n])(e)))
    }

    fn add(&mut self, object: &Object, step: &Step) -> Result<(), Error> {
        let result = match object {
            Object::Namespace => return self.add_namespace(),
            Object::Uplink { host, router, mtu } => {
                return self.add_pair(
                    &Pair {
                        at: &Place::Host,
                        outer: host,
                        there: &Place::Router,
                        inner: router,
                        mac: None,
                        mtu: *mtu,
                    },
                    step,
                );
            }
            Object::Veth {
                at,
                port,
                sandbox,
                inside,
                mac,
                mtu,
            } => {
                return self.add_pair(
                    &Pair {
                        at,
                        outer: port,
                        there: sandbox,
                        inner: inside,
                        mac: Some(*mac),
                        mtu: *mtu,
                    },
                    step,
                );
            }
            Object::Bridge { at, name, mac, mtu } => {
                let owner = self.alias(at);
                links::add_bridge(self.rtnl(at)?, name, *mac, *mtu, owner.as_deref())
            }
            Object::BridgePort { at, port, bridge } => links::add_port(self.rtnl(at)?, port, bridge),
            Object::ClosedPort { at, port, bridge } => links::close_port(self.rtnl(at)?, port, bridge),
            Object::Rule { at, .. } => routing::add_rule(self.rtnl(at)?, &rule(object)),
            Object::Fdb { at, port, mac } => entries::add_fdb(self.rtnl(at)?, port, *mac),
            Object::Address { at, iface, address } => entries::add_address(self.rtnl(at)?, iface, *address),
            Object::Up { at, iface } => links::set_up(self.rtnl(at)?, iface, true),
            Object::Neighbour { at, iface, ip, mac } => {
                entries::add_neighbour(self.rtnl(at)?, iface, *ip, *mac)
            }
            Object::Route { at, table, to, hop } => routing::add_route(self.rtnl(at)?, *table, *to, hop),
            // Done in groups.
            Object::Ruleset { .. } | Object::Sysctl { .. } | Object::Element(_) => Ok(()),
        };
        ignore(result, &[libc::EEXIST]).map_err(failed(step))
    }

    fn del(&mut self, object: &Object, step: &Step) -> Result<(), Error> {
        if let Object::Namespace = object {
            self.places.remove(&Place::Router);
            return namespace::remove(&self.router_path).map_err(entering(&self.router_path));
        }
        if !self.is_there(object.place())? {
            return Ok(());
        }
        let result = match object {
            Object::Ruleset { at, which } => self.nft(at)?.remove_tables(ruleset::tables(*which)),
            Object::Uplink { host, .. } => links::remove_unwaited(self.rtnl(&Place::Host)?, None, host),
            Object::Bridge { at, name, .. } => links::remove(self.rtnl(at)?, name),
            Object::Veth {
                at, port, sandbox, ..
            } => {
                // An open socket would keep the namespace.
                self.places.remove(sandbox);
                let open = self.open(at)?.namespace.as_ref().map(Namespace::try_clone);
                let namespace = open.transpose().map_err(failed(step))?;
                links::remove_unwaited(self.rtnl(at)?, namespace.as_ref(), port)
            }
            Object::BridgePort { at, port, .. } => links::remove_port(self.rtnl(at)?, port),
            Object::Rule { at, .. } => routing::remove_rule(self.rtnl(at)?, &rule(object)),
            // What left its bridge has no entries any more.
            Object::Fdb { at, port, mac } => ignore(
                entries::remove_fdb(self.rtnl(at)?, port, *mac),
                &[libc::EOPNOTSUPP],
            ),
            Object::Address { at, iface, address } => {
                entries::remove_address(self.rtnl(at)?, iface, *address)
            }
            Object::Up { at, iface } => links::set_up(self.rtnl(at)?, iface, false),
            Object::Neighbour { at, iface, ip, .. } => entries::remove_neighbour(self.rtnl(at)?, iface, *ip),
            Object::Route { at, table, to, hop } => routing::remove_route(self.rtnl(at)?, *table, *to, hop),
            Object::Namespace | Object::Sysctl { .. } | Object::ClosedPort { .. } | Object::Element(_) => {
                Ok(())
            }
        };
        let gone = [libc::ENODEV, libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL];
        ignore(result, &gone).map_err(failed(step))
    }

    fn add_namespace(&mut self) -> Result<(), Error> {
        let path = self.router_path.clone();
        if !namespace::is_namespace(&path).map_err(entering(&path))? {
            self.places.remove(&Place::Router);
            namespace::make(&path).map_err(entering(&path))?;
        }
        links::set_up(self.rtnl(&Place::Router)?, "lo", true).map_err(entering(&path))
    }

    /// Loads rulesets that are not whole, side by side: each takes `nft` some milliseconds.
    fn load_rulesets(&mut self, group: &[Step]) -> Result<(), (usize, Error)> {
        let mut loads = Vec::new();
        for (i, step) in group.iter().enumerate() {
            if let Object::Ruleset { at, which } = step.object() {
                loads.extend(self.prepare_ruleset(at, *which).map_err(|e| (i, e))?);
            }
        }
        let outcome = thread::scope(|scope| {
            let running: Vec<_> = loads.iter().map(|l| scope.spawn(|| l.run())).collect();
            let mut joined = running.into_iter().map(thread::ScopedJoinHandle::join);
            joined.try_for_each(|r| r.unwrap_or_else(|_| Err(ruleset::broken())))
        });
        outcome.map_err(|e| (0, e))
    }

    fn prepare_ruleset(&mut self, at: &Place, which: Ruleset) -> Result<Option<ruleset::Load>, Error> {
        if self.has_ruleset(at, which)? {
            return Ok(None);
        }
        let names = self.names.clone();
        let left =
            ruleset::left(self.nft(at)?, which).map_err(super::reading("what is left of a ruleset"))?;
        ruleset::Load::new(self.open(at)?.namespace.as_ref(), which, at, &names, &left).map(Some)
    }

    pub(super) fn has_ruleset(&mut self, at: &Place, which: Ruleset) -> Result<bool, Error> {
        let names = self.names.clone();
        let what = words::object(&Object::Ruleset {
            at: at.clone(),
            which,
        });
        ruleset::is_whole(self.nft(at)?, which, at, &names).map_err(super::reading(&what))
    }
}

/// How many steps from the first on are done together.
///
/// What is `near` has a transaction of its own, before what lets out and after it in the other direction: the
/// kernel publishes the intervals of a transaction some microseconds after its other elements, and an address
/// that is not near is the world's.
fn group_len(steps: &[Step], fates: &[Fate]) -> usize {
    let near = |e: &Element| matches!(e.set, SetName::Near(_));
    let alike = |s: &Step| match (&steps[0], s) {
        (
            Step::Add(Object::Element(a)) | Step::Del(Object::Element(a)),
            Step::Add(Object::Element(b)) | Step::Del(Object::Element(b)),
        ) => a.at == b.at && near(a) == near(b),
        (Step::Add(Object::Sysctl { at: a, .. }), Step::Add(Object::Sysctl { at: b, .. })) => a == b,
        (Step::Add(Object::Ruleset { .. }), Step::Add(Object::Ruleset { .. })) => true,
        _ => false,
    };
    let rest = steps.iter().zip(fates).skip(1);
    1 + rest.take_while(|(s, f)| **f == Fate::Do && alike(s)).count()
}

fn as_change(step: &Step) -> Option<Change<'_>> {
    match step {
        Step::Add(Object::Element(e)) => Some(Change::Add(e)),
        Step::Del(Object::Element(e)) => Some(Change::Del(e)),
        _ => None,
    }
}

fn rule(object: &Object) -> Rule<'_> {
    match object {
        Object::Rule {
            family,
            priority,
            mark,
            iif,
            then,
            ..
        } => Rule {
            family: *family,
            priority: *priority,
            mark: *mark,
            iif: iif.as_deref(),
            then: then.clone(),
        },
        _ => unreachable!("only called for rules"),
    }
}

pub(super) fn ignore(result: io::Result<()>, harmless: &[i32]) -> io::Result<()> {
    match result {
        Err(e) if e.raw_os_error().is_some_and(|n| harmless.contains(&n)) => Ok(()),
        other => other,
    }
}

pub(super) fn failed(step: &Step) -> impl FnOnce(io::Error) -> Error + use<> {
    let what = words::step(step);
    move |source| Error::Step { what, source }
}
