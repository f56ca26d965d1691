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
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    examples(&command, "moat", out);
    out.extend(b".SH COMMANDS\n");
    sections(&command, "moat", out)?;
    out.extend(b".SH EXIT STATUS\n");
    for (code, meaning) in STATUS {
        out.extend(format!(".TP\n{code}\n{meaning}\n").as_bytes());
    }
    Ok(())
}

const STATUS: [(&str, &str); 4] = [
    ("0", "Done, or the answer is yes."),
    ("1", "The answer is no: why, fsck with findings."),
    (
        "2",
        "An error; nothing was changed, or what was changed is taken back.",
    ),
    (
        "125, 126, 127, 128+n",
        "Of run, exec and wait, whose status is the process\\(aqs own: moat failed, the command cannot be \
         executed, it was not found, it ended by signal n.",
    ),
];

/// A part for each command that does something, `net` giving way to those below it.
fn sections(command: &clap::Command, call: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
    for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
        let call = format!("{call} {}", sub.get_name());
        if sub.has_subcommands() {
            sections(sub, &call, out)?;
            continue;
        }
        out.extend(format!(".SS {call}\n").as_bytes());
        let page = clap_mangen::Man::new(sub.clone());
        let mut text = Vec::new();
        page.render_synopsis_section(&mut text)?;
        text.extend(b".PP\n");
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
        // Headings of a page of its own.
        for line in text.split_inclusive(|b| *b == b'\n') {
            if !line.starts_with(b".SH ") {
                out.extend(line);
            }
        }
        examples(sub, &call, out);
    }
    Ok(())
}

/// The examples of a command, each on a line of its own.
fn examples(command: &clap::Command, call: &str, out: &mut Vec<u8>) {
    let Some(text) = command.get_after_help().map(ToString::to_string) else {
        return;
    };
    let heading = if call == "moat" {
        ".SH EXAMPLES\n"
    } else {
        ".PP\nExamples:\n"
    };
    out.extend(heading.as_bytes());
    out.extend(b".nf\n");
    for line in text.lines().filter(|l| l.starts_with(' ')) {
        let plain = line
            .replace('\\', "\\(rs")
            .replace('-', "\\-")
            .replace('\'', "\\(aq");
        out.extend(format!("{plain}\n").as_bytes());
    }
    out.extend(b".fi\n");
}
