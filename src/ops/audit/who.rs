//! Who gave a command: as much as the kernel and `sudo` say.

use serde_json::{Value, json};

/// More of a command line than this is not kept.
const LONGEST: usize = 4096;
/// What the kernel says of a process that nobody logged in for.
const NOBODY: &str = "4294967295";

/// This process and its user, as a JSON object.
#[must_use]
pub fn who() -> Value {
    let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    let number = |text: &str| text.trim().parse::<u32>().ok();
    json!({
        "uid": nix::unistd::getuid().as_raw(),
        "login": number(&login).filter(|_| login.trim() != NOBODY),
        "sudo": std::env::var("SUDO_UID").ok().as_deref().and_then(number),
        "pid": std::process::id(),
        "command": command(),
    })
}

/// The command line; of a call by a container runtime, what it asks for.
fn command() -> String {
    let verb = std::env::var("CNI_COMMAND").unwrap_or_default();
    let words: Vec<String> = std::env::args_os()
        .map(|w| w.to_string_lossy().into_owned())
        .collect();
    let mut text = without_secrets(&words);
    if !verb.is_empty() {
        let id = std::env::var("CNI_CONTAINERID").unwrap_or_default();
        text = format!("{text} (CNI {verb} {id})");
    }
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|i| text.is_char_boundary(*i));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// The words as a shell would take them, without the values of variables: those hold passwords.
fn without_secrets(words: &[String]) -> String {
    let name = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=…"),
        None => pair.to_owned(),
    };
    let mut kept = Vec::new();
    let mut value_follows = false;
    for word in words {
        let flag = word.strip_prefix("--env=").map(|p| ("--env=", p));
        let flag = flag.or_else(|| {
            let short = word.strip_prefix("-e").filter(|p| !p.is_empty());
            short.map(|p| ("-e", p))
        });
        kept.push(match flag {
            _ if value_follows => name(word),
            Some((flag, pair)) => flag.to_owned() + &name(pair),
            None => word.clone(),
        });
        value_follows = !value_follows && (word == "-e" || word == "--env");
    }
    shell_words::join(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_are_left_out() {
        let said = |line: &str| without_secrets(&shell_words::split(line).unwrap());
        assert_eq!(said("moat link a 'b c:90'"), "moat link a 'b c:90'");
        for line in [
            "moat run -e KEY=s3cret -- true",
            "moat run -eKEY=s3cret -- true",
            "moat run --env KEY=s3cret -- true",
            "moat run --env=KEY=s3cret -- true",
        ] {
            let text = said(line);
            assert!(text.contains("KEY") && !text.contains("s3cret"), "{text}");
            assert!(text.contains("true"), "{text}");
        }
        assert_eq!(said("moat run -e KEY -- true"), "moat run -e KEY -- true");
    }
}
