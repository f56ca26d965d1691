//! `moat hook`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Give a container of another runtime a network: an OCI hook, with the state on standard input
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  moat hook install && podman run -d --network none --annotation moat.dev/name=web --rootfs DIR\n  moat hook < state.json"
)]
pub struct Hook {
    #[command(subcommand)]
    pub what: Option<What>,
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// Have podman call the hook for containers with annotations `moat.dev/…`
    #[command(
        after_help = "Examples:\n  moat hook install\n  moat hook install --dir /etc/containers/oci/hooks.d"
    )]
    Install {
        /// Where podman looks for hooks
        #[arg(long, value_name = "DIR", default_value = "/usr/share/containers/oci/hooks.d")]
        dir: PathBuf,
        /// Replace what somebody else put there
        #[arg(long)]
        force: bool,
    },
}
