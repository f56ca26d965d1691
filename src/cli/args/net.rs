//! `moat net`.

use clap::{Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub enum Net {
    /// Make a network
    #[command(
        after_help = "Examples:\n  moat net create back --internal\n  moat net create lab --subnet 10.77.0.0/24 --subnet fd77::/64"
    )]
    Create {
        name: String,
        /// At most one a family; free ones without
        #[arg(long, value_name = "CIDR")]
        subnet: Vec<String>,
        /// No way out
        #[arg(long)]
        internal: bool,
        #[arg(long, value_name = "POLICY", default_value = "isolated")]
        default_policy: Policy,
        /// Bytes; that of the host's default route without
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1280..=65535))]
        mtu: Option<u32>,
        /// Where its bridges live
        #[arg(long, value_name = "WHERE", default_value = "own")]
        router: RouterKind,
    },
    /// List networks
    #[command(after_help = "Examples:\n  moat net ls\n  moat net ls --json")]
    Ls,
    /// Print all there is to say of a network, as JSON
    #[command(
        after_help = "Examples:\n  moat net inspect moat\n  moat net inspect moat | jq -r .router_netns"
    )]
    Inspect { name: String },
    /// Remove a network that nothing is attached to
    #[command(after_help = "Examples:\n  moat net rm back\n  moat net rm back --dry-run")]
    Rm { name: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    Isolated,
    Kubernetes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RouterKind {
    // In a network namespace of moat's own.
    Own,
    // In the host's.
    Host,
}
