//! `moat cp` and `moat diff`: files in and out of containers, and what a container changed.
//!
//! A copy has two halves with a pipe between them ([`crate::image`]): the container's half runs in a process that
//! sees nothing but the container's tree, so that no link in there leads it to the host.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use serde::Serialize;

use super::context::{Moat, Where};
use super::error::{Error, Result};
use super::life::spec_of;
use crate::image::{self, Delivery, Inside, Place};
use crate::sandbox::{self, ChangeKind, Said, Spec, Visit};
use crate::store::Phase;

/// One difference, as `moat diff --json` prints it.
#[derive(Debug, Serialize)]
pub struct Change {
    /// `C` changed, `A` added, `D` deleted.
    pub kind: char,
    pub path: PathBuf,
}

/// What a container changed of its root.
///
/// # Errors
/// It does not exist, or its layer cannot be read.
pub fn diff(place: &Where, key: &str) -> Result<Vec<Change>> {
    let moat = Moat::settled(place)?;
    let c = moat.find_own(key)?;
    let wanted = format!("say what `{}` changed", c.name);
    let changes = spec_of(&c).and_then(|spec| Ok(sandbox::changes(&spec)?));
    let changes = changes.map_err(|e| e.while_doing(wanted))?;
    let each = changes.into_iter().map(|(kind, path)| Change {
        kind: match kind {
            ChangeKind::Changed => 'C',
            ChangeKind::Added => 'A',
            ChangeKind::Deleted => 'D',
        },
        path,
    });
    Ok(each.collect())
}

/// One end of a copy.
#[derive(Clone, Debug)]
pub enum End {
    /// Standard input or output, as a tar.
    Stream,
    Host(String),
    Container {
        name: String,
        path: String,
    },
}

impl End {
    /// `-`, `NAME:PATH` or a path of the host; one with a slash before the colon is the host's.
    #[must_use]
    pub fn read(text: &str) -> Self {
        match text.split_once(':') {
            _ if text == "-" => Self::Stream,
            Some((name, path)) if !name.is_empty() && !name.contains('/') && !name.starts_with('.') => {
                Self::Container {
                    name: name.to_owned(),
                    path: path.to_owned(),
                }
            }
            _ => Self::Host(text.to_owned()),
        }
    }
}

/// A container's tree, from outside.
struct Tree {
    spec: Spec,
    running: Option<(i32, u64)>,
}

impl Tree {
    fn of(moat: &Moat, name: &str) -> Result<Self> {
        let c = moat.find_own(name)?;
        let spec = spec_of(&c)?;
        let running = c.pid.filter(|(pid, started)| sandbox::is_alive(*pid, *started));
        let running = running.filter(|_| c.phase == Phase::Running);
        if running.is_none() && !spec.layer.join("upper").is_dir() {
            return Err(Error::Refused {
                what: format!("container `{}` has no files yet", c.name),
                hint: "`moat ps -a` shows its state".into(),
            });
        }
        Ok(Self { spec, running })
    }

    /// One half of a copy, in the container's tree, with its end of the pipe.
    fn half(&self, end: &OwnedFd, work: impl FnOnce(&Inside, File) -> image::Result<u64>) -> Result<Visit> {
        let work = |root: OwnedFd| {
            let own = end.try_clone().map_err(image::Error::archive);
            let done = own.and_then(|own| work(&Inside::of(root), File::from(own)));
            done.map(drop).map_err(|error| Said {
                cut: error.is_cut(),
                reason: error.to_string(),
            })
        };
        Ok(sandbox::visit(
            &self.spec,
            self.running,
            &[end.as_raw_fd()],
            work,
        )?)
    }
}

/// Copies a file or directory between a container and the host, or two containers.
///
/// # Errors
/// An end does not exist or cannot be read or written; what was copied before stays.
pub fn copy(place: &Where, from: &End, to: &End) -> Result<()> {
    let (source, target) = (words(from), words(to));
    let wanted = format!("copy `{source}` to `{target}`");
    ends(place, from, to).map_err(|e| e.while_doing(wanted))
}

fn words(end: &End) -> String {
    match end {
        End::Stream => "-".to_owned(),
        End::Host(path) => path.clone(),
        End::Container { name, path } => format!("{name}:{path}"),
    }
}

fn ends(place: &Where, from: &End, to: &End) -> Result<()> {
    let moat = Moat::settled(place)?;
    let tree = |end: &End| match end {
        End::Container { name, .. } => Tree::of(&moat, name).map(Some),
        _ => Ok(None),
    };
    let (source, target) = (tree(from)?, tree(to)?);
    match (&source, &target) {
        (None, None) => {
            return Err(Error::Refused {
                what: "neither is in a container".into(),
                hint: "a path in a container is `NAME:PATH`".into(),
            });
        }
        (Some(a), Some(b)) if a.spec.id == b.spec.id && a.running.is_none() => {
            return Err(Error::Refused {
                what: "both are in one container that has ended".into(),
                hint: "copy it to the host first".into(),
            });
        }
        (_, Some(to)) if to.spec.read_only && to.running.is_none() => {
            return Err(Error::Refused {
                what: "the container's root is read-only".into(),
                hint: "a volume can be written: `moat run -v`".into(),
            });
        }
        _ => {}
    }
    // Nothing of the world is needed any more, and the halves take their time.
    drop(moat);
    transfer(from, source.as_ref(), to, target.as_ref())
}

/// The path of an end, below the container's root or the host's.
fn path(end: &End) -> Result<Place> {
    let text = match end {
        End::Stream => ".".to_owned(),
        End::Container { path, .. } => path.clone(),
        End::Host(path) if path.starts_with('/') => path.clone(),
        End::Host(path) => {
            let here = std::env::current_dir().map_err(|e| super::context::state(".".as_ref(), e))?;
            format!("{}/{path}", here.display())
        }
    };
    Ok(Place::parse(&text)?)
}

fn transfer(from: &End, source: Option<&Tree>, to: &End, target: Option<&Tree>) -> Result<()> {
    let (from_path, to_path) = (path(from)?, path(to)?);
    let delivery = Delivery {
        name: from_path.name(),
        contents: from_path.is_contents(),
        to: to_path,
        // Set-user-id programs that a container made must not come to be on the host.
        set_ids: target.is_some(),
    };
    let broken = |e: std::io::Error| super::context::state("-".as_ref(), e);
    let duplicate = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map_err(broken);
    let host = || Inside::open("/".as_ref()).map_err(broken);
    let send = |tree: &Inside, out: File| image::send(tree, &from_path, true, out);
    let receive = |tree: &Inside, from: File| image::receive(tree, &delivery, from);
    match (source, target) {
        (Some(source), None) if matches!(to, End::Stream) => {
            let out = duplicate(std::io::stdout().as_fd())?;
            let plain = |tree: &Inside, out: File| image::send(tree, &from_path, false, out);
            both([of_visit(source.half(&out, plain)?), Ok(())])
        }
        (None, Some(target)) if matches!(from, End::Stream) => {
            let from = duplicate(std::io::stdin().as_fd())?;
            let plain = |tree: &Inside, from: File| image::extract(tree, &delivery.to, true, from);
            both([of_visit(target.half(&from, plain)?), Ok(())])
        }
        (source, target) => {
            let (read, write) =
                nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| broken(e.into()))?;
            let sender = source.map(|tree| tree.half(&write, send)).transpose()?;
            let receiver = target.map(|tree| tree.half(&read, receive)).transpose()?;
            match (sender, receiver) {
                (Some(sender), None) => {
                    drop(write);
                    let received = receive(&host()?, File::from(read));
                    both([of_visit(sender), of_host(received)])
                }
                (None, Some(receiver)) => {
                    drop(read);
                    let sent = send(&host()?, File::from(write));
                    both([of_host(sent), of_visit(receiver)])
                }
                (Some(sender), Some(receiver)) => {
                    drop((read, write));
                    both([of_visit(sender), of_visit(receiver)])
                }
                (None, None) => Ok(()),
            }
        }
    }
}

/// Why a half failed, and whether only because the other one did.
struct Failed {
    error: Error,
    cut: bool,
}

fn of_visit(visit: Visit) -> std::result::Result<(), Failed> {
    visit.end().map_err(|error| match error {
        sandbox::Error::Visit { reason, cut } => Failed {
            error: refused(reason),
            cut,
        },
        other => Failed {
            error: other.into(),
            cut: false,
        },
    })
}

fn of_host(done: image::Result<u64>) -> std::result::Result<(), Failed> {
    done.map(drop).map_err(|error| Failed {
        cut: error.is_cut(),
        error: refused(error.to_string()),
    })
}

fn refused(what: String) -> Error {
    Error::Refused {
        what,
        hint: "what was copied before stays".into(),
    }
}

/// Of two errors the one that is not the other's echo.
fn both(halves: [std::result::Result<(), Failed>; 2]) -> Result<()> {
    let mut failed: Vec<Failed> = halves.into_iter().filter_map(std::result::Result::err).collect();
    failed.sort_by_key(|failed| failed.cut);
    failed
        .into_iter()
        .next()
        .map_or(Ok(()), |failed| Err(failed.error))
}
