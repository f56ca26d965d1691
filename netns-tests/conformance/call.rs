//! One call of a plugin: a process under an environment that holds nothing else.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Verdict;

/// What a plugin answered.
#[derive(Clone, Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A call, not yet made.
pub struct Call {
    program: String,
    env: Vec<(String, String)>,
    pub stdin: Vec<u8>,
    /// Milliseconds between the two halves of stdin.
    pub pause: Option<u64>,
}

impl Call {
    pub fn new(program: String) -> Self {
        Self {
            program,
            env: Vec::new(),
            stdin: Vec::new(),
            pause: None,
        }
    }

    pub fn env(mut self, key: &str, value: &str) -> Self {
        self = self.without(key);
        self.env.push((key.into(), value.into()));
        self
    }

    /// The same call of another program.
    pub fn program(mut self, path: String) -> Self {
        self.program = path;
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.env.retain(|(k, _)| k != key);
        self
    }

    pub fn stdin(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stdin = text.as_ref().to_vec();
        self
    }

    pub fn conf(self, conf: &Value) -> Self {
        self.stdin(conf.to_string())
    }

    pub fn command(&self) -> Command {
        let mut c = Command::new(&self.program);
        c.env_clear()
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        c
    }

    pub fn run(&self) -> Said {
        let mut child = self
            .command()
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.program));
        let mut pipe = child.stdin.take().expect("stdin");
        let (stdin, pause) = (self.stdin.clone(), self.pause);
        // A plugin may answer without reading.
        let writer = std::thread::spawn(move || {
            let (first, second) = stdin.split_at(if pause.is_some() { stdin.len() / 2 } else { 0 });
            let _ = pipe.write_all(first);
            std::thread::sleep(std::time::Duration::from_millis(pause.unwrap_or_default()));
            let _ = pipe.write_all(second);
        });
        let out = child.wait_with_output().expect("the plugin ends");
        let _ = writer.join();
        Said {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }
}

impl Said {
    /// The one JSON document on stdout.
    pub fn json(&self) -> Result<Value, String> {
        serde_json::from_str(&self.stdout)
            .map_err(|e| format!("stdout is not one JSON document ({e}): {self:?}"))
    }

    /// It succeeded and said nothing.
    pub fn quiet(&self) -> Verdict {
        match (self.code, self.stdout.as_str()) {
            (0, "") => Ok(()),
            _ => Err(format!("not a silent success: {self:?}")),
        }
    }

    /// It failed with one of these codes; all its words.
    pub fn fails(&self, codes: &[i64]) -> Result<String, String> {
        let object = self.json()?;
        let code = object["code"].as_i64();
        if self.code == 0 || !code.is_some_and(|c| codes.is_empty() || codes.contains(&c)) {
            return Err(format!("not a failure with code {codes:?}: {self:?}"));
        }
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        Ok(format!("{} {}", text("msg"), text("details")))
    }
}
