//! Networks: making, listing, removing, and the default one that is there by itself.

use std::net::IpAddr;

use serde::Serialize;

use super::context::{Moat, Where};
use super::error::{Error, Result, nearest};
use super::{fault, remove};
use crate::model::{DefaultPolicy, Family, Name, Network, Router, Subnet, automatic, overlaps};
use crate::plan::Plan;
use crate::store::{NetworkRow, Store};

/// The network of containers that name none.
pub const DEFAULT: &str = "moat";

/// What `net create` was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub name: Name,
    pub subnets: Vec<Subnet>,
    pub internal: bool,
    pub default_policy: DefaultPolicy,
    pub mtu: Option<u32>,
    pub router: Router,
}

/// A network as `net inspect` prints it.
#[derive(Debug, Serialize)]
pub struct View {
    pub name: Name,
    pub subnets: Vec<String>,
    pub gateways: Vec<String>,
    pub bridges: Vec<String>,
    pub router_netns: Option<String>,
    pub internal: bool,
    pub default_policy: DefaultPolicy,
    pub mtu: u32,
    pub containers: Vec<String>,
}

/// Makes a network, in the store and in the kernel.
///
/// # Errors
/// The name or a subnet is taken, or the kernel refused; then nothing is changed.
pub fn create(place: &Where, request: &Request, dry: bool) -> Result<Option<Plan>> {
    let wanted = format!("create network `{}`", request.name);
    let mut moat = Moat::settled(place)?;
    build(&mut moat, request, dry).map_err(|e| e.while_doing(wanted))
}

/// As [`create`], in a world that is open already.
///
/// # Errors
/// As there.
pub(super) fn build(moat: &mut Moat, request: &Request, dry: bool) -> Result<Option<Plan>> {
    moat.exclude()?;
    let network = complete(moat, request)?;
    let before = moat.wanted()?;
    let add = |s: &Store| {
        s.add_network(&network, true)
            .and_then(|()| s.add_bridge(&network.name))
            .map_err(Error::from)
    };
    moat.store.begin()?;
    let after = add(&moat.store).and_then(|_| moat.wanted());
    moat.store.roll_back()?;
    let plan = Plan::between(&before, &after?);
    if dry {
        return Ok(Some(plan));
    }
    let (bridge, intent) = moat.store.write(|s| {
        let bridge = add(s)?;
        Ok::<_, Error>((
            bridge,
            s.intend(&format!("create network {}", network.name), moat.me.0, moat.me.1)?,
        ))
    })?;
    let live = moat.store.meta("live")?.is_some();
    let made = fault::step("making the network").and_then(|()| {
        if !live {
            return moat.ensure_live();
        }
        moat.apply(&plan)?;
        Ok(moat.store.set_bridges_up(Some(bridge))?)
    });
    if let Err(e) = made {
        // A new world was taken back by whoever made it.
        let mut undone = Ok(());
        if live {
            undone = moat.apply_all(&plan.reversed());
        }
        undone = undone.and_then(|()| Ok(moat.store.write(|s| s.remove_network(&network.name))?));
        return Err(moat.undone(e, undone, intent));
    }
    moat.store.finish(intent)?;
    Ok(None)
}

/// Chooses what was not asked for, and refuses what cannot be.
fn complete(moat: &mut Moat, request: &Request) -> Result<Network> {
    let routes = moat.kernel.host_routes()?;
    let existing = moat.store.networks()?;
    let subnets = choose_subnets(moat.families(), &request.subnets, &existing, &routes)?;
    Ok(Network {
        name: request.name.clone(),
        subnets,
        internal: request.internal,
        router: request.router,
        default_policy: request.default_policy,
        gateways: vec![],
        masquerade: true,
        foreign: false,
        mtu: match request.mtu {
            Some(mtu) => mtu,
            None => moat.kernel.default_mtu()?,
        },
    })
}

/// The subnets that were asked for if they are free, or free ones.
///
/// # Errors
/// Two of one family, one that overlaps another network or what the host routes elsewhere, or
/// none is free.
pub fn choose_subnets(
    families: Vec<Family>,
    asked: &[Subnet],
    existing: &[NetworkRow],
    routes: &[ipnetwork::IpNetwork],
) -> Result<Vec<Subnet>> {
    let mut taken = routes.to_vec();
    for row in existing {
        taken.extend(row.network.subnets.iter().map(|s| s.network()));
    }
    for (i, a) in asked.iter().enumerate() {
        if asked[..i].iter().any(|b| b.family() == a.family()) {
            let reason = "a network has at most one subnet of each address family".to_owned();
            return Err(Error::Input {
                value: a.to_string(),
                reason,
                hint: None,
            });
        }
        for row in existing {
            if let Some(other) = row
                .network
                .subnets
                .iter()
                .find(|b| overlaps(a.network(), b.network()))
            {
                return Err(Error::Refused {
                    what: format!(
                        "the subnet {a} overlaps {other} of network `{}`",
                        row.network.name
                    ),
                    hint: "leave --subnet out to get a free one".into(),
                });
            }
        }
        if let Some(route) = taken.iter().find(|t| overlaps(a.network(), **t)) {
            return Err(Error::Refused {
                what: format!("the subnet {a} overlaps {route}, which the host routes elsewhere"),
                hint: "leave --subnet out to get a free one; `ip route show table all` shows the routes"
                    .into(),
            });
        }
    }
    if asked.is_empty() {
        return free_subnets(families, &taken);
    }
    Ok(asked.to_vec())
}

fn free_subnets(families: Vec<Family>, taken: &[ipnetwork::IpNetwork]) -> Result<Vec<Subnet>> {
    families
        .into_iter()
        .map(|f| {
            automatic(f, taken).ok_or_else(|| Error::Refused {
                what: format!(
                    "no IPv{} range is left that the host does not route elsewhere",
                    f.digit()
                ),
                hint: "choose one: `moat net create NAME --subnet CIDR`".into(),
            })
        })
        .collect()
}

/// The network of this name; the default one is recorded if it is not there yet.
///
/// # Errors
/// [`Error::Unknown`], or no range is free.
pub fn find_or_default(moat: &Moat, store: &Store, name: &Name) -> Result<Network> {
    if let Some(row) = store.network(name)? {
        return Ok(row.network);
    }
    if name.as_str() != DEFAULT {
        let all = store.networks()?;
        let near = nearest(name.as_str(), all.iter().map(|r| r.network.name.as_str()));
        return Err(Error::Unknown {
            kind: "network",
            name: name.to_string(),
            near,
        });
    }
    let existing = store.networks()?;
    let network = Network {
        name: name.clone(),
        subnets: choose_subnets(moat.families(), &[], &existing, &moat.host_routes)?,
        internal: false,
        router: Router::Own,
        default_policy: DefaultPolicy::Isolated,
        gateways: vec![],
        masquerade: true,
        foreign: false,
        mtu: moat.mtu,
    };
    store.add_network(&network, false)?;
    Ok(network)
}

/// Whether a container of the network may ask for this address.
///
/// # Errors
/// It is outside every subnet, or the gateway's.
pub fn check_address(network: &Network, ip: IpAddr) -> Result<()> {
    match network.subnet(Family::of(ip)) {
        Some(_) if network.assignable(ip) => Ok(()),
        Some(s) => Err(Error::Refused {
            what: format!(
                "{ip} is no address for a container in {s} of network `{}`",
                network.name
            ),
            hint: format!("choose one between {} and the end of {s}", s.nth(2)),
        }),
        None => Err(Error::Refused {
            what: format!(
                "network `{}` has no IPv{} subnet",
                network.name,
                Family::of(ip).digit()
            ),
            hint: "`moat net inspect` shows the subnets".into(),
        }),
    }
}

/// All networks, the default one included even while nobody uses it.
///
/// # Errors
/// When store or kernel cannot be read.
pub fn ls(place: &Where) -> Result<Vec<View>> {
    let mut moat = Moat::settled(place)?;
    moat.learn_host()?;
    let mut names: Vec<Name> = moat
        .store
        .networks()?
        .into_iter()
        .map(|r| r.network.name)
        .collect();
    let default: Name = DEFAULT.parse()?;
    if !names.contains(&default) {
        names.insert(0, default);
    }
    names.iter().map(|n| view(&moat, n)).collect()
}

/// One network.
///
/// # Errors
/// It does not exist, or the store cannot be read.
pub fn inspect(place: &Where, name: &Name) -> Result<View> {
    let mut moat = Moat::settled(place)?;
    moat.learn_host()?;
    view(&moat, name)
}

fn view(moat: &Moat, name: &Name) -> Result<View> {
    // The default network is described as it would be made.
    moat.store.begin()?;
    let network = find_or_default(moat, &moat.store, name);
    let (bridges, sides) = (moat.store.bridges(), moat.store.sides());
    moat.store.roll_back()?;
    let network = network?;
    let own = network.router == Router::Own && moat.store.meta("live")?.is_some();
    Ok(View {
        subnets: network.subnets.iter().map(ToString::to_string).collect(),
        gateways: network.every_gateway().map(|g| g.to_string()).collect(),
        bridges: bridges?
            .iter()
            .filter(|(_, o)| *o == name)
            .filter(|_| !network.foreign)
            .map(|(n, _)| moat.names.bridge(*n))
            .chain(
                sides?
                    .into_iter()
                    .filter(|(o, _)| o == name)
                    .map(|(_, f)| f.side().to_owned()),
            )
            .collect(),
        router_netns: own.then(|| moat.router_path().display().to_string()),
        internal: network.internal,
        default_policy: network.default_policy,
        mtu: network.mtu,
        containers: moat.store.attached(name)?,
        name: network.name,
    })
}

/// Removes a network that nothing is attached to.
///
/// # Errors
/// It does not exist, is in use, or would not go.
pub fn rm(place: &Where, name: &Name, dry: bool) -> Result<Option<Plan>> {
    let mut moat = Moat::settled(place)?;
    take(&mut moat, name, dry).map_err(|e| e.while_doing(format!("remove network `{name}`")))
}

/// As [`rm`], in a world that is open already.
///
/// # Errors
/// As there.
pub(super) fn take(moat: &mut Moat, name: &Name, dry: bool) -> Result<Option<Plan>> {
    moat.exclude()?;
    let all = moat.store.networks()?;
    if !all.iter().any(|r| r.network.name == *name) {
        let near = nearest(name.as_str(), all.iter().map(|r| r.network.name.as_str()));
        return Err(Error::Unknown {
            kind: "network",
            name: name.to_string(),
            near,
        });
    }
    let attached = moat.store.attached(name)?;
    if let Some(first) = attached.first() {
        let what = format!(
            "{} containers are attached to it, `{first}` first",
            attached.len()
        );
        return Err(Error::Refused {
            what,
            hint: format!("`moat rm -f {first}`"),
        });
    }
    if dry {
        return remove::plan_without(moat, name).map(Some);
    }
    let intent = moat
        .store
        .intend(&format!("remove network {name}"), moat.me.0, moat.me.1)?;
    let gone = fault::step("taking the network down").and_then(|()| {
        if all.len() == 1 {
            moat.tear_down()?;
        } else {
            remove::take_down(moat, name)?;
        }
        fault::step("forgetting the network")?;
        Ok(moat.store.write(|s| {
            s.remove_network(name)?;
            s.finish(intent)
        })?)
    });
    gone.map(|()| None).map_err(|e| {
        let undone = moat.mend();
        moat.undone(e, undone, intent)
    })
}
