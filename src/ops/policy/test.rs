//! `moat policy test`: every ordered pair, every port, decided and held against what is expected.

use std::path::PathBuf;
use std::time::Instant;

use super::super::error::{Error, Result};
use super::files::load;
use super::report::{Cell, Report};
use crate::model::Family;
use crate::model::policy::{Engine, Expectations, cells};

/// What to test.
#[derive(Clone, Debug)]
pub struct Request {
    pub paths: Vec<PathBuf>,
    /// Files with expectations, beside those in `paths`.
    pub expect: Vec<PathBuf>,
    pub families: Vec<Family>,
}

/// Decides every cell. `done` hears how much of the work is done.
///
/// # Errors
/// The manifests cannot be read, or are wrong.
pub fn test(request: &Request, done: &mut dyn FnMut(usize, usize)) -> Result<Report> {
    let begun = Instant::now();
    let paths: Vec<PathBuf> = request.paths.iter().chain(&request.expect).cloned().collect();
    let manifests = load(&paths)?;
    if manifests.cluster.pods.is_empty() {
        return Err(Error::Refused {
            what: "the manifests hold no pod and no workload".into(),
            hint: "policies are about pods: `kubectl get ns,pods,networkpolicies -A -o yaml` prints all"
                .into(),
        });
    }
    let expectations = Expectations::new(manifests.expected, &manifests.cluster)?;
    let engine = Engine::new(manifests.cluster, manifests.policies);
    let services = |to| {
        let mut all = engine.cluster.pod(to).services();
        all.extend(expectations.services(to));
        all.sort_unstable();
        all.dedup();
        all
    };
    let decided = cells(&engine, &request.families, &services, done);
    let cells = decided
        .into_iter()
        .map(|c| {
            let line = expectations.of(c.from, c.to, c.port, c.proto, c.family);
            Cell {
                line: line.map(|n| n as u32),
                ..c.into()
            }
        })
        .collect();
    Ok(Report {
        engine,
        expectations,
        cells,
        took: begun.elapsed(),
        probed: None,
    })
}
