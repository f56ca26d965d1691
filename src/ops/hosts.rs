//! Names: each container's `/etc/hosts` holds itself and the containers it is linked to.
//!
//! The file is bound into the container, so it is written in place, under the store's write
//! lock: whoever writes last has read last. In the file of another runtime only the lines between
//! two marks are ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::context::{Moat, clock, state};
use super::error::Result;
use crate::model::{End, Endpoint, Family, Name, World};
use crate::plan::{Names, elements};

impl Moat {
    /// Writes the hosts files of these containers anew.
    ///
    /// # Errors
    /// When the store cannot be read or a file not be written.
    pub fn refresh_hosts(&mut self, names: &[Name]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let (dir, kernel_names) = (self.dir.clone(), self.names.clone());
        self.store.write(|store| {
            for name in names {
                let Some(c) = store.container(name.as_str())? else {
                    continue;
                };
                let theirs = hosts_of_runtime(&c.spec);
                let path = theirs
                    .clone()
                    .unwrap_or_else(|| dir.join("containers").join(&c.id).join("hosts"));
                let (world, _) = store.around(&[name], clock())?;
                let Some(e) = world.endpoints.get(name) else {
                    continue;
                };
                let hostname = hostname_of(&c.spec).unwrap_or_else(|| name.to_string());
                let text = match &theirs {
                    None => hosts_file(&kernel_names, &world, e, &hostname),
                    Some(path) => match bounded(path) {
                        Some(before) => between_marks(&before, &peers_text(&kernel_names, &world, e)),
                        None => continue,
                    },
                };
                match OpenOptions::new()
                    .write(true)
                    .custom_flags(libc::O_NOFOLLOW)
                    .open(&path)
                {
                    Ok(file) => {
                        file.write_all_at(text.as_bytes(), 0)
                            .and_then(|()| file.set_len(text.len() as u64))
                            .map_err(|e| state(&path, e))?;
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => return Err(state(&path, e)),
                }
            }
            Ok(())
        })
    }
}

fn hostname_of(spec: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(spec).ok()?;
    Some(value.get("hostname")?.as_str()?.to_owned())
}

/// The file that another runtime binds over `/etc/hosts` of a container.
fn hosts_of_runtime(spec: &str) -> Option<PathBuf> {
    let value: serde_json::Value = serde_json::from_str(spec).ok()?;
    Some(value.get("hosts_of_runtime")?.as_str()?.into())
}

/// A file that a container may write to: only one of a sane kind and size is read.
fn bounded(path: &Path) -> Option<String> {
    let is_sane = |m: std::fs::Metadata| m.is_file() && m.len() < MOST_HOSTS;
    path.symlink_metadata().ok().filter(|m| is_sane(m.clone()))?;
    std::fs::read_to_string(path).ok()
}

const MOST_HOSTS: u64 = 1 << 20;
const BEGIN: &str = "# what follows is moat's: containers that this one is linked to\n";
const END: &str = "# end of moat's part\n";

/// A text with ours in place of what was between the marks, or at its end.
fn between_marks(before: &str, ours: &str) -> String {
    let (head, rest) = before.split_once(BEGIN).unwrap_or((before, ""));
    let tail = rest.split_once(END).map_or("", |(_, tail)| tail);
    let newline = if head.is_empty() || head.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    if ours.is_empty() {
        return format!("{head}{tail}");
    }
    format!("{head}{newline}{BEGIN}{ours}{END}{tail}")
}

/// The text of one container's hosts file.
#[must_use]
pub fn hosts_file(names: &Names, world: &World, e: &Endpoint, hostname: &str) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for ip in &e.addresses {
        let own = called(e);
        let also = own.split(' ').filter(|word| *word != hostname);
        let _ = writeln!(
            text,
            "{ip}\t{}",
            [hostname].into_iter().chain(also).collect::<Vec<_>>().join(" ")
        );
    }
    text + &peers_text(names, world, e)
}

/// The lines of the containers it is linked to, and of the host.
fn peers_text(names: &Names, world: &World, e: &Endpoint) -> String {
    let mut text = String::new();
    let mut peers: BTreeMap<&Name, &Endpoint> = BTreeMap::new();
    let mut host = false;
    for link in world.links.iter().filter(|l| e.is(&l.from)) {
        peers.extend(elements::ends(world, &link.to).map(|p| (&p.container, p)));
        host |= link.to == End::Host;
    }
    peers.remove(&e.container);
    for peer in peers.values() {
        for ip in &peer.addresses {
            let _ = writeln!(text, "{ip}\t{}", called(peer));
        }
    }
    if host {
        let net = world.networks.get(&e.network);
        for family in Family::BOTH.into_iter().filter(|f| e.address(*f).is_some()) {
            if let Some(ip) = net.and_then(|n| elements::host_end(names, n, family)) {
                let _ = writeln!(text, "{ip}\thost");
            }
        }
    }
    text
}

/// The words by which a peer is found: its name and others of its own, or those its runtime gave it.
fn called(peer: &Endpoint) -> String {
    let name = peer.container.as_str();
    match (peer.container.is_anothers(), peer.aliases.is_empty()) {
        (true, false) => peer.aliases.join(" "),
        (true, true) => name.split('/').nth(1).unwrap_or(name).to_owned(),
        (false, false) => format!("{name} {}", peer.aliases.join(" ")),
        (false, true) => name.to_owned(),
    }
}

/// A container's resolver: the host's, without those that only the host can reach; none at
/// all without a way out.
#[must_use]
pub fn resolv_conf(internal: bool) -> String {
    let stub_free = "/run/systemd/resolve/resolv.conf";
    if internal {
        return "# this network is internal: names of linked containers are in /etc/hosts\n".to_owned();
    }
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let reachable = |l: &&str| {
        let server = l.strip_prefix("nameserver").map(str::trim);
        server.is_none_or(|s| s.parse::<IpAddr>().is_ok_and(|ip| !ip.is_loopback()))
    };
    let keep = |text: String| {
        text.lines()
            .filter(reachable)
            .fold(String::new(), |t, l| t + l + "\n")
    };
    let own = keep(read("/etc/resolv.conf"));
    if own.contains("nameserver") {
        own
    } else {
        keep(read(stub_free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_others_stay() {
        let theirs = "127.0.0.1\tlocalhost";
        let with = between_marks(theirs, "10.9.0.2\tdb\n");
        assert_eq!(with, format!("{theirs}\n{BEGIN}10.9.0.2\tdb\n{END}"));
        let more = format!("{with}192.0.2.1\tadded\n");
        let other = between_marks(&more, "10.9.0.3\tweb\n");
        assert_eq!(
            other,
            format!("{theirs}\n{BEGIN}10.9.0.3\tweb\n{END}192.0.2.1\tadded\n")
        );
        assert_eq!(between_marks(&other, ""), format!("{theirs}\n192.0.2.1\tadded\n"));
        assert_eq!(between_marks(theirs, ""), theirs);
    }
}
