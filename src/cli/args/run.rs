//! `moat run` and `moat exec`.

use std::path::PathBuf;

use clap::Args;

/// Start a container
#[derive(Debug, Args)]
#[command(
    override_usage = "moat run [OPTIONS] [--] COMMAND [ARG]...",
    after_help = "Examples:\n  moat run --rm -it --image alpine\n  moat run -d --name web -p 8080:80 --link db:5432/tcp -- nginx -g 'daemon off;'"
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
    /// Root, copy-on-write; with `:ro` it cannot be written
    #[arg(long, value_name = "DIR[:ro]", conflicts_with_all = ["image", "share"])]
    pub rootfs: Option<PathBuf>,
    /// An image as root; it says what COMMAND is when none is given
    #[arg(long, value_name = "REF", conflicts_with = "share")]
    pub image: Option<String>,
    /// A program instead of the image's entry point
    #[arg(long, value_name = "PROGRAM", requires = "image")]
    pub entrypoint: Option<String>,
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
    /// User ids: `auto`, `own`, or the `host`'s
    #[arg(long, value_name = "WHOSE")]
    pub userns: Option<String>,
    /// System calls: `seccomp=FILE`, a profile, or `seccomp=off`
    #[arg(long, value_name = "OPT")]
    pub security: Vec<String>,
    /// A device of the host: SRC[:DST][:rw]
    #[arg(long = "device", value_name = "DEV")]
    pub devices: Vec<String>,
    /// No writing to the root file system
    #[arg(long)]
    pub read_only: bool,
    /// The command is process 1 itself
    #[arg(long, overrides_with = "init")]
    pub no_init: bool,
    #[arg(long, hide = true)]
    pub init: bool,
    /// Start it again: no, on-failure[:N], always
    #[arg(long, value_name = "WHEN", default_value = "no", hide_default_value = true)]
    pub restart: String,
    #[command(flatten)]
    pub health: HealthArgs,
    /// What asks it to end; TERM without
    #[arg(long, value_name = "SIG")]
    pub stop_signal: Option<String>,
    /// Size at which the log is turned over; 16m without
    #[arg(long, value_name = "SIZE")]
    pub log_size: Option<String>,
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
        required_unless_present = "image",
        trailing_var_arg = true,
        value_name = "COMMAND",
        hide = true
    )]
    pub command: Vec<String>,
}

/// How to tell whether it does its work.
#[derive(Debug, Args)]
#[allow(clippy::struct_field_names)] // clap makes the options' names of them
pub struct HealthArgs {
    /// A line of shell that succeeds while it does its work
    #[arg(long, value_name = "CMD")]
    pub health_cmd: Option<String>,
    /// Time between two checks; 30s without
    #[arg(long, value_name = "D", requires = "health_cmd")]
    pub health_interval: Option<String>,
    /// What a check may take; 30s without
    #[arg(long, value_name = "D", requires = "health_cmd")]
    pub health_timeout: Option<String>,
    /// Failures in a row that make it unhealthy; 3 without
    #[arg(long, value_name = "N", requires = "health_cmd")]
    pub health_retries: Option<u32>,
    /// Time after the start in which failures do not count
    #[arg(long, value_name = "D", requires = "health_cmd")]
    pub health_start_period: Option<String>,
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
    #[arg(required = true, trailing_var_arg = true)]
    pub command: Vec<String>,
}
