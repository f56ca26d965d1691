//! What a Compose file asks for, as values; and what has to be done so that it is so.
//!
//! Pure: whoever calls brings the text, the variables and the files that it names. A service of a file is
//! a [`Role`] here, because a `Service` is a port and a protocol in this program.

mod around;
mod explain;
mod interpolate;
mod links;
mod mounts;
mod order;
mod plan;
mod ports;
mod read;
mod rights;
mod role;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::yaml::Pos;
use super::{Device, End, Link, Mac, Name, Ports, Proto, Service, Subnet};

pub use around::{Around, dotenv};

pub use explain::{Hint, explain, snippet, written};
pub use order::order;
pub use plan::{Existing, Options, Plan, Why, name_of, plan};
pub use read::{read, without_unknown};

/// The label that links of a topology name: `PROJECT/SERVICE`.
pub const MEMBER: &str = "moat.member";
/// Label of the project.
pub const PROJECT: &str = "moat.project";
/// Label of the service.
pub const SERVICE: &str = "moat.service";
/// Label of the replica's number, from 1.
pub const REPLICA: &str = "moat.replica";
/// Label of the hash of what the file says of the service.
pub const CONFIG: &str = "moat.config";

/// All that a file says.
#[derive(Clone, Debug)]
pub struct Project {
    pub name: Name,
    /// In the order of the file.
    pub roles: Vec<Role>,
    /// Those that services are on, by their names in the file.
    pub networks: BTreeMap<String, NetworkWish>,
    pub volumes: BTreeMap<String, VolumeWish>,
    /// What is worth saying, and no error.
    pub warnings: Vec<String>,
}

/// A network of a file.
#[derive(Clone, Debug)]
pub struct NetworkWish {
    pub pos: Pos,
    pub name: Name,
    /// It must exist, and stays.
    pub external: bool,
    pub internal: bool,
    pub subnets: Vec<Subnet>,
}

/// A named volume of a file.
#[derive(Clone, Debug)]
pub struct VolumeWish {
    pub pos: Pos,
    pub name: Name,
    pub external: bool,
}

/// A service of a file.
#[derive(Clone, Debug)]
pub struct Role {
    pub pos: Pos,
    /// Where its first key stands.
    pub body: Pos,
    pub name: Name,
    pub replicas: u32,
    pub links: Vec<LinkWish>,
    pub depends_on: Vec<Dependency>,
    pub settings: Settings,
}

/// What a container of a service is: when this changes, it is replaced.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Settings {
    pub image: Option<String>,
    pub rootfs: Option<PathBuf>,
    pub share: Vec<PathBuf>,
    /// What the key `userns` of `x-moat` says.
    pub userns: Option<String>,
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    pub environment: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub tmpfs: Vec<(PathBuf, Option<u64>)>,
    pub ports: Vec<PortWish>,
    pub health: Option<Health>,
    /// The name of the network, not that in the file; `None` is the default one.
    pub network: Option<Name>,
    pub addresses: Vec<std::net::IpAddr>,
    pub aliases: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub restart: Restart,
    pub user: Option<String>,
    pub working_dir: Option<PathBuf>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub devices: Vec<Device>,
    /// The list of allowed system calls, if it is not moat's own.
    pub seccomp: Option<SystemCalls>,
    /// Name, soft, hard; `u64::MAX` is unlimited.
    pub ulimits: Vec<(String, u64, u64)>,
    pub memory: Option<u64>,
    pub cpus: Option<f64>,
    pub pids: Option<u64>,
    pub read_only: bool,
    pub hostname: Option<String>,
    pub mac: Option<Mac>,
    pub stop_grace: Option<Duration>,
    /// By name or number.
    pub stop_signal: Option<String>,
    pub init: Option<bool>,
}

/// Which system calls are allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum SystemCalls {
    /// The text of a profile.
    Profile(String),
    /// All.
    Off,
}

/// When the command is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Restart {
    #[default]
    No,
    /// At most so often; without a number for ever.
    OnFailure(Option<u32>),
    Always,
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// With `sh -c` before it where the file has one line of shell.
    pub test: Vec<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub retries: u32,
    pub start_period: Duration,
}

/// A part of some tree in the container's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    #[serde(skip)]
    pub pos: Pos,
    pub source: Source,
    pub target: PathBuf,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Source {
    /// A path of the host.
    Path(PathBuf),
    /// A volume, by its name in the file.
    Volume(String),
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PortWish {
    #[serde(skip)]
    pub pos: Pos,
    pub host_ip: Option<std::net::IpAddr>,
    pub host: Ports,
    pub inside: Ports,
    pub proto: Proto,
}

/// What a service may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkWish {
    pub pos: Pos,
    pub to: To,
    pub service: Service,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    Role(Name),
    /// `host`, `world`, a range, or a label.
    End(End),
}

/// What must be before a service starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub pos: Pos,
    pub role: Name,
    pub condition: Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Started,
    Healthy,
    /// Ended with status 0.
    Completed,
}

impl Project {
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|r| r.name.as_str() == name)
    }

    /// The end that stands for all replicas of a service.
    #[must_use]
    pub fn member(&self, role: &Name) -> End {
        End::Label(MEMBER.to_owned(), format!("{}/{role}", self.name))
    }

    /// The links of the file.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        let of = |role: &Role| {
            let from = self.member(&role.name);
            let links = role.links.iter().map(move |l| Link {
                from: from.clone(),
                to: match &l.to {
                    To::Role(name) => self.member(name),
                    To::End(end) => end.clone(),
                },
                service: l.service,
                expires: None,
            });
            links.collect::<Vec<_>>()
        };
        let mut all: Vec<Link> = self.roles.iter().flat_map(of).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Where the file says a link.
    #[must_use]
    pub fn pos_of(&self, link: &Link) -> Pos {
        let mut all = self.roles.iter().filter(|r| self.member(&r.name) == link.from);
        let to = |l: &&LinkWish| match &l.to {
            To::Role(name) => self.member(name) == link.to,
            To::End(end) => *end == link.to,
        };
        let wish = all
            .next()
            .and_then(|r| r.links.iter().find(|l| to(l) && l.service == link.service));
        wish.map(|l| l.pos).unwrap_or_default()
    }

    /// Whether somebody waits for the end of this service: then it is a job.
    #[must_use]
    pub fn is_job(&self, role: &Name) -> bool {
        let mut all = self.roles.iter().flat_map(|r| &r.depends_on);
        all.any(|d| d.role == *role && d.condition == Condition::Completed)
    }

    /// The ports that something is expected to listen on in a container of this service: what links and
    /// published ports lead to.
    #[must_use]
    pub fn listens_on(&self, role: &Role) -> Vec<(Proto, u16)> {
        let linked = self.roles.iter().flat_map(|r| &r.links);
        let linked = linked.filter(|l| l.to == To::Role(role.name.clone()));
        let linked = linked.filter_map(|l| Some((l.service.proto()?, l.service.ports()?)));
        let published = role.settings.ports.iter().map(|p| (p.proto, p.inside));
        let single = linked.chain(published).filter(|(_, ports)| ports.count() == 1);
        let mut all: Vec<(Proto, u16)> = single.map(|(proto, ports)| (proto, ports.first)).collect();
        all.retain(|(proto, _)| matches!(proto, Proto::Tcp | Proto::Udp));
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Role {
    /// What tells one state of this service from another: 16 hex digits.
    #[must_use]
    pub fn config(&self) -> String {
        use sha2::{Digest, Sha256};
        // Our own structures always serialise; `f64` of a limit is never NaN.
        let text = serde_json::to_string(&self.settings).unwrap_or_default();
        let digest = Sha256::digest(text.as_bytes());
        digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    /// The command with its entry point; empty where the image says.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let parts = [&self.settings.entrypoint, &self.settings.command];
        parts.into_iter().flatten().flatten().cloned().collect()
    }
}

impl VolumeWish {
    /// The directory below that of volumes.
    #[must_use]
    pub fn dir(&self) -> &str {
        self.name.as_str()
    }
}
