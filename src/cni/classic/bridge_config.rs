//! The keys of `bridge`, and what they make of a delegate's answer.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::unsupported;
use crate::cni::call::Call;
use crate::cni::error::{Error, Result, code};
use crate::cni::result::{Dns, Outcome, Route};
use crate::cni::shape;
use crate::model::Family;

/// Bytes of an interface name (`IFNAMSIZ`, without its zero).
const LONGEST: usize = 15;

/// The keys of the reference.
pub(super) struct Config {
    pub bridge: String,
    pub gateway: bool,
    pub default_route: bool,
    pub force_address: bool,
    pub masquerade: bool,
    pub mtu: u32,
    pub hairpin: bool,
    pub promiscuous: bool,
    pub check_mac: bool,
    pub detect: bool,
    pub down: bool,
    pub isolated: bool,
    /// Walls inside the bridge, which the reference has only with `firewall`.
    pub walled: bool,
    pub dns: Dns,
}

pub(super) fn config(call: &Call) -> Result<Config> {
    let conf = call.conf();
    let vlan: u32 = conf.number("vlan")?.unwrap_or(0);
    let why = "bridges have no VLAN filter here; one bridge for each network does as well";
    if vlan != 0 {
        return Err(unsupported("vlan", vlan, why));
    }
    if let Some(trunk) = conf.get("vlanTrunk")
        && !trunk.items()?.is_empty()
    {
        return Err(unsupported("vlanTrunk", trunk.value, why));
    }
    conf.flag("preserveDefaultVlan")?;
    if let Some(backend) = conf.text("ipMasqBackend")?
        && !["iptables", "nftables"].contains(&backend)
    {
        let msg = format!("unknown ipmasq backend: ipMasqBackend: {backend:?}");
        return Err(Error::new(code::CONFIG, msg));
    }
    let bridge = conf.text("bridge")?.unwrap_or("cni0").to_owned();
    if bridge.len() > LONGEST || bridge.contains(['/', ':']) || bridge.contains(char::is_whitespace) {
        let msg = format!("bridge is no name of an interface: {bridge:?}");
        return Err(Error::new(code::CONFIG, msg));
    }
    let default_route = conf.flag("isDefaultGateway")?;
    let ours = conf.object("moat")?;
    let walled = ours.map_or(Ok(false), |o| o.flag("isolate"))?;
    let config = Config {
        bridge,
        gateway: conf.flag("isGateway")? || default_route,
        default_route,
        force_address: conf.flag("forceAddress")?,
        masquerade: conf.flag("ipMasq")?,
        mtu: conf.number("mtu")?.unwrap_or(0),
        hairpin: conf.flag("hairpinMode")?,
        promiscuous: conf.flag("promiscMode")?,
        check_mac: conf.flag("macspoofchk")?,
        detect: conf.flag("enabledad")?,
        down: conf.flag("disableContainerInterface")?,
        isolated: conf.flag("portIsolation")? || walled,
        walled,
        dns: conf
            .field("dns", |n| shape::dns(&n.object()?))?
            .unwrap_or_default(),
    };
    if config.hairpin && config.promiscuous {
        let msg = "cannot set hairpin mode and promiscuous mode at the same time";
        return Err(Error::new(code::CONFIG, msg));
    }
    Ok(config)
}

/// The first address of a subnet, as the reference chooses a gateway.
fn first_of(subnet: IpNetwork) -> IpAddr {
    match subnet.network() {
        IpAddr::V4(a) => std::net::Ipv4Addr::from_bits(a.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(a) => std::net::Ipv6Addr::from_bits(a.to_bits().wrapping_add(1)).into(),
    }
}

/// Completes what a delegate answered: gateways, default routes.
pub(super) fn complete(outcome: &mut Outcome, config: &Config) {
    let mut with_default = Vec::new();
    for ip in &mut outcome.ips {
        let family = Family::of(ip.address.ip());
        if ip.gateway.is_none() && config.gateway {
            ip.gateway = Some(first_of(ip.address));
        }
        if !config.default_route || with_default.contains(&family) {
            continue;
        }
        with_default.push(family);
        let everywhere = family.everything();
        if !outcome
            .routes
            .iter()
            .any(|r| r.gw.is_some() && r.dst == everywhere)
        {
            outcome.routes.push(Route {
                dst: everywhere,
                gw: ip.gateway,
                mtu: None,
                advmss: None,
                priority: None,
                table: None,
                scope: None,
            });
        }
    }
}
