//! `moat hook install`: the file by which podman and CRI-O call the hook, oci-hooks(5).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use crate::ops::conflist::install::{file_error, json as read, refuse_foreign, replace};
use crate::ops::context::{DEFAULT_DATA, DEFAULT_ROOT, Where};
use crate::ops::error::Result;

/// The file's name in the directory.
const FILE: &str = "moat.json";

/// What to install.
#[derive(Clone, Debug)]
pub struct Request {
    pub dir: PathBuf,
    /// Replace what somebody else put there.
    pub force: bool,
    /// The program that is called.
    pub program: PathBuf,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    pub hook: PathBuf,
}

/// Installs the hook for containers with an annotation of ours, in the caller's world; with `dry`
/// only says what it would.
///
/// # Errors
/// When a file of others is there, or it cannot be written.
pub fn install(place: &Where, request: &Request, dry: bool) -> Result<Installed> {
    put(place, request, dry).map_err(|e| e.while_doing("install the hook"))
}

fn put(place: &Where, request: &Request, dry: bool) -> Result<Installed> {
    let hook = request.dir.join(FILE);
    if !request.force {
        refuse_foreign(&hook, is_ours)?;
    }
    if !dry {
        std::fs::create_dir_all(&request.dir).map_err(|e| file_error(&request.dir, &e))?;
        let text = text(place, &request.program);
        replace(&hook, |new| {
            let mut file = std::fs::File::create_new(new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })?;
    }
    Ok(Installed { hook })
}

fn text(place: &Where, program: &Path) -> String {
    let mut args = vec!["moat".to_owned()];
    for (flag, dir, default) in [
        ("--root", &place.root, DEFAULT_ROOT),
        ("--data", &place.data, DEFAULT_DATA),
    ] {
        if dir != Path::new(default) {
            args.extend([flag.to_owned(), dir.display().to_string()]);
        }
    }
    args.push("hook".to_owned());
    let file = json!({
        "version": "1.0.0",
        "hook": { "path": program, "args": args, "timeout": 60 },
        "when": { "annotations": { "^moat\\.dev/": ".*" } },
        "stages": ["createRuntime", "poststop"],
    });
    format!("{file:#}\n")
}

/// A hook whose first argument is our name.
fn is_ours(file: &Path) -> bool {
    read(file)["hook"]["args"][0] == "moat"
}
