//! Bringing kernel and store together before a command does its own work.
//!
//! The check is of constant cost; what it misses, `fsck` finds. When something is off, or a
//! dead process left an intent, everything is compared and mended under the exclusive lock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use super::context::{Moat, Where, clock};
use super::error::{Error, Result};
use super::{fault, remove};
use crate::kernel::{Kernel, Scope};
use crate::model::{Name, Router, World};
use crate::plan::{Object, Place, Plan, Ruleset, State, desired, foreign};
use crate::sandbox;
use crate::store::Phase;

impl Moat {
    /// Opens a world, heals it when it needs it, and holds the shared lock.
    ///
    /// # Errors
    /// When the world cannot be opened, or not be healed.
    pub fn settled(place: &Where) -> Result<Self> {
        let mut moat = Self::open(place)?;
        moat.share()?;
        Ok(moat)
    }

    /// Takes the shared lock, over a world that is whole.
    ///
    /// # Errors
    /// When the world cannot be healed.
    pub fn share(&mut self) -> Result<()> {
        self.lock = None;
        self.lock = Some(self.locks.shared()?);
        if self.is_whole()? {
            return Ok(());
        }
        self.exclude()?;
        if !self.is_whole()? {
            self.heal()?;
        }
        self.lock = None;
        self.lock = Some(self.locks.shared()?);
        Ok(())
    }

    /// Takes the exclusive lock.
    ///
    /// # Errors
    /// When it is not to be had.
    pub fn exclude(&mut self) -> Result<()> {
        self.lock = None;
        self.lock = Some(self.locks.exclusive()?);
        Ok(())
    }

    /// Whether no dead process left work, and what every packet needs is in the kernel.
    fn is_whole(&mut self) -> Result<bool> {
        for (_, pid, started, _) in self.store.intents()? {
            if !sandbox::is_alive(pid, started) {
                return Ok(false);
            }
        }
        if !self.store.expire_due(clock())?.is_empty() {
            return Ok(false);
        }
        if !self.classic_is_whole()? {
            return Ok(false);
        }
        if self.store.meta("live")?.is_none() {
            return Ok(true);
        }
        // A world that nobody uses any more, and a command that died taking it away.
        Ok(!self.store.networks()?.is_empty() && self.router_is_whole()? && self.host_is_whole()?)
    }

    fn router_is_whole(&mut self) -> Result<bool> {
        let networks = self.store.networks()?;
        if networks.iter().any(|n| n.network.router == Router::Own) {
            if !self.has(&Object::Namespace) || self.generation_moved()? {
                return Ok(false);
            }
            let up = |at, iface| Object::Up { at, iface };
            let ends = [
                up(Place::Host, self.names.uplink_host()),
                up(Place::Router, self.names.uplink_router()),
            ];
            if ends.iter().any(|end| !self.has(end)) || !self.has_router_policy()? {
                return Ok(false);
            }
        }
        for (n, network) in self.store.bridges()? {
            let Some(row) = networks
                .iter()
                .find(|r| r.network.name == network && !r.network.foreign)
            else {
                continue;
            };
            let at = desired::place(&row.network);
            let up = Object::Up {
                at,
                iface: self.names.bridge(n),
            };
            if !self.has(&up) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Without its rules a router passes nothing: closed, but links are dead too.
    fn has_router_policy(&mut self) -> Result<bool> {
        let policy = self
            .families()
            .into_iter()
            .flat_map(|f| desired::router_policy(&self.names, f))
            .collect();
        Ok(self.kernel.has_rules(&Place::Router, &policy)?)
    }

    /// The rules of the wall around others' interfaces: without them it stands on nftables alone.
    fn foreign_rules(&self, networks: &[crate::store::NetworkRow]) -> Result<State> {
        let foreign = networks.iter().map(|r| &r.network).filter(|n| n.foreign);
        let mut s: State = foreign.flat_map(|n| desired::net(&self.names, n)).collect();
        s.extend(self.sides()?);
        s.retain(|o| matches!(o, Object::Rule { .. }));
        Ok(s)
    }

    /// What stands around others' interfaces, whether these are there or not.
    fn sides(&self) -> Result<State> {
        let mut s = State::new();
        for (network, f) in self.store.sides()? {
            let row = self.store.network(&network)?;
            s.extend(
                row.into_iter()
                    .flat_map(|r| foreign::side(&self.names, &r.network, &f)),
            );
        }
        Ok(s)
    }

    /// Takes out of what is wanted that which would hang on interfaces that their plugins took
    /// away: DEL is still to come. What needs no interface stays, closed.
    fn without_lost(
        &mut self,
        world: &World,
        sandboxes: &BTreeMap<Name, PathBuf>,
        s: &mut State,
    ) -> Result<()> {
        let foreign = || {
            world
                .endpoints
                .values()
                .filter_map(|e| Some((e, e.foreign.as_ref()?)))
        };
        if foreign().next().is_none() {
            return Ok(());
        }
        let there = self.kernel.host_ports()?;
        for (e, _) in foreign().filter(|(_, f)| there.get(&f.port) != Some(&f.bridge)) {
            if let (Some(net), Some(path)) = (world.networks.get(&e.network), sandboxes.get(&e.container)) {
                let own = desired::endpoint(&self.names, net, e, &Place::Sandbox(path.clone()));
                s.retain(|o| o.iface().is_none() || !own.contains(o));
            }
        }
        Ok(())
    }

    fn host_is_whole(&mut self) -> Result<bool> {
        let networks = self.store.networks()?;
        let ruleset = Object::Ruleset {
            at: Place::Host,
            which: Ruleset::WayOut,
        };
        let mut policy: State = self
            .families()
            .into_iter()
            .flat_map(|f| desired::host_policy(&self.names, f))
            .collect();
        policy.extend(self.foreign_rules(&networks)?);
        if !self.kernel.has_rules(&Place::Host, &policy)? {
            return Ok(false);
        }
        let mut needed = vec![ruleset];
        if networks.iter().any(|n| n.network.router == Router::Host) {
            needed.push(Object::Ruleset {
                at: Place::Host,
                which: Ruleset::Wall,
            });
        }
        if needed.iter().any(|o| !self.has(o)) {
            return Ok(false);
        }
        let addresses = self.host_addresses()?;
        Ok(self.store.meta("host")? == Some(words(&addresses)))
    }

    /// Makes the kernel what the store says, and finishes or undoes what dead processes began.
    /// Needs the exclusive lock.
    ///
    /// # Errors
    /// The first step that could not be done.
    pub fn heal(&mut self) -> Result<()> {
        let intents = self.store.intents()?;
        let dead: Vec<i64> = intents
            .iter()
            .filter(|i| !sandbox::is_alive(i.1, i.2))
            .map(|i| i.0)
            .collect();
        self.finish_dead_owners()?;
        self.finish_classic()?;
        super::fsck::remove_strays(self)?;
        self.store.expire_links(clock())?;
        self.mend()?;
        for id in dead {
            self.store.finish(id)?;
        }
        let names: Vec<_> = self
            .store
            .endpoints()?
            .into_iter()
            .map(|(e, _)| e.container)
            .collect();
        self.refresh_hosts(&names)?;
        Ok(())
    }

    /// Makes the kernel what the store says. Needs the exclusive lock.
    ///
    /// # Errors
    /// The first step that could not be done, after all were tried.
    pub fn mend(&mut self) -> Result<()> {
        // Mending one thing may take another with it: a changed MAC drops neighbour entries.
        for _ in 0..3 {
            let (present, wanted) = self.compare()?;
            let plan = Plan::between(&present, &wanted);
            self.remember(&wanted)?;
            if plan.is_empty() {
                break;
            }
            self.save_sysctls(&wanted)?;
            self.apply_all(&plan)?;
        }
        if self.store.meta("live")?.is_none() {
            self.restore_sysctls();
        }
        self.reset_generation()
    }

    /// What is in the kernel, and what should be.
    ///
    /// # Errors
    /// When store or kernel cannot be read.
    pub fn compare(&mut self) -> Result<(State, State)> {
        let wanted = self.wanted()?;
        let scope = self.scope(&wanted);
        let mut present = self.kernel.observe(&scope)?;
        // On others' interfaces, and in the namespace of another runtime, what we do not want is theirs.
        let namespaces: BTreeSet<Place> = (self.store.cookies(None)?.into_values())
            .map(|(path, _)| Place::Sandbox(path))
            .collect();
        let in_our_tables =
            |o: &Object| matches!(o, Object::Route { table, .. } if self.names.owns_table(*table));
        let theirs = |o: &Object| {
            let hangs_on_theirs = on(o).is_some_and(|i| scope.foreign.contains(&i));
            namespaces.contains(o.place()) || hangs_on_theirs && !in_our_tables(o)
        };
        present.retain(|o| wanted.contains(o) || !theirs(o));
        Ok((present, wanted))
    }

    /// Where to look for what is wanted, beside what is found by its name.
    fn scope(&self, wanted: &State) -> Scope {
        let mut scope = Scope::default();
        let mut inner = BTreeSet::new();
        for object in wanted {
            match object {
                Object::Veth { sandbox, inside, .. } => {
                    scope.sandboxes.push(sandbox.clone());
                    inner.extend([(sandbox.clone(), inside.clone()), (sandbox.clone(), "lo".into())]);
                }
                Object::Sysctl { at, key, .. } => scope.sysctls.push((at.clone(), key.clone())),
                _ => {}
            }
        }
        let ours = |(at, iface): &(Place, String)| match at {
            Place::Host | Place::Router => self.names.owns(iface),
            Place::Sandbox(_) => inner.contains(&(at.clone(), iface.clone())),
        };
        scope.foreign = wanted.iter().filter_map(on).filter(|i| !ours(i)).collect();
        scope
    }

    /// What should be in the kernel.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn wanted(&mut self) -> Result<State> {
        let mut s = self.wanted_world()?;
        s.extend(self.wanted_classic()?);
        Ok(s)
    }

    /// What the world of networks should be: nothing while nobody uses it.
    fn wanted_world(&mut self) -> Result<State> {
        let (mut world, sandboxes) = self.store.world(clock())?;
        if world.networks.is_empty() {
            return Ok(State::new());
        }
        self.complete(&mut world)?;
        let governed = self.store.governed()?;
        self.govern(&mut world, &|name| governed.contains(name))?;
        let machine = self.machine()?;
        let bridges = self.store.bridges()?;
        let mut s = desired::everything(&self.names, &machine, &world, &sandboxes, &bridges);
        s.extend(super::policy::compiled(&world)?);
        s.extend(self.sides()?);
        self.without_lost(&world, &sandboxes, &mut s)?;
        Ok(s)
    }

    /// Containers whose creating or removing command is dead go away; those whose process is
    /// dead are over.
    fn finish_dead_owners(&mut self) -> Result<()> {
        for c in self.store.containers()? {
            let owned = sandbox::is_alive(c.owner.0, c.owner.1);
            match c.phase {
                Phase::Creating | Phase::Removing if !owned => remove::erase(self, &c)?,
                Phase::Running => {
                    remove::note_exit(self, &c)?;
                }
                _ => {}
            }
        }
        remove::drop_idle_networks(self)
    }

    /// Writes down what the constant-cost check compares with.
    ///
    /// # Errors
    /// When the store or the kernel cannot be asked.
    pub fn remember(&mut self, wanted: &State) -> Result<()> {
        let host = self.host_addresses()?;
        self.store.set_meta("host", Some(&words(&host)))?;
        let live = wanted.iter().any(|o| !o.is_classic());
        self.store.set_meta("live", live.then_some("1"))?;
        self.store.set_bridges_up(None)?;
        self.reset_generation()
    }

    /// Makes the foundation and the networks that are recorded but not in the kernel yet.
    /// Afterwards the shared lock is held.
    ///
    /// # Errors
    /// What failed; what was made of a new world is taken back.
    pub fn ensure_live(&mut self) -> Result<()> {
        if self.store.meta("live")?.is_some() {
            return Ok(());
        }
        self.exclude()?;
        if self.store.meta("live")?.is_none() {
            let intent = self.store.intend("make the world", self.me.0, self.me.1)?;
            let wanted = self.wanted_world()?;
            self.save_sysctls(&wanted)?;
            let plan = Plan::add(&wanted);
            let made = self
                .apply(&plan)
                .and_then(|()| fault::step("remembering the new world"))
                .and_then(|()| self.remember(&wanted));
            if let Err(e) = made {
                let undone = self.apply_all(&plan.reversed());
                self.restore_sysctls();
                self.store.set_meta("live", None)?;
                return Err(self.undone(e, undone, intent));
            }
            self.store.finish(intent)?;
        }
        self.lock = None;
        self.share()
    }

    /// The host's sysctls as they are before the first change, to be put back at the end.
    fn save_sysctls(&mut self, wanted: &State) -> Result<()> {
        if wanted.iter().all(Object::is_classic) || self.store.meta("sysctls")?.is_some() {
            return Ok(());
        }
        let mut before = BTreeMap::new();
        for object in wanted {
            if let Object::Sysctl {
                at: Place::Host, key, ..
            } = object
                && !key.contains(&format!("/{}", self.names.prefix))
                && let Ok(value) = std::fs::read_to_string(format!("/proc/sys/{key}"))
            {
                before.insert(key.clone(), value.trim().to_owned());
            }
        }
        let text = serde_json::to_string(&before).unwrap_or_default();
        Ok(self.store.set_meta("sysctls", Some(&text))?)
    }

    fn restore_sysctls(&mut self) {
        let Ok(Some(text)) = self.store.meta("sysctls") else {
            return;
        };
        let mut before: BTreeMap<String, String> = serde_json::from_str(&text).unwrap_or_default();
        if self.kernel.has_neighbours().unwrap_or(true) {
            // They need it as it is: a host that forwarded nothing closes with the last, or not at all.
            before.clear();
        }
        // Forwarding first: turning it off resets what interfaces accept.
        for (key, value) in before.iter().rev() {
            let step = crate::plan::Step::Add(Object::Sysctl {
                at: Place::Host,
                key: key.clone(),
                value: value.clone(),
            });
            let _ = self.kernel.apply(&[step], &mut |_| {});
        }
        let _ = self.store.set_meta("sysctls", None);
    }

    /// The error of a command whose steps were taken back, or not all of them: then its intent
    /// stays for the next command.
    pub fn undone(&mut self, e: Error, undone: Result<()>, intent: i64) -> Error {
        match undone.and_then(|()| Ok(self.store.finish(intent)?)) {
            Ok(()) => e.noting("all steps before it were undone"),
            Err(also) => e.noting(&format!(
                "undoing the steps before it failed too ({also}); the next `moat` command tries again"
            )),
        }
    }

    /// Takes the whole world out of the kernel. Needs the exclusive lock.
    ///
    /// # Errors
    /// The first object that would not go.
    pub fn tear_down(&mut self) -> Result<()> {
        let mut present = self.kernel.observe(&Scope::default())?;
        present.retain(|o| !o.is_classic());
        // First: it waits for a lock that the kernel holds while an interface goes.
        self.restore_sysctls();
        self.apply(&Plan::remove(&present))?;
        self.store.set_meta("live", None)?;
        Ok(())
    }

    /// Brings the kernel from one state of a part of the world to another.
    ///
    /// # Errors
    /// The step that failed.
    pub fn change(&mut self, before: &State, after: &State) -> Result<()> {
        self.apply(&Plan::change(before, after))
    }

    /// The world as far as it is needed for the whole of a question or a picture.
    ///
    /// # Errors
    /// When store or kernel cannot be read.
    pub fn world(&mut self) -> Result<World> {
        let mut world = self.store.world(clock())?.0;
        self.complete(&mut world)?;
        self.govern(&mut world, &|_| true)?;
        let beside = self.bystanders()?.into_iter();
        world.bystanders = beside.map(|b| (b.container.clone(), b)).collect();
        Ok(world)
    }

    /// What the store cannot know: the host's addresses, and who is gone without a word.
    fn complete(&mut self, world: &mut World) -> Result<()> {
        for gone in self.detached()? {
            world.endpoints.remove(&gone);
        }
        world.host = self.host_addresses()?;
        Ok(())
    }
}

/// The interface an object hangs on.
fn on(object: &Object) -> Option<(Place, String)> {
    Some((object.place().clone(), object.iface()?.to_owned()))
}

fn words(addresses: &[IpAddr]) -> String {
    addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}
