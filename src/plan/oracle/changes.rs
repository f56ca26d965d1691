//! Step by step comes to the same as all at once; and plans can be undone.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::agree::everything;
use super::worlds::{self, endpoint, name};
use crate::model::{End, Endpoint, Link, Network, Proto, Published, World};
use crate::plan::elements::{ends, pair, pairs_of, reach_of};
use crate::plan::{Element, Expires, Names, Object, Plan, SetName, State, Step, Table, desired};

/// One command.
#[derive(Clone, Debug)]
enum Change {
    Link(Link),
    Unlink(usize),
    Attach(u32, usize, Vec<(&'static str, &'static str)>, Option<u16>),
    Detach(u32),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => worlds::link().prop_map(Change::Link),
        2 => (0..12_usize).prop_map(Change::Unlink),
        3 => (0..5_u32, 0..3_usize, worlds::labels(), proptest::option::of(80..82_u16))
            .prop_map(|(n, net, labels, port)| Change::Attach(n, net, labels, port)),
        1 => (0..5_u32).prop_map(Change::Detach),
    ]
}

/// The elements of one link's ends, both directions: what that link may change.
fn around(names: &Names, world: &World, link: &Link) -> State {
    let mut s = State::new();
    for from in ends(world, &link.from) {
        for to in ends(world, &link.to) {
            s.extend(pair(world, from, to));
            s.extend(pair(world, to, from));
        }
        if matches!(link.to, End::Host | End::World | End::Cidr(_)) {
            s.extend(reach_of(names, world, from));
        }
    }
    s
}

fn of_endpoint(names: &Names, world: &World, e: &Endpoint) -> State {
    let mut s = pairs_of(world, e);
    s.extend(reach_of(names, world, e));
    for p in world.published.iter().filter(|p| p.container == e.container) {
        s.extend(desired::published(world, p));
    }
    s
}

/// Carries out a command on the world; the plan that goes with it.
fn carry_out(names: &Names, world: &mut World, networks: &[Network], change: Change) -> Plan {
    match change {
        Change::Link(link) => {
            let before = around(names, world, &link);
            let same = |l: &Link| (&l.from, &l.to, l.service) == (&link.from, &link.to, link.service);
            world.links.retain(|l| !same(l));
            world.links.push(link.clone());
            Plan::change(&before, &around(names, world, &link))
        }
        Change::Unlink(n) if n < world.links.len() => {
            let link = world.links[n].clone();
            let before = around(names, world, &link);
            world.links.remove(n);
            Plan::change(&before, &around(names, world, &link))
        }
        Change::Attach(n, net, labels, port) if !world.endpoints.contains_key(&name(&format!("c{n}"))) => {
            let e = endpoint(n, &networks[net % networks.len()], &labels);
            world
                .published
                .extend(port.filter(|_| e.foreign.is_none()).map(|port| Published {
                    container: e.container.clone(),
                    host_ip: None,
                    host_port: 8000 + u16::try_from(n).unwrap(),
                    port,
                    proto: Proto::Tcp,
                }));
            world.endpoints.insert(e.container.clone(), e.clone());
            Plan::add(&of_endpoint(names, world, &e))
        }
        Change::Detach(n) => match world.endpoints.get(&name(&format!("c{n}"))).cloned() {
            Some(e) => {
                let plan = Plan::remove(&of_endpoint(names, world, &e));
                world.endpoints.remove(&e.container);
                world.published.retain(|p| p.container != e.container);
                plan
            }
            None => Plan::default(),
        },
        Change::Unlink(_) | Change::Attach(..) => Plan::default(),
    }
}

/// A kernel that only knows what is there. It refuses what a real one would.
fn apply(state: &mut State, plan: &Plan) -> Result<(), TestCaseError> {
    for step in &plan.0 {
        match step {
            Step::Add(o) => prop_assert!(state.insert(o.clone()), "there already: {:?}", o),
            Step::Del(o) => prop_assert!(state.remove(o), "not there: {:?}", o),
        }
    }
    Ok(())
}

/// With the times, which equality leaves out.
fn timed(state: &State) -> BTreeMap<Object, Option<u64>> {
    let until = |o: &Object| match o {
        Object::Element(e) => e.expires.map(|x| x.0),
        _ => None,
    };
    state.iter().map(|o| (o.clone(), until(o))).collect()
}

/// What links, containers and published ports bring; networks bring the rest.
fn of_links(state: State) -> State {
    let fixed = |s| {
        matches!(
            s,
            SetName::Near(_)
                | SetName::Host(_)
                | SetName::Nets(_)
                | SetName::Masq(_)
                | SetName::Open(_)
                | SetName::Source(_)
                | SetName::Asked(_)
                | SetName::Guest(_)
                | SetName::Walled(_)
                | SetName::Itself(_)
                | SetName::Tells
                | SetName::Told
                | SetName::ForeignPort
                | SetName::ForeignBridge
                | SetName::Behind
        )
    };
    let keep = |o: &Object| matches!(o, Object::Element(e) if !fixed(e.set));
    state.into_iter().filter(keep).collect()
}

/// A few objects of several kinds, so that states overlap in part.
fn object() -> impl Strategy<Value = Object> {
    let at = || crate::plan::Place::Router;
    let iface = |n: u8| format!("mtp{n}");
    prop_oneof![
        Just(Object::Namespace),
        (0..4_u8).prop_map(move |n| Object::Up {
            at: at(),
            iface: iface(n)
        }),
        (0..4_u8).prop_map(move |n| Object::BridgePort {
            at: at(),
            port: iface(n),
            bridge: "mtb1".to_owned()
        }),
        (0..3_u8, proptest::option::of(0..3_u64)).prop_map(move |(n, expires)| Object::Element(Element {
            at: at(),
            table: Table::Wall,
            set: SetName::World(crate::model::Family::Ip4),
            key: vec![crate::plan::Field::Ip([10, 9, 0, n].into())],
            end: None,
            data: None,
            expires: expires.map(Expires),
        })),
    ]
}

fn state() -> impl Strategy<Value = State> {
    proptest::collection::btree_set(object(), 0..10)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn change_by_change_is_the_whole(
        networks in worlds::networks(),
        changes in proptest::collection::vec(change(), 1..25),
    ) {
        let names = Names::of_world(0);
        let mut world = World {
            networks: networks.iter().map(|n| (n.name.clone(), n.clone())).collect(),
            host: worlds::host(),
            ..World::default()
        };
        let mut kernel = State::new();
        for change in changes {
            let words = format!("{change:?}");
            let plan = carry_out(&names, &mut world, &networks, change);
            apply(&mut kernel, &plan)?;
            let whole = of_links(everything(&names, &world));
            prop_assert_eq!(timed(&kernel), timed(&whole), "after {}", words);
        }
    }

    #[test]
    fn plans_lead_there_and_back(a in state(), b in state()) {
        for plan in [Plan::between(&a, &b), Plan::change(&a, &b)] {
            let mut kernel = a.clone();
            apply(&mut kernel, &plan)?;
            prop_assert_eq!(&kernel, &b);
            apply(&mut kernel, &plan.reversed())?;
            prop_assert_eq!(timed(&kernel), timed(&a));
        }
        let mut kernel = a.clone();
        apply(&mut kernel, &Plan::change(&a, &b))?;
        prop_assert_eq!(timed(&kernel), timed(&b));
        prop_assert!(Plan::between(&a, &a).is_empty() && Plan::change(&b, &b).is_empty());
    }
}
