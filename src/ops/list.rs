//! `ps`, `inspect`: what there is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde::Serialize;

use super::classic::{Opened, Shown};
use super::context::{Moat, Where};
use super::error::Result;
use super::remove;
use super::time::rfc3339;
use crate::model::{Endpoint, Family, Mac, Name, Network, Published};
use crate::sandbox::{self, HealthState, HealthStatus, LastExit, LimitSet, Spec, Usage};
use crate::store::{Container, Phase, Stage};

/// A container as `moat ps --json` prints it.
#[derive(Debug, Serialize)]
pub struct View {
    pub name: Name,
    pub id: String,
    pub net: Option<Name>,
    pub ips: Vec<String>,
    pub mac: Option<Mac>,
    pub pid: Option<i32>,
    /// `running`, `exited` or `created`.
    pub status: &'static str,
    pub exit_code: Option<i32>,
    /// What its checks say, if it has any and runs.
    pub health: Option<HealthStatus>,
    /// How often its command was started again.
    pub restarts: u32,
    /// Whether the command ended and waits for its next start.
    pub restarting: bool,
    /// Whether it is held still.
    pub paused: bool,
    pub labels: BTreeMap<String, String>,
    pub ports: Vec<Port>,
    pub created: String,
    /// The bridge that it is on as the reference does it: no link speaks of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_wall_on: Option<String>,
}

/// A published port.
#[derive(Clone, Debug, Serialize)]
pub struct Port {
    /// The host's address; `null` is every one.
    pub host: Option<IpAddr>,
    pub host_port: u16,
    pub port: u16,
    pub proto: crate::model::Proto,
}

/// One container as `moat inspect` prints it.
#[derive(Debug, Serialize)]
pub struct Details {
    #[serde(flatten)]
    pub view: View,
    pub command: Vec<String>,
    pub hostname: String,
    pub finished: Option<String>,
    /// How the command ended the last time, though it may run again.
    pub last_exit: Option<LastExit>,
    /// The last check and what it said.
    pub check: Option<HealthState>,
    /// What processes that ended have used.
    pub usage: Usage,
    /// As the kernel holds them, and in which hierarchy; until it is removed.
    pub limits: Vec<LimitSet>,
    /// Whether the kernel killed something in it for want of memory.
    pub oom_killed: bool,
    pub links: Vec<String>,
    pub gateways: Vec<String>,
    pub netns: Option<String>,
    pub port: Option<String>,
    pub bridge: Option<String>,
    pub log: String,
    /// Its user ids on the host; `null` if they are the host's own, or it does not run.
    pub userns: Option<Ids>,
    pub spec: Option<Spec>,
}

impl From<&Opened> for Port {
    fn from(p: &Opened) -> Self {
        Self {
            host: p.host_ip,
            host_port: p.host_port,
            port: p.port,
            proto: p.proto,
        }
    }
}

/// Ids from 0 on inside are these on the host.
#[derive(Debug, Serialize)]
pub struct Ids {
    pub first: u32,
    pub count: u32,
}

impl View {
    /// The project of a Compose file that it is of.
    #[must_use]
    pub fn project(&self) -> Option<&String> {
        self.labels.get(crate::model::topology::PROJECT)
    }
}

impl From<&Published> for Port {
    fn from(p: &Published) -> Self {
        Self {
            host: p.host_ip,
            host_port: p.host_port,
            port: p.port,
            proto: p.proto,
        }
    }
}

/// The containers that run, or (`all`) every one.
///
/// # Errors
/// When the store cannot be read or what ended not be tidied.
pub fn ps(place: &Where, all: bool) -> Result<Vec<View>> {
    let mut moat = Moat::settled(place)?;
    remove::sweep(&mut moat)?;
    let known = Known::all(&moat)?;
    let containers = moat.store.listed()?;
    let shown = containers.iter().filter(|c| all || c.phase == Phase::Running);
    let mut views: Vec<View> = shown.map(|c| view(&moat, &known, c)).collect::<Result<_>>()?;
    for shown in moat.shown_classic()? {
        if all || shown.is_alive() {
            views.push(view_classic(&moat, &shown)?);
        }
    }
    Ok(views)
}

/// One that `bridge` attached.
fn view_classic(moat: &Moat, shown: &Shown) -> Result<View> {
    let opened = moat.opened_classic(shown)?;
    let (key, record) = (&shown.attachment.key, &shown.record);
    Ok(View {
        name: shown.name.clone(),
        id: key.container.clone(),
        net: key.network.parse().ok(),
        ips: record.addresses.iter().map(ToString::to_string).collect(),
        mac: record.mac,
        pid: None,
        status: match shown.attachment.stage {
            Stage::Adding => "created",
            Stage::Added if shown.is_alive() => "running",
            Stage::Added | Stage::Removing => "exited",
        },
        exit_code: None,
        health: None,
        restarts: 0,
        restarting: false,
        paused: false,
        labels: record.labels.iter().cloned().collect(),
        ports: opened.iter().map(Port::from).collect(),
        created: rfc3339(shown.attachment.created),
        without_wall_on: Some(record.bridge.clone()),
    })
}

/// What views are made of, read once for all of them.
struct Known {
    endpoints: HashMap<Name, Endpoint>,
    networks: HashMap<Name, Network>,
    published: HashMap<Name, Vec<Port>>,
    paused: BTreeSet<String>,
    freezers: sandbox::Freezers,
}

impl Known {
    fn all(moat: &Moat) -> Result<Self> {
        Self::new(
            moat,
            moat.store.endpoints()?.into_iter().map(|(e, _)| e),
            moat.store.published_of(None)?,
        )
    }

    /// Of one container.
    fn of(moat: &Moat, endpoint: Option<&Endpoint>, name: &Name) -> Result<Self> {
        Self::new(moat, endpoint.cloned(), moat.store.published_of(Some(name))?)
    }

    fn new(
        moat: &Moat,
        endpoints: impl IntoIterator<Item = Endpoint>,
        published: Vec<Published>,
    ) -> Result<Self> {
        let mut ports: HashMap<Name, Vec<Port>> = HashMap::new();
        for p in published {
            ports.entry(p.container.clone()).or_default().push(Port::from(&p));
        }
        let networks = moat.store.networks()?.into_iter().map(|row| row.network);
        Ok(Self {
            endpoints: endpoints.into_iter().map(|e| (e.container.clone(), e)).collect(),
            networks: networks.map(|n| (n.name.clone(), n)).collect(),
            published: ports,
            paused: moat.store.paused()?,
            freezers: sandbox::Freezers::of_this_machine(),
        })
    }
}

fn view(moat: &Moat, known: &Known, c: &Container) -> Result<View> {
    let endpoint = known.endpoints.get(&c.name);
    let network = endpoint.and_then(|e| known.networks.get(&e.network));
    let length = |ip: IpAddr| {
        let subnet = network.and_then(|n| n.subnet(Family::of(ip)));
        subnet.map_or_else(|| ip.to_string(), |s| s.of(ip).to_string())
    };
    let progress = sandbox::progress(&moat.container_dir(&c.id)).unwrap_or_default();
    let runs = c.phase == Phase::Running;
    Ok(View {
        name: c.name.clone(),
        id: super::cni::runtime_id(c).unwrap_or_else(|| c.id.clone()),
        net: endpoint.map(|e| e.network.clone()),
        ips: endpoint
            .iter()
            .flat_map(|e| &e.addresses)
            .map(|ip| length(*ip))
            .collect(),
        mac: endpoint.map(|e| e.mac),
        pid: c.pid.filter(|_| c.phase == Phase::Running).map(|p| p.0),
        status: match c.phase {
            Phase::Creating => "created",
            Phase::Running if c.name.is_anothers() && !moat.is_attached(&c.name)? => "exited",
            Phase::Running => "running",
            Phase::Exited | Phase::Removing => "exited",
        },
        // Whoever waited for it knows best, but may have written it a moment after the end.
        exit_code: progress.code.or(c.exit_code),
        health: progress.health.filter(|_| runs).map(|h| h.status),
        restarts: progress.restarts,
        restarting: runs && progress.waiting,
        paused: runs && known.paused.contains(&c.id) && known.freezers.hold(&c.id),
        labels: c.labels.clone(),
        ports: known.published.get(&c.name).cloned().unwrap_or_default(),
        created: rfc3339(c.created),
        without_wall_on: None,
    })
}

/// One container, with all there is to say.
///
/// # Errors
/// It does not exist, or the store cannot be read.
pub fn inspect(place: &Where, key: &str) -> Result<Details> {
    let mut moat = Moat::settled(place)?;
    if moat.store.container(key)?.is_none()
        && let Some(shown) = moat.called_classic(key)?
    {
        return inspect_classic(&moat, &shown);
    }
    let c = moat.find(key)?;
    if c.phase == Phase::Running && remove::note_exit(&mut moat, &c)? && c.auto_remove {
        return Err(super::Error::Unknown {
            kind: "container",
            name: key.to_owned(),
            near: None,
        });
    }
    let c = moat.find(key)?;
    let spec: Option<Spec> = serde_json::from_str(&c.spec).ok();
    let endpoint = moat.store.endpoint(&c.name)?;
    let network = endpoint
        .as_ref()
        .map(|(e, _)| moat.store.network(&e.network))
        .transpose()?
        .flatten();
    let links = moat
        .store
        .links_with(&[crate::model::End::Container(c.name.clone())])?;
    let progress = sandbox::progress(&moat.container_dir(&c.id)).unwrap_or_default();
    Ok(Details {
        view: view(
            &moat,
            &Known::of(&moat, endpoint.as_ref().map(|(e, _)| e), &c.name)?,
            &c,
        )?,
        limits: sandbox::limits_of(&c.id),
        oom_killed: sandbox::oom_kills(&c.id).is_some_and(|n| n > 0)
            || progress.last_exit.as_ref().is_some_and(|last| last.oom_killed),
        last_exit: progress.last_exit,
        check: progress.health,
        usage: progress.usage,
        command: spec.as_ref().map(|s| s.command.clone()).unwrap_or_default(),
        hostname: spec.as_ref().map(|s| s.hostname.clone()).unwrap_or_default(),
        finished: c.finished.map(rfc3339),
        links: links.iter().map(|l| l.link.words()).collect(),
        gateways: network
            .iter()
            .flat_map(|n| n.network.every_gateway())
            .map(|g| g.to_string())
            .collect(),
        netns: endpoint
            .as_ref()
            .and_then(|(_, p)| p.as_ref())
            .map(|p| p.display().to_string()),
        port: endpoint.as_ref().map(|(e, _)| {
            let other = e.foreign.as_ref().map(|f| f.port.clone());
            other.unwrap_or_else(|| moat.names.port(e.id))
        }),
        bridge: endpoint.as_ref().and_then(|(e, _)| match &e.foreign {
            Some(f) => f.bridge.clone(),
            None => Some(moat.names.bridge(e.bridge)),
        }),
        log: moat.container_dir(&c.id).join("log").display().to_string(),
        userns: c
            .pid
            .filter(|_| c.phase == Phase::Running)
            .and_then(|(pid, _)| sandbox::id_range(pid))
            .map(|(first, count)| Ids { first, count }),
        spec,
    })
}

fn inspect_classic(moat: &Moat, shown: &Shown) -> Result<Details> {
    Ok(Details {
        view: view_classic(moat, shown)?,
        command: vec![],
        hostname: String::new(),
        finished: None,
        last_exit: None,
        check: None,
        usage: Usage::default(),
        limits: vec![],
        oom_killed: false,
        links: vec![],
        gateways: vec![],
        netns: shown.attachment.netns.clone(),
        port: Some(shown.record.host_veth.clone()),
        bridge: Some(shown.record.bridge.clone()),
        log: String::new(),
        userns: None,
        spec: None,
    })
}
