//! `moat up` and `moat down`.

use std::path::PathBuf;

use clap::Args;

/// Which file, and which project.
#[derive(Clone, Debug, Args)]
pub struct File {
    /// Compose file; compose.yaml here or above without
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Name of the project; the file's `name`, or its directory's, without
    #[arg(short, long, value_name = "NAME")]
    pub project: Option<String>,
}

/// Make what runs what a Compose file says
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  moat up --wait\n  moat up -f shop.yaml --scale web=3")]
pub struct Up {
    #[command(flatten)]
    pub file: File,
    /// So many containers of a service
    #[arg(long, value_name = "SERVICE=N")]
    pub scale: Vec<String>,
    /// Until all are healthy, or listen on what is linked to
    #[arg(long)]
    pub wait: bool,
    /// How long anything may be waited for
    #[arg(long, value_name = "D", default_value = "120s")]
    pub timeout: String,
    /// Remove containers of services that the file does not have
    #[arg(long)]
    pub remove_orphans: bool,
    /// Replace what has not changed too
    #[arg(long)]
    pub force_recreate: bool,
    /// Say which links a file without any would need; start nothing
    #[arg(long, conflicts_with_all = ["wait", "remove_orphans", "force_recreate"])]
    pub explain: bool,
    /// With --explain: write the file with these links
    #[arg(short, long, value_name = "FILE", requires = "explain")]
    pub output: Option<PathBuf>,
    /// As others have it: `up` always returns
    #[arg(short, long, hide = true)]
    pub detach: bool,
}

/// Remove all that `up` made
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  moat down\n  moat down -f shop.yaml --volumes")]
pub struct Down {
    #[command(flatten)]
    pub file: File,
    /// Its named volumes too
    #[arg(long)]
    pub volumes: bool,
    /// Seconds that each may take to end by itself
    #[arg(short, long, value_name = "SEC")]
    pub time: Option<u64>,
}
