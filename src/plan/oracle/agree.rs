//! The documents, `decide` and the compiled wall agree, for every flow of random worlds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::principles;
use super::wall::{Packet, Wall};
use super::worlds::{self, OUTSIDE, host, packets, parties, side};
use crate::model::{Decision, Endpoint, Family, Flow, Network, Party, Router, World, decide};
use crate::plan::elements::host_end;
use crate::plan::{
    Element, Field, MARK_IN, MARK_OUT, Machine, Names, Object, Place, SetName, State, Table, desired,
};

pub fn everything(names: &Names, world: &World) -> State {
    let machine = Machine {
        families: Family::BOTH.to_vec(),
        mtu: 1500,
        accepts_ra: vec![],
        filters_frames: true,
    };
    let place = |e: &Endpoint| (e.container.clone(), format!("/netns/{}", e.id).into());
    let sandboxes = world.endpoints.values().map(place).collect();
    desired::everything(names, &machine, world, &sandboxes, &BTreeMap::new())
}

fn takes_part(flow: &Flow) -> bool {
    let container = |p: &Party| matches!(p, Party::Container(_));
    flow.from != flow.to && (container(&flow.from) || container(&flow.to))
}

fn check_decisions(world: &World, services: &[crate::model::Service]) -> Result<(), TestCaseError> {
    for (from, to) in parties(world)
        .iter()
        .flat_map(|a| parties(world).into_iter().map(move |b| (a.clone(), b)))
    {
        for (service, family) in services.iter().flat_map(|s| Family::BOTH.map(|f| (*s, f))) {
            let flow = Flow {
                from: from.clone(),
                to: to.clone(),
                service,
                family,
            };
            if takes_part(&flow) {
                let Decision { allowed, because, .. } = decide(world, &flow);
                prop_assert!(!because.is_empty());
                prop_assert_eq!(
                    allowed,
                    principles::allows(world, &flow),
                    "{:?} {:?}",
                    flow,
                    because
                );
            }
        }
    }
    Ok(())
}

/// A world under test, compiled.
struct Compiled<'w> {
    world: &'w World,
    names: Names,
    state: State,
    walls: BTreeMap<Router, Wall>,
}

/// The interfaces of packets from elsewhere.
fn beyond(router: Router) -> &'static str {
    match router {
        Router::Own => "mtway",
        Router::Host => "ens3",
    }
}

impl<'w> Compiled<'w> {
    /// The elements of `before` that are left when only the links of `world` are.
    fn new(before: &World, world: &'w World, now: u64) -> Self {
        let names = Names::of_world(0);
        let mut state = everything(&names, before);
        state.retain(|o| !matches!(o, Object::Element(e) if e.expires.is_some_and(|x| x.0 <= now)));
        let wall = |at| Wall::new(&at, &names, &state);
        let walls = BTreeMap::from([
            (Router::Own, wall(Place::Router)),
            (Router::Host, wall(Place::Host)),
        ]);
        Self {
            world,
            walls,
            state,
            names,
        }
    }

    fn router(&self, e: &Endpoint) -> Router {
        self.world.networks[&e.network].router
    }

    /// A container's packets to other containers, the outside and the host.
    fn check_from(&self, e: &Endpoint, from: IpAddr, kinds: &[(u8, u16)]) -> Result<(), TestCaseError> {
        let (router, family) = (self.router(e), Family::of(from));
        let wall = &self.walls[&router];
        let others = self
            .world
            .endpoints
            .values()
            .filter(|o| o.container != e.container && self.router(o) == router);
        let peers = others.filter_map(|o| Some((o.address(family)?, side(o), MARK_IN)));
        let outside = OUTSIDE
            .iter()
            .map(|a| (a.parse().unwrap(), beyond(router), MARK_OUT));
        let outside = outside.filter(|(a, ..): &(IpAddr, _, _)| Family::of(*a) == family);
        for (to, iif, way) in peers.chain(outside) {
            for (proto, port) in kinds {
                let allowed = principles::one(self.world, from, to, (*proto, *port));
                let mut first = packet(side(e), from, to, *proto, *port);
                prop_assert_eq!(wall.marks(&first), if allowed { way } else { 0 }, "{:?}", first);
                if way == MARK_IN {
                    // What is published, by whomever, is not linked.
                    first.translated = true;
                    prop_assert_eq!(wall.marks(&first), if allowed { way } else { 0 }, "{:?}", first);
                    first.translated = false;
                }
                let (answer, back) = (first.answer(iif), if allowed { MARK_IN } else { 0 });
                prop_assert_eq!(wall.marks(&answer), back, "{:?}", answer);
            }
        }
        self.check_to_host(e, from, kinds)
    }

    fn check_to_host(&self, e: &Endpoint, from: IpAddr, kinds: &[(u8, u16)]) -> Result<(), TestCaseError> {
        let (router, family) = (self.router(e), Family::of(from));
        let wall = &self.walls[&router];
        let Some(to) = host_end(&self.names, &self.world.networks[&e.network], family) else {
            return Ok(());
        };
        for (proto, port) in kinds {
            let first = packet(side(e), from, to, *proto, *port);
            let allowed = principles::one(self.world, from, principles::host(family), (*proto, *port));
            let passes = match router {
                Router::Own => {
                    wall.marks(&first) == MARK_IN && wall.marks(&first.answer(beyond(router))) == MARK_IN
                }
                // Everybody may ping a gateway.
                Router::Host if matches!(proto, 1 | 58) => continue,
                Router::Host => wall.lets_in(&first),
            };
            prop_assert_eq!(passes, allowed, "{:?}", first);
            // The host's other addresses are not what `host` means.
            for other in host()
                .into_iter()
                .filter(|a| Family::of(*a) == family && *a != to)
            {
                let other = packet(side(e), from, other, *proto, *port);
                prop_assert_eq!(wall.marks(&other), 0, "{:?}", other);
            }
        }
        Ok(())
    }

    /// Packets from the outside and the host to a container, after translation.
    fn check_to(&self, e: &Endpoint, to: IpAddr, kinds: &[(u8, u16)]) -> Result<(), TestCaseError> {
        let (router, family) = (self.router(e), Family::of(to));
        let wall = &self.walls[&router];
        let near = match router {
            Router::Own => host_end(&self.names, &self.world.networks[&e.network], family),
            Router::Host => self.world.networks[&e.network].gateway(family),
        };
        let outside = OUTSIDE.iter().map(|a| a.parse::<IpAddr>().unwrap());
        let outside = outside.filter(|a| Family::of(*a) == family).map(|a| (a, a));
        let senders = outside.chain(near.map(|a| (a, principles::host(family))));
        for (source, asked) in senders {
            for (proto, port) in kinds {
                let mut first = packet(beyond(router), source, to, *proto, *port);
                let allowed = principles::one(self.world, asked, to, (*proto, *port));
                let from_host = self.world.host.contains(&asked);
                if router == Router::Host {
                    prop_assert_eq!(
                        wall.marks(&first),
                        0,
                        "routed straight at the container: {:?}",
                        first
                    );
                }
                if e.foreign.is_some() {
                    prop_assert!(!allowed, "{:?}", first);
                    self.check_translated_by_others(e, &first)?;
                    continue;
                }
                first.translated = self.translates(from_host, &first);
                // In host mode the host's own packets meet no rule on the way out.
                let enters = (from_host && router == Router::Host) || wall.marks(&first) == MARK_IN;
                let passes = first.translated && enters && wall.marks(&first.answer(side(e))) == MARK_OUT;
                prop_assert_eq!(passes, allowed, "{:?}", first);
            }
        }
        Ok(())
    }

    /// What another plugin's port map leads to a container comes in, and its answers go out.
    fn check_translated_by_others(&self, e: &Endpoint, first: &Packet) -> Result<(), TestCaseError> {
        let wall = &self.walls[&Router::Host];
        let mut first = first.clone();
        first.translated = true;
        prop_assert_eq!(wall.marks(&first), MARK_IN, "{:?}", first);
        first.iif = "mtup";
        prop_assert_eq!(
            wall.marks(&first),
            0,
            "from a container with its own router: {:?}",
            first
        );
        first.iif = beyond(Router::Host);
        // The host's own clients get their answers as any answer to the host.
        if !self.world.is_inside(first.from) {
            let answer = first.answer(side(e));
            prop_assert_eq!(wall.marks(&answer), MARK_OUT, "{:?}", answer);
        }
        Ok(())
    }

    /// Behind another plugin's interfaces: who has no wall, and who forges a source.
    fn check_beyond(&self, e: &Endpoint, kinds: &[(u8, u16)]) -> Result<(), TestCaseError> {
        let Some(f) = &e.foreign else { return Ok(()) };
        let wall = &self.walls[&Router::Host];
        for to in OUTSIDE.iter().map(|a| a.parse::<IpAddr>().unwrap()) {
            let stranger = if to.is_ipv4() { "10.99.0.9" } else { "fd99::9" };
            for (proto, port) in kinds {
                let first = packet(side(e), stranger.parse().unwrap(), to, *proto, *port);
                // On a bridge the source is looked at before, so this is somebody else.
                let way = if f.bridge.is_some() { MARK_OUT } else { 0 };
                prop_assert_eq!(wall.marks(&first), way, "{:?}", first);
                let open = f.bridge.is_some() || matches!(proto, 1 | 58);
                prop_assert_eq!(wall.lets_in(&first), open, "{:?}", first);
            }
        }
        Ok(())
    }

    /// Whether a port map of the host leads to where this packet goes.
    fn translates(&self, from_host: bool, packet: &Packet) -> bool {
        let target = Some(vec![Field::Ip(packet.to), Field::Port(packet.port)]);
        self.state.iter().any(|o| match o {
            Object::Element(Element {
                table: Table::WayOut,
                set,
                key,
                data,
                ..
            }) => {
                let reachable = match (set, &key[0]) {
                    (SetName::At(_), Field::Ip(ip)) => from_host || !ip.is_loopback(),
                    (SetName::Any(_), _) => true,
                    _ => false,
                };
                reachable && key.contains(&Field::Proto(packet.proto)) && *data == target
            }
            _ => false,
        })
    }
}

fn packet(iif: &'static str, from: IpAddr, to: IpAddr, proto: u8, port: u16) -> Packet {
    Packet {
        iif,
        from,
        to,
        proto,
        source_port: 40_001,
        port,
        reply: false,
        translated: false,
    }
}

/// No key twice, and no two intervals that share an address or port.
fn check_disjoint(state: &State) -> Result<(), TestCaseError> {
    let elements = || {
        state.iter().filter_map(|o| match o {
            Object::Element(e) => Some(e),
            _ => None,
        })
    };
    for (n, a) in elements().enumerate() {
        prop_assert_eq!(a.end.is_some(), a.set.is_interval());
        prop_assert_eq!(a.key.len(), a.set.key_types().len());
        prop_assert_eq!(a.data.as_ref().map_or(0, Vec::len), a.set.data_types().len());
        let set = |e: &Element| (e.at.clone(), e.table, e.set);
        for b in elements().skip(n + 1).filter(|b| set(a) == set(b)) {
            let end = |e: &Element| e.end.clone().unwrap_or_else(|| e.key.clone());
            let (a_end, b_end) = (end(a), end(b));
            let shared = (0..a.key.len()).all(|i| a.key[i] <= b_end[i] && b.key[i] <= a_end[i]);
            prop_assert!(!shared, "{:?} and {:?}", a, b);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn decisions_are_what_the_documents_promise(
        world in worlds::world(),
        services in proptest::collection::vec(worlds::service(), 4),
    ) {
        check_decisions(&world, &services)?;
    }

    #[test]
    fn the_wall_does_what_the_documents_promise(
        world in worlds::world(),
        v4 in subsequence(packets(Family::Ip4), 12),
        v6 in subsequence(packets(Family::Ip6), 12),
        now in select(vec![0_u64, 100, 300]),
    ) {
        let before = world.clone();
        let mut world = world;
        world.links.retain(|l| l.expires.is_none_or(|at| at > now));
        let compiled = Compiled::new(&before, &world, now);
        for e in world.endpoints.values() {
            for address in &e.addresses {
                let kinds = if address.is_ipv4() { &v4 } else { &v6 };
                compiled.check_from(e, *address, kinds)?;
                compiled.check_to(e, *address, kinds)?;
                compiled.check_beyond(e, kinds)?;
            }
        }
    }

    #[test]
    fn elements_of_a_set_are_disjoint(world in worlds::world(), own_gateways in any::<bool>()) {
        let mut world = world;
        // What a dump of the host's addresses brings in host mode.
        if own_gateways {
            let gateways: Vec<IpAddr> = world.networks.values().filter(|n| n.router == Router::Host)
                .flat_map(Network::every_gateway).collect();
            world.host.extend(gateways);
        }
        check_disjoint(&everything(&Names::of_world(0), &world))?;
    }
}
