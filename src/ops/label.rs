//! `moat label`: other labels for a container, and what links and policies say of it then.

use std::collections::BTreeMap;

use super::context::{Moat, Where};
use super::error::{Error, Result};
use super::fault;
use crate::model::Name;
use crate::plan::{Plan, State, policy};

/// Labels to set, and (with `None`) to take away.
pub type Changes = BTreeMap<String, Option<String>>;

/// What the wall holds because of a container's labels: for links, and for policies.
struct Held {
    links: State,
    policies: State,
}

impl Held {
    fn of(moat: &mut Moat, name: &Name) -> Result<Self> {
        let world = moat.around(&[name])?;
        let links = world.endpoints.get(name).map(|e| moat.permissions_of(&world, e));
        Ok(Self {
            links: links.unwrap_or_default(),
            policies: moat.policy_state()?,
        })
    }

    /// What ends goes before what begins.
    fn change(&self, after: &Self) -> Plan {
        let mut plan = policy::change(&self.policies, &after.policies);
        plan.0.extend(Plan::change(&self.links, &after.links).0);
        plan
    }
}

/// Changes the labels of a container that runs or has ended.
///
/// # Errors
/// There is no such container, or the kernel refused; then nothing is changed.
pub fn label(place: &Where, key: &str, changes: &Changes, dry: bool) -> Result<Option<Plan>> {
    let mut moat = Moat::settled(place)?;
    let c = moat.find(key)?;
    relabel(&mut moat, &c.name, changes, dry).map_err(|e| e.while_doing(format!("label `{key}`")))
}

fn relabel(moat: &mut Moat, name: &Name, changes: &Changes, dry: bool) -> Result<Option<Plan>> {
    let _lock = moat.locks.links()?;
    // Under the lock: two commands at once each keep what the other set.
    let labels = &moat.find(name.as_str())?.labels;
    let mut wanted = labels.clone();
    for (key, value) in changes {
        match value {
            Some(value) => wanted.insert(key.clone(), value.clone()),
            None => wanted.remove(key),
        };
    }
    let before = Held::of(moat, name)?;
    let mut peers = moat.who_names(name)?;
    moat.store.begin()?;
    let tried = moat.store.set_labels(name, &wanted).map_err(Error::from);
    let after = tried.and_then(|()| Held::of(moat, name));
    moat.store.roll_back()?;
    let plan = before.change(&after?);
    if dry {
        return Ok(Some(plan));
    }
    let intent = moat.store.write(|s| {
        s.set_labels(name, &wanted)?;
        s.intend(&format!("label {name}"), moat.me.0, moat.me.1)
    })?;
    let attached = moat.store.endpoint(name)?.is_some_and(|(_, path)| path.is_some());
    let done =
        fault::step("changing labels").and_then(|()| if attached { moat.apply(&plan) } else { Ok(()) });
    if let Err(e) = done {
        let undone = moat
            .apply_all(&plan.reversed())
            .and_then(|()| Ok(moat.store.write(|s| s.set_labels(name, labels))?));
        return Err(moat.undone(e, undone, intent));
    }
    peers.extend(moat.who_names(name)?);
    peers.push(name.clone());
    peers.sort();
    peers.dedup();
    moat.refresh_hosts(&peers)?;
    moat.store.finish(intent)?;
    Ok(None)
}
