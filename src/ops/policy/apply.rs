//! `moat policy apply`, `ls`, `rm`: policies upon live containers.

use std::path::PathBuf;

use serde::Serialize;

use super::super::context::{Moat, Where};
use super::super::error::{Error, Result, nearest};
use super::super::fault;
use super::files::{load, sources};
use crate::model::policy::{Engine, Manifests, Source, read};
use crate::plan::{Plan, policy};
use crate::store::{Applied, Manifest};

/// A policy as `moat policy ls --json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
    pub file: String,
    pub line: usize,
    /// How many containers it selects now.
    pub containers: usize,
}

/// Records the policies and namespaces of manifests, in the place of those with the same names, and enforces them.
///
/// # Errors
/// The manifests cannot be read or hold neither, or the kernel refused; then nothing is changed.
pub fn apply(place: &Where, files: &[PathBuf], dry: bool) -> Result<(usize, Option<Plan>)> {
    load(files)?;
    let mut fresh = vec![];
    for source in sources(files)? {
        let objects = objects(&read(std::slice::from_ref(&source))?);
        if !objects.is_empty() {
            let Source { name, text } = source;
            let name = name.to_string();
            fresh.push(Manifest { name, text, objects });
        }
    }
    let count = fresh.iter().map(|m| m.objects.len()).sum();
    if count == 0 {
        return Err(Error::Refused {
            what: "the files hold no policy and no namespace".into(),
            hint: "`moat policy test` decides about pods of manifests; apply is for live containers".into(),
        });
    }
    let mut moat = Moat::settled(place)?;
    let plan = replace(&mut moat, "apply policies", dry, |before| {
        let replaced = |o: &Applied| fresh.iter().any(|m| m.objects.contains(o));
        let mut all = without(before, &replaced);
        all.extend(fresh.iter().cloned());
        Ok(all)
    })
    .map_err(|e| e.while_doing("apply policies".to_owned()))?;
    Ok((count, plan))
}

/// Takes policies away, by name, `NAMESPACE/NAME` or `KIND/…` of these.
///
/// # Errors
/// There is none or there are several of a name, or the kernel refused; then nothing is changed.
pub fn rm(place: &Where, names: &[String], dry: bool) -> Result<Option<Plan>> {
    let mut moat = Moat::settled(place)?;
    replace(&mut moat, "remove policies", dry, |before| {
        let all: Vec<&Applied> = before.iter().flat_map(|m| &m.objects).collect();
        let gone: Vec<&Applied> = names.iter().map(|n| find(&all, n)).collect::<Result<_>>()?;
        Ok(without(before, &|o: &Applied| gone.contains(&o)))
    })
    .map_err(|e| e.while_doing("remove policies".to_owned()))
}

fn find<'a>(all: &[&'a Applied], wanted: &str) -> Result<&'a Applied> {
    let words = |o: &Applied| {
        let (title, kind) = (o.to_string(), &o.kind);
        [
            o.name.clone(),
            format!("{kind}/{}", o.name),
            format!("{kind}/{title}"),
            title,
        ]
    };
    let found: Vec<&&Applied> = all
        .iter()
        .filter(|o| words(o).iter().any(|w| w == wanted))
        .collect();
    match found.as_slice() {
        [] => {
            let titles: Vec<String> = all.iter().map(ToString::to_string).collect();
            let near = nearest(wanted, titles.iter().map(String::as_str));
            let (kind, name) = ("policy", wanted.to_owned());
            Err(Error::Unknown { kind, name, near })
        }
        [one] => Ok(one),
        several => {
            let full = several
                .iter()
                .map(|o| format!("{}/{o}", o.kind))
                .collect::<Vec<_>>();
            Err(Error::Refused {
                what: format!("{} objects are called `{wanted}`", several.len()),
                hint: format!("name one of them: {}", full.join(", ")),
            })
        }
    }
}

/// The policies that were applied, in the order in which they are asked for by name.
///
/// # Errors
/// When the store cannot be read.
pub fn ls(place: &Where) -> Result<Vec<View>> {
    let mut moat = Moat::settled(place)?;
    let world = moat.world()?;
    let engines: Vec<&Engine> = world.governed.values().map(|g| &*g.engine).collect();
    let applied = moat.applied()?;
    let views = applied.policies.iter().enumerate().map(|(n, p)| View {
        kind: p.kind.as_str().to_owned(),
        namespace: p.namespace.clone(),
        name: p.name.clone(),
        file: p.file.to_string(),
        line: p.pos.line,
        // Every engine has the policies in this order.
        containers: engines.iter().map(|e| e.subject(n).len()).sum(),
    });
    let mut all: Vec<View> = views.collect();
    all.sort_by(|a, b| (&a.namespace, &a.name, &a.kind).cmp(&(&b.namespace, &b.name, &b.kind)));
    Ok(all)
}

/// What counts of a file: its policies, and the namespaces that it declares.
fn objects(manifests: &Manifests) -> Vec<Applied> {
    let policies = manifests.policies.iter().map(|p| Applied {
        kind: p.kind.as_str().to_owned(),
        namespace: p.namespace.clone(),
        name: p.name.clone(),
    });
    let declared = manifests
        .cluster
        .namespaces
        .iter()
        .filter(|(_, n)| n.place.is_some());
    let namespaces = declared.map(|(name, _)| Applied {
        kind: "Namespace".to_owned(),
        namespace: None,
        name: name.clone(),
    });
    policies.chain(namespaces).collect()
}

/// Manifests without some of their objects; files of which nothing is left are gone.
fn without(all: &[Manifest], gone: &dyn Fn(&Applied) -> bool) -> Vec<Manifest> {
    let mut left = all.to_vec();
    for manifest in &mut left {
        manifest.objects.retain(|o| !gone(o));
    }
    left.retain(|m| !m.objects.is_empty());
    left
}

/// Puts other manifests in the place of those that are recorded, and the kernel after.
fn replace(
    moat: &mut Moat,
    what: &str,
    dry: bool,
    next: impl Fn(&[Manifest]) -> Result<Vec<Manifest>>,
) -> Result<Option<Plan>> {
    let _lock = moat.locks.links()?;
    let recorded = moat.store.manifests()?;
    let wanted = next(&recorded)?;
    let before = moat.policy_state()?;
    moat.store.begin()?;
    let tried = moat.store.set_manifests(&wanted).map_err(Error::from);
    let after = tried.and_then(|()| moat.policy_state());
    moat.store.roll_back()?;
    let plan = policy::change(&before, &after?);
    if dry {
        return Ok(Some(plan));
    }
    let intent = moat.store.write(|s| {
        s.set_manifests(&wanted)?;
        s.intend(what, moat.me.0, moat.me.1)
    })?;
    // Nothing to do in the kernel while nobody is governed, or no world is live.
    let live = moat.store.meta("live")?.is_some();
    let done = fault::step("changing policies").and_then(|()| if live { moat.apply(&plan) } else { Ok(()) });
    if let Err(e) = done {
        let undone = moat
            .apply_all(&plan.reversed())
            .and_then(|()| Ok(moat.store.set_manifests(&recorded)?));
        return Err(moat.undone(e, undone, intent));
    }
    moat.store.finish(intent)?;
    Ok(None)
}
