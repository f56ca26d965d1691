//! Which links a file would need that was written for a network where everybody sees everybody.
//!
//! A guess with its reason, for a person to look at: what a service depends on, and what its variables,
//! command and health check name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{LinkWish, Project, Role, To};
use crate::model::yaml::Pos;
use crate::model::{Name, Ports, Proto, Service};

/// Ports by what programs are called.
const PORTS: [(&str, u16); 19] = [
    ("postgres", 5432),
    ("postgis", 5432),
    ("pgbouncer", 6432),
    ("mysql", 3306),
    ("mariadb", 3306),
    ("redis", 6379),
    ("valkey", 6379),
    ("memcached", 11211),
    ("mongo", 27017),
    ("rabbitmq", 5672),
    ("kafka", 9092),
    ("nats", 4222),
    ("etcd", 2379),
    ("elasticsearch", 9200),
    ("opensearch", 9200),
    ("haproxy", 80),
    ("nginx", 80),
    ("httpd", 80),
    ("caddy", 80),
];

/// A link that a service seems to need.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Hint {
    pub from: Name,
    /// As it is written in the file: `db:5432/tcp`.
    pub link: String,
    pub because: String,
}

/// The links that a file seems to need beside those it has.
#[must_use]
pub fn explain(project: &Project) -> Vec<Hint> {
    project.roles.iter().flat_map(|role| of(project, role)).collect()
}

fn of(project: &Project, role: &Role) -> Vec<Hint> {
    // Each service that is named, with the ports and where they were found.
    let mut found: BTreeMap<&Name, BTreeMap<Option<u16>, String>> = BTreeMap::new();
    let others = || project.roles.iter().filter(|r| r.name != role.name);
    for (place, text) in texts(role) {
        for other in others() {
            for port in mentions(&text, other.name.as_str()) {
                let port = port.or_else(|| beside(role, &place));
                let said = match port {
                    Some(port) => format!("{place} names `{}` and port {port}", other.name),
                    None => format!("{place} names `{}`", other.name),
                };
                found.entry(&other.name).or_default().entry(port).or_insert(said);
            }
        }
    }
    for d in &role.depends_on {
        let said = format!("it depends on `{}`", d.role);
        found.entry(&d.role).or_default().entry(None).or_insert(said);
    }
    let mut hints = Vec::new();
    for (to, mut ports) in found {
        // What names no port says nothing more than what names one.
        if ports.len() > 1 {
            ports.remove(&None);
        }
        for (port, because) in ports {
            let ports = port.map_or_else(|| usual(project, to), |p| vec![p]);
            hints.extend(hints_to(role, to, &ports, &because));
        }
    }
    hints
}

fn hints_to(role: &Role, to: &Name, ports: &[u16], because: &str) -> Vec<Hint> {
    let has = |service: Service| {
        let mut own = role.links.iter();
        own.any(|l: &LinkWish| l.to == To::Role(to.clone()) && l.service.contains(service))
    };
    let hint = |link, because| Hint {
        from: role.name.clone(),
        link,
        because,
    };
    if ports.is_empty() {
        if role.links.iter().any(|l| l.to == To::Role(to.clone())) {
            return vec![];
        }
        let because = format!("{because}; no port is known: add `:PORT/PROTO`, this opens all of it");
        return vec![hint(to.to_string(), because)];
    }
    let tcp = |port| {
        let ports = Ports {
            first: port,
            last: port,
        };
        Service::Ports(Proto::Tcp, ports)
    };
    let new = ports.iter().filter(|p| !has(tcp(**p)));
    new.map(|p| hint(format!("{to}:{p}/tcp"), because.to_owned()))
        .collect()
}

/// Where a service may name others, and what stands there.
fn texts(role: &Role) -> Vec<(String, String)> {
    let s = &role.settings;
    let mut all: Vec<(String, String)> = s
        .environment
        .iter()
        .map(|(k, v)| (format!("the variable `{k}`"), v.clone()))
        .collect();
    all.extend(role.words().into_iter().map(|w| ("the command".to_owned(), w)));
    if let Some(health) = &s.health {
        all.extend(
            health
                .test
                .iter()
                .map(|w| ("the health check".to_owned(), w.clone())),
        );
    }
    all
}

/// Every place where a name stands as a word of its own, with the port behind it.
fn mentions(text: &str, name: &str) -> Vec<Option<u16>> {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut all = Vec::new();
    for (at, _) in text.match_indices(name) {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        // `postgres://db` names no `postgres`, and a path or a key no host.
        let starts = !before.ends_with(|c| inside(c) || c == '/' && !before.ends_with("//"));
        let ends = !after.starts_with(inside) && !after.starts_with("://") && !after.starts_with('=');
        if !(starts && ends) {
            continue;
        }
        let digits: String = match after.strip_prefix(':') {
            Some(rest) => rest.chars().take_while(char::is_ascii_digit).collect(),
            None => String::new(),
        };
        all.push(digits.parse().ok().filter(|p| *p > 0));
    }
    all
}

/// The port in a variable beside: `DB_PORT` beside `DB_HOST`.
fn beside(role: &Role, place: &str) -> Option<u16> {
    let key = place.strip_prefix("the variable `")?.strip_suffix('`')?;
    let stem = key
        .strip_suffix("HOST")
        .or_else(|| key.strip_suffix("HOSTNAME"))?;
    role.settings
        .environment
        .get(&format!("{stem}PORT"))?
        .parse()
        .ok()
}

/// The ports on which a service is expected to listen: what it publishes, or what its program is known for.
fn usual(project: &Project, name: &Name) -> Vec<u16> {
    let Some(role) = project.role(name.as_str()) else {
        return vec![];
    };
    let s = &role.settings;
    let published = s
        .ports
        .iter()
        .filter(|p| p.proto == Proto::Tcp && p.inside.count() == 1);
    let mut ports: Vec<u16> = published.map(|p| p.inside.first).collect();
    if ports.is_empty() {
        let words = role.words();
        let program = s.image.as_ref().or(words.first()).map_or("", String::as_str);
        ports.extend(
            PORTS
                .iter()
                .find(|(word, _)| program.contains(word))
                .map(|(_, port)| *port),
        );
    }
    ports
}

/// The services with their links, as they are written in a file.
#[must_use]
pub fn snippet(hints: &[Hint]) -> String {
    let mut text = String::from("services:\n");
    let mut last = None;
    for hint in hints {
        if last != Some(&hint.from) {
            let _ = writeln!(text, "  {}:\n    links:", hint.from);
            last = Some(&hint.from);
        }
        let _ = writeln!(text, "      - \"{}\" # {}", hint.link, hint.because);
    }
    text
}

/// The text of the file with the links in it.
///
/// # Errors
/// The service, and where it is, whose links have to be written by hand.
pub fn written(text: &str, project: &Project, hints: &[Hint]) -> Result<String, (Name, Pos)> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // From the end, so that the lines before stay where they are.
    for role in project.roles.iter().rev() {
        let own: Vec<&Hint> = hints.iter().filter(|h| h.from == role.name).collect();
        if own.is_empty() {
            continue;
        }
        let by_hand = || (role.name.clone(), role.pos);
        let at = role.body.line.checked_sub(1).ok_or_else(by_hand)?;
        let line = lines.get(at).ok_or_else(by_hand)?;
        let indent = line.len() - line.trim_start_matches(' ').len();
        // Only where each key has a line of its own, and has no links yet.
        if role.body.line == role.pos.line || indent + 1 != role.body.column || !role.links.is_empty() {
            return Err(by_hand());
        }
        let pad = " ".repeat(indent);
        let mut new = vec![format!("{pad}links:")];
        new.extend(
            own.iter()
                .map(|h| format!("{pad}  - \"{}\" # {}", h.link, h.because)),
        );
        lines.splice(at..at, new);
    }
    Ok(lines.join("\n") + "\n")
}
