//! ADD with mode `policy`: a wall around an interface that the plugins before made.
//!
//! The rows, links and objects are those of every attachment; what differs is found here: the
//! container's interface as it is, the other end of its pair, and the bridge that holds it.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{Request, add, refused};
use crate::kernel::linux::OtherEnd;
use crate::model::{DefaultPolicy, Family, Foreign, Router, Subnet};
use crate::ops::context::{Moat, Where};
use crate::ops::error::Result;
use crate::plan::Place;

/// The code of "invalid configuration": the chain before us, in this mode.
const CONFIG: u32 = 7;

/// An address that the plugins before gave, and its gateway as far as they said.
pub type Given = (IpNetwork, Option<IpAddr>);

/// Puts a wall around the interface of the request. `given` are its addresses by `prevResult`;
/// those of the request, its MAC and its network's subnets are filled in here.
///
/// # Errors
/// It cannot be walled, or what failed; nothing of the wall stays.
pub fn wall(place: &Where, request: &Request, given: &[Given]) -> Result<()> {
    let mut moat = super::open(place)?;
    let completed = complete(&mut moat, request, given).map_err(|e| e.coded(CONFIG));
    completed
        .and_then(|request| add::start(&mut moat, &request))
        .map(drop)
        .map_err(|e| e.while_doing(format!("wall off {}", request.id.words())))
}

fn complete(moat: &mut Moat, request: &Request, given: &[Given]) -> Result<Request> {
    let ifname = &request.id.ifname;
    let inside = Place::Sandbox(request.netns.clone());
    let Some(guest) = moat.kernel.guest(&inside, ifname)? else {
        let what = format!("there is no `{ifname}` in {}", request.netns.display());
        return Err(refused(
            what,
            "a plugin before this one has to make the interface",
        ));
    };
    if let Some((lost, _)) = given.iter().find(|(ip, _)| !guest.addresses.contains(ip)) {
        let what = format!("`{ifname}` does not have the address {lost} that prevResult names");
        return Err(refused(what, "plugins of the chain disagree"));
    }
    let (foreign, own) = match guest.other_end {
        OtherEnd::Here(foreign, own) => (foreign, own),
        OtherEnd::In(master) => {
            let what = format!("the other end of `{ifname}` is a port of `{master}`, which is no bridge");
            return Err(refused(what, WALLABLE));
        }
        OtherEnd::Elsewhere => {
            let what =
                format!("`{ifname}` is no veth pair whose other end is in the namespace this was called in");
            return Err(refused(what, WALLABLE));
        }
    };
    let mut request = request.clone();
    let network = &mut request.network;
    network.foreign = true;
    network.router = Some(Router::Host);
    network.default_policy = Some(DefaultPolicy::Isolated);
    for (ip, gateway) in given {
        network.subnets.push(subnet(*ip)?);
        let gateway = gateway_of(&foreign, &own, *ip, *gateway)?;
        network.gateways.extend(gateway);
        request.addresses.push(ip.ip());
    }
    request.mac = Some(guest.mac);
    request.foreign = Some(foreign);
    Ok(request)
}

const WALLABLE: &str =
    "mode `policy` follows a plugin like `bridge` or `ptp`, whose containers hang on veth pairs";

fn subnet(ip: IpNetwork) -> Result<Subnet> {
    let range = IpNetwork::new(ip.network(), ip.prefix()).unwrap_or(ip);
    Ok(Subnet::try_from(range)?)
}

/// Who routes for an address: the bridge, which must have the gateway's address itself; without
/// a bridge whoever the plugins before say.
fn gateway_of(
    foreign: &Foreign,
    own: &[IpAddr],
    ip: IpNetwork,
    said: Option<IpAddr>,
) -> Result<Option<IpAddr>> {
    let Some(bridge) = &foreign.bridge else {
        return Ok(said);
    };
    let here = own
        .iter()
        .copied()
        .find(|a| said.map_or(ip.contains(*a), |g| g == *a));
    if here.is_some() {
        return Ok(here);
    }
    let what = match said {
        Some(gateway) => format!("the gateway {gateway} is no address of the bridge `{bridge}`"),
        None => format!(
            "the bridge `{bridge}` has no IPv{} address in the subnet of {ip}",
            Family::of(ip.ip()).digit()
        ),
    };
    Err(refused(
        what,
        "behind a wall the host routes between containers: set \"isGateway\": true, without a VLAN",
    ))
}
