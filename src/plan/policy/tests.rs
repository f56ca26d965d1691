//! The compiled sets, the rules of the wall over them, the model and its oracle say the same of random policies.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::model::Proto;
use crate::model::policy::{Source, oracle, read};
use crate::plan::oracle::{Packet, Wall};
use crate::plan::{MARK_IN, Names, Plan, Ruleset, Step, skeleton};

const AT: Place = Place::Router;

fn engine(manifest: String) -> Engine {
    let text = manifest;
    let read = read(&[Source {
        name: "world.json".into(),
        text,
    }]);
    let read = read.unwrap_or_else(|e| panic!("{e}"));
    Engine::new(read.cluster, read.policies)
}

/// The wall around these pods: every address is judged.
fn wall(state: &State) -> Wall {
    let mut all = state.clone();
    for family in Family::BOTH {
        let range = family.everything();
        all.insert(crate::plan::desired::interval(
            &AT,
            Table::Wall,
            SetName::Near(family),
            range,
        ));
    }
    Wall::new(&AT, &Names::of_world(0), &all)
}

fn packet(from: IpAddr, to: IpAddr, proto: u8, port: u16) -> Packet {
    Packet {
        iif: "mtb1",
        from,
        to,
        proto,
        source_port: 40_000,
        port,
        reply: false,
        translated: false,
    }
}

/// Whether the rules let a flow pass; both halves must agree.
fn passes(wall: &Wall, first: &Packet) -> bool {
    let marks = [wall.marks(first), wall.marks(&first.answer("mtb1"))];
    assert_eq!(marks[0], marks[1], "{first:?}");
    assert!([0, MARK_IN].contains(&marks[0]), "{first:?}");
    marks[0] == MARK_IN
}

/// Ports at which rules begin and end, and protocols that have none.
const FLOWS: [(u8, u16); 12] = [
    (6, 52),
    (6, 53),
    (6, 55),
    (6, 56),
    (6, 79),
    (6, 80),
    (6, 81),
    (6, 83),
    (17, 53),
    (17, 80),
    (132, 80),
    (1, 0),
];

fn applied(before: &State, plan: &Plan) -> State {
    let mut state = before.clone();
    for step in &plan.0 {
        match step {
            Step::Add(o) => assert!(state.insert(o.clone()), "{o:?} is there"),
            Step::Del(o) => assert!(state.remove(o), "{o:?} is not there"),
        }
    }
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn sets_rules_and_model_say_the_same(world in oracle::world()) {
        let engine = engine(world.manifest());
        let state = compile(&engine, &AT).unwrap();
        let (sets, wall) = (Sets::new(&state), wall(&state));
        for (from, to) in engine.cluster.ids().flat_map(|a| engine.cluster.ids().map(move |b| (a, b))) {
            if from == to {
                continue;
            }
            let number = |id| -> usize { engine.cluster.pod(id).name[1..].parse().unwrap() };
            let ip = |id| engine.cluster.pod(id).address(Family::Ip4).unwrap();
            for (proto, port) in FLOWS {
                let kind = Proto::of_number(proto).unwrap();
                let wanted = engine.decide(from, to, port, kind, Family::Ip4).allowed;
                let by_sets = sets.allow(ip(from), ip(to), proto, port);
                let by_rules = passes(&wall, &packet(ip(from), ip(to), proto, port));
                prop_assert_eq!(
                    [by_sets, by_rules], [wanted; 2],
                    "p{} -> p{} {}/{}\n{}", number(from), number(to), port, kind, world.manifest()
                );
                let word = match kind { Proto::Tcp => "TCP", Proto::Udp => "UDP", _ => continue };
                prop_assert_eq!(wanted, world.allowed(number(from), number(to), (port, word)));
            }
        }
    }

    #[test]
    fn changes_end_where_they_should(before in oracle::world(), after in oracle::world()) {
        let states = [&before, &after].map(|w| compile(&engine(w.manifest()), &AT).unwrap());
        let plan = change(&states[0], &states[1]);
        prop_assert_eq!(&applied(&states[0], &plan), &states[1]);
        prop_assert!(change(&states[1], &states[1]).is_empty());
    }
}

/// Three pods: web may ask db, whose policy also names a range; x is nobody.
const SMALL: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: s}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, namespace: s, labels: {app: web}}, spec: {containers: []}, status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db, namespace: s, labels: {app: db}}, spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}, status: {podIPs: [{ip: 10.0.0.2}, {ip: 'fd00::2'}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: s, labels: {app: x}}, spec: {containers: []}, status: {podIPs: [{ip: 10.0.0.3}, {ip: 'fd00::3'}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: s}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}, {ipBlock: {cidr: 192.168.0.0/16, except: [192.168.1.0/24]}}]
    ports: [{port: 80}, {port: 90, endPort: 99}]
";

#[test]
fn policies_are_few_elements() {
    let state = compile(&engine(SMALL.to_owned()), &AT).unwrap();
    let count = |set| {
        let of = |o: &&Object| matches!(o, Object::Element(e) if e.set == set);
        state.iter().filter(of).count()
    };
    // A class each way for each pod; web as a peer; two ranges; web and the ranges are one class of peers.
    assert_eq!(count(SetName::EgressClass(Family::Ip4)), 3);
    assert_eq!(count(SetName::IngressClass(Family::Ip6)), 3);
    assert_eq!(count(SetName::IngressPeer(Family::Ip4)), 1);
    assert_eq!(count(SetName::IngressBlock(Family::Ip4)), 2);
    assert_eq!(count(SetName::EgressPeer(Family::Ip4)), 0);
    assert_eq!(
        [
            count(SetName::MayPort),
            count(SetName::MayRange),
            count(SetName::MaySome)
        ],
        [1, 1, 1]
    );
    assert_eq!(state.len(), 12 + 2 + 2 + 3);
}

#[test]
fn a_pod_with_another_label_changes_its_own_elements_alone() {
    let before = compile(&engine(SMALL.to_owned()), &AT).unwrap();
    let relabelled = SMALL.replace("labels: {app: x}", "labels: {app: web}");
    let after = compile(&engine(relabelled), &AT).unwrap();
    let plan = change(&before, &after);
    let x: [IpAddr; 2] = ["10.0.0.3".parse().unwrap(), "fd00::3".parse().unwrap()];
    let its =
        |s: &Step| matches!(s, Step::Add(Object::Element(e)) if x.iter().any(|ip| e.key == [Field::Ip(*ip)]));
    assert_eq!(plan.0.len(), 2, "{plan:?}");
    assert!(plan.0.iter().all(its), "{plan:?}");
}

#[test]
fn everything_is_closed_where_elements_are_lost() {
    let state = compile(&engine(SMALL.to_owned()), &AT).unwrap();
    let [web, db, x]: [IpAddr; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| ip.parse().unwrap());
    let all = wall(&state);
    assert!(passes(&all, &packet(web, db, 6, 80)) && passes(&all, &packet(db, x, 6, 1)));
    assert!(!passes(&all, &packet(x, db, 6, 80)) && !passes(&all, &packet(web, db, 17, 80)));
    let stranger = "192.168.0.9".parse().unwrap();
    assert!(
        !passes(&all, &packet(stranger, db, 6, 80)),
        "an address that nobody governed has"
    );
    for lost in [
        SetName::EgressClass(Family::Ip4),
        SetName::IngressClass(Family::Ip4),
        SetName::MayPort,
    ] {
        let mut left = state.clone();
        left.retain(|o| !matches!(o, Object::Element(e) if e.set == lost));
        assert!(!passes(&wall(&left), &packet(web, db, 6, 80)), "{lost}");
    }
    let none = wall(&State::new());
    assert!(!passes(&none, &packet(db, x, 6, 1)));
}

#[test]
fn names_of_classes_read_the_same_both_ways() {
    for class in [1_u16, 2, 0x1234, u16::MAX] {
        let bits = skeleton::class_bits(class);
        assert_eq!(bits, bits.swap_bytes());
    }
    let text = skeleton::ruleset(Ruleset::Wall, &AT, &Names::of_world(0));
    assert!(text.contains(&format!("meta mark {} goto", skeleton::class_word(FREE))));
}
