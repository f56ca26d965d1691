//! A test stand for policies: a router with the wall, and a seat for each pod, whatever its address is.
//!
//! Every address is judged as one of a container, and no pod has a way out: the world outside of a cluster is
//! pods, too.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::model::{DefaultPolicy, Endpoint, Family, Mac, Name, Network, Router};
use crate::plan::desired::{self, GATEWAY6};
use crate::plan::names::Names;
use crate::plan::object::{Hop, MAIN, Object, Place, Ruleset, State};
use crate::plan::set::{SetName, Table};

/// What pods of a stand take for their gateway.
const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 109, 1);

/// The bridge of all pods; a bridge has 1023 ports at most.
const BRIDGE: u32 = 1;

/// How many pods find a seat on one bridge.
pub const SEATS: usize = 1023;

const INSIDE: &str = "eth0";

/// What a stand is made of.
#[derive(Clone, Debug)]
pub struct Stand {
    names: Names,
    /// Without subnets: its pods have addresses from anywhere.
    net: Network,
}

impl Stand {
    #[must_use]
    pub fn new(names: Names, name: Name) -> Self {
        let net = Network {
            name,
            subnets: vec![],
            internal: true,
            router: Router::Own,
            default_policy: DefaultPolicy::Kubernetes,
            mtu: 1500,
            gateways: vec![],
            masquerade: false,
            foreign: false,
        };
        Self { names, net }
    }

    /// The router without pods.
    #[must_use]
    pub fn router(&self, families: &[Family]) -> State {
        let (at, names) = (Place::Router, &self.names);
        let ruleset = |which| Object::Ruleset {
            at: Place::Router,
            which,
        };
        let mut s = State::from([
            ruleset(Ruleset::Wall),
            ruleset(Ruleset::Stand),
            Object::Up {
                at: at.clone(),
                iface: "lo".to_owned(),
            },
        ]);
        s.extend(desired::router_values(families));
        s.extend(desired::bridge(names, &self.net, BRIDGE));
        for family in families {
            s.extend(desired::router_policy(names, *family));
            s.insert(desired::interval(
                &at,
                Table::Wall,
                SetName::Near(*family),
                family.everything(),
            ));
            s.insert(Object::Address {
                at: at.clone(),
                iface: names.bridge(BRIDGE),
                address: gateway(*family).into(),
            });
        }
        s
    }

    /// One pod's seat, with the addresses it has at the moment.
    #[must_use]
    pub fn seat(&self, number: u32, sandbox: &Path, addresses: &[IpAddr]) -> State {
        let place = Place::Sandbox(sandbox.to_owned());
        let [a, b, c, d] = number.to_be_bytes();
        let endpoint = Endpoint {
            id: number,
            container: self.net.name.clone(),
            network: self.net.name.clone(),
            addresses: addresses.to_vec(),
            mac: Mac([0x02, 0x6d, a, b, c, d]),
            labels: BTreeMap::new(),
            bridge: BRIDGE,
            iface: INSIDE.to_owned(),
            aliases: vec![],
            routes: vec![],
            foreign: None,
            further: false,
        };
        let mut s = desired::endpoint(&self.names, &self.net, &endpoint, &place);
        for ip in addresses {
            s.extend(inside(&place, *ip));
        }
        s
    }
}

/// A pod's own address and the way to all others.
fn inside(at: &Place, ip: IpAddr) -> State {
    let family = Family::of(ip);
    let gateway = gateway(family);
    let iface = INSIDE.to_owned();
    let route = |to, hop| Object::Route {
        at: at.clone(),
        table: MAIN,
        to,
        hop,
    };
    State::from([
        Object::Address {
            at: at.clone(),
            iface: iface.clone(),
            address: ip.into(),
        },
        Object::Neighbour {
            at: at.clone(),
            iface: iface.clone(),
            ip: gateway,
            mac: desired::bridge_mac(BRIDGE),
        },
        route(family.everything(), Hop::Via(gateway, iface)),
    ])
}

fn gateway(family: Family) -> IpAddr {
    match family {
        Family::Ip4 => GATEWAY4.into(),
        Family::Ip6 => GATEWAY6.into(),
    }
}
