//! `moat policy`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    Table,
    Json,
    Junit,
    Html,
    Markdown,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FamilyWord {
    Ip4,
    Ip6,
}

#[derive(Debug, Subcommand)]
pub enum NetworkPolicies {
    /// Decide every pair of pods and every port, and hold it against what is expected
    #[command(
        after_help = "Examples:\n  moat policy test manifests/ --expect reach.yaml\n  moat policy test manifests/ --expect reach.yaml --format junit --out junit.xml"
    )]
    Test {
        /// Files and directories with Kubernetes manifests
        #[arg(required = true)]
        path: Vec<PathBuf>,
        /// What should hold: `moat.dev/v1 Reachability`, or tests of netassert
        #[arg(long, value_name = "FILE")]
        expect: Vec<PathBuf>,
        /// Try every cell with real packets, in namespaces that are made for it
        #[arg(long)]
        probe: bool,
        #[arg(long, value_name = "FORMAT", default_value = "table")]
        format: ReportFormat,
        /// Write the report there
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[arg(long, value_name = "F,F", value_delimiter = ',', default_value = "ip4,ip6")]
        families: Vec<FamilyWord>,
    },
    /// Say whether one flow may pass: both directions, every rule that was asked, file and line
    #[command(
        after_help = "Examples:\n  moat policy why -f manifests/ --from shop/web --to shop/db --port 5432\n  moat policy why -f all.yaml --from x/a --to y/b --port 53/udp --json"
    )]
    Why {
        /// File or directory with manifests; without, what was applied, and containers that live
        #[arg(short, long)]
        file: Vec<PathBuf>,
        #[arg(long, value_name = "NS/POD")]
        from: String,
        #[arg(long, value_name = "NS/POD")]
        to: String,
        #[arg(long, value_name = "P[/PROTO]")]
        port: String,
        #[arg(long, value_name = "F,F", value_delimiter = ',', default_value = "ip4,ip6")]
        families: Vec<FamilyWord>,
    },
    /// Show who reaches whom, one character a pair
    #[command(
        after_help = "Examples:\n  moat policy table manifests/\n  moat policy table all.yaml --families ip4"
    )]
    Table {
        /// Files and directories with manifests; without, containers that live
        path: Vec<PathBuf>,
        #[arg(long, value_name = "F,F", value_delimiter = ',', default_value = "ip4,ip6")]
        families: Vec<FamilyWord>,
    },
    /// Name what one version opens and closes against another; exit 1 if anything
    #[command(
        after_help = "Examples:\n  moat policy diff old/ new/\n  moat policy diff before.yaml after.yaml --json"
    )]
    Diff {
        before: PathBuf,
        after: PathBuf,
        #[arg(long, value_name = "F,F", value_delimiter = ',', default_value = "ip4,ip6")]
        families: Vec<FamilyWord>,
    },
    /// Enforce policies upon containers in networks with `--default-policy kubernetes`
    #[command(
        after_help = "Examples:\n  moat policy apply -f policies/\n  moat policy apply -f deny.yaml -f web.yaml --dry-run"
    )]
    Apply {
        /// File or directory with policies, and namespaces for their labels
        #[arg(short, long, required = true)]
        file: Vec<PathBuf>,
    },
    /// List the policies that were applied
    #[command(after_help = "Examples:\n  moat policy ls\n  moat policy ls --json | jq -r '.[].name'")]
    Ls,
    /// Take policies away
    #[command(
        after_help = "Examples:\n  moat policy rm shop/db\n  moat policy rm NetworkPolicy/shop/db Namespace/shop"
    )]
    Rm {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Find what people get wrong; exit 1 if anything
    #[command(after_help = "Examples:\n  moat policy lint manifests/\n  moat policy lint all.yaml --json")]
    Lint {
        #[arg(required = true)]
        path: Vec<PathBuf>,
    },
}

impl NetworkPolicies {
    /// Whether it needs namespaces of its own.
    #[must_use]
    pub fn sends_packets(&self) -> bool {
        matches!(self, Self::Test { probe: true, .. })
    }
}
