//! The command line, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    #[command(after_help = "Examples:\n  moat ps\n  moat ps -a --json")]
    Ps {
        /// Those that have ended too
        #[arg(short, long)]
        all: bool,
    },
    /// Print all there is to say of a container, as JSON
    #[command(after_help = "Examples:\n  moat inspect web\n  moat inspect web | jq -r .netns")]
    Inspect {
        name: String,
    },
    /// Print what a container wrote
    #[command(after_help = "Examples:\n  moat logs web\n  moat logs -f --tail 20 web")]
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
        name: String,
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
    /// Wait for a container's end, or until it listens on a port
    #[command(after_help = "Examples:\n  moat wait job\n  moat wait db:5432/tcp --timeout 10s")]
    Wait {
        #[arg(value_name = "NAME[:PORT[/PROTO]]")]
        target: String,
        #[arg(long, value_name = "D", default_value = "60s")]
        timeout: String,
    },
    /// Make, list and remove networks
    #[command(
        subcommand,
        after_help = "Examples:\n  moat net create back --internal\n  moat net ls"
    )]
    Net(Net),
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
    #[command(after_help = "Examples:\n  moat reach --port 5432\n  moat reach --net shop --probe --json")]
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
    },
    /// Draw who may talk to whom
    #[command(after_help = "Examples:\n  moat graph\n  moat graph --json")]
    Graph,
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
    /// Remove what nobody owns any more
    #[command(after_help = "Examples:\n  moat gc\n  moat gc --json")]
    Gc,
    /// Write the man page or shell completions
    #[command(
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

/// Start a container
#[derive(Debug, Args)]
#[command(
    override_usage = "moat run [OPTIONS] [--] COMMAND [ARG]...",
    after_help = "Examples:\n  moat run --rm -it -- bash\n  moat run -d --name web -p 8080:80 --link db:5432/tcp -- nginx -g 'daemon off;'"
)]
pub struct Run {
    /// Name; one is made up without
    #[arg(long)]
    pub name: Option<String>,
    /// Network, or `none` for loopback only
    #[arg(long, default_value = "moat", hide_default_value = true)]
    pub net: String,
    /// In the background
    #[arg(short, long)]
    pub detach: bool,
    /// Remove it when it ends
    #[arg(long)]
    pub rm: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// A terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Labels, which links can name
    #[arg(long = "label", value_name = "K=V")]
    pub labels: Vec<String>,
    /// Let it reach TO[:PORT[-END][/PROTO]]
    #[arg(long = "link", value_name = "TARGET")]
    pub links: Vec<String>,
    /// [ADDR:]HOSTPORT[-END]:PORT[-END][/PROTO]
    #[arg(short, long = "publish", value_name = "MAP")]
    pub publish: Vec<String>,
    /// Root; the host's own, copy-on-write, without
    #[arg(long, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
    /// A variable of the environment
    #[arg(short, long = "env", value_name = "K=V")]
    pub env: Vec<String>,
    /// Variables from a file, one on a line
    #[arg(long, value_name = "F")]
    pub env_file: Vec<PathBuf>,
    /// Bind SRC:DST[:ro]
    #[arg(short, long = "volume", value_name = "MAP")]
    pub volumes: Vec<String>,
    /// Memory file system: DST[:size=S]
    #[arg(long, value_name = "DST")]
    pub tmpfs: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    /// Whom it runs as, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Host name; its name without
    #[arg(long, value_name = "H")]
    pub hostname: Option<String>,
    /// Memory limit: bytes, or with k, m, g
    #[arg(short, long, value_name = "MEM")]
    pub memory: Option<String>,
    /// CPUs, like 0.5
    #[arg(long, value_name = "N")]
    pub cpus: Option<f64>,
    /// Most processes
    #[arg(long, value_name = "N")]
    pub pids: Option<u64>,
    /// A resource limit, like nofile=1024:4096
    #[arg(long, value_name = "N=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// A capability more, or ALL
    #[arg(long, value_name = "C")]
    pub cap_add: Vec<String>,
    /// A capability less, or ALL
    #[arg(long, value_name = "C")]
    pub cap_drop: Vec<String>,
    /// No writing to the root file system
    #[arg(long)]
    pub read_only: bool,
    /// The command is process 1 itself
    #[arg(long, overrides_with = "init")]
    pub no_init: bool,
    #[arg(long, hide = true)]
    pub init: bool,
    /// IPv4 address; a free one without
    #[arg(long, value_name = "A")]
    pub ip: Option<String>,
    /// IPv6 address; a free one without
    #[arg(long, value_name = "A")]
    pub ip6: Option<String>,
    /// MAC address
    #[arg(long, value_name = "M")]
    pub mac: Option<String>,
    /// Show a path of the host hidden otherwise
    #[arg(long, value_name = "PATH")]
    pub share: Vec<PathBuf>,
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND",
        hide = true
    )]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Exec {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// A terminal
    #[arg(short, long)]
    pub tty: bool,
    /// A variable of the environment
    #[arg(short, long = "env", value_name = "K=V")]
    pub env: Vec<String>,
    /// Whom it runs as, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<PathBuf>,
    pub name: String,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

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
