//! Mode `policy`: last in any chain, it adds walls and links to what the plugins before made,
//! and passes their result on as it came.

use std::net::IpAddr;

use super::config;
use crate::cni::call::Call;
use crate::cni::error::{Error, Result, code};
use crate::cni::result::{Ip, Outcome};
use crate::model::Router;
use crate::ops::Where;
use crate::ops::classic::bandwidth::Limits;
use crate::ops::cni::{self, Given, NetworkWish, Request};

/// Keys of the configuration that speak of what the plugins before decide.
const THEIRS: [&str; 10] = [
    "subnets",
    "gateway",
    "mtu",
    "ipMasq",
    "router",
    "bridge",
    "ipam",
    "routes",
    "dns",
    "defaultPolicy",
];

/// Whether a configuration asks for walls alone.
///
/// # Errors
/// Code 2 for another mode.
pub fn is_asked(call: &Call) -> Result<bool> {
    match call.conf().get("mode") {
        None => Ok(false),
        Some(mode) if mode.value == "policy" => Ok(true),
        Some(mode) => Err(Error::new(
            code::UNSUPPORTED_FIELD,
            format!("unsupported field: mode = {}", mode.value),
        )
        .with("the only mode beside none is \"policy\"")),
    }
}

/// ADD: the result of the plugins before.
///
/// # Errors
/// Code 7 when there is nothing before that can be walled.
pub fn add(call: &Call, place: &Where) -> Result<Outcome> {
    if let Some(key) = THEIRS.iter().find(|key| call.conf().get(key).is_some()) {
        let msg = format!("key `{key}` has no meaning with mode \"policy\"");
        return Err(Error::new(code::CONFIG, msg).with("the plugins before decide this"));
    }
    let Some(previous) = call.previous()? else {
        let msg = "mode \"policy\" must be called as a chained plugin: prevResult is missing";
        return Err(Error::new(code::CONFIG, msg).with("put it last in a list of plugins"));
    };
    let given = given(&previous, &call.ifname)?;
    // What is asked of a plugin that makes an interface was for those before.
    let request = Request {
        network: wish(call)?,
        addresses: vec![],
        pools: vec![],
        mac: None,
        ports: vec![],
        routes: vec![],
        limits: Limits::default(),
        ..config::request(call)?
    };
    cni::wall(place, &request, &given)?;
    Ok(previous)
}

/// STATUS: whether a wall could be built.
///
/// # Errors
/// Why not.
pub fn status(call: &Call, place: &Where) -> Result<()> {
    Ok(cni::status(place, &config::network(call)?, &wish(call)?, false)?)
}

fn wish(call: &Call) -> Result<NetworkWish> {
    Ok(NetworkWish {
        internal: config::wish(call)?.internal,
        router: Some(Router::Host),
        foreign: true,
        ..NetworkWish::default()
    })
}

/// The addresses of the container's interface. Before 0.3.0 a result names no interface.
fn given(previous: &Outcome, ifname: &str) -> Result<Vec<Given>> {
    let is_ours = |ip: &&Ip| match ip.interface {
        Some(n) => (previous.interfaces.get(n)).is_some_and(|i| i.name == ifname && !i.sandbox.is_empty()),
        None => true,
    };
    let found = previous.ips.iter().filter(is_ours);
    let given: Vec<Given> = found.map(|ip| (ip.address, ip.gateway)).collect();
    if given.is_empty() {
        let msg = format!("prevResult has no address of interface `{ifname}`");
        return Err(
            Error::new(code::CONFIG, msg).with("a wall is between addresses: give the chain an IPAM plugin")
        );
    }
    let of_family = |v4: bool| {
        given
            .iter()
            .map(|g| g.0.ip())
            .filter(move |ip: &IpAddr| ip.is_ipv4() == v4)
    };
    for v4 in [true, false] {
        if of_family(v4).count() > 1 {
            let all: Vec<String> = of_family(v4).map(|ip| ip.to_string()).collect();
            let msg = format!(
                "`{ifname}` has more than one address of a family: {}",
                all.join(", ")
            );
            return Err(
                Error::new(code::CONFIG, msg).with("mode \"policy\" walls one address of each family")
            );
        }
    }
    Ok(given)
}
