//! In which order services start.

use std::collections::BTreeSet;

use super::{Project, Role, To};
use crate::model::Name;
use crate::model::yaml::Fault;

/// Services so that each comes after those it depends on, and, where that is possible, after those it is
/// linked to. Members of a cluster are linked in a circle; that is no error.
///
/// # Errors
/// Services depend on each other in a circle.
pub fn order(project: &Project) -> Result<Vec<&Role>, Fault> {
    let mut left: Vec<&Role> = project.roles.iter().collect();
    let mut placed: BTreeSet<&Name> = BTreeSet::new();
    let mut out = Vec::new();
    while !left.is_empty() {
        let free = |r: &Role| r.depends_on.iter().all(|d| placed.contains(&d.role));
        let linked = |r: &Role| {
            let mut to = r.links.iter().filter_map(|l| match &l.to {
                To::Role(name) if *name != r.name => Some(name),
                _ => None,
            });
            to.all(|name| placed.contains(name))
        };
        let next = left
            .iter()
            .position(|r| free(r) && linked(r))
            .or_else(|| left.iter().position(|r| free(r)));
        let Some(next) = next else {
            return Err(circle(project, left[0]));
        };
        let role = left.remove(next);
        placed.insert(&role.name);
        out.push(role);
    }
    Ok(out)
}

/// The circle that one walks into from a service all of whose ways lead into one.
fn circle(project: &Project, from: &Role) -> Fault {
    let mut path: Vec<&Role> = vec![];
    let mut here = from;
    loop {
        if let Some(at) = path.iter().position(|r| r.name == here.name) {
            let mut names: Vec<&str> = path[at..].iter().map(|r| r.name.as_str()).collect();
            names.push(here.name.as_str());
            let what = format!(
                "services depend on each other in a circle: {}",
                names.join(" -> ")
            );
            let pos = here.depends_on.first().map_or(here.pos, |d| d.pos);
            return Fault::new(pos, what)
                .hinting("links alone may go in a circle: only `depends_on` makes one wait");
        }
        path.push(here);
        // Into what is not free either; whoever is free leads to no circle.
        let next = here
            .depends_on
            .iter()
            .filter_map(|d| project.role(d.role.as_str()));
        let Some(next) = next.into_iter().find(|r| leads_back(project, r)) else {
            return Fault::new(here.pos, "services depend on each other in a circle");
        };
        here = next;
    }
}

/// Whether a service depends on itself by any way, or on one that does.
fn leads_back(project: &Project, from: &Role) -> bool {
    let mut seen: BTreeSet<&Name> = BTreeSet::new();
    let mut done: BTreeSet<&Name> = BTreeSet::new();
    // Those whose dependencies are all done are done: as above, from this one.
    let mut stack = vec![from];
    while let Some(role) = stack.pop() {
        if seen.insert(&role.name) {
            stack.extend(
                role.depends_on
                    .iter()
                    .filter_map(|d| project.role(d.role.as_str())),
            );
        }
    }
    loop {
        let before = done.len();
        for role in project.roles.iter().filter(|r| seen.contains(&r.name)) {
            if role.depends_on.iter().all(|d| done.contains(&d.role)) {
                done.insert(&role.name);
            }
        }
        if done.len() == before {
            return done.len() < seen.len();
        }
    }
}
