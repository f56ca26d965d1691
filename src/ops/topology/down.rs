//! `moat down`: everything of a project goes, in bulk.
//!
//! All processes are ended at once, then one batch of set elements goes, and one wait covers what the
//! kernel takes with the namespaces.

use std::time::Duration;

use serde::Serialize;

use super::super::context::{Moat, Where};
use super::super::error::Result;
use super::super::{bulk, remove};
use super::file::{Source, read};
use super::up::containers;
use super::{Event, Tell, links, parts};
use crate::model::Name;
use crate::model::topology::{Project, Why};
use crate::plan::Plan;
use crate::sandbox::Spec;
use crate::store::Container;

/// Time for a service whose data outlives it.
const GRACE: Duration = Duration::from_secs(10);

/// What `down` was asked for.
#[derive(Clone, Debug)]
pub struct Removal {
    pub source: Source,
    /// The named volumes too.
    pub volumes: bool,
    /// Time to end by themselves, for every service.
    pub grace: Option<Duration>,
}

/// What was removed.
#[derive(Debug, Serialize)]
pub struct Gone {
    pub project: Name,
    pub removed: Vec<Name>,
    #[serde(skip)]
    pub plan: Option<Plan>,
}

/// Removes a project.
///
/// # Errors
/// What is wrong in the file, or something would not go.
pub fn down(place: &Where, request: &Removal, dry: bool, tell: Tell<'_>) -> Result<Gone> {
    // With a name nothing of the file is needed, unless volumes are to go.
    let (name, project) = match (&request.source.project, request.volumes) {
        (Some(name), false) if request.source.file.is_none() => (name.clone(), None),
        _ => {
            let found = read(&request.source)?;
            (found.project.name.clone(), Some(found.project))
        }
    };
    let mut moat = Moat::settled(place)?;
    let lock = moat.dir.join("topologies");
    let _alone = super::super::lock::exclusive(&lock, moat.locks.patience)?;
    let all = containers(&moat, &name)?;
    let removed: Vec<Name> = all.iter().map(|c| c.name.clone()).collect();
    let mut gone = Gone {
        project: name.clone(),
        removed,
        plan: None,
    };
    if dry {
        let keys: Vec<String> = gone.removed.iter().map(ToString::to_string).collect();
        drop(moat);
        gone.plan = Some(remove::plan_end(place, &keys, false)?);
        return Ok(gone);
    }
    take_down(&mut moat, &name, project.as_ref(), all, request, tell)
        .map_err(|e| e.while_doing(format!("take `{name}` down")))?;
    Ok(gone)
}

fn take_down(
    moat: &mut Moat,
    name: &Name,
    project: Option<&Project>,
    all: Vec<Container>,
    request: &Removal,
    tell: Tell<'_>,
) -> Result<()> {
    let graceful: Vec<(&Container, Duration)> = all
        .iter()
        .filter_map(|c| Some((c, grace(project, c, request)?)))
        .collect();
    bulk::end_all(moat, &graceful)?;
    bulk::remove_all(moat, &all)?;
    for c in all {
        tell(&Event::Removed {
            name: c.name,
            why: Why::Asked,
        });
    }
    for link in links::recorded(moat, name)? {
        links::close(moat, &link)?;
    }
    remove::sweep(moat)?;
    for network in parts::networks_of(moat, name)? {
        parts::remove_network(moat, &network)?;
        tell(&Event::Network { name: network });
    }
    if let (true, Some(project)) = (request.volumes, project) {
        for wish in project.volumes.values().filter(|v| !v.external) {
            parts::remove_volume(moat, wish)?;
        }
    }
    Ok(())
}

/// How long a container may take to end by itself: as asked, as the file says, and long where it has data
/// that outlives it. Of all others nothing is left that they could bring in order.
fn grace(project: Option<&Project>, c: &Container, request: &Removal) -> Option<Duration> {
    let service = c.labels.get(crate::model::topology::SERVICE);
    let role = project.zip(service).and_then(|(p, s)| p.role(s));
    let said = role.and_then(|r| r.settings.stop_grace);
    let spec = serde_json::from_str::<Spec>(&c.spec).ok();
    let keeps = spec.is_some_and(|s| s.volumes.iter().any(|v| !v.read_only));
    let time = request.grace.or(said).or(keeps.then_some(GRACE));
    time.filter(|t| !t.is_zero())
}
