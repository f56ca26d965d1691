//! What to launch: plain data, stored by the caller as JSON and read again by `exec`, `logs` and `stop`.
//!
//! Nothing here touches the system; [`super::prepare`] says whether a `Spec` can be launched.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
pub use crate::model::Device;

/// One container: its root, its process and its limits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools)] // each is a switch of the command line
pub struct Spec {
    /// Short and unique on this host: it names the cgroup.
    pub id: String,
    /// Run-time directory of this container: exists, belongs to us, holds small files only.
    pub dir: PathBuf,
    /// Directory for the throw-away layer (`upper`, `work`, `root`); created by [`super::launch`].
    pub layer: PathBuf,
    /// Further host paths that must not be seen in the host view.
    pub hide: Vec<PathBuf>,
    pub root: Root,
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub workdir: Option<PathBuf>,
    /// `USER[:GROUP]`, names or numbers, looked up in the container's own `/etc/passwd`.
    pub user: Option<String>,
    pub hostname: String,
    pub volumes: Vec<Volume>,
    pub tmpfs: Vec<Tmpfs>,
    pub limits: Limits,
    /// Name without `RLIMIT_` in any case, soft, hard. `u64::MAX` is unlimited.
    pub ulimits: Vec<(String, u64, u64)>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub read_only: bool,
    #[serde(default)]
    pub isolation: Isolation,
    /// Whether pid 1 is ours (reaps, forwards signals, writes the log) or the command itself.
    pub init: bool,
    pub tty: bool,
    pub interactive: bool,
    pub detach: bool,
    /// What becomes of the container when its command ended. Needs `init`.
    #[serde(default)]
    pub restart: Restart,
    /// How to tell whether the command does its work. Needs `init`.
    #[serde(default)]
    pub health: Option<Health>,
    /// What asks the command to end; SIGTERM without.
    #[serde(default)]
    pub stop_signal: Option<i32>,
    /// Bytes of the log before it is turned over; 16 MiB without.
    #[serde(default)]
    pub log_size: Option<u64>,
}

/// Whether the command is started again in place: in the same namespaces, with the same network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    #[default]
    No,
    /// When it ended with another status than 0; at most so many times in a row.
    OnFailure { most: Option<u32> },
    /// Until somebody stops it.
    Always,
}

impl std::str::FromStr for Restart {
    type Err = Error;

    /// `no`, `on-failure[:N]`, `always`; `unless-stopped` is `always`, since nothing starts at boot.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "no" => Ok(Self::No),
            "always" | "unless-stopped" => Ok(Self::Always),
            "on-failure" => Ok(Self::OnFailure { most: None }),
            _ => match text.strip_prefix("on-failure:").map(str::parse) {
                Some(Ok(most)) => Ok(Self::OnFailure { most: Some(most) }),
                _ => Err(Error::invalid("restart policy", text.escape_debug().to_string())),
            },
        }
    }
}

/// A command that says by its exit status, 0 or not, whether the container does its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub command: Vec<String>,
    /// Between the end of one check and the start of the next; less while the container is starting.
    pub interval_ms: u64,
    /// A check that takes longer is killed, and has failed.
    pub timeout_ms: u64,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
    /// Failures so soon after the start do not count.
    pub start_period_ms: u64,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            interval_ms: 30_000,
            timeout_ms: 30_000,
            retries: 3,
            start_period_ms: 0,
        }
    }
}

/// What the container sees as `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Root {
    /// The host's own tree, copy-on-write, secrets masked except below `share`.
    Host { share: Vec<PathBuf> },
    /// A directory, copy-on-write: never written to.
    Dir(PathBuf),
    /// The layers of an image, lowest first, copy-on-write: never written to.
    Layers {
        /// What the caller calls it.
        image: String,
        layers: Vec<PathBuf>,
    },
}

impl Default for Root {
    fn default() -> Self {
        Self::Host { share: vec![] }
    }
}

/// A part of the host's tree mounted into the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub src: PathBuf,
    pub dst: PathBuf,
    pub read_only: bool,
}

/// A fresh tmpfs; `size` in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    pub dst: PathBuf,
    pub size: Option<u64>,
}

/// Limits enforced by cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes.
    pub memory: Option<u64>,
    /// Processors, in fractions: `0.5` is half of one.
    pub cpus: Option<f64>,
    pub pids: Option<u64>,
}

/// How far the container is from the host, beyond namespaces and capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    pub users: Users,
    pub seccomp: Seccomp,
    pub devices: Vec<Device>,
}

/// Which system calls are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// Our own list, opened by capabilities.
    #[default]
    Default,
    /// The text of a profile, as docker and podman read them.
    Profile(String),
    /// All.
    Off,
}

/// Whose user ids the container's are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Users {
    /// Its own, where this kernel and the file systems concerned can show owners shifted.
    #[default]
    Auto,
    /// The host's: root inside is the host's root without most rights.
    Host,
    /// Its own, or nothing is launched.
    Own,
}

/// A further process in a running container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub user: Option<String>,
    pub workdir: Option<PathBuf>,
    pub tty: bool,
    pub interactive: bool,
}
