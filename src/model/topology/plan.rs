//! What has to be done so that what exists is what a file says.

use std::collections::BTreeMap;

use super::{Project, Role, order};
use crate::model::yaml::Fault;
use crate::model::{Name, NameError};

/// A container of the project that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    pub name: Name,
    pub role: String,
    pub replica: u32,
    pub config: String,
    pub runs: bool,
    pub exit_code: Option<i32>,
}

/// Why a container is made, replaced or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    New,
    /// The file says something else of it.
    Changed,
    /// It has ended.
    Ended,
    /// Somebody asked for it.
    Asked,
    /// There are to be fewer of its service.
    Fewer,
    /// The file has no such service.
    Orphan,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub kept: Vec<Name>,
    /// What goes before anything starts.
    pub removed: Vec<(Name, Why)>,
    /// What starts, in this order: name, service, number. Where something of that name is there, it is
    /// replaced.
    pub started: Vec<(Name, Name, u32, Why)>,
    /// Of no service of the file, and left alone.
    pub orphans: Vec<Name>,
}

/// What else was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub remove_orphans: bool,
    /// Replace what has not changed too.
    pub recreate: bool,
}

/// The name of a service's container.
///
/// # Errors
/// It would be too long.
pub fn name_of(project: &Name, role: &Name, replica: u32) -> Result<Name, NameError> {
    format!("{project}-{role}-{replica}").parse()
}

/// Compares what is there with the file.
///
/// # Errors
/// Services depend on each other in a circle.
pub fn plan(project: &Project, existing: &[Existing], options: Options) -> Result<Plan, Fault> {
    let mut plan = Plan::default();
    let there: BTreeMap<(&str, u32), &Existing> = existing
        .iter()
        .map(|e| ((e.role.as_str(), e.replica), e))
        .collect();
    for e in existing {
        match project.role(&e.role) {
            None if options.remove_orphans => plan.removed.push((e.name.clone(), Why::Orphan)),
            None => plan.orphans.push(e.name.clone()),
            Some(role) if e.replica > role.replicas => plan.removed.push((e.name.clone(), Why::Fewer)),
            Some(_) => {}
        }
    }
    for role in order(project)? {
        let config = role.config();
        for replica in 1..=role.replicas {
            let name = name_of(&project.name, &role.name, replica)
                .map_err(|e| Fault::new(role.pos, e.to_string()))?;
            let why = match there.get(&(role.name.as_str(), replica)) {
                None => Some(Why::New),
                Some(_) if options.recreate => Some(Why::Asked),
                Some(e) if e.config != config => Some(Why::Changed),
                Some(e) if e.runs || is_done(project, role, e) => None,
                Some(_) => Some(Why::Ended),
            };
            match why {
                Some(why) => plan.started.push((name, role.name.clone(), replica, why)),
                None => plan.kept.push(name),
            }
        }
    }
    Ok(plan)
}

/// A job that others wait for, and that did what it should, is not done again.
fn is_done(project: &Project, role: &Role, e: &Existing) -> bool {
    e.exit_code == Some(0) && project.is_job(&role.name)
}
