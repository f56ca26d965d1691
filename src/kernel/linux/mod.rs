//! The real kernel: rtnetlink for interfaces and routes, `nf_tables` for sets, `nft` for rulesets.
//!
//! Owns every socket and namespace this process uses. Sockets are opened when first needed,
//! one of each kind in each namespace, and kept; a namespace that was replaced under its
//! path is noticed at the start of each call.

mod apply;
mod bucket;
mod change;
pub mod clock;
mod conntrack;
pub mod crowd;
mod dump;
mod element;
mod entries;
mod events;
mod farewell;
mod flows;
pub mod foreign;
mod guest;
mod has;
mod holder;
mod identity;
pub mod limit;
mod links;
mod loopback;
mod namespace;
mod nfnl;
mod nft;
mod observe;
mod pair;
mod plug;
pub mod probe;
mod reach;
mod read;
mod routing;
mod rtnl;
mod ruleset;
mod survey;
mod sysctl;
#[cfg(test)]
mod tests;
pub mod tune;
mod wire;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

pub use self::conntrack::{Flows, PortFlow};
pub use self::dump::OtherRule;
pub use self::events::Events;
pub use self::flows::{Listener, Seen as SeenFlow};
pub use self::guest::{Guest, OtherEnd};
pub use self::holder::Holder;
pub use self::identity::{cookie_of, netns_cookie};
pub use self::loopback::loopback_up;
use self::namespace::Namespace;
pub use self::namespace::{is_namespace, remove as release_namespace};
use self::nfnl::Nfnl;
use self::nft::Nft;
pub use self::plug::{BridgeWish, PairWish, Seen};
pub use self::reach::RouteWish;
use self::rtnl::Rtnl;
pub use self::ruleset::program as nft_program;
use super::{Error, Kernel, Scope};
use crate::plan::{Element, Names, Object, Place, State, Step};

/// How long an interface may take to vanish with its namespace.
const VANISHING: Duration = Duration::from_secs(1);

/// Linux, as seen from the calling thread's network namespace.
pub struct Linux {
    names: Names,
    router_path: PathBuf,
    // Before the runtime: a connection must not outlive it.
    places: HashMap<Place, Opened>,
    runtime: Option<Arc<Runtime>>,
    patience: Duration,
}

/// What is open in one namespace.
struct Opened {
    /// `None` for the calling thread's own.
    namespace: Option<Namespace>,
    rtnl: Option<Rtnl>,
    nft: Option<Nft>,
}

impl Linux {
    /// Opens nothing yet. `router_path` is where the router's namespace is, or will be, bound.
    ///
    /// # Errors
    /// When the path is relative: it must mean the same file for as long as this lives.
    pub fn new(names: Names, router_path: PathBuf) -> Result<Self, Error> {
        if router_path.is_relative() {
            return Err(Error::Namespace {
                path: router_path.display().to_string(),
                source: io::Error::new(io::ErrorKind::InvalidInput, "the path is relative"),
            });
        }
        Ok(Self {
            names,
            router_path,
            places: HashMap::new(),
            runtime: None,
            patience: VANISHING,
        })
    }

    /// Packets and bytes of elements, in their order; `None` for one that is not there.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn counters(&mut self, elements: &[Element]) -> Result<Vec<Option<(u64, u64)>>, Error> {
        let mut by_place: HashMap<&Place, Vec<usize>> = HashMap::new();
        for (i, e) in elements.iter().enumerate() {
            by_place.entry(&e.at).or_default().push(i);
        }
        let mut out = vec![None; elements.len()];
        for (at, members) in by_place {
            let wanted: Vec<&Element> = members.iter().map(|i| &elements[*i]).collect();
            let found = self
                .nft(at)?
                .counters(&wanted)
                .map_err(reading("the counters of links"))?;
            for (i, counter) in members.into_iter().zip(found) {
                out[i] = counter;
            }
        }
        Ok(out)
    }

    /// The number of the whole nftables ruleset in a namespace: unequal after any change by anybody.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn generation(&mut self, at: &Place) -> Result<u32, Error> {
        self.nft(at)?
            .generation()
            .map_err(reading("the ruleset's generation"))
    }

    /// How many nftables transactions were made here since the last call; loading a ruleset
    /// is not counted.
    pub fn take_transactions(&mut self, at: &Place) -> u32 {
        let nft = self.places.get_mut(at).and_then(|o| o.nft.as_mut());
        nft.map_or(0, |n| std::mem::take(&mut n.committed))
    }

    /// Deletes the conntrack entries of flows, and returns how many there were. Where no
    /// namespace is, no flow is. All at once are found in one listing, which takes long.
    ///
    /// # Errors
    /// When the entries cannot be listed or one cannot be deleted.
    pub fn forget_flows(&mut self, at: &Place, flows: &[Flows]) -> Result<usize, Error> {
        if !self.is_there(at)? {
            return Ok(0);
        }
        conntrack::forget(self.nft(at)?.socket(), flows).map_err(reading("the established flows"))
    }

    /// The flows that a namespace tracks now.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn tracked_flows(&mut self, at: &Place) -> Result<Vec<SeenFlow>, Error> {
        if !self.is_there(at)? {
            return Ok(vec![]);
        }
        conntrack::all(self.nft(at)?.socket()).map_err(reading("the established flows"))
    }

    /// Deletes the conntrack entries of flows to ports of the host, and returns how many there
    /// were: without `hosts` those that lead where the ports do; with the addresses of the host
    /// those that lead elsewhere.
    ///
    /// # Errors
    /// When the entries cannot be listed or one cannot be deleted.
    pub fn forget_port_flows(
        &mut self,
        ports: &[PortFlow],
        hosts: Option<&[std::net::IpAddr]>,
    ) -> Result<usize, Error> {
        let socket = self.nft(&Place::Host)?.socket();
        conntrack::forget_ports(socket, ports, hosts).map_err(reading("the established flows"))
    }

    /// The routing rules of the host that are not of this world.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn other_rules(&mut self) -> Result<Vec<OtherRule>, Error> {
        let names = self.names.clone();
        self.rtnl(&Place::Host)?
            .other_rules(&names)
            .map_err(reading("routing rules"))
    }

    /// How long [`Kernel::apply`] waits for a veth pair to vanish with a container's namespace
    /// before it deletes the pair; 1 s if not set. With zero it neither waits nor deletes: the
    /// kernel takes about 20 ms, and an observer finds what was left after all.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    fn path<'a>(&'a self, at: &'a Place) -> Option<&'a Path> {
        match at {
            Place::Host => None,
            Place::Router => Some(&self.router_path),
            Place::Sandbox(path) => Some(path),
        }
    }

    /// Forgets the namespaces that are no longer where their paths lead, and all indexes.
    fn refresh(&mut self) {
        let Self {
            places, router_path, ..
        } = self;
        places.retain(|at, opened| {
            let path = match at {
                Place::Host => return true,
                Place::Router => router_path,
                Place::Sandbox(path) => path,
            };
            opened.namespace.as_ref().is_some_and(|ns| ns.is_at(path))
        });
        for rtnl in places.values_mut().filter_map(|o| o.rtnl.as_mut()) {
            rtnl.forget();
        }
    }

    fn open(&mut self, at: &Place) -> Result<&mut Opened, Error> {
        if !self.places.contains_key(at) {
            let namespace = match self.path(at) {
                None => None,
                Some(path) => Some(Namespace::open(path).map_err(entering(path))?),
            };
            let opened = Opened {
                namespace,
                rtnl: None,
                nft: None,
            };
            self.places.insert(at.clone(), opened);
        }
        self.places.get_mut(at).ok_or_else(|| Error::Namespace {
            path: format!("{at:?}"),
            source: io::Error::from(io::ErrorKind::NotFound),
        })
    }

    /// Whether a namespace is there to be entered.
    fn is_there(&mut self, at: &Place) -> Result<bool, Error> {
        match self.open(at) {
            Ok(_) => Ok(true),
            Err(Error::Namespace { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn runtime(&mut self) -> io::Result<Arc<Runtime>> {
        if let Some(runtime) = &self.runtime {
            return Ok(Arc::clone(runtime));
        }
        let runtime = Arc::new(Builder::new_current_thread().enable_io().build()?);
        self.runtime = Some(Arc::clone(&runtime));
        Ok(runtime)
    }

    fn rtnl(&mut self, at: &Place) -> Result<&mut Rtnl, Error> {
        let runtime = self.runtime().map_err(reading("the event loop"))?;
        let path = self.path(at).map(Path::to_owned);
        let opened = self.open(at)?;
        if opened.rtnl.is_none() {
            let rtnl = Rtnl::open(&runtime, opened.namespace.as_ref());
            opened.rtnl = Some(rtnl.map_err(entering(path.as_deref().unwrap_or(Path::new("of the host"))))?);
        }
        opened.rtnl.as_mut().ok_or_else(closed)
    }

    fn nft(&mut self, at: &Place) -> Result<&mut Nft, Error> {
        let names = self.names.clone();
        let path = self.path(at).map(Path::to_owned);
        let opened = self.open(at)?;
        if opened.nft.is_none() {
            let socket = Nfnl::open(opened.namespace.as_ref());
            let socket = socket.map_err(entering(path.as_deref().unwrap_or(Path::new("of the host"))))?;
            opened.nft = Some(Nft::new(socket, names));
        }
        opened.nft.as_mut().ok_or_else(closed)
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        let sockets = self.places.values().filter_map(|o| o.nft.as_ref());
        let late: Vec<_> = sockets
            .filter(|n| n.destroyed)
            .map(|n| n.socket.as_fd())
            .collect();
        if late.is_empty() {
            return;
        }
        // Without a child the wait is ours.
        let held = farewell::hold(&late);
        self.places.clear();
        drop(held);
    }
}

fn closed() -> Error {
    reading("a socket")(io::Error::from(io::ErrorKind::NotConnected))
}

fn entering(path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.display().to_string();
    move |source| Error::Namespace { path, source }
}

fn reading(what: &str) -> impl FnOnce(io::Error) -> Error + use<> {
    let what = what.to_owned();
    move |source| Error::Observe { what, source }
}

impl Kernel for Linux {
    fn observe(&mut self, scope: &Scope) -> Result<State, Error> {
        self.observe_all(scope)
    }

    fn apply(&mut self, steps: &[Step], done: &mut dyn FnMut(usize)) -> Result<(), Error> {
        self.apply_steps(steps, done)
    }

    fn has(&mut self, object: &Object) -> Result<bool, Error> {
        self.has_object(object)
    }
}
