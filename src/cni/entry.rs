//! The process: is this a call of a CNI plugin, and of which one?

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Read as _};
use std::panic;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Plugin;
use super::call::{Env, Version};
use super::dispatch::{Answer, nobody, plugin, run};
use super::error::{Error, code};
use super::read::{LIMIT, variable};

/// The release of the reference plugins whose behaviour the plugins of their names have.
const REFERENCE: &str = "1.9.1";

/// Whether the one document on stdout was written.
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// Answers when the process was started as a CNI plugin: `CNI_COMMAND` is set, or the program
/// is called by the name of a reference plugin. The exit status; `None` when it was not.
///
/// The name under which the program is called decides, not the configuration's `type`. It is
/// `moat` under each name that begins so: builds lie side by side as `moat-2`. Any other
/// name is a plugin that somebody believes to have, and an error.
#[must_use]
pub fn main(argv0: &OsStr, env: &Env) -> Option<i32> {
    let called = Path::new(argv0).file_name().unwrap_or(OsStr::new("moat"));
    let called = called.to_string_lossy();
    let classic = plugin(&called).filter(|p| p.name() != "moat");
    let commanded = variable(env, "CNI_COMMAND").is_some();
    match (classic, commanded) {
        (None, false) => None,
        (Some(plugin), false) => {
            write(&mut io::stderr(), &about(&*plugin));
            Some(0)
        }
        (Some(classic), true) => Some(call(|stdin| run(&*classic, env, stdin))),
        (None, true) if called.starts_with("moat") => {
            let moat = plugin("moat")?;
            Some(call(|stdin| run(&*moat, env, stdin)))
        }
        (None, true) => Some(call(|stdin| nobody(&called, stdin))),
    }
}

fn call(answer: impl FnOnce(&[u8]) -> Answer) -> i32 {
    answer_panics();
    let answer = match configuration() {
        Ok(stdin) => answer(&stdin),
        Err(e) => {
            let error = Error::new(code::IO, format!("error reading from stdin: {e}"));
            Answer::failed(&error, Version::LATEST)
        }
    };
    ANSWERED.store(true, Ordering::SeqCst);
    if let Some(text) = crate::ops::audit::complaint() {
        write(&mut io::stderr(), &format!("note: {text}\n"));
    }
    if write(&mut io::stdout(), &answer.stdout) {
        answer.code
    } else {
        1
    }
}

/// All of stdin, and one byte more than the limit at most. A person's terminal has none.
fn configuration() -> io::Result<Vec<u8>> {
    let mut stdin = Vec::new();
    let input = io::stdin();
    if !input.is_terminal() {
        input.lock().take(LIMIT as u64 + 1).read_to_end(&mut stdin)?;
    }
    Ok(stdin)
}

/// What the reference prints without `CNI_COMMAND`. nerdctl reads the line
/// `CNI firewall plugin v…` as a semantic version, and isolates only from 1.1.0 and 1.7.1 on
/// (`pkg/netutil/netutil_unix.go`, `guessFirewallPluginVersion`): so the plugins of reference
/// names say the release that they behave as, and our own version as build metadata, which
/// does not count in comparisons.
#[must_use]
pub fn about(plugin: &dyn Plugin) -> String {
    let own = env!("CARGO_PKG_VERSION");
    let name = plugin.name();
    let version = if name == "moat" {
        own.to_owned()
    } else {
        format!("{REFERENCE}+moat.{own}")
    };
    let spoken: Vec<&str> = plugin.versions().iter().map(|v| v.as_str()).collect();
    let spoken = spoken.join(", ");
    format!("CNI {name} plugin v{version}\nCNI protocol versions supported: {spoken}\n")
}

/// A panic, too, is an error document, unless there was an answer already.
pub(super) fn answer_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        before(info);
        if !ANSWERED.swap(true, Ordering::SeqCst) {
            let at = info.location().map(ToString::to_string).unwrap_or_default();
            let what = info.payload_as_str().unwrap_or("no message");
            let error = Error::new(code::INTERNAL, format!("moat has a bug: {what} ({at})"))
                .with("what was begun is undone or finished by the next call");
            let answer = Answer::failed(&error, Version::LATEST);
            write(&mut io::stdout(), &answer.stdout);
        }
        process::exit(1);
    }));
}

/// Whether all of it was written. If not, nobody reads, and there is nobody to be told.
fn write(to: &mut dyn io::Write, text: &str) -> bool {
    let written = to.write_all(text.as_bytes());
    written.and_then(|()| to.flush()).is_ok()
}
