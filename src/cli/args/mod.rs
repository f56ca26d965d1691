//! The command line, as clap reads it.

mod cni;
mod hook;
mod image;
mod lab;
mod net;
mod policy;
mod run;
mod topology;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use super::graph::Format;
pub use cni::{Caller, Cni};
pub use hook::{Hook, What as HookWhat};
pub use image::Image;
pub use lab::Lab;
pub use net::{Net, Policy, RouterKind};
pub use policy::{FamilyWord, NetworkPolicies, ReportFormat};
pub use run::{Exec, HealthArgs, Run};
pub use topology::{Down, File as TopologyFile, Up};

/// Containers that cannot see each other until somebody links them.
#[derive(Debug, Parser)]
#[command(
    name = "moat",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  moat run -d --name db -- redis-server --bind '* -::*' --protected-mode no\n  moat link web db:6379/tcp"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// State directory: two roots are two worlds
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "MOAT_ROOT",
        default_value = "/run/moat",
        hide_default_value = true,
        hide_env = true,
        display_order = 900
    )]
    pub root: PathBuf,
    /// Directory of layers and images
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "MOAT_DATA",
        default_value = "/var/lib/moat",
        hide = true
    )]
    pub data: PathBuf,
    /// Print data as one JSON document
    #[arg(long, global = true, display_order = 901)]
    pub json: bool,
    /// Print the change as ip and nft lines, make none
    #[arg(long, global = true, display_order = 902)]
    pub dry_run: bool,
    /// Say less
    #[arg(short, long, global = true, display_order = 903)]
    pub quiet: bool,
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        display_order = 905
    )]
    pub color: Colour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<Run>),
    /// List containers
    #[command(after_help = "Examples:\n  moat ps\n  moat ps -a --project shop")]
    Ps {
        /// Those that have ended too
        #[arg(short, long)]
        all: bool,
        /// Those of this project alone
        #[arg(short, long, value_name = "NAME")]
        project: Option<String>,
    },
    /// Print all there is to say of a container, as JSON
    #[command(after_help = "Examples:\n  moat inspect web\n  moat inspect web | jq -r .netns")]
    Inspect {
        name: String,
    },
    /// Print what containers wrote; without names, those of the project of a Compose file
    #[command(after_help = "Examples:\n  moat logs -f --tail 20 web\n  moat logs web db")]
    Logs {
        /// Go on as it writes
        #[arg(short, long)]
        follow: bool,
        /// Only the last K lines
        #[arg(long, value_name = "K")]
        tail: Option<usize>,
        /// Put the time before each line
        #[arg(short, long)]
        timestamps: bool,
        /// Those of this project
        #[arg(short, long, value_name = "NAME", conflicts_with = "names")]
        project: Option<String>,
        names: Vec<String>,
    },
    /// Run a further command in a container
    #[command(after_help = "Examples:\n  moat exec web ls /\n  moat exec -it web bash")]
    Exec(Exec),
    /// Ask containers to end, then end them
    #[command(after_help = "Examples:\n  moat stop web\n  moat stop -t 2 web db")]
    Stop {
        /// Seconds between SIGTERM and SIGKILL
        #[arg(short, long, value_name = "SEC", default_value_t = 10)]
        time: u64,
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Send containers a signal
    #[command(after_help = "Examples:\n  moat kill web\n  moat kill -s HUP web")]
    Kill {
        #[arg(short, long, value_name = "SIG", default_value = "KILL")]
        signal: String,
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove containers and all that was theirs
    #[command(after_help = "Examples:\n  moat rm web\n  moat rm -f --all")]
    Rm {
        /// Running ones too
        #[arg(short, long)]
        force: bool,
        /// Every container
        #[arg(long, short, conflicts_with = "names")]
        all: bool,
        #[arg(required_unless_present = "all")]
        names: Vec<String>,
    },
    /// Wait for a container's end, until it listens on a port, or until it is healthy
    #[command(after_help = "Examples:\n  moat wait job\n  moat wait db:5432/tcp --timeout 10s")]
    Wait {
        #[arg(value_name = "NAME[:PORT[/PROTO]]")]
        target: String,
        /// Until its health checks succeed
        #[arg(long)]
        healthy: bool,
        /// At most so long; 60s without, and for its end for ever
        #[arg(long, value_name = "D")]
        timeout: Option<String>,
    },
    /// Show what running containers use, once a second
    #[command(after_help = "Examples:\n  moat stats\n  moat stats --no-stream --json web db")]
    Stats {
        /// One table only
        #[arg(long)]
        no_stream: bool,
        names: Vec<String>,
    },
    /// List the processes of a container
    #[command(after_help = "Examples:\n  moat top web\n  moat top web --json")]
    Top {
        name: String,
    },
    /// Hold containers still, with all that runs in them
    #[command(after_help = "Examples:\n  moat pause web\n  moat pause web db")]
    Pause {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Let paused containers go on
    #[command(after_help = "Examples:\n  moat unpause web\n  moat unpause web db")]
    Unpause {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Make, list and remove networks
    #[command(
        subcommand,
        after_help = "Examples:\n  moat net create back --internal\n  moat net ls"
    )]
    Net(Net),
    /// Copy files between a container and the host; `-` is a tar
    #[command(after_help = "Examples:\n  moat cp web:/etc/nginx ./nginx\n  moat cp page.html web:/srv/")]
    Cp {
        #[arg(value_name = "[NAME:]SRC")]
        from: String,
        #[arg(value_name = "[NAME:]DST")]
        to: String,
    },
    /// List what a container changed: A added, C changed, D deleted
    #[command(after_help = "Examples:\n  moat diff web\n  moat diff web --json | jq -r '.[].path'")]
    Diff {
        name: String,
    },
    /// Bring, list and remove images
    #[command(
        subcommand,
        after_help = "Examples:\n  moat image import app.tar\n  moat image pull localhost:5000/app --plain-http"
    )]
    Image(Image),
    /// Serve podman, containerd, CRI-O and nerdctl as their network plugin
    #[command(
        subcommand,
        after_help = "Examples:\n  moat cni install --for podman\n  moat cni check /etc/cni/net.d/*.conflist"
    )]
    Cni(Cni),
    /// Let one container reach another
    #[command(
        after_help = "Examples:\n  moat link web db:5432/tcp\n  moat link label:app=web host:8125/udp --for 15m"
    )]
    Link {
        from: String,
        #[arg(value_name = "TO[:PORT[-END][/PROTO]]")]
        to: String,
        /// The other direction too
        #[arg(long)]
        both: bool,
        /// How long it lasts, enforced by the kernel: 90s, 15m, 2h, 1d
        #[arg(long = "for", value_name = "DURATION")]
        lasting: Option<String>,
    },
    /// Take a link away, for flows that exist too
    #[command(after_help = "Examples:\n  moat unlink web db:5432/tcp\n  moat unlink web db")]
    Unlink {
        from: String,
        #[arg(value_name = "TO[:PORT[-END][/PROTO]]")]
        to: String,
    },
    /// Give a container other labels: links and policies follow at once
    #[command(after_help = "Examples:\n  moat label web tier=front\n  moat label web app=shop canary-")]
    Label {
        name: String,
        /// Set one, or take it away
        #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
        labels: Vec<String>,
    },
    /// List links, with what they have carried
    #[command(after_help = "Examples:\n  moat links\n  moat links --json | jq '.[].to'")]
    Links,
    /// Say whether a flow may pass, and why
    #[command(after_help = "Examples:\n  moat why web db:5432\n  moat why web db:5432/tcp --probe")]
    Why {
        from: String,
        #[arg(value_name = "TO[:PORT[/PROTO]]")]
        to: String,
        /// Send a real packet, and watch for it at the receiver
        #[arg(long)]
        probe: bool,
    },
    /// Show who reaches whom: every pair of containers
    #[command(
        after_help = "Examples:\n  moat reach --port 5432\n  moat reach --net shop --probe --html reach.html"
    )]
    Reach {
        /// The containers of this network alone
        #[arg(long, value_name = "NET")]
        net: Option<String>,
        /// A service; without it ping, and what links and published ports name
        #[arg(long = "port", value_name = "P[/PROTO]")]
        ports: Vec<String>,
        /// Send a real packet for each cell, and watch for it at the receiver
        #[arg(long)]
        probe: bool,
        /// Write the matrix as one page that needs nothing else
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Test Kubernetes network policies without a cluster, explain and enforce them
    #[command(
        subcommand,
        after_help = "Examples:\n  moat policy test manifests/ --expect reach.yaml\n  moat policy why -f manifests/ --from shop/web --to shop/db --port 5432"
    )]
    Policy(NetworkPolicies),
    /// Draw who may talk to whom
    #[command(after_help = "Examples:\n  moat graph\n  moat graph --format svg > links.svg")]
    Graph {
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
    /// Show who talks to whom, and with -f who is not let, as it happens
    #[command(after_help = "Examples:\n  moat flows -f --denied\n  moat flows -f --for 10s --json")]
    Flows {
        /// Go on as flows begin and are denied; at the end, how many there were
        #[arg(short, long)]
        follow: bool,
        /// Those alone that are denied
        #[arg(long)]
        denied: bool,
        /// How long to follow: 10s, 15m
        #[arg(long = "for", value_name = "DURATION")]
        lasting: Option<String>,
    },
    Up(Up),
    Down(Down),
    /// Print who changed which link, port map or network, and when
    #[command(after_help = "Examples:\n  moat audit --tail 20\n  moat audit -f --json | jq -r .object")]
    Audit {
        /// Go on with what comes; with --json one record a line
        #[arg(short, long)]
        follow: bool,
        /// The last so many records
        #[arg(long, value_name = "K")]
        tail: Option<usize>,
    },
    /// Check what this machine has of what moat needs
    #[command(after_help = "Examples:\n  moat doctor\n  moat doctor --json")]
    Doctor,
    /// Compare what is recorded with what is in the kernel
    #[command(after_help = "Examples:\n  moat fsck\n  moat fsck --fix")]
    Fsck {
        /// Mend what differs
        #[arg(long)]
        fix: bool,
    },
    /// Say when something differs from what is recorded, as soon as the kernel tells
    #[command(after_help = "Examples:\n  moat watch\n  moat watch --heal")]
    Watch {
        /// Mend it at once
        #[arg(long)]
        heal: bool,
    },
    Hook(Hook),
    Lab(Lab),
    /// Remove what nobody owns any more
    #[command(after_help = "Examples:\n  moat gc\n  moat gc --json")]
    Gc,
    /// Write the man page or shell completions
    // For packagers: the list of commands has to fit a screen.
    #[command(
        hide = true,
        after_help = "Examples:\n  moat gen man > moat.1\n  moat gen bash > /etc/bash_completion.d/moat"
    )]
    Gen {
        what: Gen,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Gen {
    Man,
    Bash,
    Zsh,
    Fish,
}
