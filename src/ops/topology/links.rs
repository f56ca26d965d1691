//! The links of a file, as links between labels: a replica that comes later is covered at once, and one
//! that is replaced keeps them.

use super::super::context::Moat;
use super::super::error::Result;
use super::super::link;
use super::file::Found;
use super::{Event, Tell};
use crate::model::topology::MEMBER;
use crate::model::yaml::Fault;
use crate::model::{End, Link, Name};

/// The recorded links of a project's services.
///
/// # Errors
/// When the store cannot be read.
pub fn recorded(moat: &Moat, project: &Name) -> Result<Vec<Link>> {
    let start = format!("{project}/");
    let ours = |l: &Link| matches!(&l.from, End::Label(k, v) if k == MEMBER && v.starts_with(&start));
    let all = moat.store.links()?.into_iter().map(|r| r.link);
    Ok(all.filter(ours).collect())
}

/// Closes what the file does not say any more, and opens what it says now.
///
/// # Errors
/// A link cannot be, with its place in the file.
pub fn change(moat: &mut Moat, found: &Found, tell: Tell<'_>) -> Result<()> {
    let wanted = found.project.links();
    let there = recorded(moat, &found.project.name)?;
    let same = |a: &Link, b: &Link| (&a.from, &a.to, a.service) == (&b.from, &b.to, b.service);
    for old in there.iter().filter(|o| !wanted.iter().any(|w| same(o, w))) {
        close(moat, old)?;
        tell(&Event::Unlink {
            text: words(&found.project.name, old),
        });
    }
    for new in wanted.iter().filter(|w| !there.iter().any(|t| same(t, w))) {
        let request = link::Request {
            from: new.from.clone(),
            to: new.to.clone(),
            service: new.service,
            both: false,
            lasting: None,
        };
        link::open(moat, &request, false).map_err(|e| {
            let pos = found.project.pos_of(new);
            let mut fault = Fault::new(pos, e.to_string());
            fault.hint = e.hint();
            found.wrong(fault)
        })?;
        tell(&Event::Link {
            text: words(&found.project.name, new),
        });
    }
    Ok(())
}

/// Closes one link.
///
/// # Errors
/// It would not be closed.
pub fn close(moat: &mut Moat, link: &Link) -> Result<()> {
    link::close(moat, &link.from, &link.to, Some(link.service), false)
        .map(drop)
        .map_err(|e| e.while_doing(format!("unlink `{}` from `{}`", link.from, link.to)))
}

/// `web -> db 5432/tcp`, by the names of the file.
fn words(project: &Name, link: &Link) -> String {
    let start = format!("label:{MEMBER}={project}/");
    link.words().replace(&start, "")
}
