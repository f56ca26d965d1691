//! Finding and reading a Compose file.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::super::error::{Error, Result};
use crate::model::Name;
use crate::model::topology::{self, Around, Hint, Project, dotenv};
use crate::model::yaml::Fault;

/// The names under which one is looked for, the first first.
const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// More than any file of people.
const LIMIT: u64 = 9 << 20;

/// Which file, and what is to be read in another way than it says.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// One found here or above without.
    pub file: Option<PathBuf>,
    pub project: Option<Name>,
    /// Replicas of services.
    pub scale: Vec<(String, u32)>,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Found {
    /// As errors name it.
    pub file: String,
    pub project: Project,
    pub text: String,
}

impl Found {
    /// An error at one place of the file.
    pub fn wrong(&self, fault: Fault) -> Error {
        fault.within(&self.file).into()
    }
}

/// Finds and reads a file.
///
/// # Errors
/// There is none, or the first thing in it that is wrong.
pub fn read(source: &Source) -> Result<Found> {
    let (found, _) = read_as(source, &|text, name, around| {
        Ok((topology::read(text, name, around)?, vec![]))
    })?;
    Ok(found)
}

/// The links that a file seems to need.
#[derive(Debug)]
pub struct Explained {
    pub hints: Vec<Hint>,
    /// What of the file `up` would refuse, with file, line and column.
    pub refused: Vec<String>,
    pub snippet: String,
    /// The file with the links in it, or the service whose links have to be written by hand.
    pub written: std::result::Result<String, String>,
}

/// Says which links a file written for another program would need. Nothing is changed.
///
/// # Errors
/// There is none, or something in it cannot be read at all.
pub fn explain(source: &Source) -> Result<Explained> {
    let (found, unknown) = read_as(source, &topology::without_unknown)?;
    let hints = topology::explain(&found.project);
    let by_hand = |(name, pos)| {
        format!(
            "{}:{pos}: write the links of service `{name}` by hand",
            found.file
        )
    };
    Ok(Explained {
        snippet: topology::snippet(&hints),
        written: topology::written(&found.text, &found.project, &hints).map_err(by_hand),
        refused: unknown
            .into_iter()
            .map(|f| f.within(&found.file).to_string())
            .collect(),
        hints,
    })
}

/// How a text becomes a project, with what was left out of it.
type Reader<'a> =
    &'a dyn Fn(&str, Option<&Name>, &Around<'_>) -> std::result::Result<(Project, Vec<Fault>), Fault>;

fn read_as(source: &Source, reader: Reader<'_>) -> Result<(Found, Vec<Fault>)> {
    let (path, file) = find(source.file.as_deref())?;
    let text = contents(&path).map_err(|source| unreadable(&file, &source))?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let variables = variables(dir)?;
    let around = Around {
        dir,
        variables,
        read: &contents,
    };
    let read = reader(&text, source.project.as_ref(), &around);
    let (mut project, unknown) = read.map_err(|f| f.within(&file))?;
    for (name, replicas) in &source.scale {
        scale(&mut project, name, *replicas)?;
    }
    Ok((Found { file, project, text }, unknown))
}

fn unreadable(file: &str, source: &std::io::Error) -> Error {
    Error::Input {
        value: file.to_owned(),
        reason: format!("the file cannot be read ({source})"),
        hint: Some("-f FILE names another one".into()),
    }
}

/// The path, and the file as somebody wrote it.
fn find(asked: Option<&Path>) -> Result<(PathBuf, String)> {
    if let Some(file) = asked {
        let word = file.display().to_string();
        let path = std::path::absolute(file).map_err(|e| unreadable(&word, &e))?;
        return Ok((path, word));
    }
    let here = std::env::current_dir().map_err(|e| unreadable(".", &e))?;
    for dir in here.ancestors() {
        for name in NAMES {
            let path = dir.join(name);
            if path.is_file() {
                let word = if dir == here {
                    name.to_owned()
                } else {
                    path.display().to_string()
                };
                return Ok((path, word));
            }
        }
    }
    Err(Error::Refused {
        what: format!("no `{}` is here or in a directory above", NAMES[0]),
        hint: "-f FILE names one elsewhere".into(),
    })
}

fn contents(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// The variables of this process, and under them those of a file `.env` beside the Compose file.
fn variables(dir: &Path) -> Result<BTreeMap<String, String>> {
    let own = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let own: BTreeMap<String, String> = own.collect();
    let path = dir.join(".env");
    let text = match contents(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(own),
        Err(e) => return Err(unreadable(&path.display().to_string(), &e)),
    };
    let lines = dotenv(&text, &own).map_err(|f| f.within(path.display().to_string()))?;
    let mut all: BTreeMap<String, String> = lines.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
    all.extend(own);
    Ok(all)
}

fn scale(project: &mut Project, name: &str, replicas: u32) -> Result<()> {
    let near = crate::model::nearest(name, project.roles.iter().map(|r| r.name.as_str()));
    let Some(role) = project.roles.iter_mut().find(|r| r.name.as_str() == name) else {
        return Err(Error::Input {
            value: name.to_owned(),
            reason: "the file has no such service".into(),
            hint: near.map(|n| format!("did you mean `{n}`?")),
        });
    };
    if replicas > 1 && !(role.settings.ports.is_empty() && role.settings.addresses.is_empty()) {
        return Err(Error::Refused {
            what: format!(
                "service `{name}` publishes ports or has an address of its own, and cannot have {replicas} replicas"
            ),
            hint: "publish a load balancer that is linked to it".into(),
        });
    }
    role.replicas = replicas;
    Ok(())
}
