//! Attachments of plugin type `moat`: containers of other runtimes on our networks.
//!
//! One is a row in `containers` named `cni:NETWORK/ID`, an endpoint that knows its namespace,
//! and a row in `attachments` from which DEL works alone. The namespace and its processes
//! are the runtime's: nothing here starts, ends or waits for one. What the OCI hook attaches
//! (`ops::hook`) is recorded in the same way, as `oci:ID`.

pub(super) mod add;
mod check;
mod del;
mod gc;
mod network;
mod policy;
mod status;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::classic::bandwidth::Limits;
use super::context::{Moat, Where};
use super::error::{Error, Result};
use super::publish::PortMap;
use crate::kernel::linux::cookie_of;
use crate::kernel::linux::limit::Limited;
use crate::model::{End, ExtraRoute, Foreign, Mac, Name, Network, Service};
use crate::plan::{Object, Place, desired};
use crate::store::{Attachment, AttachmentKey, Container, Stage, Store};

pub use add::{add, reserve};
pub use check::{Expected, check};
pub use del::{detach, forget};
pub use gc::stale;
pub use network::NetworkWish;
pub use policy::{Given, wall};
pub use status::{forwards, status};

/// The type under which attachments are recorded.
pub const PLUGIN: &str = "moat";
/// The same for those of the OCI hook: no GC of a network's configuration speaks of them.
const HOOK: &str = "oci";

/// How long a call waits for others before it asks the runtime to try again.
const PATIENCE: Duration = Duration::from_secs(20);

/// By which way a container of another runtime came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Its runtime calls DEL.
    #[default]
    Cni,
    /// The OCI hook: it goes with its first process, whether anybody says so or not.
    Hook,
}

/// Which interface of which container, on which network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    pub network: Name,
    /// `CNI_CONTAINERID`, or the id in the OCI state.
    pub container: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    #[serde(default)]
    pub via: Via,
}

/// What ADD asks for.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: Id,
    /// `CNI_NETNS`.
    pub netns: PathBuf,
    /// Its first process and that one's start time, where it is known: the attachment goes with it.
    pub process: Option<(i32, u64)>,
    /// The file that its runtime binds over `/etc/hosts`, where it is known.
    pub hosts: Option<PathBuf>,
    pub network: NetworkWish,
    /// At most one of each family; the others are chosen, from `pools` if there are any.
    pub addresses: Vec<IpAddr>,
    /// Ranges, both ends included.
    pub pools: Vec<(IpAddr, IpAddr)>,
    pub mac: Option<Mac>,
    pub ports: Vec<PortMap>,
    pub labels: BTreeMap<String, String>,
    pub aliases: Vec<String>,
    pub limits: Limits,
    /// From this container.
    pub links: Vec<(End, Service)>,
    /// Of the network's configuration.
    pub network_links: Vec<(End, End, Service)>,
    /// By the gateway; where a configuration names it, it must be the network's.
    pub routes: Vec<(ExtraRoute, Option<IpAddr>)>,
    /// Where the interface hangs, when another plugin made it; the wall alone is asked for then.
    pub foreign: Option<Foreign>,
    /// What a delegate needs to give the addresses back, in its caller's form.
    pub delegate: Option<String>,
}

/// What ADD made.
#[derive(Clone, Debug)]
pub struct Attached {
    pub bridge: (String, Mac),
    pub port: (String, Option<Mac>),
    pub mac: Mac,
    /// Bytes.
    pub mtu: u32,
    /// With the subnet's length, and the gateway.
    pub ips: Vec<(IpNetwork, Option<IpAddr>)>,
    /// The default routes first, or those to its own network.
    pub routes: Vec<(IpNetwork, IpAddr, Option<u32>)>,
}

/// What DEL must know; in `attachments.record`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Record {
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delegate: Option<String>,
    /// What it sends is limited by a functional block, which does not go with the interface.
    #[serde(default)]
    slowed: bool,
}

impl Id {
    fn key(&self) -> AttachmentKey {
        let plugin = match self.via {
            Via::Cni => PLUGIN,
            Via::Hook => HOOK,
        };
        AttachmentKey {
            plugin: plugin.to_owned(),
            network: self.network.to_string(),
            container: self.container.clone(),
            ifname: self.ifname.clone(),
        }
    }

    /// The container's name if this is its first interface on the network, and otherwise.
    fn names(&self) -> Result<[Name; 2]> {
        if self.via == Via::Hook {
            let only = Name::through_hook(&self.container)?;
            return Ok([only.clone(), only]);
        }
        let named = |ifname| Name::through_cni(&self.network, &self.container, ifname);
        Ok([named(None)?, named(Some(self.ifname.as_str()))?])
    }

    /// The record of the container that this is an interface of.
    fn container(&self, s: &Store) -> Result<Option<Container>> {
        for name in self.names()? {
            let found = s.container(name.as_str())?.filter(|c| c.name == name);
            if let Some(c) = found.filter(|c| of(c).is_none_or(|id| id.ifname == self.ifname)) {
                return Ok(Some(c));
            }
        }
        Ok(None)
    }

    fn words(&self) -> String {
        format!(
            "`{}` of container {} to network `{}`",
            self.ifname,
            self.container.get(..12).unwrap_or(&self.container),
            self.network
        )
    }
}

/// What is in `containers.spec`.
#[derive(Serialize)]
struct Guest<'a> {
    #[serde(flatten)]
    id: &'a Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts_of_runtime: Option<&'a Path>,
}

/// The interface that a container's record stands for; `None` for a container of our own.
pub(super) fn of(c: &Container) -> Option<Id> {
    let guest = c.name.is_anothers().then(|| serde_json::from_str(&c.spec));
    guest?.ok()
}

/// What its runtime calls a container; `None` for one of our own.
pub(super) fn runtime_id(c: &Container) -> Option<String> {
    of(c).map(|id| id.container)
}

/// Opens the world as a runtime wants it: with bounded patience.
pub(super) fn open(place: &Where) -> Result<Moat> {
    let mut moat = Moat::open(place)?;
    moat.locks.patience = PATIENCE;
    moat.share()?;
    Ok(moat)
}

/// Whether the namespace that was recorded is still at its path. One that cannot be looked at counts
/// as there: nothing may be taken away because of that.
fn lives(path: &Path, cookie: &str) -> bool {
    cookie_of(path).map_or(true, |found| found.as_deref() == Some(cookie))
}

impl Moat {
    /// Whether the namespace of a container that came through CNI is still there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn is_attached(&self, name: &Name) -> Result<bool> {
        let cookies = self.store.cookies(Some(name))?;
        Ok(cookies
            .get(name)
            .is_some_and(|(path, cookie)| lives(path, cookie)))
    }

    /// Limits the rates of an attached container.
    fn limit(&mut self, name: &Name, network: &Network, limits: Limits) -> Result<()> {
        let Some((e, _)) = self.store.endpoint(name)? else {
            return Ok(());
        };
        let (port, ifb) = (self.names.port(e.id), self.names.slowed(e.id));
        let of = Limited {
            at: &desired::place(network),
            iface: &port,
            ifb: &ifb,
        };
        Ok(self.kernel.limit(of, limits.ingress, limits.egress)?)
    }

    /// Takes away what does not go with the interface of a container that is erased.
    ///
    /// # Errors
    /// When the store cannot be read, or the kernel refuses.
    pub(super) fn unlimit(&mut self, c: &Container) -> Result<()> {
        let Some(id) = of(c) else { return Ok(()) };
        let recorded = self.store.attachment(&id.key())?;
        let network = self.store.network(&id.network)?;
        let endpoint = self.store.endpoint(&c.name)?;
        if let (Some(a), Some(row), Some((e, _))) = (recorded, network, endpoint)
            && read(&a).slowed
        {
            super::fault::step("taking the limits away")?;
            let (at, ifb) = (desired::place(&row.network), self.names.slowed(e.id));
            if at == Place::Host || self.has(&Object::Namespace) {
                self.kernel.remove_ifb(&at, &ifb)?;
            }
        }
        Ok(())
    }

    /// The containers that came through CNI and whose namespaces are gone: their runtime has
    /// not called DEL yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn detached(&self) -> Result<Vec<Name>> {
        let all = self.store.cookies(None)?;
        let gone = all.into_iter().filter(|(_, (path, cookie))| !lives(path, cookie));
        Ok(gone.map(|(name, _)| name).collect())
    }
}

/// Forgets the attachment of a container that is erased; while a delegate has to be told, it
/// stays as one that is being removed.
pub(super) fn forget_attachment(s: &Store, c: &Container) -> Result<(), crate::store::Error> {
    let Some(id) = of(c) else { return Ok(()) };
    let found = s.attachment(&id.key())?;
    match found.filter(|a| read(a).delegate.is_some()) {
        Some(a) => s.put_attachment(&Attachment {
            stage: Stage::Removing,
            owner: (0, 0),
            ..a
        }),
        None => s.remove_attachment(&id.key()).map(drop),
    }
}

/// A record that cannot be read says nothing: the rows beside it suffice.
fn read(a: &Attachment) -> Record {
    serde_json::from_str(&a.record).unwrap_or_default()
}

fn refused(what: impl Into<String>, hint: &str) -> Error {
    Error::Refused {
        what: what.into(),
        hint: hint.to_owned(),
    }
}
