//! CHECK: is everything of an attachment still in the kernel, and as the runtime was told?

use std::net::IpAddr;

use super::{Id, refused};
use crate::ops::context::Where;
use crate::ops::error::{Error, Result};
use crate::plan::text::Renderer;
use crate::plan::{Object, Step};

/// What the runtime was told, as far as it is ours.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The addresses of the interface.
    pub addresses: Vec<IpAddr>,
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
    let (e, _) = moat.store.endpoint(&c.name)?.ok_or_else(unknown)?;
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
    for object in moat.objects_of(&c.name)? {
        if !is_there(&mut moat, &object)? {
            let router = moat.router_path().display().to_string();
            let renderer = Renderer {
                names: &moat.names,
                router: &router,
                now: crate::ops::context::now(),
            };
            let what = renderer.step(&Step::Add(object)).join("; ");
            return Err(refused(format!("missing: {what}"), HINT));
        }
    }
    Ok(())
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
