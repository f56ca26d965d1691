//! The network of a configuration: found, or made with its first container.

use std::net::IpAddr;

use super::refused;
use crate::model::{DefaultPolicy, Name, Network, Router, Subnet};
use crate::ops::context::Moat;
use crate::ops::error::{Error, Result};
use crate::ops::net;
use crate::store::Store;

/// What a configuration says of its network; `None` is whatever it is.
#[derive(Clone, Debug, Default)]
pub struct NetworkWish {
    /// At most one of each family; empty is automatic, or those of a network that exists.
    pub subnets: Vec<Subnet>,
    /// Where the gateway is not the first address.
    pub gateways: Vec<IpAddr>,
    /// Bytes.
    pub mtu: Option<u32>,
    pub internal: Option<bool>,
    pub default_policy: Option<DefaultPolicy>,
    pub masquerade: Option<bool>,
    pub router: Option<Router>,
    /// Another plugin made it: the host routes it already, and only walls are to be added.
    pub foreign: bool,
}

/// The network of this name, recorded now if it is not there. `None` when it is not and the
/// host was not asked yet what is free.
pub(super) fn find_or_make(
    moat: &Moat,
    s: &Store,
    name: &Name,
    wish: &NetworkWish,
) -> Result<Option<Network>> {
    if let Some(row) = s.network(name)? {
        return agrees(&row.network, wish).map(|()| Some(row.network));
    }
    if !moat.knows_host {
        return Ok(None);
    }
    if wish.foreign && wish.default_policy == Some(DefaultPolicy::Kubernetes) {
        return Err(Error::Refused {
            what: "network policies do not govern containers whose interfaces another plugin makes".into(),
            hint: "leave `defaultPolicy` out: walls with links hold there; or use type `moat` without mode `policy`"
                .into(),
        });
    }
    let routed = if wish.foreign { &[] } else { &moat.host_routes[..] };
    let subnets = net::choose_subnets(moat.families(), &wish.subnets, &s.networks()?, routed)?;
    let network = Network {
        name: name.clone(),
        subnets,
        internal: wish.internal.unwrap_or_default(),
        router: wish.router.unwrap_or_default(),
        default_policy: wish.default_policy.unwrap_or_default(),
        mtu: wish.mtu.unwrap_or(moat.mtu),
        gateways: vec![],
        masquerade: wish.masquerade.unwrap_or(true),
        foreign: wish.foreign,
    };
    let network = with_gateways(network, &wish.gateways)?;
    s.add_network(&network, false)?;
    Ok(Some(network))
}

/// The network of this name for a container that brings no configuration: it must be there,
/// except the default one. `None` as for [`find_or_make`].
pub(super) fn find_known(moat: &Moat, s: &Store, name: &Name) -> Result<Option<Network>> {
    if s.network(name)?.is_none() && !moat.knows_host {
        return Ok(None);
    }
    let network = net::find_or_default(moat, s, name)?;
    agrees(&network, &NetworkWish::default())?;
    Ok(Some(network))
}

fn with_gateways(mut network: Network, gateways: &[IpAddr]) -> Result<Network> {
    for gateway in gateways {
        let subnet = network.subnets.iter().find(|s| s.contains(*gateway));
        match subnet {
            Some(s) if s.gateway() == *gateway => {}
            Some(s) if s.is_unicast(*gateway) => network.gateways.push(*gateway),
            _ => {
                let what = format!(
                    "the gateway {gateway} is no address for a gateway of network `{}`",
                    network.name
                );
                return Err(refused(
                    what,
                    "choose one inside the network's subnets, or leave it out",
                ));
            }
        }
    }
    Ok(network)
}

/// Whether a configuration says the same of a network as the network is.
fn agrees(network: &Network, wish: &NetworkWish) -> Result<()> {
    let differ = |key: &str, asked: String, is: String| {
        let what = format!(
            "network `{}` exists with {key} {is}, and the configuration asks for {asked}",
            network.name
        );
        let hint = "a network is made with its first container and goes with its last one; \
                    one of `moat net create` goes with `moat net rm`";
        Err(refused(what, hint))
    };
    if network.foreign != wish.foreign {
        let made = |foreign: bool| if foreign { "another plugin" } else { "moat" };
        return differ("bridges", made(wish.foreign).into(), made(network.foreign).into());
    }
    if let Some(missing) = wish.subnets.iter().find(|s| !network.subnets.contains(s)) {
        let own: Vec<String> = network.subnets.iter().map(ToString::to_string).collect();
        return differ("subnets", missing.to_string(), own.join(", "));
    }
    if let Some(gateway) = (wish.gateways.iter()).find(|g| !network.every_gateway().any(|own| own == **g)) {
        let own: Vec<String> = network.every_gateway().map(|g| g.to_string()).collect();
        return differ("gateways", gateway.to_string(), own.join(", "));
    }
    if let Some(mtu) = wish.mtu.filter(|m| *m != network.mtu) {
        return differ("mtu", mtu.to_string(), network.mtu.to_string());
    }
    if let Some(internal) = wish.internal.filter(|i| *i != network.internal) {
        return differ("internal", internal.to_string(), network.internal.to_string());
    }
    if let Some(masquerade) = wish.masquerade.filter(|m| *m != network.masquerade) {
        return differ("ipMasq", masquerade.to_string(), network.masquerade.to_string());
    }
    let lower = |text: String| text.to_lowercase();
    if let Some(policy) = wish.default_policy.filter(|p| *p != network.default_policy) {
        let is = lower(format!("{:?}", network.default_policy));
        return differ("defaultPolicy", lower(format!("{policy:?}")), is);
    }
    if let Some(router) = wish.router.filter(|r| *r != network.router) {
        let is = lower(format!("{:?}", network.router));
        return differ("router", lower(format!("{router:?}")), is);
    }
    Ok(())
}
