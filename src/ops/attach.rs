//! A container's place in the network: taking it, and giving it back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::context::Moat;
use super::error::Result;
use crate::kernel::linux::Flows;
use crate::model::{Endpoint, Name, Network, World};
use crate::plan::{Object, Place, Plan, SetName, State, Step, desired, elements, foreign};

impl Moat {
    /// Everything of one container in the kernel, links and published ports included.
    ///
    /// # Errors
    /// When store or kernel cannot be read.
    pub fn objects_of(&mut self, name: &Name) -> Result<State> {
        let world = self.around(&[name])?;
        let Some((e, Some(path))) = self.store.endpoint(name)? else {
            return Ok(State::new());
        };
        let Some(net) = world.networks.get(&e.network) else {
            return Ok(State::new());
        };
        let mut s = desired::endpoint(&self.names, net, &e, &Place::Sandbox(path));
        s.extend(self.permissions_of(&world, &e));
        Ok(s)
    }

    /// The bridge of a container, and its network's ranges: until they are known to be in the
    /// kernel every container brings them along, because without them the wall would take its
    /// neighbours for the world.
    fn ensure_bridge(&mut self, name: &Name) -> Result<()> {
        let Some((e, _)) = self.store.endpoint(name)? else {
            return Ok(());
        };
        // What the ports behind another plugin's interface share may be on its way out just now.
        let shared = e.foreign.as_ref().map(|_| self.locks.links()).transpose()?;
        if self.store.bridge_is_up(e.bridge)? {
            return Ok(());
        }
        let Some(row) = self.store.network(&e.network)? else {
            return Ok(());
        };
        if self.store.meta("live")?.is_some() && !self.has_ground(&row.network)? {
            // The first network of its kind brings a router or the host's part along, and one of
            // another plugin takes the place of single addresses of the host.
            drop(shared);
            self.exclude()?;
            let made = self.mend();
            self.lock = None;
            self.share()?;
            return made;
        }
        let mut s = desired::net(&self.names, &row.network);
        s.extend(desired::side(&self.names, &row.network, &e));
        self.apply(&Plan::add(&s))?;
        Ok(self.store.set_bridges_up(Some(e.bridge))?)
    }

    /// Whether some bridge of this kind of router is known to be in the kernel; of this very
    /// network, when another plugin made that.
    fn has_ground(&self, of: &Network) -> Result<bool> {
        let networks = self.store.networks()?;
        let alike = |n: &Network| n.router == of.router && (!of.foreign || n.name == of.name);
        let grounds = |name: &Name| {
            networks
                .iter()
                .any(|r| r.network.name == *name && alike(&r.network))
        };
        for (n, _) in self.store.bridges()?.iter().filter(|(_, name)| grounds(name)) {
            if self.store.bridge_is_up(*n)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The set elements that speak of one container.
    #[must_use]
    pub fn permissions_of(&self, world: &World, e: &Endpoint) -> State {
        let mut s = elements::pairs_of(world, e);
        s.extend(elements::reach_of(&self.names, world, e));
        let own = world.published.iter().filter(|p| p.container == e.container);
        s.extend(own.flat_map(|p| desired::published(world, p)));
        s
    }

    /// Attaches a container whose endpoint and namespace are recorded.
    ///
    /// # Errors
    /// The step that failed, after all were taken back.
    pub fn attach(&mut self, name: &Name) -> Result<()> {
        self.ensure_bridge(name)?;
        if let Err(e) = self.plug(name).and_then(|()| self.begin_to_govern(name)) {
            let own = self.objects_of(name)?;
            let lock = self.locks.links()?;
            let _ = self.cease_to_govern(std::slice::from_ref(name));
            drop(lock);
            let _ = self.apply_all(&Plan::remove(&own));
            return Err(e.noting("all steps before it were undone; the container has no network"));
        }
        Ok(())
    }

    /// Applies what the store says until the store says the same afterwards: another command
    /// may have changed links meanwhile, and whoever looks last sees all of it. What links open
    /// is applied under their lock; without links there is nothing to wait for.
    fn plug(&mut self, name: &Name) -> Result<()> {
        let mut links = None;
        let mut applied = State::new();
        loop {
            let wanted = self.objects_of(name)?;
            // Not `!=`: a new end of a link that lasts for a time is a change too.
            if Plan::change(&applied, &wanted).is_empty() {
                return Ok(());
            }
            if links.is_none() && wanted.iter().any(opened_by_link) {
                links = Some(self.locks.links()?);
                continue;
            }
            self.change(&applied, &wanted)?;
            applied = wanted;
        }
    }

    /// Takes a container whose processes are dead out of the network. Its namespace takes the
    /// interface with it; what hangs on the bridge is taken away here.
    ///
    /// # Errors
    /// When something would not go, after all was tried.
    pub fn detach(&mut self, name: &Name) -> Result<()> {
        let Some((e, path)) = self.store.endpoint(name)? else {
            return Ok(());
        };
        // A namespace that lives on shows what a command made that died making the world.
        let live = self.store.meta("live")?.is_some() || name.is_anothers();
        let mut port = None;
        // Until the endpoint is forgotten, so that nobody opens anything to it in between.
        let links = self.locks.links()?;
        if live && path.is_some() {
            let objects = self.objects_of(name)?;
            let rest: State = objects.iter().filter(|o| stays_behind(o)).cloned().collect();
            // A locked port without its entry forwards nothing: first what closes, then the wall.
            let known = objects
                .iter()
                .filter(|o| matches!(o, Object::Fdb { .. }) && e.foreign.is_some());
            self.apply(&Plan::remove(&known.cloned().collect()))?;
            self.apply(&Plan::remove(&rest))?;
            self.cease_to_govern(std::slice::from_ref(name))?;
            self.leave_side(&e)?;
            self.forget(&[&e])?;
            port = objects.iter().find(|o| matches!(o, Object::Veth { .. })).cloned();
            if let Some(veth) = port.take_if(|_| name.is_anothers()) {
                // Its namespace lives on, or is gone without anybody to wait for.
                self.apply(&Plan(vec![Step::Del(veth)]))?;
            }
        }
        super::fault::step("forgetting the endpoint")?;
        let peers = self.who_names(name)?;
        self.store.write(|s| s.remove_endpoint(name))?;
        drop(links);
        if let Some(veth) = port {
            self.wait_gone(&veth)?;
        }
        self.refresh_hosts(&peers)
    }

    /// As [`Moat::detach`], for containers of ours at once: one batch of elements, one wait.
    ///
    /// # Errors
    /// When something would not go, after all was tried.
    pub fn detach_all(&mut self, names: &[Name]) -> Result<()> {
        if names.iter().any(Name::is_anothers) {
            return names.iter().try_for_each(|n| self.detach(n));
        }
        let live = self.store.meta("live")?.is_some();
        let (mut rest, mut ports) = (State::new(), Vec::new());
        // Until the endpoints are forgotten, so that nobody opens anything to them in between.
        let links = self.locks.links()?;
        let mut gone = Vec::new();
        for name in names {
            let Some((e, path)) = self.store.endpoint(name)? else {
                continue;
            };
            if live && path.is_some() {
                let objects = self.objects_of(name)?;
                ports.extend(objects.iter().find(|o| matches!(o, Object::Veth { .. })).cloned());
                rest.extend(objects.into_iter().filter(stays_behind));
            }
            gone.push(e);
        }
        self.apply(&Plan::remove(&rest))?;
        if live {
            self.cease_to_govern(names)?;
            self.forget(&gone.iter().collect::<Vec<_>>())?;
        }
        let mut peers = BTreeSet::new();
        for e in &gone {
            peers.extend(self.who_names(&e.container)?);
        }
        super::fault::step("forgetting the endpoints")?;
        self.store
            .write(|s| gone.iter().try_for_each(|e| s.remove_endpoint(&e.container)))?;
        drop(links);
        for veth in &ports {
            self.wait_gone(veth)?;
        }
        let left: Vec<Name> = peers.into_iter().filter(|p| !names.contains(p)).collect();
        self.refresh_hosts(&left)
    }

    /// The last port behind another plugin's interface takes along what they all shared. Under the
    /// lock of links, as whoever makes it again.
    fn leave_side(&mut self, e: &Endpoint) -> Result<()> {
        let Some(f) = &e.foreign else { return Ok(()) };
        if self.store.ports_of(e.bridge)? > 1 {
            return Ok(());
        }
        let Some(row) = self.store.network(&e.network)? else {
            return Ok(());
        };
        let shared = foreign::side(&self.names, &row.network, f);
        self.store.set_bridge_down(e.bridge)?;
        self.apply(&Plan::remove(&shared))
    }

    /// The kernel removes the port with the namespace, a moment after its last process.
    fn wait_gone(&mut self, veth: &Object) -> Result<()> {
        let start = Instant::now();
        while self.has(veth) {
            if start.elapsed() > Duration::from_secs(1) {
                return self.apply_all(&Plan(vec![Step::Del(veth.clone())]));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    /// Drops the tracked flows of the endpoints' addresses, so that the next holder of one
    /// finds none.
    fn forget(&mut self, all: &[&Endpoint]) -> Result<()> {
        let mut flows: BTreeMap<Place, Vec<Flows>> = BTreeMap::new();
        for e in all {
            let at = self
                .store
                .network(&e.network)?
                .map_or(Place::Router, |n| desired::place(&n.network));
            let its = e.addresses.iter().map(|ip| Flows::Of(*ip));
            if at == Place::Router && !self.store.published_of(Some(&e.container))?.is_empty() {
                flows.entry(Place::Host).or_default().extend(its.clone());
            }
            flows.entry(at).or_default().extend(its);
        }
        for (at, flows) in flows {
            self.kernel.forget_flows(&at, &flows)?;
        }
        Ok(())
    }

    /// The containers whose `/etc/hosts` names this one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn who_names(&mut self, name: &Name) -> Result<Vec<Name>> {
        let (world, _) = self.store.around(&[name], super::context::clock())?;
        let Some(e) = world.endpoints.get(name) else {
            return Ok(vec![]);
        };
        let to_us = world.links.iter().filter(|l| e.is(&l.to));
        let from: BTreeSet<Name> = to_us
            .flat_map(|l| elements::ends(&world, &l.from))
            .map(|e| e.container.clone())
            .collect();
        Ok(from.into_iter().filter(|n| n != name).collect())
    }
}

/// Whether an object does not go with the interface of its container, as all does that is inside.
fn stays_behind(object: &Object) -> bool {
    let inside = matches!(object.place(), Place::Sandbox(_));
    let apart = matches!(
        object,
        Object::Element(_) | Object::Neighbour { .. } | Object::Route { .. }
    );
    apart && !inside
}

/// Whether an object is there because of a link, whose other end others change too.
fn opened_by_link(object: &Object) -> bool {
    use SetName::{Cidr, CidrPort, Pair, Port, Proto, Range};
    let Object::Element(e) = object else { return false };
    matches!(
        e.set,
        Pair(_) | Proto(_) | Port(_) | Range(_) | Cidr(_) | CidrPort(_)
    )
}
