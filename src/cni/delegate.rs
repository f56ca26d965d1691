//! Delegates: plugins that this one calls for a part of the work, as for addresses.
//!
//! A delegate gets the same environment and the complete configuration (SPEC, section 4). It
//! gets no time limit: the runtime ends us, and it with us.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::call::{Call, Verb};
use super::error::{Error, Result, code};
use super::json::Node;
use super::read::LIMIT;
use super::result::Outcome;

/// How often a program is tried that somebody is just writing (`ETXTBSY`), as libcni does.
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(200);

/// A plugin on `CNI_PATH` that works for a call.
#[derive(Clone, Debug)]
pub struct Delegate<'a> {
    /// Its type.
    pub name: String,
    program: PathBuf,
    call: &'a Call,
}

impl Call {
    /// The address management that the configuration names; `None` without `ipam.type`.
    ///
    /// # Errors
    /// As [`Call::delegate`].
    pub fn ipam(&self) -> Result<Option<Delegate<'_>>> {
        let Some(ipam) = self.conf().object("ipam")? else {
            return Ok(None);
        };
        ipam.text("type")?.map(|name| self.delegate(name)).transpose()
    }

    /// Finds a delegate.
    ///
    /// # Errors
    /// Code 4 without `CNI_PATH`; 7 when no directory of it has the plugin.
    pub fn delegate(&self, name: &str) -> Result<Delegate<'_>> {
        if name.is_empty() || name.contains(['/', '\0']) {
            return Err(Error::new(code::CONFIG, format!("invalid plugin name: {name:?}")));
        }
        if self.path.is_empty() {
            let msg = "required env variables [CNI_PATH] missing";
            return Err(Error::new(code::ENVIRONMENT, msg).with(format!("to find plugin {name:?}")));
        }
        let programs = self.path.iter().map(|dir| dir.join(name));
        let is_file = |p: &PathBuf| fs::metadata(p).is_ok_and(|m| m.is_file());
        let program = programs.into_iter().find(is_file).ok_or_else(|| {
            let msg = format!("failed to find plugin {name:?} in path {:?}", self.path);
            Error::new(code::CONFIG, msg).with("install it there, or name another type")
        })?;
        Ok(Delegate {
            name: name.to_owned(),
            program,
            call: self,
        })
    }
}

impl Delegate<'_> {
    /// ADD for addresses. When it fails, or answers with no address, DEL is called before this
    /// returns; the caller owes a DEL for everything that fails later.
    ///
    /// # Errors
    /// The delegate's, or what is wrong with its answer.
    pub fn lease(&self) -> Result<Outcome> {
        let leased = self.execute(Verb::Add).and_then(|stdout| self.read(&stdout));
        leased.map_err(|e| match self.run(Verb::Del) {
            Ok(()) => e,
            Err(left) => {
                let left = format!("DEL of {:?} failed, too: {}", self.name, left.msg);
                let details = [e.details.clone(), left];
                e.with(details.join("; ").trim_start_matches("; ").to_owned())
            }
        })
    }

    /// Any verb that has no answer.
    ///
    /// # Errors
    /// The delegate's.
    pub fn run(&self, verb: Verb) -> Result<()> {
        self.execute(verb).map(drop)
    }

    /// Addresses, routes and DNS of an answer; what it says about interfaces is not its to say.
    fn read(&self, stdout: &[u8]) -> Result<Outcome> {
        let path = format!("result of plugin {:?}", self.name);
        let value: Value =
            serde_json::from_slice(stdout).map_err(|e| Error::new(code::DECODE, format!("{path}: {e}")))?;
        let mut outcome = Outcome::read(&value, &path, self.call.version)?;
        outcome.interfaces.clear();
        outcome.ips.iter_mut().for_each(|ip| ip.interface = None);
        if outcome.ips.is_empty() {
            return Err(Error::new(code::CONFIG, format!("{path} has no address")));
        }
        Ok(outcome)
    }

    /// What it prints.
    fn execute(&self, verb: Verb) -> Result<Vec<u8>> {
        let failed = |e| {
            let msg = format!("executing plugin {}: {e}", self.program.display());
            Error::new(code::IO, msg)
        };
        let input = Value::Object(self.call.config.clone()).to_string();
        let child = start(&self.program, verb, self.call).map_err(failed)?;
        let (stdout, status) = talk(child, input.as_bytes()).map_err(failed)?;
        if status.success() {
            return Ok(stdout);
        }
        Err(self.error(&stdout, status))
    }

    /// The error object that it printed, else what can be said without one.
    fn error(&self, stdout: &[u8], status: ExitStatus) -> Error {
        let read = || {
            let value: Value = serde_json::from_slice(stdout).ok()?;
            let object = Node::new(&value, "error", code::DECODE).object().ok()?;
            let text = |key| Some(object.text(key).ok()?.unwrap_or_default().to_owned());
            let error = Error {
                code: object.number("code").ok()?.unwrap_or(code::INTERNAL),
                msg: text("msg")?,
                details: text("details")?,
            };
            (!error.msg.is_empty()).then_some(error)
        };
        read().unwrap_or_else(|| {
            let said: String = String::from_utf8_lossy(stdout).chars().take(200).collect();
            let msg = format!("plugin {:?} failed without an error object: {status}", self.name);
            Error::new(code::INTERNAL, msg).with(said.trim())
        })
    }
}

/// Its stderr is ours.
fn start(program: &Path, verb: Verb, call: &Call) -> std::io::Result<Child> {
    #[allow(clippy::disallowed_methods)] // delegates are what CNI is made of
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(&call.env)
        .env("CNI_COMMAND", verb.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut tries = 1;
    loop {
        match command.spawn() {
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy && tries < TRIES => {
                thread::sleep(BETWEEN);
                tries += 1;
            }
            done => return done,
        }
    }
}

/// Writes all of the input while it reads, so that neither side waits for the other.
fn talk(mut child: Child, input: &[u8]) -> std::io::Result<(Vec<u8>, ExitStatus)> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let read = thread::scope(|scope| {
        // One that needs no configuration may close its end: that is no failure.
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
        let mut output = Vec::new();
        let pipe = stdout.map(|pipe| pipe.take(LIMIT as u64).read_to_end(&mut output));
        pipe.transpose().map(|_| output)
    });
    let status = child.wait()?;
    Ok((read?, status))
}
