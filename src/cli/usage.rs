//! A command line that cannot be read: one line that says why, and a hint, as for every other error.

use clap::error::ErrorKind;
use clap::{ColorChoice, Error};

/// Commands whose status is that of a process: what is moat's own must not look like it.
const PASS_ON: [&str; 3] = ["run", "exec", "wait"];

/// Prints what clap has to say, help and version too; the exit status.
pub fn answer(e: &Error, top: clap::Command, words: &[String]) -> i32 {
    if !e.use_stderr() {
        let _ = e.print();
        return 0;
    }
    let (path, command) = named(top, words);
    if e.kind() == ErrorKind::MissingSubcommand && path == "moat" {
        let help = command.color(ColorChoice::Never).render_help();
        super::print::talk(help.to_string().trim_end());
        return 2;
    }
    let (reason, hint) = match e.kind() {
        ErrorKind::MissingSubcommand => {
            let names = command.get_subcommands().map(clap::Command::get_name);
            let names: Vec<String> = names.filter(|n| *n != "help").map(|n| format!("`{n}`")).collect();
            (format!("`{path}` is one of {}", names.join(", ")), None)
        }
        _ => said(&e.render().to_string()),
    };
    super::print::talk(&format!("error: {reason}"));
    let more = format!("`{path} --help` shows the forms and examples");
    super::print::talk(&format!(
        "hint: {}",
        hint.map_or(more.clone(), |hint| format!("{hint}; {more}"))
    ));
    let passes_on = PASS_ON.iter().any(|name| path == format!("moat {name}"));
    if passes_on { 125 } else { 2 }
}

/// The command that the words name, as far as they do.
fn named(mut command: clap::Command, words: &[String]) -> (String, clap::Command) {
    let mut path = "moat".to_owned();
    // Finds out what may follow an option.
    command.build();
    for word in words {
        if word == "--" {
            break;
        }
        let Some(sub) = command.find_subcommand(word).cloned() else {
            continue;
        };
        path = format!("{path} {}", sub.get_name());
        command = sub;
        if command.get_subcommands().next().is_none() {
            break;
        }
    }
    (path, command)
}

/// The reason, which clap spreads over lines, and its tip.
fn said(text: &str) -> (String, Option<String>) {
    let mut parts = text.split("\n\n");
    let first = parts.next().unwrap_or_default();
    let lines: Vec<&str> = first.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let reason = lines.join(" ");
    let tip = parts.find_map(|p| p.trim().strip_prefix("tip: ")).map(quoted);
    (quoted(reason.trim_start_matches("error: ")), tip)
}

/// What is typed, in backticks as elsewhere.
fn quoted(text: &str) -> String {
    text.replace('\'', "`").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (String, Option<String>, String) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let e = super::super::command()
            .try_get_matches_from(&words)
            .expect_err("it cannot be read");
        let (reason, tip) = said(&e.render().to_string());
        (reason, tip, named(super::super::command(), &words[1..]).0)
    }

    #[test]
    fn one_line_says_what_is_wrong() {
        let (reason, _, path) = read("moat exec a");
        assert_eq!(
            (reason.as_str(), path.as_str()),
            (
                "the following required arguments were not provided: <COMMAND>...",
                "moat exec"
            )
        );
        let (reason, tip, _) = read("moat stast");
        assert_eq!(reason, "unrecognized subcommand `stast`");
        assert!(tip.is_some_and(|t| t.contains("`stats`")));
        let (reason, _, path) = read("moat --root x net create y --mtu 5");
        assert_eq!(
            reason,
            "invalid value `5` for `--mtu <N>`: 5 is not in 1280..=65535"
        );
        assert_eq!(path, "moat net create");
    }

    #[test]
    fn an_unknown_option_is_no_command() {
        for line in [
            "moat run --frob -- true",
            "moat exec a --frob",
            "moat exec --frob a true",
        ] {
            let (reason, ..) = read(line);
            assert_eq!(reason, "unexpected argument `--frob` found", "{line}");
        }
        for line in [
            "moat run sh -c ls",
            "moat run -- --frob",
            "moat exec a ls -l --frob",
            "moat lab sh -c ls",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(
                super::super::command().try_get_matches_from(words).is_ok(),
                "{line}"
            );
        }
    }
}
