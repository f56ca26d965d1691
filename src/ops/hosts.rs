//! Names: each container's `/etc/hosts` holds itself and the containers it is linked to.
//!
//! The file is bound into the container, so it is written in place, under the store's write
//! lock: whoever writes last has read last.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use super::context::{Moat, now, state};
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
                let path = dir.join("containers").join(&c.id).join("hosts");
                let (world, _) = store.around(&[name], now())?;
                let Some(e) = world.endpoints.get(name) else {
                    continue;
                };
                let hostname = hostname_of(&c.spec).unwrap_or_else(|| name.to_string());
                let text = hosts_file(&kernel_names, &world, e, &hostname);
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

/// The text of one container's hosts file.
#[must_use]
pub fn hosts_file(names: &Names, world: &World, e: &Endpoint, hostname: &str) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for ip in &e.addresses {
        let also = if hostname == e.container.as_str() {
            String::new()
        } else {
            format!(" {}", e.container)
        };
        let _ = writeln!(text, "{ip}\t{hostname}{also}");
    }
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

/// The words by which a peer is found: the name, or those its runtime gave it.
fn called(peer: &Endpoint) -> String {
    let name = peer.container.as_str();
    match (peer.container.is_through_cni(), peer.aliases.is_empty()) {
        (true, false) => peer.aliases.join(" "),
        (true, true) => name.split('/').nth(1).unwrap_or(name).to_owned(),
        (false, _) => name.to_owned(),
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
