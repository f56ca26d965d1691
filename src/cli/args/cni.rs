//! `moat cni`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum Cni {
    /// Put the plugin and a network configuration in place
    #[command(
        after_help = "Examples:\n  moat cni install --for podman\n  moat cni install --for containerd --subnet 10.7.0.0/16 --subnet fd00:7::/64"
    )]
    Install {
        /// Who will use it
        #[arg(long = "for", value_name = "CALLER")]
        caller: Caller,
        /// Where the caller looks for plugins
        #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
        bin_dir: PathBuf,
        /// Where it looks for networks
        #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
        conf_dir: PathBuf,
        /// Name of the network; the caller's own default one without
        #[arg(long, value_name = "NET")]
        name: Option<String>,
        /// At most one a family; those of the caller's default network without
        #[arg(long, value_name = "CIDR")]
        subnet: Vec<String>,
        /// Replace what somebody else put there
        #[arg(long)]
        force: bool,
    },
    /// Say what in network configurations is wrong, or has no effect
    #[command(
        after_help = "Examples:\n  moat cni check /etc/cni/net.d/*.conflist\n  moat cni check --bin-dir /usr/lib/cni net.conflist"
    )]
    Check {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Where plugins are looked for
        #[arg(long, value_name = "DIR", default_values = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"])]
        bin_dir: Vec<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Caller {
    Podman,
    Containerd,
    Crio,
    Nerdctl,
}
