//! CNI network configurations on disk: writes one for a caller, says what is wrong with one.
//!
//! The form is section 1 of <https://www.cni.dev/docs/spec/>. What each caller insists on was
//! read in its source; `cni-conf/` shows the result.

pub mod check;
pub mod install;
mod keys;
mod lines;
mod overlap;
#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::model::Subnet;

/// Who will read the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Podman,
    Containerd,
    Crio,
    Nerdctl,
}

impl Caller {
    pub const ALL: [Self; 4] = [Self::Podman, Self::Containerd, Self::Crio, Self::Nerdctl];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::Nerdctl => "nerdctl",
        }
    }

    /// The network's name unless another is wanted: that of the caller's own default network
    /// where it has one, so that containers come to it without further ado.
    #[must_use]
    pub fn network(self) -> &'static str {
        match self {
            Self::Nerdctl => "bridge",
            other => other.word(),
        }
    }

    /// Where the addresses come from unless others are wanted. IPv4 as in the caller's own
    /// default network.
    #[must_use]
    pub fn subnets(self) -> [&'static str; 2] {
        match self {
            Self::Podman => ["10.88.0.0/16", "fd00:88::/64"],
            Self::Containerd => ["10.86.0.0/16", "fd00:86::/64"],
            Self::Crio => ["10.85.0.0/16", "fd00:85::/64"],
            Self::Nerdctl => ["10.4.0.0/24", "fd00:4::/64"],
        }
    }

    /// The file's name. containerd and CRI-O take the first file in lexical order; podman and
    /// nerdctl have as many networks as there are files.
    #[must_use]
    pub fn file(self, network: &str) -> String {
        match self {
            Self::Containerd | Self::Crio => "05-moat.conflist".to_owned(),
            Self::Podman | Self::Nerdctl => format!("moat-{network}.conflist"),
        }
    }

    /// The names under which the caller starts plugins whatever the configuration says:
    /// containerd for `lo`, podman and nerdctl for networks that they make themselves.
    #[must_use]
    pub fn plugins(self) -> &'static [&'static str] {
        match self {
            Self::Containerd => &["loopback"],
            Self::Crio => &[],
            Self::Podman => &["bridge", "host-local", "portmap", "firewall", "tuning"],
            Self::Nerdctl => &[
                "bridge",
                "host-local",
                "portmap",
                "firewall",
                "tuning",
                "loopback",
            ],
        }
    }
}

/// What podman 4 refuses above 1.0.0, and newer callers choose from.
const VERSION: &str = "1.0.0";
const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conflist<'a> {
    cni_version: &'a str,
    cni_versions: [&'a str; 2],
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nerdctl_labels: Option<NerdctlLabels>,
    plugins: [Plugin<'a>; 1],
}

/// Without it nerdctl makes a default network of its own.
#[derive(Serialize)]
struct NerdctlLabels {
    #[serde(rename = "nerdctl/default-network")]
    default_network: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plugin<'a> {
    r#type: &'a str,
    subnets: &'a [Subnet],
    ip_masq: bool,
    default_policy: &'a str,
    capabilities: Capabilities,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Capabilities {
    port_mappings: bool,
    ips: bool,
    mac: bool,
    ip_ranges: bool,
    bandwidth: bool,
    dns: bool,
    aliases: bool,
    #[serde(rename = "io.kubernetes.cri.pod-annotations")]
    annotations: bool,
}

/// The configuration for a caller, as text.
#[must_use]
pub fn text(caller: Caller, name: &str, subnets: &[Subnet]) -> String {
    let conflist = Conflist {
        cni_version: VERSION,
        cni_versions: VERSIONS,
        name,
        nerdctl_labels: (caller == Caller::Nerdctl).then_some(NerdctlLabels {
            default_network: "true",
        }),
        plugins: [Plugin {
            r#type: "moat",
            subnets,
            ip_masq: true,
            default_policy: "isolated",
            capabilities: Capabilities {
                port_mappings: true,
                ips: true,
                mac: true,
                ip_ranges: true,
                bandwidth: true,
                dns: true,
                aliases: true,
                annotations: true,
            },
        }],
    };
    serde_json::to_string_pretty(&conflist).unwrap_or_default() + "\n"
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It has no effect, or not the one that it seems to have.
    Warning,
    /// Containers will not start.
    Error,
}

/// One thing to say about a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Counted from 1; `None` when something is missing.
    pub line: Option<usize>,
    pub level: Level,
    pub text: String,
}
