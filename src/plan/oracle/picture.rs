//! What `moat graph` draws, and what `decide` says, agree.

use proptest::prelude::*;

use super::worlds::{self, SERVICES};
use crate::model::picture::{Arrow, Means, Side};
use crate::model::{
    DefaultPolicy, End, Endpoint, Family, Flow, Network, Party, Picture, Service, World, decide,
};

/// What a picture says of two ends: the services on arrows, also by way of labels.
fn drawn(picture: &Picture, from: &End, to: &End) -> Vec<Service> {
    let has = |n: usize, end: &End, side: Side| {
        let node = &picture.nodes[n];
        let bears = |a: &Arrow| {
            a.means == Means::Bears && {
                let holder = if side == Side::From {
                    (a.from, a.to)
                } else {
                    (a.to, a.from)
                };
                holder.1 == n && picture.nodes[holder.0].end == *end
            }
        };
        node.end == *end || picture.arrows.iter().any(bears)
    };
    let mut out = Vec::new();
    for a in &picture.arrows {
        let forth = has(a.from, from, Side::From) && has(a.to, to, Side::To);
        let back = a.both && has(a.to, from, Side::From) && has(a.from, to, Side::To);
        if let (Means::Opens(services), true) = (&a.means, forth || back) {
            out.extend(services);
        }
    }
    out
}

/// An arrow is drawn between two containers exactly where a link lets something pass.
fn check_picture(world: &World) -> Result<(), TestCaseError> {
    let picture = Picture::of(world, &[]);
    let open = |net: &Network| net.default_policy == DefaultPolicy::Open;
    for (a, b) in (world.endpoints.values()).flat_map(|a| world.endpoints.values().map(move |b| (a, b))) {
        // What a network opens inside is said at its frame, and no arrow crosses to another router.
        let framed = a.network == b.network && open(&world.networks[&a.network]);
        if a.container == b.container || framed || !world.joins(a, b) {
            continue;
        }
        let end = |e: &Endpoint| End::Container(e.container.clone());
        let services = drawn(&picture, &end(a), &end(b));
        for family in Family::BOTH {
            if a.address(family).and(b.address(family)).is_none() {
                continue;
            }
            for service in SERVICES.iter().map(|s| s.parse::<Service>().unwrap()) {
                let flow = Flow {
                    from: Party::Container(a.container.clone()),
                    to: Party::Container(b.container.clone()),
                    service,
                    family,
                };
                let whole = services.iter().any(|s| s.contains(service));
                // Several arrows together may hold a range that none of them holds alone.
                let allowed = decide(world, &flow).allowed;
                let ranges = service.ports().is_some_and(|p| p.count() > 1);
                prop_assert!(
                    whole == allowed || (ranges && allowed),
                    "{:?}: drawn {:?}",
                    flow,
                    services
                );
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn the_picture_shows_what_is_decided(world in worlds::world()) {
        check_picture(&world)?;
    }
}
