//! `around` is as much of the world as some containers can meet.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Dir, container, name, network};
use crate::model::{End, Link, Name, Proto, Published, World};
use crate::store::NewEndpoint;

/// The part of a world that `around` promises: these containers, their links, and whom
/// those links name.
fn restricted(world: &World, to: &[&Name]) -> World {
    let mine = |end: &End| {
        to.iter()
            .filter_map(|n| world.endpoints.get(*n))
            .any(|e| e.is(end))
    };
    let links: Vec<Link> = world
        .links
        .iter()
        .filter(|l| mine(&l.from) || mine(&l.to))
        .cloned()
        .collect();
    let named = |e: &crate::model::Endpoint| {
        to.contains(&&e.container) || links.iter().any(|l| e.is(&l.from) || e.is(&l.to))
    };
    let mut part = world.clone();
    part.endpoints.retain(|_, e| named(e));
    part.published.retain(|p| to.contains(&&p.container));
    part.links = links;
    part
}

#[test]
fn around_is_the_world_restricted() {
    let dir = Dir::new();
    let store = dir.open();
    let net = network("n", &["10.0.0.0/24"]);
    store.add_network(&net, true).unwrap();
    let labels: [&[(&str, &str)]; 6] = [
        &[("app", "a")],
        &[("app", "b")],
        &[("app", "a"), ("tier", "x")],
        &[],
        &[("tier", "x")],
        &[],
    ];
    for (n, labels) in labels.iter().enumerate() {
        let c = container(&format!("c{n}"), &format!("{n}{n}{n}"), labels);
        store.add_container(&c).unwrap();
        store
            .write(|s| s.add_endpoint(&c.name, &net, &c.labels, &NewEndpoint::default()))
            .unwrap();
        store
            .set_sandbox(&c.name, &PathBuf::from(format!("/proc/{n}/ns/net")))
            .unwrap();
    }
    for (n, (from, to)) in [
        ("c0", "c1:80"),
        ("label:app=a", "c3"),
        ("c3", "label:tier=x:53/udp"),
        ("label:tier=x", "host:22"),
        ("c5", "world"),
        ("c5", "gone"),
        ("label:app=b", "label:app=a"),
    ]
    .into_iter()
    .enumerate()
    {
        let (to, service) = End::with_service(to).unwrap();
        let expires = (n == 0).then_some(100);
        store
            .add_link(&Link {
                from: from.parse().unwrap(),
                to,
                service,
                expires,
            })
            .unwrap();
    }
    let published = Published {
        container: name("c0"),
        host_ip: None,
        host_port: 80,
        port: 80,
        proto: Proto::Tcp,
    };
    store.publish(&published).unwrap();
    for now in [0, 100] {
        let (world, places) = store.world(now).unwrap();
        assert_eq!(places.len(), 6);
        for a in world.endpoints.keys() {
            for b in world.endpoints.keys() {
                let wanted = restricted(&world, &[a, b]);
                let (part, _) = store.around(&[a, b], now).unwrap();
                let found = BTreeSet::from_iter(part.endpoints.keys());
                assert_eq!(
                    found,
                    wanted.endpoints.keys().collect(),
                    "around {a} and {b} at {now}"
                );
                assert_eq!(sorted(&part), sorted(&wanted), "around {a} and {b} at {now}");
            }
        }
    }
}

/// In an order that does not depend on how it was asked for, and no link or port twice.
fn sorted(world: &World) -> (Vec<Link>, Vec<Published>) {
    let (mut links, mut published) = (world.links.clone(), world.published.clone());
    links.sort();
    published.sort();
    (links, published)
}
