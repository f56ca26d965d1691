//! A network: its ranges, its bridges, and the addresses of the host that are judged beside them.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{GATEWAY6, interval, place, sysctl};
use crate::model::{DefaultPolicy, Endpoint, Family, Mac, Network, World};
use crate::plan::foreign;
use crate::plan::names::{MARK_OUT, Names};
use crate::plan::object::{Hop, MAIN, Mark, Object, Place, Ruleset, State, Verdict};
use crate::plan::set::{Element, Field, SetName, Table};

/// The host's addresses that lie in no network. In host mode the gateways are addresses of
/// the host too: they are inside their subnets, and `net` has them.
#[must_use]
pub fn lone_host_addresses(world: &World) -> Vec<IpAddr> {
    let lone = world.host.iter().copied().filter(|ip| !world.is_inside(*ip));
    lone.collect()
}

/// What links alone judge beside the subnets: these addresses of the host. None of them may
/// lie in a subnet (see [`lone_host_addresses`]): the kernel refuses intervals that overlap.
#[must_use]
pub fn host_addresses(names: &Names, at: &Place, addresses: &[IpAddr]) -> State {
    let uplink: [IpAddr; 2] = [names.host4.into(), names.host6.into()];
    let own = if *at == Place::Router { &uplink[..] } else { &[] };
    let mut s = State::new();
    for ip in addresses.iter().chain(own) {
        let family = Family::of(*ip);
        s.insert(Object::Element(Element::new(
            at,
            Table::Wall,
            SetName::Host(family),
            vec![Field::Ip(*ip)],
        )));
        s.insert(interval(
            at,
            Table::Wall,
            SetName::Near(family),
            IpNetwork::from(*ip),
        ));
    }
    s
}

/// A network without its bridges: its ranges, and the way to them.
#[must_use]
pub fn net(names: &Names, net: &Network) -> State {
    if net.foreign {
        return foreign::net(names, net);
    }
    let at = place(net);
    let mut s = State::new();
    for subnet in &net.subnets {
        let (range, family) = (subnet.network(), subnet.family());
        s.insert(interval(&at, Table::Wall, SetName::Near(family), range));
        s.insert(interval(
            &Place::Host,
            Table::WayOut,
            SetName::Nets(family),
            range,
        ));
        if net.masquerade {
            s.insert(interval(
                &Place::Host,
                Table::WayOut,
                SetName::Masq(family),
                range,
            ));
        }
        if net.default_policy == DefaultPolicy::Open {
            let mut open = Element::new(
                &at,
                Table::Wall,
                SetName::Open(family),
                vec![Field::Ip(range.network()); 2],
            );
            open.end = Some(vec![Field::Ip(range.broadcast()); 2]);
            s.insert(Object::Element(open));
        }
        // An address that nobody has is refused, never sent to the way out.
        let table = names.route_table;
        s.insert(Object::Route {
            at: at.clone(),
            table,
            to: range,
            hop: Hop::Prohibit,
        });
        if at == Place::Router {
            let router: IpAddr = match family {
                Family::Ip4 => names.router4.into(),
                Family::Ip6 => names.router6.into(),
            };
            let hop = Hop::Via(router, names.uplink_host());
            s.insert(Object::Route {
                at: Place::Host,
                table: names.route_table,
                to: range,
                hop,
            });
        } else if let Some(gateway) = net.gateway(family) {
            // What the host's own clients of a published port send from.
            let gateway = vec![Field::Ip(gateway)];
            s.insert(Object::Element(Element::new(
                &at,
                Table::Wall,
                SetName::Host(family),
                gateway,
            )));
        }
    }
    if at == Place::Host {
        s.insert(Object::Ruleset {
            at,
            which: Ruleset::Wall,
        });
    }
    s
}

/// One bridge of a network: the gateway of the containers on it.
#[must_use]
pub fn bridge(names: &Names, net: &Network, n: u32) -> State {
    let (at, name) = (place(net), names.bridge(n));
    let mut s = State::from([
        Object::Bridge {
            at: at.clone(),
            name: name.clone(),
            mac: bridge_mac(n),
            mtu: net.mtu,
        },
        sysctl(&at, &format!("net/ipv4/conf/{name}/send_redirects"), "0"),
        sysctl(&at, &format!("net/ipv4/conf/{name}/accept_source_route"), "0"),
        sysctl(&at, &format!("net/ipv4/conf/{name}/arp_ignore"), "1"),
        Object::Up {
            at: at.clone(),
            iface: name.clone(),
        },
    ]);
    for subnet in &net.subnets {
        let own = |ip| Object::Address {
            at: at.clone(),
            iface: name.clone(),
            address: IpNetwork::from(ip),
        };
        s.extend(net.gateway(subnet.family()).map(own));
        if subnet.family() == Family::Ip6 {
            s.insert(own(GATEWAY6.into()));
            s.insert(sysctl(&at, &format!("net/ipv6/conf/{name}/accept_ra"), "0"));
        }
        if at == Place::Host {
            s.extend(host_mode_rules(names, subnet.family(), n));
        }
    }
    s
}

/// The bridge's own address on the wire: fixed, or a bridge takes its lowest port's.
#[must_use]
pub fn bridge_mac(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([0x0e, 0x6d, a, b, c, d])
}

/// In host mode each bridge has its own pair of rules: out with the mark, refused without.
fn host_mode_rules(names: &Names, family: Family, n: u32) -> State {
    let rule = |k, mark, then| Object::Rule {
        at: Place::Host,
        family,
        priority: names.priority + k,
        mark: Option::map(mark, Mark::With),
        iif: Some(names.bridge(n)),
        then,
    };
    State::from([
        // Number 2 is the fence of the walls around others' interfaces.
        rule(3, Some(MARK_OUT), Verdict::Lookup(MAIN)),
        rule(4, None, Verdict::Prohibit),
    ])
}

/// What the ports beside an endpoint's share with it: our bridge, or somebody else's.
#[must_use]
pub fn side(names: &Names, net: &Network, e: &Endpoint) -> State {
    match &e.foreign {
        Some(f) => foreign::side(names, net, f),
        None => bridge(names, net, e.bridge),
    }
}
