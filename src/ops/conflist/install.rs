//! `cni install`: the plugin's names and one configuration, each put in place by a rename, so
//! that no caller ever reads half of one.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::Caller;
use crate::model::{Name, Subnet};
use crate::ops::{Error, Result};

/// What to install.
#[derive(Clone, Debug)]
pub struct Request {
    pub caller: Caller,
    pub bin_dir: PathBuf,
    pub conf_dir: PathBuf,
    /// The caller's usual name without.
    pub name: Option<Name>,
    /// The caller's usual ones when empty.
    pub subnets: Vec<Subnet>,
    /// Replace what somebody else put there.
    pub force: bool,
    /// The program that the names point to.
    pub program: PathBuf,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    pub conflist: PathBuf,
    pub links: Vec<PathBuf>,
    /// Programs of others that were left as they are.
    pub kept: Vec<PathBuf>,
}

/// Installs, or with `dry` only says what it would; changes nothing when something of others
/// is in the way.
///
/// # Errors
/// When a file of others is there, or one cannot be written.
pub fn install(request: &Request, dry: bool) -> Result<Installed> {
    let wanted = format!("install moat for {}", request.caller.word());
    put(request, dry).map_err(|e| e.while_doing(wanted))
}

fn put(request: &Request, dry: bool) -> Result<Installed> {
    let Request {
        caller,
        bin_dir,
        conf_dir,
        force,
        program,
        ..
    } = request;
    let name = request.name.as_ref().map_or(caller.network(), Name::as_str);
    let usual = caller
        .subnets()
        .into_iter()
        .map(str::parse)
        .collect::<Result<Vec<Subnet>, _>>()?;
    let subnets = if request.subnets.is_empty() {
        &usual
    } else {
        &request.subnets
    };
    if let [a, b, ..] = subnets[..]
        && (a.family() == b.family() || subnets.len() > 2)
    {
        return Err(Error::Input {
            value: format!("{a}, {b}"),
            reason: "a network has one subnet a family".into(),
            hint: None,
        });
    }
    let conflist = conf_dir.join(caller.file(name));
    let plugin = bin_dir.join("moat");
    if !force {
        refuse_foreign(&conflist, is_ours)?;
        refuse_foreign(&plugin, |p| p.is_symlink() || same_file(p, program))?;
        refuse_namesake(conf_dir, &conflist, name)?;
    }
    for dir in [bin_dir, conf_dir].into_iter().filter(|_| !dry) {
        std::fs::create_dir_all(dir).map_err(|e| file_error(dir, &e))?;
    }
    // The programs first: a configuration is used as soon as it is there.
    let mut installed = Installed {
        conflist,
        links: Vec::new(),
        kept: Vec::new(),
    };
    for name in ["moat"].iter().chain(caller.plugins()) {
        let link = bin_dir.join(name);
        let other = link.exists() && !same_file(&link, program);
        if other && *name != "moat" {
            installed.kept.push(link);
        } else if !same_file(&link, program) {
            if !dry {
                replace(&link, |new| symlink(program, new))?;
            }
            installed.links.push(link);
        }
    }
    if dry {
        return Ok(installed);
    }
    let text = super::text(*caller, name, subnets);
    replace(&installed.conflist, |new| {
        let mut file = std::fs::File::create_new(new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })?;
    Ok(installed)
}

pub(in crate::ops) fn refuse_foreign(path: &Path, ours: impl Fn(&Path) -> bool) -> Result<()> {
    if path.symlink_metadata().is_err() || ours(path) {
        return Ok(());
    }
    Err(Error::Refused {
        what: format!("{} is somebody else's", path.display()),
        hint: "`--force` replaces it".into(),
    })
}

/// Another file with a network of this name would make it a matter of luck who reads which.
fn refuse_namesake(dir: &Path, own: &Path, name: &str) -> Result<()> {
    let named = |file: &PathBuf| json(file)["name"] == name;
    match configurations(dir).into_iter().filter(|f| f != own).find(named) {
        None => Ok(()),
        Some(file) => Err(Error::Refused {
            what: format!("{} is a network `{name}` already", file.display()),
            hint: "`--name` gives this one another, `--force` goes on all the same".into(),
        }),
    }
}

pub(in crate::ops) fn json(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// A list whose one plugin is moat.
fn is_ours(file: &Path) -> bool {
    json(file)["plugins"]
        .as_array()
        .is_some_and(|all| matches!(&all[..], [one] if one["type"] == "moat"))
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Makes something beside `path`, then gives it that name.
pub(in crate::ops) fn replace(path: &Path, make: impl Fn(&Path) -> std::io::Result<()>) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    // No caller reads a file that ends so.
    new.push(format!(".{}.tmp", std::process::id()));
    let new = PathBuf::from(new);
    let made = make(&new).and_then(|()| std::fs::rename(&new, path));
    made.map_err(|e| {
        let _ = std::fs::remove_file(&new);
        file_error(path, &e)
    })
}

/// The network configurations of a directory, in the order in which callers see them.
#[must_use]
pub fn configurations(dir: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    let read = |p: &PathBuf| {
        let end = p.extension().unwrap_or_default();
        end == "conf" || end == "conflist" || end == "json"
    };
    let mut all: Vec<_> = all.filter(read).collect();
    all.sort();
    all
}

/// A file's text.
///
/// # Errors
/// When it cannot be read.
pub fn contents(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|e| file_error(file, &e))
}

pub(in crate::ops) fn file_error(file: &Path, e: &std::io::Error) -> Error {
    Error::Input {
        value: file.display().to_string(),
        reason: e.to_string(),
        hint: None,
    }
}
