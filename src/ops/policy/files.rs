//! Finding and reading manifests: any mix of files and directories.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::error::{Error, Result};
use crate::model::policy::{Manifests, Source, is_manifest, read};

/// More than what a large cluster prints.
const LIMIT: u64 = 256 << 20;

/// Reads manifests; what a cluster would refuse is an error, too.
///
/// # Errors
/// Something cannot be read, or is wrong.
pub fn load(paths: &[PathBuf]) -> Result<Manifests> {
    let manifests = load_all(paths)?;
    match manifests.refused.first() {
        Some(refused) => Err(refused.clone().into()),
        None => Ok(manifests),
    }
}

/// Reads manifests; what a cluster would refuse is told apart.
///
/// # Errors
/// Something cannot be read, or is no manifest.
pub fn load_all(paths: &[PathBuf]) -> Result<Manifests> {
    Ok(read(&sources(paths)?)?)
}

/// The texts of files and of those in directories, each once.
///
/// # Errors
/// Something cannot be read.
pub fn sources(paths: &[PathBuf]) -> Result<Vec<Source>> {
    let mut seen = BTreeSet::new();
    let mut sources = vec![];
    for path in paths {
        let is_dir = path.is_dir();
        for file in if is_dir { inside(path)? } else { vec![path.clone()] } {
            let name = file.display().to_string();
            let real = file.canonicalize().map_err(|e| unreadable(&name, &e))?;
            if !seen.insert(real) {
                continue;
            }
            let text = contents(&file).map_err(|e| unreadable(&name, &e))?;
            // Beside manifests lies JSON of other kinds; who names a file means it.
            let json = file.extension().is_some_and(|e| e == "json");
            let endpoints = file.file_name().is_some_and(|n| n == "external.json");
            if is_dir && json && !endpoints && !is_manifest(&text) {
                continue;
            }
            sources.push(Source {
                name: name.into(),
                text,
            });
        }
    }
    Ok(sources)
}

/// The manifests in a directory and below, in the order of their names; hidden ones are left out.
fn inside(dir: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |e: std::io::Error| unreadable(&dir.display().to_string(), &e);
    let mut entries: Vec<PathBuf> = vec![];
    for entry in std::fs::read_dir(dir).map_err(wrong)? {
        entries.push(entry.map_err(wrong)?.path());
    }
    entries.sort();
    let mut files = vec![];
    for path in entries {
        let hidden = path
            .file_name()
            .is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        let fits = path
            .extension()
            .is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        // A link to a directory may lead back up.
        if !hidden && path.is_dir() && !path.is_symlink() {
            files.extend(inside(&path)?);
        } else if !hidden && fits && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn contents(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

fn unreadable(name: &str, source: &std::io::Error) -> Error {
    Error::Input {
        value: name.to_owned(),
        reason: format!("the manifests cannot be read ({source})"),
        hint: Some("name files or directories with Kubernetes manifests".into()),
    }
}
