//! `fsck`, `gc`: what is in the kernel against what is recorded, in full.

use super::context::{self, Moat, Where};
use super::error::{Error, Result};
use super::remove;
use crate::kernel::{Kernel, Scope};
use crate::plan::text::Renderer;
use crate::plan::{Plan, Step};
use crate::sandbox;
use crate::store::Phase;

/// What is wrong, in words; and what was mended.
#[derive(Debug, Default, serde::Serialize)]
pub struct Report {
    pub findings: Vec<String>,
    pub fixed: bool,
}

/// Compares store and kernel; with `fix`, mends what differs.
///
/// # Errors
/// When either cannot be read, or a difference not be mended.
pub fn fsck(place: &Where, fix: bool) -> Result<Report> {
    let mut report = Report::default();
    let first = examine(place, fix, &mut report);
    match first {
        Err(Error::Store(e)) if fix && e.is_broken() => {
            report = Report::default();
            let aside = context::set_aside(place)?;
            report
                .findings
                .push(format!("{e}; it is now {}", aside.display()));
            examine(place, fix, &mut report)?;
        }
        other => other?,
    }
    Ok(report)
}

fn examine(place: &Where, fix: bool, report: &mut Report) -> Result<()> {
    let mut moat = Moat::open(place)?;
    moat.exclude()?;
    moat.store.verify()?;
    look(&mut moat, fix, report)
}

/// Looks at a world, and with `fix` mends it. Needs the exclusive lock.
///
/// # Errors
/// When store or kernel cannot be read, or a difference not be mended.
pub(super) fn look(moat: &mut Moat, fix: bool, report: &mut Report) -> Result<()> {
    for (_, pid, started, what) in moat.store.intents()? {
        if !sandbox::is_alive(pid, started) {
            report
                .findings
                .push(format!("a command died while it was about to {what}"));
        }
    }
    let mut deserted = Vec::new();
    for c in moat.store.containers()? {
        if c.name.is_anothers() && c.phase == Phase::Running && !moat.is_attached(&c.name)? {
            report.findings.push(format!(
                "the namespace of `{}` is gone, and its runtime did not detach it",
                c.name
            ));
            deserted.push(c);
        }
    }
    report.findings.extend(stray_files(moat)?);
    let mut stuck = note_ends(moat)?;
    let mut plan = difference(moat)?;
    // Containers end while one looks, and ports of those that did are still on their way out.
    for _ in 0..20 {
        if plan.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        stuck = note_ends(moat)?;
        plan = difference(moat)?;
    }
    report.findings.extend(stuck);
    let names = moat.names.clone();
    let router = moat.router_path().display().to_string();
    let renderer = Renderer {
        names: &names,
        router: &router,
        now: context::clock(),
    };
    for step in &plan.0 {
        let what = renderer.step(&Step::Add(step.object().clone())).join("; ");
        report.findings.push(match step {
            Step::Add(_) => format!("missing: {what}"),
            Step::Del(_) => format!("not ours to have: {what}"),
        });
    }
    if fix && !report.findings.is_empty() {
        moat.heal()?;
        moat.share()?;
        for c in &deserted {
            remove::remove(moat, c, true)?;
        }
        remove::sweep(moat)?;
        report.fixed = true;
    }
    Ok(())
}

/// Notes what ended by itself, as every command does: that is no damage. What would not be noted.
fn note_ends(moat: &mut Moat) -> Result<Vec<String>> {
    let mut stuck = Vec::new();
    for c in moat.store.running()? {
        if let Err(e) = remove::note_exit(moat, &c) {
            stuck.push(format!(
                "container `{}` ended, and cannot be tidied up: {e}",
                c.name
            ));
        }
    }
    Ok(stuck)
}

fn difference(moat: &mut Moat) -> Result<Plan> {
    if moat.store.meta("live")?.is_none() {
        let present = moat.kernel.observe(&Scope::default())?;
        return Ok(Plan::between(&present, &moat.wanted_classic()?));
    }
    let (present, wanted) = moat.compare()?;
    Ok(Plan::between(&present, &wanted))
}

/// Run-time directories and layers that no record knows.
fn strays(moat: &Moat) -> Result<Vec<std::path::PathBuf>> {
    let known: Vec<String> = moat.store.containers()?.into_iter().map(|c| c.id).collect();
    let mut found = Vec::new();
    for parent in [moat.dir.join("containers"), moat.data.join("layers")] {
        let Ok(entries) = std::fs::read_dir(&parent) else {
            continue;
        };
        for entry in entries.flatten() {
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|n| known.iter().any(|k| k == n))
            {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn stray_files(moat: &Moat) -> Result<Vec<String>> {
    Ok(strays(moat)?
        .iter()
        .map(|p| format!("no container owns {}", p.display()))
        .collect())
}

/// Removes what no record knows, and what runs in it. Needs the exclusive lock.
///
/// # Errors
/// What would not go.
pub fn remove_strays(moat: &Moat) -> Result<()> {
    for path in strays(moat)? {
        if let Some(id) = path.file_name().and_then(|n| n.to_str()) {
            sandbox::destroy(id)?;
        }
        sandbox::remove_tree(&path).map_err(|e| context::state(&path, e))?;
    }
    Ok(())
}

/// Tidies up: what ended is noted, what nobody owns is removed, idle networks go. How many
/// things were removed.
///
/// # Errors
/// What would not go.
pub fn gc(place: &Where) -> Result<usize> {
    let mut moat = Moat::settled(place)?;
    let before = moat.store.containers()?.len();
    remove::sweep(&mut moat)?;
    moat.exclude()?;
    let files = strays(&moat)?.len();
    remove_strays(&moat)?;
    let known: Vec<String> = moat.store.containers()?.into_iter().map(|c| c.id).collect();
    let files = files + sandbox::remove_deserted_groups(&|id| known.iter().any(|k| k == id));
    drop(moat);
    Ok(files + before - known.len() + super::gc::old_worlds(place)? + super::image::gc(place)?)
}
