//! `moat cni`: installing the plugin, and checking configurations.

use std::path::Path;

use serde_json::json;

use super::args::{Caller, Cni};
use super::print::{Look, Printer};
use crate::ops::conflist::check::check;
use crate::ops::conflist::{self, Finding, Level, install};
use crate::ops::{Error, Result};

pub fn run(cni: Cni, dry: bool, p: &Printer) -> Result<i32> {
    match cni {
        Cni::Install {
            caller,
            bin_dir,
            conf_dir,
            name,
            subnet,
            force,
        } => {
            let request = install::Request {
                caller: match caller {
                    Caller::Podman => conflist::Caller::Podman,
                    Caller::Containerd => conflist::Caller::Containerd,
                    Caller::Crio => conflist::Caller::Crio,
                    Caller::Nerdctl => conflist::Caller::Nerdctl,
                },
                bin_dir,
                conf_dir,
                name: name.map(|n| n.parse()).transpose()?,
                subnets: subnet.iter().map(|s| Ok(s.parse()?)).collect::<Result<_>>()?,
                force,
                program: std::env::current_exe().map_err(|e| Error::State {
                    path: "/proc/self/exe".into(),
                    source: e,
                })?,
            };
            installed(p, &install::install(&request, dry)?, dry);
            Ok(0)
        }
        Cni::Check { files, bin_dir } => {
            let checks: Vec<_> = files
                .iter()
                .map(|f| Ok((f, check(f, &bin_dir)?)))
                .collect::<Result<_>>()?;
            let worst = i32::from(checks.iter().any(|(_, found)| !found.is_empty()));
            if p.json {
                let all: Vec<_> = checks
                    .iter()
                    .map(|(f, found)| json!({ "file": f, "findings": found }))
                    .collect();
                p.json(&all);
            } else {
                checks.iter().for_each(|(f, found)| findings(p, f, found));
            }
            Ok(worst)
        }
    }
}

fn installed(p: &Printer, done: &install::Installed, dry: bool) {
    if p.json {
        return p.json(done);
    }
    let did = if dry { "would write" } else { "wrote" };
    for path in done.links.iter().chain([&done.conflist]) {
        p.say(format!("{did} {}", path.display()));
    }
    for path in &done.kept {
        p.say(format!("kept {}, which is not moat's", path.display()));
    }
}

fn findings(p: &Printer, file: &Path, found: &[Finding]) {
    if found.is_empty() {
        p.say(format!("{}: nothing is wrong", file.display()));
    }
    for f in found {
        let (look, level) = match f.level {
            Level::Error => (Look::Bad, "error:"),
            Level::Warning => (Look::Strong, "warning:"),
        };
        let line = f.line.map_or(String::new(), |n| format!("{n}:"));
        let place = format!("{}:{line}", file.display());
        p.line(format!("{place} {} {}", p.paint(look, level), f.text));
    }
}
