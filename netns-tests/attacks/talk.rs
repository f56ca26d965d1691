//! Programs that are asked by lines and answer by lines of JSON.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::isolation::PYTHON;
use crate::net::Ns;

const WATCHER: &str = include_str!("watcher.py");

/// A program that answers each line with a line of JSON.
pub struct Talk {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Talk {
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, to, from }
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("it answers");
        line
    }

    #[track_caller]
    pub fn ask(&mut self, question: &str) -> Value {
        writeln!(self.to, "{question}").expect("it listens");
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{question}: {e}: `{line}`"))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks at all of these places: at an interface, or at what sockets on a port are given.
pub fn watcher(places: &[(&str, Ns, Value)]) -> Talk {
    let places: Vec<Value> = places
        .iter()
        .map(|(name, ns, what)| {
            let key = if what.is_string() { "iface" } else { "port" };
            json!({ "name": name, "ns": ns.path(), key: what, "tcp": *name == "host" })
        })
        .collect();
    let mut talk = Talk::start(Command::new(PYTHON).args(["-uc", WATCHER, &json!(places).to_string()]));
    assert_eq!(talk.line(), "ready\n");
    talk
}
