//! `moat lab`.

use clap::Args;

/// Run a command, or a shell, in a world of its own: no root needed, and nothing stays
#[derive(Debug, Args)]
#[command(
    override_usage = "moat lab [OPTIONS] [--] [COMMAND [ARG]...]",
    after_help = "Examples:\n  moat lab\n  moat lab -- sh -c 'moat run -d --name db -- redis-server && moat ps'"
)]
pub struct Lab {
    #[arg(trailing_var_arg = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
