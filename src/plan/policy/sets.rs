//! The compiled sets, asked in memory as the rules of the wall ask the kernel's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use super::numbers::FREE;
use crate::model::Family;
use crate::plan::object::{Object, State};
use crate::plan::set::{Field, SetName};

/// What is in the sets of policies.
#[derive(Debug, Default)]
pub struct Sets {
    /// By set and address.
    numbers: HashMap<(SetName, IpAddr), u16>,
    /// By set and first address: the last one, and the number.
    ranges: BTreeMap<(SetName, IpAddr), (IpAddr, u16)>,
    grants: HashSet<(SetName, Vec<Field>)>,
    /// By class, class of peers and protocol: first and last port.
    ports: HashMap<(u16, u16, u8), Vec<(u16, u16)>>,
}

impl Sets {
    #[must_use]
    pub fn new(state: &State) -> Self {
        let mut sets = Self::default();
        for object in state {
            let Object::Element(e) = object else { continue };
            let last = e.end.as_deref();
            match (&e.key[..], last, e.data.as_deref()) {
                ([Field::Ip(ip)], None, Some([Field::Class(n)])) => {
                    sets.numbers.insert((e.set, *ip), *n);
                }
                ([Field::Ip(ip)], Some([Field::Ip(last)]), Some([Field::Class(n)])) => {
                    sets.ranges.insert((e.set, *ip), (*last, *n));
                }
                (
                    [
                        Field::Class(c),
                        Field::Class(p),
                        Field::Proto(proto),
                        Field::Port(first),
                    ],
                    Some([.., Field::Port(last)]),
                    _,
                ) => {
                    let ports = sets.ports.entry((*c, *p, *proto)).or_default();
                    ports.push((*first, *last));
                }
                (key, ..) => {
                    sets.grants.insert((e.set, key.to_vec()));
                }
            }
        }
        sets
    }

    /// Whether a flow may pass: what leaves its sender, and enters its receiver.
    #[must_use]
    pub fn allow(&self, from: IpAddr, to: IpAddr, proto: u8, port: u16) -> bool {
        let f = Family::of(from);
        let out = [
            SetName::EgressClass(f),
            SetName::EgressPeer(f),
            SetName::EgressBlock(f),
        ];
        let into = [
            SetName::IngressClass(f),
            SetName::IngressPeer(f),
            SetName::IngressBlock(f),
        ];
        self.side(out, from, to, proto, port) && self.side(into, to, from, proto, port)
    }

    fn side(&self, sets: [SetName; 3], pod: IpAddr, other: IpAddr, proto: u8, port: u16) -> bool {
        let [class, peer, range] = sets;
        let Some(class) = self.numbers.get(&(class, pod)).copied() else {
            return false;
        };
        let before = self.ranges.range(..=(range, other)).next_back();
        let holds =
            |((set, _), (last, _)): &(&(SetName, IpAddr), &(IpAddr, u16))| *set == range && other <= *last;
        let by_range = before.filter(holds).map(|(_, (_, number))| *number);
        let peer = self.numbers.get(&(peer, other)).copied().or(by_range);
        let (class, peer) = (class, peer.unwrap_or(0));
        let pair = [Field::Class(class), Field::Class(peer)];
        let has = |set, more: &[Field]| self.grants.contains(&(set, [&pair[..], more].concat()));
        let within = |(first, last): &(u16, u16)| (*first..=*last).contains(&port);
        let ranges = self.ports.get(&(class, peer, proto));
        class == FREE
            || has(SetName::May, &[])
            || has(SetName::MayPort, &[Field::Proto(proto), Field::Port(port)])
            || has(SetName::MayProto, &[Field::Proto(proto)])
            || ranges.is_some_and(|r| r.iter().any(within))
            || (![6, 17, 132].contains(&proto) && has(SetName::MayOther, &[]))
    }
}
