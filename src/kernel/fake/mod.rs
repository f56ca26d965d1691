//! A kernel in memory, as strict about order as the real one and as thorough about what goes along.
//!
//! It refuses what Linux would refuse (an address without its interface, an element without
//! its table) with the same errno, and what hangs on a thing goes with it. So a plan in a
//! wrong order fails in a test without privilege.

mod relations;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use self::relations::{ends, goes_along, is_replaced, is_same_key, overlap};
use super::fate::{self, Fate, ruleset_of};
use super::{Error, Kernel, Scope, words};
use crate::plan::{Element, Object, Place, SetName, State, Step};

/// A kernel in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fake {
    state: State,
    /// Containers whose namespaces are gone.
    dead: BTreeSet<Place>,
}

impl Fake {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is in it.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Takes something away behind everybody's back, with what hangs on it.
    pub fn lose(&mut self, object: &Object) {
        self.remove(object);
    }

    /// Ends a container's namespace: its interfaces vanish.
    pub fn kill(&mut self, sandbox: &Place) {
        self.dead.insert(sandbox.clone());
        let veths = self.find(|o| matches!(o, Object::Veth { sandbox: s, .. } if s == sandbox));
        for veth in veths {
            self.remove(&veth);
        }
        self.state.retain(|o| o.place() != sandbox);
    }

    fn find(&self, test: impl Fn(&Object) -> bool) -> Vec<Object> {
        self.state.iter().filter(|o| test(o)).cloned().collect()
    }

    fn any(&self, test: impl Fn(&Object) -> bool) -> bool {
        self.state.iter().any(test)
    }

    fn has_place(&self, at: &Place) -> bool {
        match at {
            Place::Host => true,
            Place::Router => self.state.contains(&Object::Namespace),
            Place::Sandbox(path) => !path.as_os_str().is_empty() && !self.dead.contains(at),
        }
    }

    fn has_iface(&self, at: &Place, name: &str) -> bool {
        name == "lo" || self.any(|o| ends(o).contains(&(at, name)))
    }

    fn is_up(&self, at: &Place, name: &str) -> bool {
        self.any(|o| matches!(o, Object::Up { at: a, iface } if a == at && iface == name))
    }

    fn add(&mut self, object: &Object) -> Result<(), i32> {
        if self.state.contains(object) {
            return Ok(());
        }
        let at = object.place();
        if *object != Object::Namespace && !self.has_place(at) {
            return Err(libc::ENOENT);
        }
        match object {
            Object::Uplink { .. } if !self.has_place(&Place::Router) => return Err(libc::ENOENT),
            Object::Veth { sandbox, .. } if !self.has_place(sandbox) => return Err(libc::ENOENT),
            Object::Sysctl { key, .. } => self.check_key(at, key)?,
            Object::BridgePort { port, bridge, .. }
                if (!self.has_iface(at, port) || !self.has_iface(at, bridge)) =>
            {
                return Err(libc::ENODEV);
            }
            Object::Fdb { port, .. } => {
                let joined = |o: &Object| matches!(o, Object::BridgePort { at: a, port: p, .. } if a == at && p == port);
                if !self.any(joined) {
                    return Err(libc::EOPNOTSUPP);
                }
            }
            Object::Element(e) => self.check_element(e)?,
            _ => {}
        }
        if let Some(name) = object.iface() {
            if !self.has_iface(at, name) {
                return Err(libc::ENODEV);
            }
            let needs_up = matches!(object, Object::Route { .. } | Object::Neighbour { .. });
            if needs_up && !self.is_up(at, name) {
                return Err(libc::ENETDOWN);
            }
        }
        self.state.retain(|o| !is_replaced(o, object));
        self.state.insert(object.clone());
        Ok(())
    }

    /// A setting of an interface needs the interface.
    fn check_key(&self, at: &Place, key: &str) -> Result<(), i32> {
        let parts: Vec<&str> = key.split('/').collect();
        match parts.as_slice() {
            ["net", "ipv4" | "ipv6", "conf" | "neigh", name, _]
                if !matches!(*name, "all" | "default")
                    // The machine's own interfaces are not in the state.
                    && *at != Place::Host
                    && !self.has_iface(at, name) =>
            {
                Err(libc::ENOENT)
            }
            _ => Ok(()),
        }
    }

    fn check_element(&self, e: &Element) -> Result<(), i32> {
        let which = ruleset_of(e.table);
        if !self.state.contains(&Object::Ruleset {
            at: e.at.clone(),
            which,
        }) || !SetName::of(e.table).contains(&e.set)
        {
            return Err(libc::ENOENT);
        }
        let values = e.data.as_ref().map_or(0, Vec::len);
        if e.key.len() != e.set.key_types().len()
            || e.end.is_some() != e.set.is_interval()
            || values != e.set.data_types().len()
        {
            return Err(libc::EINVAL);
        }
        let clash = |o: &Object| matches!(o, Object::Element(f) if !is_same_key(e, f) && overlap(e, f));
        if e.set.is_interval() && self.any(clash) {
            return Err(libc::EEXIST);
        }
        Ok(())
    }

    fn remove(&mut self, object: &Object) {
        if !self.state.remove(object) {
            return;
        }
        let along = self.find(|o| goes_along(o, object));
        for o in &along {
            self.remove(o);
        }
    }
}

impl Kernel for Fake {
    fn observe(&mut self, scope: &Scope) -> Result<State, Error> {
        let seen = |at: &Place| !matches!(at, Place::Sandbox(_)) || scope.sandboxes.contains(at);
        let mut out = State::new();
        for o in self.state.iter().filter(|o| seen(o.place())) {
            match o {
                Object::Sysctl { at, key, .. } if !scope.sysctls.contains(&(at.clone(), key.clone())) => {}
                Object::Veth { sandbox, .. } if !seen(sandbox) => {
                    out.insert(leading_nowhere(o));
                }
                _ => {
                    out.insert(o.clone());
                }
            }
        }
        Ok(out)
    }

    fn apply(&mut self, steps: &[Step], done: &mut dyn FnMut(usize)) -> Result<(), Error> {
        let fates = fate::fates(steps, |at| self.has_place(at));
        for (i, step) in steps.iter().enumerate() {
            match step {
                Step::Add(o) => self.add(o).map_err(|errno| Error::Step {
                    what: words::step(step),
                    source: io::Error::from_raw_os_error(errno),
                })?,
                // Changed in place by the step that makes it again.
                Step::Del(_) if matches!(fates[i], Fate::With(n) if matches!(steps[n], Step::Add(_))) => {}
                Step::Del(Object::Sysctl { .. }) => {}
                Step::Del(
                    o @ Object::Veth {
                        sandbox: Place::Sandbox(path),
                        ..
                    },
                ) if path.as_os_str().is_empty() => {
                    let veth = self.find(|p| is_replaced(p, o));
                    for v in &veth {
                        self.remove(v);
                    }
                }
                Step::Del(o) => self.remove(o),
            }
            done(i);
        }
        Ok(())
    }

    fn has(&mut self, object: &Object) -> Result<bool, Error> {
        Ok(self.state.contains(object))
    }
}

/// A pair as an observer sees it who does not know its container.
fn leading_nowhere(veth: &Object) -> Object {
    let mut out = veth.clone();
    if let Object::Veth { sandbox, inside, .. } = &mut out {
        *sandbox = Place::Sandbox(PathBuf::new());
        inside.clear();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, Mac};
    use crate::plan::{Field, Hop, Plan, Ruleset, Table};

    fn bridge(mtu: u32) -> Object {
        Object::Bridge {
            at: Place::Router,
            name: "mtb1".into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu,
        }
    }

    fn world() -> State {
        let (at, sandbox) = (Place::Router, Place::Sandbox("/c".into()));
        let up = |at: &Place, iface: &str| Object::Up {
            at: at.clone(),
            iface: iface.into(),
        };
        [
            Object::Namespace,
            Object::Ruleset {
                at: at.clone(),
                which: Ruleset::Wall,
            },
            bridge(1500),
            Object::Veth {
                at: at.clone(),
                port: "mtp1".into(),
                sandbox: sandbox.clone(),
                inside: "eth0".into(),
                mac: Mac([2, 0, 0, 0, 0, 2]),
                mtu: 1500,
            },
            Object::BridgePort {
                at: at.clone(),
                port: "mtp1".into(),
                bridge: "mtb1".into(),
            },
            Object::Fdb {
                at: at.clone(),
                port: "mtp1".into(),
                mac: Mac([2, 0, 0, 0, 0, 2]),
            },
            Object::Element(Element {
                at: at.clone(),
                table: Table::Wall,
                set: SetName::World(Family::Ip4),
                key: vec![Field::Ip([10, 9, 0, 2].into())],
                end: None,
                data: None,
                expires: None,
            }),
            up(&at, "mtb1"),
            up(&at, "mtp1"),
            up(&sandbox, "eth0"),
            Object::Route {
                at,
                table: 254,
                to: "10.9.0.2/32".parse().unwrap(),
                hop: Hop::Dev("mtb1".into()),
            },
        ]
        .into()
    }

    fn apply(fake: &mut Fake, plan: &Plan) -> Result<(), Error> {
        fake.apply(&plan.0, &mut |_| {})
    }

    #[test]
    fn a_plan_in_order_comes_and_goes() {
        let mut fake = Fake::new();
        apply(&mut fake, &Plan::add(&world())).unwrap();
        assert_eq!(*fake.state(), world());
        apply(&mut fake, &Plan::remove(&world())).unwrap();
        assert_eq!(*fake.state(), State::new());
    }

    #[test]
    fn nothing_is_made_before_what_it_stands_on() {
        for left_out in &world() {
            let mut without = world();
            without.remove(left_out);
            let mut fake = Fake::new();
            let outcome = apply(&mut fake, &Plan::add(&without));
            let stands_on_it = world().iter().any(|o| goes_along(o, left_out));
            assert_eq!(outcome.is_err(), stands_on_it, "{left_out:?}");
        }
    }

    #[test]
    fn what_hangs_on_a_thing_goes_with_it() {
        let mut fake = Fake::new();
        apply(&mut fake, &Plan::add(&world())).unwrap();
        fake.lose(&bridge(1500));
        assert_eq!(fake.state().len(), world().len() - 5);
        let repair = Plan::between(fake.state(), &world());
        apply(&mut fake, &repair).unwrap();
        assert_eq!(*fake.state(), world());
        fake.lose(&Object::Namespace);
        assert_eq!(*fake.state(), State::new());
    }

    #[test]
    fn a_bridge_is_changed_in_place() {
        let mut fake = Fake::new();
        apply(&mut fake, &Plan::add(&world())).unwrap();
        let mut wanted = world();
        wanted.remove(&bridge(1500));
        wanted.insert(bridge(1400));
        apply(&mut fake, &Plan::between(&world(), &wanted)).unwrap();
        assert_eq!(*fake.state(), wanted);
    }
}
