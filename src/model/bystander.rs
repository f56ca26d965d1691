//! Containers without a wall of ours: on a bridge that we made as the reference does.
//!
//! What passes between them is decided by their bridge. To containers behind the wall they are
//! the outside.

use std::net::IpAddr;

use super::decide::{from_outside, to_world, walled};
use super::{Decision, Family, Flow, Name, Party, Rule, World};

/// A container that plugin `bridge` attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bystander {
    pub container: Name,
    pub addresses: Vec<IpAddr>,
    pub bridge: String,
    pub policy: BridgePolicy,
}

/// What holds on a bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BridgePolicy {
    /// What the reference does: everything passes.
    #[default]
    Open,
    /// Nothing passes to other bridges that are not open.
    SameBridge,
    /// Nor between the containers of this one.
    Isolated,
}

/// How such a container gets walls.
pub const WALLS: &str = "in its CNI configuration: `\"moat\": {\"isolate\": true}` with type bridge closes \
                         the bridge inside; links need type moat, or type moat with mode policy last";

impl Bystander {
    #[must_use]
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|a| Family::of(*a) == family)
    }

    fn open(&self) -> Decision {
        let text = format!("open: bridge `{}` has no walls", self.bridge);
        Decision::yes(Rule::Default, text, Some(WALLS.to_owned()))
    }
}

/// Decides a flow in which one of them takes part; `None` where none does. An end that is another
/// container or an address is already what it stands for.
pub(super) fn decide(world: &World, flow: &Flow) -> Option<Decision> {
    let side = |party: &Party| match party {
        Party::Container(name) => world.bystanders.get(name),
        _ => None,
    };
    let (from, to) = (side(&flow.from), side(&flow.to));
    if let Some(lacks) = [from, to]
        .into_iter()
        .flatten()
        .find(|b| b.address(flow.family).is_none())
    {
        let text = format!("`{}` has no IPv{} address", lacks.container, flow.family.digit());
        return Some(Decision::no(Rule::Missing, text, None));
    }
    Some(match (from, to) {
        (None, None) => return None,
        (Some(a), Some(b)) => beside(a, b),
        (Some(a), None) => match &flow.to {
            Party::Container(name) => match walled(world, name, flow.family) {
                Ok(to) => {
                    let from = Party::World;
                    from_outside(world, to, &Flow { from, ..flow.clone() })
                }
                Err(missing) => missing,
            },
            _ => a.open(),
        },
        (None, Some(b)) => match (&flow.from, b.address(flow.family)) {
            (Party::Container(name), Some(ip)) => match walled(world, name, flow.family) {
                Ok(from) => {
                    let to = Party::Address(ip);
                    to_world(world, from, &Flow { to, ..flow.clone() })
                }
                Err(missing) => missing,
            },
            _ => b.open(),
        },
    })
}

fn beside(a: &Bystander, b: &Bystander) -> Decision {
    use BridgePolicy::{Isolated, Open};
    if a.bridge == b.bridge {
        if a.policy == Isolated || b.policy == Isolated {
            let text = format!("bridge `{}` is isolated: nothing passes inside", a.bridge);
            return Decision::no(Rule::Default, text, Some(WALLS.to_owned()));
        }
        return a.open();
    }
    if a.policy != Open && b.policy != Open {
        let text = format!(
            "the ingress policies of bridges `{}` and `{}` keep them apart",
            a.bridge, b.bridge
        );
        return Decision::no(Rule::Default, text, None);
    }
    let text = format!(
        "open: the host routes between bridges `{}` and `{}`, which have no walls",
        a.bridge, b.bridge
    );
    Decision::yes(Rule::Default, text, Some(WALLS.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::{DefaultPolicy, Endpoint, Mac, Network, Proto, Published, Router, Service};
    use super::*;

    fn bystander(name: &str, ip: &str, bridge: &str, policy: BridgePolicy) -> (Name, Bystander) {
        let container: Name = name.parse().unwrap();
        let b = Bystander {
            container: container.clone(),
            addresses: vec![ip.parse().unwrap()],
            bridge: bridge.to_owned(),
            policy,
        };
        (container, b)
    }

    fn world() -> World {
        use BridgePolicy::{Isolated, Open, SameBridge};
        let mut world = World::default();
        world.bystanders.extend([
            bystander("a", "10.4.0.2", "cni0", Open),
            bystander("b", "10.4.0.3", "cni0", Open),
            bystander("c", "10.5.0.2", "cni1", SameBridge),
            bystander("d", "10.6.0.2", "cni2", Isolated),
            bystander("e", "10.6.0.3", "cni2", Isolated),
        ]);
        let (net, web): (Name, Name) = ("moat".parse().unwrap(), "web".parse().unwrap());
        world.networks.insert(
            net.clone(),
            Network {
                name: net.clone(),
                subnets: vec!["10.9.0.0/16".parse().unwrap()],
                internal: false,
                router: Router::Own,
                default_policy: DefaultPolicy::Isolated,
                mtu: 1500,
                gateways: vec![],
                masquerade: true,
                foreign: false,
            },
        );
        world.endpoints.insert(
            web.clone(),
            Endpoint {
                id: 1,
                container: web.clone(),
                network: net,
                addresses: vec!["10.9.0.2".parse().unwrap()],
                mac: Mac([2, 0, 0, 0, 0, 1]),
                labels: Default::default(),
                bridge: 1,
                iface: "eth0".into(),
                aliases: vec![],
                routes: vec![],
                foreign: None,
                further: false,
            },
        );
        world.published.push(Published {
            container: web,
            host_ip: None,
            host_port: 8080,
            port: 80,
            proto: Proto::Tcp,
        });
        world
    }

    /// The answer, and its first reason.
    fn says(from: &str, to: &str, port: u16) -> (bool, String) {
        let party = |word: &str| match word {
            "host" => Party::Host,
            "world" => Party::World,
            ip if ip.contains('.') => Party::Address(ip.parse().unwrap()),
            name => Party::Container(name.parse().unwrap()),
        };
        let service = format!("{port}/tcp").parse::<Service>().unwrap();
        let flow = Flow {
            from: party(from),
            to: party(to),
            service,
            family: Family::Ip4,
        };
        let d = super::super::decide(&world(), &flow);
        (d.allowed, d.because[0].text.clone())
    }

    #[test]
    fn their_bridge_decides() {
        for (from, to, allowed, words) in [
            ("a", "b", true, "open: bridge `cni0` has no walls"),
            ("a", "10.4.0.3", true, "open: bridge `cni0` has no walls"),
            ("a", "c", true, "the host routes between"),
            ("c", "d", false, "keep them apart"),
            ("d", "e", false, "bridge `cni2` is isolated"),
            ("d", "host", true, "open: bridge `cni2`"),
            ("world", "a", true, "open: bridge `cni0`"),
            ("a", "nobody", false, "no running container"),
        ] {
            let (is, why) = says(from, to, 80);
            assert!(is == allowed && why.contains(words), "{from} {to}: {is} {why}");
        }
    }

    #[test]
    fn to_the_walled_they_are_the_outside() {
        assert!(says("a", "web", 80).0 && !says("a", "web", 81).0);
        assert!(says("web", "a", 81).0, "by the way out");
    }
}
