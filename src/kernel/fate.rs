//! Which removals of a plan need not be asked for, because the kernel does them.
//!
//! Pure. Deleting a namespace deletes what is in it, and a veth end its pair; an interface
//! takes along its addresses, routes, neighbours and its place in a bridge; a table its
//! elements. A thing that is removed and made again differently is changed in place.

use std::collections::HashMap;

use crate::plan::{Object, Place, Ruleset, Step, Table};

/// What becomes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Do,
    /// Comes about with another step, number so-and-so.
    With(usize),
    /// Comes about by itself after the last step.
    Later,
}

/// Where in a plan the things stand that take others along, or replace them.
#[derive(Default)]
struct Index<'a> {
    namespace: Option<usize>,
    /// Interfaces that a removed veth pair has.
    ends: HashMap<(&'a Place, &'a str), usize>,
    rulesets: HashMap<(&'a Place, Ruleset), usize>,
    made: HashMap<Identity<'a>, usize>,
}

/// What makes two objects with different properties the same thing.
#[derive(PartialEq, Eq, Hash)]
struct Identity<'a> {
    at: &'a Place,
    name: &'a str,
    other: Option<(&'a Place, &'a str)>,
}

/// The fate of each step. `is_there` tells whether a container's namespace still exists.
pub(super) fn fates(steps: &[Step], mut is_there: impl FnMut(&Place) -> bool) -> Vec<Fate> {
    let index = index(steps);
    let fate = |(i, step): (usize, &Step)| match step {
        Step::Add(_) => Fate::Do,
        Step::Del(gone) => removal(&index, i, gone, &mut is_there),
    };
    steps.iter().enumerate().map(fate).collect()
}

fn index(steps: &[Step]) -> Index<'_> {
    let mut out = Index::default();
    for (i, step) in steps.iter().enumerate() {
        match step {
            Step::Add(o) => {
                if let Some(id) = identity(o) {
                    out.made.insert(id, i);
                }
            }
            Step::Del(Object::Namespace) => out.namespace = Some(i),
            Step::Del(Object::Ruleset { at, which }) => {
                out.rulesets.insert((at, *which), i);
            }
            Step::Del(Object::Veth {
                at,
                port,
                sandbox,
                inside,
                ..
            }) => {
                out.ends.insert((at, port), i);
                out.ends.insert((sandbox, inside), i);
            }
            Step::Del(_) => {}
        }
    }
    out
}

fn removal(index: &Index<'_>, i: usize, gone: &Object, is_there: &mut impl FnMut(&Place) -> bool) -> Fate {
    let after = |n: Option<&usize>| n.copied().filter(|n| *n > i);
    if let Some(n) = after(identity(gone).and_then(|id| index.made.get(&id))) {
        return Fate::With(n);
    }
    if let Some(n) = after(index.namespace.as_ref()) {
        // The uplink would go with the router, 50 ms later: asked for, it takes 20.
        match gone {
            // Its end in a container that lives on goes a moment later.
            Object::Veth {
                at: Place::Router,
                sandbox,
                ..
            } if is_known(sandbox) && is_there(sandbox) => {
                return Fate::Later;
            }
            // Nobody knows who would see its other end until the namespace is taken down.
            Object::Veth {
                at: Place::Router,
                sandbox,
                ..
            } if !is_known(sandbox) => return Fate::Do,
            o if *o.place() == Place::Router => return Fate::With(n),
            _ => {}
        }
    }
    let taker = match gone {
        Object::Element(e) => index.rulesets.get(&(&e.at, ruleset_of(e.table))),
        o => o.iface().and_then(|name| index.ends.get(&(o.place(), name))),
    };
    if let Some(n) = after(taker) {
        // The end in the container goes with the pair, which may itself go with the router.
        return Fate::With(after(index.namespace.as_ref()).unwrap_or(n));
    }
    match gone {
        Object::Veth { sandbox, .. } if is_known(sandbox) && !is_there(sandbox) => Fate::Later,
        _ => Fate::Do,
    }
}

/// Not known is where a pair leads whose other end no observer found: nothing says it will vanish.
fn is_known(sandbox: &Place) -> bool {
    !matches!(sandbox, Place::Sandbox(path) if path.as_os_str().is_empty())
}

fn identity(object: &Object) -> Option<Identity<'_>> {
    match object {
        Object::Bridge { at, name, .. } => Some(Identity {
            at,
            name,
            other: None,
        }),
        Object::Uplink { host, router, .. } => Some(Identity {
            at: &Place::Host,
            name: host,
            other: Some((&Place::Router, router)),
        }),
        Object::Veth {
            at,
            port,
            sandbox,
            inside,
            ..
        } => Some(Identity {
            at,
            name: port,
            other: Some((sandbox, inside)),
        }),
        _ => None,
    }
}

/// Which ruleset a table belongs to.
pub(super) fn ruleset_of(table: Table) -> Ruleset {
    match table {
        Table::Ports | Table::Wall => Ruleset::Wall,
        Table::WayOut => Ruleset::WayOut,
        Table::Stand => Ruleset::Stand,
        Table::ClassicPorts | Table::Classic => Ruleset::Classic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Mac;
    use crate::plan::Plan;

    fn container() -> Vec<Object> {
        let (at, inner) = (Place::Router, Place::Sandbox("/c".into()));
        vec![
            Object::Namespace,
            Object::Uplink {
                host: "mtup".into(),
                router: "mtway".into(),
                mtu: 1500,
            },
            Object::Veth {
                at: at.clone(),
                port: "mtp1".into(),
                sandbox: inner.clone(),
                inside: "eth0".into(),
                mac: Mac([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
            },
            Object::Up {
                at,
                iface: "mtp1".into(),
            },
            Object::Up {
                at: inner,
                iface: "eth0".into(),
            },
        ]
    }

    #[test]
    fn what_a_veth_takes_along_is_left_to_it() {
        let plan = Plan::remove(&container().split_off(2).into_iter().collect());
        assert_eq!(fates(&plan.0, |_| true), [Fate::With(2), Fate::With(2), Fate::Do]);
        assert_eq!(
            fates(&plan.0, |_| false),
            [Fate::With(2), Fate::With(2), Fate::Later]
        );
    }

    #[test]
    fn what_a_namespace_takes_along_is_left_to_it() {
        let plan = Plan::remove(&container().into_iter().collect());
        let with = Fate::With(4);
        assert_eq!(
            fates(&plan.0, |_| true),
            [with, with, Fate::Later, Fate::Do, Fate::Do]
        );
    }

    #[test]
    fn what_is_made_again_is_changed_in_place() {
        let bridge = |mtu| Object::Bridge {
            at: Place::Router,
            name: "mtb1".into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu,
        };
        let plan = Plan::between(&[bridge(1400)].into(), &[bridge(1500)].into());
        assert_eq!(fates(&plan.0, |_| true), [Fate::With(1), Fate::Do]);
    }
}
