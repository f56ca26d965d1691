//! What an attachment of a reference plugin wants from `classic.nft`, as set elements.
//!
//! Pure. Each function says what one attachment wants; attachments may want equal elements,
//! and one stays until the last of them goes.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::object::{Object, Place, State};
use super::set::{Element, Field, SetName, Table};
use crate::model::{Family, Mac, Proto};

/// One published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The host's address; `None` for all of them, in both families.
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    /// The container's port.
    pub port: u16,
    pub proto: Proto,
}

impl Mapping {
    /// Whether it is for a container's address of this family. The unspecified address is
    /// every address of its own family.
    #[must_use]
    pub fn serves(&self, family: Family) -> bool {
        self.host_ip.is_none_or(|ip| Family::of(ip) == family)
    }
}

/// Which clients of a published port are masqueraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    Nobody,
    /// Those of the container's own subnet, and the host's loopback: answers would not
    /// come back to them otherwise.
    Near,
    Everybody,
}

/// `ingressPolicy`, apart from `open`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingress {
    SameBridge,
    Isolated,
}

fn inet(set: SetName, key: Vec<Field>) -> Object {
    Object::Element(Element::new(&Place::Host, Table::Classic, set, key))
}

/// An address is at home in its subnet.
fn home(address: IpNetwork) -> Object {
    let own = Field::Ip(address.ip());
    let set = SetName::Home(Family::of(address.ip()));
    let mut e = Element::new(
        &Place::Host,
        Table::Classic,
        set,
        vec![own.clone(), Field::Ip(address.network())],
    );
    e.end = Some(vec![own, Field::Ip(address.broadcast())]);
    Object::Element(e)
}

/// `ipMasq`: what these addresses send beyond their subnets gets the host's address.
#[must_use]
pub fn masquerade(addresses: &[IpNetwork]) -> State {
    let one = |a: &IpNetwork| {
        let set = SetName::Hide(Family::of(a.ip()));
        [inet(set, vec![Field::Ip(a.ip())]), home(*a)]
    };
    addresses.iter().flat_map(one).collect()
}

/// Port maps to one address of a container. Loopback clients need [`guard`], too.
#[must_use]
pub fn published(address: IpNetwork, maps: &[Mapping], hidden: Hidden) -> State {
    let ip = address.ip();
    let family = Family::of(ip);
    let mut s = State::new();
    for m in maps.iter().filter(|m| m.serves(family)) {
        let proto = Field::Proto(m.proto.number(family));
        let (set, key) = match m.host_ip.filter(|ip| !ip.is_unspecified()) {
            Some(host) => (SetName::At(family), vec![Field::Ip(host), proto.clone()]),
            None => (SetName::Any(family), vec![proto.clone()]),
        };
        let key = [key, vec![Field::Port(m.host_port)]].concat();
        let mut map = Element::new(&Place::Host, Table::Classic, set, key);
        map.data = Some(vec![Field::Ip(ip), Field::Port(m.port)]);
        s.insert(Object::Element(map));
        let target = vec![Field::Ip(ip), proto, Field::Port(m.port)];
        match hidden {
            Hidden::Nobody => {}
            Hidden::Near => {
                s.insert(inet(SetName::Snat(family), target));
                s.insert(home(address));
            }
            Hidden::Everybody => {
                s.insert(inet(SetName::SnatAll(family), target));
            }
        }
    }
    s
}

/// `route_localnet` on an interface is for answers alone.
#[must_use]
pub fn guard(iface: &str) -> State {
    State::from([inet(SetName::Guarded, vec![name(iface)])])
}

/// The walls around a bridge, and between its ports if it is isolated.
#[must_use]
pub fn ingress(bridge: &str, policy: Ingress, ports: &[String]) -> State {
    let bridge = name(bridge);
    let mut s = State::from([inet(SetName::Bridges, vec![bridge.clone()])]);
    match policy {
        Ingress::SameBridge => {
            s.insert(inet(SetName::SameBridge, vec![bridge.clone(), bridge]));
        }
        Ingress::Isolated => {
            s.insert(inet(SetName::Isolated, vec![bridge]));
            s.extend(ports.iter().map(|p| {
                let key = vec![name(p)];
                Object::Element(Element::new(
                    &Place::Host,
                    Table::ClassicPorts,
                    SetName::IsolatedPort,
                    key,
                ))
            }));
        }
    }
    s
}

/// `macspoofchk`: a port whose container sends from one MAC address only.
#[must_use]
pub fn mac_check(port: &str, mac: Mac) -> State {
    let on = |set, key| Object::Element(Element::new(&Place::Host, Table::ClassicPorts, set, key));
    State::from([
        on(SetName::Checked, vec![name(port)]),
        on(SetName::Mac, vec![name(port), Field::Mac(mac)]),
    ])
}

fn name(iface: &str) -> Field {
    Field::Iface(iface.to_owned())
}
