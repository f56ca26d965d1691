//! Addresses, MACs and bridge ports: nobody gets what somebody has.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dir, asking, attach, first_address, name, network, wish};
use crate::model::Mac;
use crate::store::{Error, NewEndpoint, Store};

#[test]
fn addresses_skip_wrap_round_and_run_out() {
    let dir = Dir::new();
    let store = dir.open();
    let net = network("n", &["10.0.0.0/29"]);
    store.add_network(&net, true).unwrap();
    wish(&store, "asked", &net, &asking(&["10.0.0.3"], None)).unwrap();
    for (label, want) in [
        ("a", "10.0.0.2"),
        ("b", "10.0.0.4"),
        ("c", "10.0.0.5"),
        ("d", "10.0.0.6"),
    ] {
        attach(&store, label, &net).unwrap();
        assert_eq!(first_address(&store, label), want);
    }
    let full = attach(&store, "e", &net);
    assert!(
        matches!(&full, Err(Error::Exhausted { network, family: '4' }) if network == "n"),
        "{full:?}"
    );
    // A freed address comes back only when the search has gone round.
    store.write(|s| s.remove_endpoint(&name("a"))).unwrap();
    attach(&store, "f", &net).unwrap();
    assert_eq!(first_address(&store, "f"), "10.0.0.2");
}

#[test]
fn a_freed_address_rests() {
    let dir = Dir::new();
    let store = dir.open();
    let net = network("n", &["10.0.0.0/24"]);
    store.add_network(&net, true).unwrap();
    attach(&store, "a", &net).unwrap();
    store.write(|s| s.remove_endpoint(&name("a"))).unwrap();
    attach(&store, "b", &net).unwrap();
    assert_eq!(first_address(&store, "b"), "10.0.0.3");
}

#[test]
fn a_failed_attachment_leaves_nothing() {
    let dir = Dir::new();
    let store = dir.open();
    let net = network("n", &["10.0.0.0/24", "fd00::/64"]);
    store.add_network(&net, true).unwrap();
    attach(&store, "a", &net).unwrap();
    let mac = store.endpoint(&name("a")).unwrap().unwrap().0.mac.to_string();
    let taken = wish(&store, "b", &net, &asking(&["10.0.0.2"], None));
    assert!(matches!(taken, Err(Error::AddressTaken { .. })), "{taken:?}");
    let taken = wish(&store, "b", &net, &asking(&["fd00::2"], None));
    assert!(matches!(taken, Err(Error::AddressTaken { .. })), "{taken:?}");
    let taken = wish(&store, "b", &net, &asking(&[], Some(&mac)));
    assert!(matches!(taken, Err(Error::MacTaken { .. })), "{taken:?}");
    assert_eq!(store.attached_count(&net.name).unwrap(), 1);
    attach(&store, "b", &net).unwrap();
    assert_eq!(first_address(&store, "b"), "10.0.0.3");
}

#[test]
fn only_addresses_of_the_subnet_are_given() {
    let dir = Dir::new();
    let store = dir.open();
    let net = network("n", &["10.0.0.0/24"]);
    store.add_network(&net, true).unwrap();
    for bad in ["10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.1.5", "fd00::5"] {
        let refused = wish(&store, "a", &net, &asking(&[bad], None));
        assert!(
            matches!(refused, Err(Error::AddressUnfit { .. })),
            "{bad}: {refused:?}"
        );
    }
}

#[test]
fn a_derived_mac_gives_way_to_one_that_was_asked_for() {
    let dir = Dir::new();
    let store = dir.open();
    let net = network("n", &["10.0.0.0/24"]);
    store.add_network(&net, true).unwrap();
    // What the next address, 10.0.0.3, would bring.
    wish(&store, "a", &net, &asking(&[], Some("02:6d:0a:00:00:03"))).unwrap();
    attach(&store, "b", &net).unwrap();
    let macs: BTreeSet<Mac> = store.endpoints().unwrap().iter().map(|(e, _)| e.mac).collect();
    assert_eq!(macs.len(), 2);
}

#[test]
fn bridges_hold_a_thousand_ports() {
    let dir = Dir::new();
    let store = dir.open();
    let net = network("n", &["10.0.0.0/16"]);
    store.add_network(&net, true).unwrap();
    let fill = |s: &Store, range: std::ops::Range<u32>| {
        range.into_iter().try_for_each(|n| {
            s.add_endpoint(
                &name(&format!("c{n}")),
                &net,
                &BTreeMap::new(),
                &NewEndpoint::default(),
            )
        })
    };
    store.write(|s| fill(s, 0..1000)).unwrap();
    assert_eq!(store.bridges().unwrap().len(), 1);
    store.write(|s| fill(s, 1000..1001)).unwrap();
    let bridge = |label: &str| store.endpoint(&name(label)).unwrap().unwrap().0.bridge;
    assert_ne!(bridge("c999"), bridge("c1000"));
    assert_eq!(bridge("c0"), bridge("c999"));
    // A place that becomes free is used again.
    store.write(|s| s.remove_endpoint(&name("c5"))).unwrap();
    store.write(|s| fill(s, 1001..1002)).unwrap();
    assert_eq!(bridge("c1001"), bridge("c0"));
    assert_eq!(store.attached_count(&net.name).unwrap(), 1001);
}

#[test]
fn many_writers_get_addresses_of_their_own() {
    let dir = Dir::new();
    let net = network("n", &["10.0.0.0/22", "fd00::/64"]);
    dir.open().add_network(&net, true).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let (dir, net) = (&dir, &net);
            scope.spawn(move || {
                let store = dir.open();
                (0..25).for_each(|n| attach(&store, &format!("c{writer}-{n}"), net).unwrap());
            });
        }
    });
    let all = dir.open().endpoints().unwrap();
    let distinct = |f: &dyn Fn(&crate::model::Endpoint) -> String| {
        all.iter().map(|(e, _)| f(e)).collect::<BTreeSet<_>>().len()
    };
    assert_eq!(all.len(), 200);
    assert_eq!(distinct(&|e| e.addresses[0].to_string()), 200);
    assert_eq!(distinct(&|e| e.addresses[1].to_string()), 200);
    assert_eq!(distinct(&|e| e.mac.to_string()), 200);
}

#[test]
fn many_may_be_first() {
    for _ in 0..30 {
        let dir = Dir::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(dir.open().meta("boot").unwrap().as_deref(), Some("boot")));
            }
        });
    }
}
