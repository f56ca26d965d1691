//! `moat hook`: the wall around a container of any runtime that knows OCI hooks.
//!
//! Called as `createRuntime` it runs in the runtime's own namespaces, when those of the container are
//! made and its program is not started (config.md of the OCI runtime specification); a hook that
//! fails makes the runtime give the container up. What it attaches is recorded as `oci:ID` and goes
//! with the container's first process: at `poststop`, or with the next command.

mod bundle;
pub mod install;
mod state;

use std::path::{Path, PathBuf};

use super::classic::bandwidth::Limits;
use super::cni::add::start;
use super::cni::{Id, NetworkWish, Request, Via};
use super::context::{Moat, Where};
use super::error::{Error, Result};
use super::{classic, cni, netns, publish, remove};
use crate::model::Name;
use crate::plan::Place;
use crate::sandbox;
use crate::store::{Container, Phase};

use state::{State, Status, Wishes};

/// The interface that a container gets.
const IFACE: &str = "eth0";

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    Attached {
        name: Name,
    },
    /// It was attached before, and its namespace lives.
    Already {
        name: Name,
    },
    Removed {
        name: Name,
    },
    /// It was over, and nothing of it was here.
    Nothing,
}

/// Does what the state of a container asks for: attaches one that is being created or runs, takes
/// away what was one's that stopped.
///
/// # Errors
/// Why not; nothing of the container stays then.
pub fn hook(place: &Where, text: &str) -> Result<Done> {
    let state = State::read(text)?;
    let name = Name::through_hook(&state.id)?;
    if state.status == Status::Stopped {
        return take_away(place, &name).map_err(|e| e.while_doing(format!("detach `{name}`")));
    }
    attach(place, &state, &name).map_err(|e| e.while_doing(format!("attach `{name}`")))
}

fn take_away(place: &Where, name: &Name) -> Result<Done> {
    let mut moat = cni::open(place)?;
    let found = recorded(&moat, name)?;
    if let Some(c) = &found {
        remove::remove(&mut moat, c, true)?;
    }
    remove::sweep_some(&mut moat)?;
    Ok(found.map_or(Done::Nothing, |c| Done::Removed { name: c.name }))
}

fn recorded(moat: &Moat, name: &Name) -> Result<Option<Container>> {
    Ok(moat.store.container(name.as_str())?.filter(|c| c.name == *name))
}

fn attach(place: &Where, state: &State, name: &Name) -> Result<Done> {
    let wishes = Wishes::read(state)?;
    let (pid, netns) = namespace(state)?;
    let mut moat = cni::open(place)?;
    // Whoever died without a word has no claim to its ports, addresses and name any more.
    remove::sweep_some(&mut moat)?;
    if let Some(c) = recorded(&moat, name)? {
        if c.phase == Phase::Running && moat.is_attached(name)? {
            return Ok(Done::Already { name: name.clone() });
        }
        remove::remove(&mut moat, &c, true)?;
    }
    is_unused(&mut moat, &netns)?;
    if let Some(own) = &wishes.name {
        is_free(&moat, own)?;
    }
    classic::portmap::check_free(&mut moat, &wishes.ports)?;
    publish::check_free(&wishes.ports)?;
    let started = sandbox::start_time(pid).map_err(|_| gone(pid))?;
    start(&mut moat, &request(state, wishes, netns, (pid, started)))?;
    Ok(Done::Attached { name: name.clone() })
}

fn request(state: &State, wishes: Wishes, netns: PathBuf, process: (i32, u64)) -> Request {
    let own = wishes.name.map(|n| n.to_string());
    Request {
        id: Id {
            network: wishes.network,
            container: state.id.clone(),
            ifname: IFACE.to_owned(),
            via: Via::Hook,
        },
        netns,
        process: Some(process),
        hosts: bundle::hosts(&state.bundle, &state.id),
        network: NetworkWish::default(),
        addresses: wishes.addresses,
        pools: vec![],
        mac: wishes.mac,
        ports: wishes.ports,
        labels: wishes.labels,
        aliases: own
            .or_else(|| bundle::name(&state.bundle, &state.id))
            .into_iter()
            .collect(),
        limits: Limits::default(),
        links: wishes.links,
        network_links: vec![],
        routes: vec![],
        foreign: None,
        delegate: None,
    }
}

/// The container's process and network namespace.
fn namespace(state: &State) -> Result<(i32, PathBuf)> {
    let pid = state.pid.filter(|pid| *pid > 0).ok_or_else(|| {
        let what = "the state of the container names no process";
        refused(
            what,
            "call it as a `createRuntime` hook, which gets the process as `pid`",
        )
    })?;
    let netns = PathBuf::from(format!("/proc/{pid}/ns/net"));
    if !netns.exists() {
        return Err(gone(pid));
    }
    if netns::is_own(&netns) {
        let what = "the container has the host's network namespace";
        let hint = "give it one of its own: `podman run --network none`, or {\"type\": \"network\"} in \
                    `linux.namespaces` of config.json";
        return Err(refused(what, hint));
    }
    Ok((pid, netns))
}

fn gone(pid: i32) -> Error {
    let what = format!("process {pid} of the container is gone");
    refused(
        what,
        "does the hook see the runtime's processes? it needs the same pid namespace",
    )
}

/// Another network would lead around the wall.
fn is_unused(moat: &mut Moat, netns: &Path) -> Result<()> {
    let inside = Place::Sandbox(netns.to_owned());
    if moat.kernel.mac(&inside, IFACE)?.is_some() || moat.kernel.has_default_route(&inside)? {
        let what = "the container has a network already, which leads around every wall";
        return Err(refused(what, "start it without one: `podman run --network none`"));
    }
    Ok(())
}

/// A name leads to one container.
fn is_free(moat: &Moat, name: &Name) -> Result<()> {
    if moat.store.container(name.as_str())?.is_none() {
        return Ok(());
    }
    let what = format!("the name `{name}` is taken");
    Err(refused(
        what,
        "`moat ps -a` shows by whom; choose another `moat.dev/name`",
    ))
}

fn refused(what: impl Into<String>, hint: &str) -> Error {
    Error::Refused {
        what: what.into(),
        hint: hint.to_owned(),
    }
}
