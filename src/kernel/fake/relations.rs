//! How objects depend on each other in Linux: what makes interfaces, what goes along with what,
//! and what takes whose place. Pure.

use crate::kernel::fate::ruleset_of;
use crate::plan::{Element, Object, Place};

/// The interfaces that an object makes.
pub(super) fn ends(object: &Object) -> Vec<(&Place, &str)> {
    match object {
        Object::Uplink { host, router, .. } => {
            vec![(&Place::Host, host.as_str()), (&Place::Router, router.as_str())]
        }
        Object::Bridge { at, name, .. } => vec![(at, name.as_str())],
        Object::Veth {
            at,
            port,
            sandbox,
            inside,
            ..
        } => vec![(at, port.as_str()), (sandbox, inside.as_str())],
        _ => Vec::new(),
    }
}

/// Whether `o` disappears when `gone` does.
pub(super) fn goes_along(o: &Object, gone: &Object) -> bool {
    match gone {
        Object::Namespace => *o.place() == Place::Router || matches!(o, Object::Uplink { .. }),
        Object::Ruleset { at, which } => {
            matches!(o, Object::Element(e) if e.at == *at && ruleset_of(e.table) == *which)
        }
        Object::BridgePort { at, port, .. } => {
            matches!(o, Object::Fdb { at: a, port: p, .. } if a == at && p == port)
        }
        // Taking an interface down empties its routes, neighbours and IPv6 addresses.
        Object::Up { at, iface: name } => match o {
            Object::Route { .. } | Object::Neighbour { .. } => o.place() == at && o.iface() == Some(name),
            Object::Address { address, .. } => {
                address.is_ipv6() && o.place() == at && o.iface() == Some(name)
            }
            _ => false,
        },
        _ => {
            let ends = ends(gone);
            let bridge = match o {
                Object::BridgePort { at, bridge, .. } => ends.contains(&(at, bridge.as_str())),
                _ => false,
            };
            bridge || o.iface().is_some_and(|name| ends.contains(&(o.place(), name)))
        }
    }
}

/// Whether making `new` leaves no `old`: the same thing with other properties.
pub(super) fn is_replaced(old: &Object, new: &Object) -> bool {
    match (old, new) {
        (Object::Sysctl { at: a, key: k, .. }, Object::Sysctl { at: b, key: l, .. }) => (a, k) == (b, l),
        (Object::BridgePort { at: a, port: p, .. }, Object::BridgePort { at: b, port: q, .. }) => {
            (a, p) == (b, q)
        }
        (
            Object::Neighbour {
                at: a,
                iface: i,
                ip: x,
                ..
            },
            Object::Neighbour {
                at: b,
                iface: j,
                ip: y,
                ..
            },
        ) => (a, i, x) == (b, j, y),
        (
            Object::Route {
                at: a,
                table: t,
                to: x,
                ..
            },
            Object::Route {
                at: b,
                table: u,
                to: y,
                ..
            },
        ) => (a, t, x) == (b, u, y),
        (Object::Element(e), Object::Element(f)) => is_same_key(e, f),
        _ => {
            let made = ends(new);
            !made.is_empty() && ends(old).first() == made.first()
        }
    }
}

pub(super) fn is_same_key(a: &Element, b: &Element) -> bool {
    (&a.at, a.table, a.set, &a.key, &a.end) == (&b.at, b.table, b.set, &b.key, &b.end)
}

pub(super) fn overlap(a: &Element, b: &Element) -> bool {
    let (Some(a_end), Some(b_end)) = (&a.end, &b.end) else {
        return false;
    };
    let fields = a.key.iter().zip(a_end).zip(b.key.iter().zip(b_end));
    (&a.at, a.table, a.set) == (&b.at, b.table, b.set)
        && fields
            .into_iter()
            .all(|((a0, a1), (b0, b1))| a0 <= b1 && b0 <= a1)
}
