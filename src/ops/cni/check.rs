//! CHECK: is everything of an attachment still in the kernel, and as the runtime was told?

use std::net::IpAddr;

use super::{Id, refused};
use crate::kernel::linux::limit::Limited;
use crate::ops::classic::bandwidth::Limits;
use crate::ops::context::Where;
use crate::ops::error::{Error, Result};
use crate::plan::text::Renderer;
use crate::plan::{Object, Place, Step, desired};

/// What the runtime was told, as far as it is ours.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The addresses of the interface.
    pub addresses: Vec<IpAddr>,
    pub limits: Limits,
}

/// Whether an attachment is whole. Others may have changed the MAC, and added to it.
///
/// # Errors
/// The first thing that is missing or different.
pub fn check(place: &Where, id: &Id, expected: &Expected) -> Result<()> {
    look(place, id, expected).map_err(|e| e.while_doing(format!("check {}", id.words())))
}

fn look(place: &Where, id: &Id, expected: &Expected) -> Result<()> {
    const HINT: &str = "`moat fsck` says more; DEL and ADD make it anew";
    let mut moat = super::open(place)?;
    let unknown = || refused("it is not attached", "the runtime has to call ADD first").coded(3);
    let c = id.container(&moat.store)?.ok_or_else(unknown)?;
    let (e, path) = moat.store.endpoint(&c.name)?.ok_or_else(unknown)?;
    let netns = path.ok_or_else(unknown)?;
    for ip in &expected.addresses {
        if !e.addresses.contains(ip) {
            let what = format!("the result of ADD names {ip}, and the interface has another address");
            return Err(refused(what, HINT));
        }
    }
    if let Some(ip) = e.addresses.iter().find(|ip| !expected.addresses.contains(ip)) {
        return Err(refused(
            format!("the result of ADD does not name its address {ip}"),
            HINT,
        ));
    }
    if !moat.is_attached(&c.name)? {
        return Err(refused(
            "its network namespace is gone",
            "the runtime has to call DEL",
        ));
    }
    let inside = Place::Sandbox(netns.clone());
    // A new MAC, as `tuning` sets it, took the neighbour entries along.
    let renamed = moat.kernel.mac(&inside, &id.ifname)? != Some(e.mac);
    let excused = |o: &Object| renamed && matches!(o, Object::Neighbour { at, .. } if *at == inside);
    for object in moat.objects_of(&c.name)?.into_iter().filter(|o| !excused(o)) {
        if !is_there(&mut moat, &object)? {
            let router = moat.router_path().display().to_string();
            let renderer = Renderer {
                names: &moat.names,
                router: &router,
                now: crate::ops::context::clock(),
            };
            let what = renderer.step(&Step::Add(object)).join("; ");
            return Err(refused(format!("missing: {what}"), HINT));
        }
    }
    let row = moat.store.network(&id.network)?.ok_or_else(unknown)?;
    let (port, ifb) = (moat.names.port(e.id), moat.names.slowed(e.id));
    if e.foreign.is_some() {
        // Rates are limited by those who made the interface.
        return Ok(());
    }
    let of = Limited {
        at: &desired::place(&row.network),
        iface: &port,
        ifb: &ifb,
    };
    let limits = expected.limits;
    match moat.kernel.limits_amiss(of, limits.ingress, limits.egress)? {
        None => Ok(()),
        Some(words) => Err(refused(words, HINT)),
    }
}

fn is_there(moat: &mut crate::ops::context::Moat, object: &Object) -> Result<bool> {
    if let Object::Veth {
        at,
        port,
        sandbox,
        inside,
        ..
    } = object
    {
        let mut end = |place, name| Ok::<_, Error>(moat.kernel.mac(place, name)?.is_some());
        return Ok(end(at, port)? && end(sandbox, inside)?);
    }
    Ok(moat.has(object))
}
