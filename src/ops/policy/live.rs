//! Policies that were applied, upon containers that live: what the wall must hold for them, and how it changes.
//!
//! Whoever attaches, detaches or relabels a container, or changes policies, holds the lock of links: so each sees
//! what those before it did, and takes away nothing that others need.

use std::sync::Arc;
use std::time::Instant;

use super::super::context::{Moat, Where, clock};
use super::super::error::{Error, Result};
use super::report::{Cell, Report};
use super::why::{Answer, Question, answer};
use crate::model::governed::{Applied, Governed};
use crate::model::policy::{Engine, Expectations, Source, cells, read};
use crate::model::{DefaultPolicy, Family, Name, Network, Router, World};
use crate::plan::{Place, State, policy};

impl Moat {
    /// The policies and namespaces that were applied.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn applied(&self) -> Result<Applied> {
        let mut all = Applied::default();
        for manifest in self.store.manifests()? {
            let source = Source {
                name: manifest.name.as_str().into(),
                text: manifest.text.clone(),
            };
            let counts = |kind: &str, namespace: Option<&str>, name: &str| {
                manifest
                    .objects
                    .iter()
                    .any(|o| o.kind == kind && o.namespace.as_deref() == namespace && o.name == name)
            };
            let found = read(&[source])?;
            let policies = found.policies.into_iter();
            all.policies
                .extend(policies.filter(|p| counts(p.kind.as_str(), p.namespace.as_deref(), &p.name)));
            let namespaces = found.cluster.namespaces.into_iter();
            all.namespaces
                .extend(namespaces.filter(|(name, _)| counts("Namespace", None, name)));
            let objects: Vec<String> = manifest.objects.iter().map(ToString::to_string).collect();
            all.texts.push(format!(
                "{} {}\n{}",
                manifest.name,
                objects.join(" "),
                manifest.text
            ));
        }
        Ok(all)
    }

    /// Adds to a world what policies say of it, as far as there are networks that have them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn govern(&self, world: &mut World, counts: &dyn Fn(&Name) -> bool) -> Result<()> {
        let has = |n: &Network| n.default_policy == DefaultPolicy::Kubernetes;
        if world.networks.values().any(has) {
            let applied = Arc::new(self.applied()?);
            world.governed = Governed::all(world, &applied, counts);
        }
        Ok(())
    }

    /// What the wall holds for policies.
    ///
    /// # Errors
    /// When the store cannot be read, or there is more than the kernel is given.
    pub fn policy_state(&self) -> Result<State> {
        Ok(self.policy_states([&[]])?.swap_remove(0))
    }

    /// The same without some containers, for several such sets, from one reading of the records.
    fn policy_states<const N: usize>(&self, without: [&[Name]; N]) -> Result<Vec<State>> {
        let networks = self.store.networks()?;
        let has = |n: &Network| n.default_policy == DefaultPolicy::Kubernetes;
        if !networks.iter().any(|r| has(&r.network)) {
            return Ok(vec![State::new(); N]);
        }
        let (mut world, _) = self.store.world(clock())?;
        let applied = Arc::new(self.applied()?);
        let governed = self.store.governed()?;
        let state = |without: &[Name]| {
            let counts = |name: &Name| governed.contains(name) && !without.contains(name);
            world.governed = Governed::all(&world, &applied, &counts);
            compiled(&world)
        };
        without.into_iter().map(state).collect()
    }

    /// Lets policies speak of a container that was just attached. Containers that come at the same time do so
    /// one after the other: each finds in the records what those before it have put into the kernel.
    ///
    /// # Errors
    /// The step that failed.
    pub fn begin_to_govern(&mut self, name: &Name) -> Result<()> {
        if !self.is_in_governed_network(name)? {
            return Ok(());
        }
        let _lock = self.locks.links()?;
        self.store.set_governed(name)?;
        let states = self.policy_states([std::slice::from_ref(name), &[]])?;
        self.apply(&policy::change(&states[0], &states[1]))
    }

    /// Takes containers out of what policies speak of. The caller holds the lock of links until their
    /// endpoints are forgotten.
    ///
    /// # Errors
    /// When something would not go, after all was tried.
    pub fn cease_to_govern(&mut self, names: &[Name]) -> Result<()> {
        let governed = self.store.governed()?;
        let going: Vec<Name> = names.iter().filter(|n| governed.contains(*n)).cloned().collect();
        if going.is_empty() {
            return Ok(());
        }
        let states = self.policy_states([&[], &going])?;
        self.apply_all(&policy::change(&states[0], &states[1]))
    }

    fn is_in_governed_network(&self, name: &Name) -> Result<bool> {
        let Some((e, _)) = self.store.endpoint(name)? else {
            return Ok(false);
        };
        let row = self.store.network(&e.network)?;
        Ok(row.is_some_and(|r| r.network.default_policy == DefaultPolicy::Kubernetes))
    }
}

/// The elements that enforce the policies of a world.
///
/// # Errors
/// There is more than the kernel is given.
pub fn compiled(world: &World) -> Result<State> {
    let mut state = State::new();
    for (router, governed) in &world.governed {
        let at = match router {
            Router::Own => Place::Router,
            Router::Host => Place::Host,
        };
        let compiled = policy::compile(&governed.engine, &at).map_err(|e| Error::Refused {
            what: e.to_string(),
            hint: "fewer policies, or fewer labels that they tell apart".into(),
        })?;
        state.extend(compiled);
    }
    Ok(state)
}

/// The live containers that are governed: those behind the router, or else those of the host.
fn live(place: &Where) -> Result<Governed> {
    let mut moat = Moat::settled(place)?;
    let world = moat.world()?;
    let mut governed = world.governed.into_values();
    let found = governed.find(|g| !g.engine.cluster.pods.is_empty());
    found.ok_or_else(|| Error::Refused {
        what: "no container runs in a network with policies".into(),
        hint: "`moat net create NAME --default-policy kubernetes` makes one; -f FILE asks manifests instead"
            .into(),
    })
}

/// As `why` of manifests, of containers that live.
///
/// # Errors
/// None is governed, or an end is not among them.
pub fn why_live(place: &Where, question: &Question) -> Result<Answer> {
    answer(Engine::clone(&live(place)?.engine), question)
}

/// The table of containers that live, for every port that policies or containers name.
///
/// # Errors
/// None is governed.
pub fn table_live(place: &Where, families: &[Family]) -> Result<Report> {
    let begun = Instant::now();
    let governed = live(place)?;
    let engine = Engine::clone(&governed.engine);
    let ports: Vec<_> = governed
        .ports()
        .into_iter()
        .map(|(proto, port)| (port, proto))
        .collect();
    let services = |_| ports.clone();
    let found = cells(&engine, families, &services, &mut |_, _| {});
    Ok(Report {
        cells: found.into_iter().map(Cell::from).collect(),
        engine,
        expectations: Expectations::default(),
        took: begun.elapsed(),
        probed: None,
    })
}
