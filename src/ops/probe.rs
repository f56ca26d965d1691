//! Real packets between containers: sent inside one, watched for on the interface of the
//! other. What the receiver sees decides, not a timeout alone.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{Error, Result};
use super::why::Probe;
use crate::kernel::linux::probe as wire;
use crate::model::{Name, Proto, Service, World};

/// One packet to send.
#[derive(Clone, Debug)]
pub struct Shot {
    /// The sender's network namespace.
    pub from: PathBuf,
    /// The receiver's.
    pub to: PathBuf,
    /// Its own address, and those that a masquerade on the way may give it.
    pub sources: Vec<IpAddr>,
    pub target: IpAddr,
    pub proto: Proto,
    /// 0 for ICMP.
    pub port: u16,
}

impl Shot {
    /// The addresses of a packet's source as its receiver sees them: to a container without a
    /// wall, the host may hide it.
    pub fn sources(world: &World, source: IpAddr, to: &Name) -> Vec<IpAddr> {
        let hidden = world.bystanders.contains_key(to);
        let hosts = world.host.iter().copied().filter(|_| hidden);
        [source].into_iter().chain(hosts).collect()
    }
}

/// How long a packet is watched for; one crosses the router in well under a millisecond.
const PATIENCE: Duration = Duration::from_millis(400);

/// Sends one packet and watches for it.
///
/// # Errors
/// A namespace cannot be entered or a socket not be made.
pub fn send(shot: &Shot) -> Result<Probe> {
    let seen = wire::shoot(
        &shot.from,
        &shot.to,
        &shot.sources,
        shot.target,
        shot.proto,
        shot.port,
        PATIENCE,
    )?;
    Ok(Probe {
        reached: seen.arrived,
        detail: seen.words,
    })
}

/// The packet that stands for a service: its protocol and port.
#[must_use]
pub fn packet(service: Service) -> (Proto, u16) {
    match service {
        Service::Any | Service::Proto(Proto::Icmp) => (Proto::Icmp, 0),
        Service::Proto(p) => (p, 1),
        Service::Ports(p, ports) => (p, ports.first),
    }
}

/// Whether something in a container listens on a port, by the kernel's own tables.
///
/// # Errors
/// The tables cannot be read for a reason other than the container's end.
pub fn listens(pid: i32, proto: Proto, port: u16) -> Result<bool> {
    let stem = if proto == Proto::Udp { "udp" } else { "tcp" };
    // 0A is TCP_LISTEN; an unconnected UDP socket is 07 (TCP_CLOSE).
    let state = if proto == Proto::Udp { "07" } else { "0A" };
    for suffix in ["", "6"] {
        let path = format!("/proc/{pid}/net/{stem}{suffix}");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::State { path, source }),
        };
        let wanted = format!(":{port:04X}");
        let found = text.lines().skip(1).any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let local = fields.next().is_some_and(|l| l.ends_with(&wanted));
            local && fields.nth(1) == Some(state)
        });
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
