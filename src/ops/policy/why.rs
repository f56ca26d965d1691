//! `moat policy why`: one flow.

use std::path::PathBuf;

use super::super::error::{Error, Result, nearest};
use super::files::load;
use crate::model::policy::{Engine, PodId, Verdict};
use crate::model::{Family, Proto};

/// A flow that is asked about, as a person names it.
#[derive(Clone, Debug)]
pub struct Question {
    pub files: Vec<PathBuf>,
    pub from: String,
    pub to: String,
    /// At the receiver, served or not.
    pub port: (u16, Proto),
    pub families: Vec<Family>,
}

/// The verdicts, one for each family in which both ends have an address.
#[derive(Debug)]
pub struct Answer {
    pub engine: Engine,
    pub from: PodId,
    pub to: PodId,
    pub verdicts: Vec<(Family, Verdict)>,
}

impl Answer {
    /// Whether it may pass in every family.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.verdicts.iter().all(|(_, v)| v.allowed)
    }
}

/// Decides one flow.
///
/// # Errors
/// The manifests cannot be read, an end is not in them, or the two have no address of one family.
pub fn why(question: &Question) -> Result<Answer> {
    let manifests = load(&question.files)?;
    answer(Engine::new(manifests.cluster, manifests.policies), question)
}

/// Decides one flow of a cluster.
///
/// # Errors
/// An end is not in it, or the two have no address of one family.
pub fn answer(engine: Engine, question: &Question) -> Result<Answer> {
    let (from, to) = (find(&engine, &question.from)?, find(&engine, &question.to)?);
    let (port, proto) = question.port;
    let has = |id, family| engine.cluster.pod(id).address(family).is_some();
    let verdicts: Vec<_> = (question.families.iter())
        .filter(|f| has(from, **f) && has(to, **f))
        .map(|f| (*f, engine.decide(from, to, port, proto, *f)))
        .collect();
    if verdicts.is_empty() {
        return Err(Error::Refused {
            what: format!(
                "`{}` and `{}` have no address of one family",
                question.from, question.to
            ),
            hint: "`status.podIPs` of the two say which they have".into(),
        });
    }
    Ok(Answer {
        engine,
        from,
        to,
        verdicts,
    })
}

fn find(engine: &Engine, name: &str) -> Result<PodId> {
    if let Some(id) = engine.cluster.find(name) {
        return Ok(id);
    }
    let all: Vec<String> = engine.cluster.pods.iter().map(ToString::to_string).collect();
    let near = nearest(name, all.iter().map(String::as_str));
    let list = "a pod is named NAMESPACE/NAME, a workload's pod as the workload";
    Err(Error::Input {
        value: name.to_owned(),
        reason: "the manifests hold no such pod".into(),
        hint: Some(near.map_or(list.to_owned(), |n| format!("did you mean `{n}`? {list}"))),
    })
}
