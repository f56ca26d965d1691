//! Kernel objects in words, for errors: what a person would look for with `ip` or `nft`.

use std::fmt::Write as _;

use crate::plan::{Element, Field, Hop, Object, Place, Ruleset, Step, Verdict};

/// A step as `adding ...` or `removing ...`.
pub(super) fn step(step: &Step) -> String {
    match step {
        Step::Add(o) => format!("adding {}", object(o)),
        Step::Del(o) => format!("removing {}", object(o)),
    }
}

/// An object and where it is.
pub(super) fn object(object: &Object) -> String {
    match object {
        Object::Namespace => "the router namespace".to_owned(),
        Object::Ruleset { at, which } => format!("the ruleset `{}` in {}", ruleset(*which), place(at)),
        Object::Uplink { host, router, .. } => format!("the uplink `{host}` to `{router}`"),
        Object::Bridge { at, name, .. } => format!("the bridge `{name}` in {}", place(at)),
        Object::Veth {
            port,
            inside,
            sandbox,
            ..
        } => format!("the veth pair `{port}` to `{inside}` in {}", place(sandbox)),
        Object::Sysctl { at, key, value } => format!("the setting `{key} = {value}` in {}", place(at)),
        Object::Rule { at, priority, .. } => rule(object, *priority, at),
        Object::BridgePort { at, port, bridge } => {
            format!("the bridge port `{port}` of `{bridge}` in {}", place(at))
        }
        Object::ClosedPort { at, port, bridge } => {
            format!("the wall at the port `{port}` of `{bridge}` in {}", place(at))
        }
        Object::Fdb { at, port, mac } => {
            format!("the forwarding entry {mac} of port `{port}` in {}", place(at))
        }
        Object::Address { at, iface, address } => {
            format!("the address {address} of `{iface}` in {}", place(at))
        }
        Object::Element(e) => element(e),
        Object::Up { at, iface } => format!("the up state of `{iface}` in {}", place(at)),
        Object::Neighbour { at, iface, ip, mac } => {
            format!("the neighbour {ip} ({mac}) of `{iface}` in {}", place(at))
        }
        Object::Route { at, table, to, hop } => {
            let hop = match hop {
                Hop::Dev(d) => format!("dev {d}"),
                Hop::Via(ip, d) => format!("via {ip} dev {d}"),
                Hop::Local(d) => format!("local dev {d}"),
                Hop::Prohibit => "prohibit".to_owned(),
            };
            format!("the route `{to} {hop} table {table}` in {}", place(at))
        }
    }
}

pub(super) fn ruleset(which: Ruleset) -> &'static str {
    match which {
        Ruleset::Wall => "wall",
        Ruleset::WayOut => "way out",
        Ruleset::Stand => "stand",
        Ruleset::Classic => "classic",
    }
}

pub(super) fn place(place: &Place) -> String {
    match place {
        Place::Host => "the host".to_owned(),
        Place::Router => "the router".to_owned(),
        Place::Sandbox(path) => format!("the namespace {}", path.display()),
    }
}

fn rule(object: &Object, priority: u32, at: &Place) -> String {
    let Object::Rule {
        family,
        mark,
        iif,
        then,
        ..
    } = object
    else {
        return String::new();
    };
    let mut out = format!("the IPv{} routing rule `{priority}:", family.digit());
    // Writing to a String cannot fail.
    if let Some(m) = mark {
        let (value, mask) = m.masked();
        let _ = write!(out, " fwmark {value:#x}/{mask:#x}");
    }
    if let Some(i) = iif {
        let _ = write!(out, " iif {i}");
    }
    let _ = match then {
        Verdict::Lookup(t) => write!(out, " lookup {t}"),
        Verdict::Prohibit => write!(out, " prohibit"),
    };
    format!("{out}` in {}", place(at))
}

fn element(e: &Element) -> String {
    let mut out = format!("the element `{}", fields(&e.key));
    if let Some(end) = &e.end {
        let _ = write!(out, " - {}", fields(end));
    }
    if let Some(data) = &e.data {
        let _ = write!(out, " : {}", fields(data));
    }
    format!("{out}` of the set `{}` in {}", e.set, place(&e.at))
}

fn fields(fields: &[Field]) -> String {
    let texts: Vec<String> = fields
        .iter()
        .map(|f| match f {
            Field::Ip(ip) => ip.to_string(),
            Field::Mac(m) => m.to_string(),
            Field::Iface(i) => i.clone(),
            Field::Proto(p) => p.to_string(),
            Field::Port(p) => p.to_string(),
            Field::Class(n) => format!("class {n}"),
        })
        .collect();
    texts.join(" . ")
}
