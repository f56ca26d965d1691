//! The man page and shell completions, from the command line's own description.

use clap_complete::Shell;

use super::args::Gen;
use crate::ops::{Error, Result};

pub fn generate(what: Gen, mut command: clap::Command) -> Result<i32> {
    let mut out = Vec::new();
    let shell = match what {
        Gen::Man => None,
        Gen::Bash => Some(Shell::Bash),
        Gen::Zsh => Some(Shell::Zsh),
        Gen::Fish => Some(Shell::Fish),
    };
    let fail = |source| Error::State {
        path: "standard output".to_owned(),
        source,
    };
    match shell {
        Some(shell) => clap_complete::generate(shell, &mut command, "moat", &mut out),
        None => man(command, &mut out).map_err(fail)?,
    }
    std::io::Write::write_all(&mut std::io::stdout(), &out).map_err(fail)?;
    Ok(0)
}

/// One page: the command, then a section for each of its own commands.
fn man(mut command: clap::Command, out: &mut Vec<u8>) -> std::io::Result<()> {
    command.build();
    let page = clap_mangen::Man::new(command.clone());
    page.render(out)?;
    for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
        let title = format!(".SH MOAT {}\n", sub.get_name().to_uppercase());
        out.extend(title.as_bytes());
        let page = clap_mangen::Man::new(sub.clone());
        page.render_description_section(out)?;
        page.render_synopsis_section(out)?;
        page.render_options_section(out)?;
    }
    Ok(())
}
