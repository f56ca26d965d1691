//! Published ports as they are asked for, and whether the host's ports are free.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use socket2::{Domain, Socket, Type};

use super::error::{Error, Result};
use crate::model::{Name, Ports, Proto, Published, ServiceError};

/// `[ADDR:]HOSTPORT[-END]:PORT[-END][/PROTO]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortMap {
    pub host_ip: Option<IpAddr>,
    pub host: Ports,
    pub inside: Ports,
    pub proto: Proto,
}

impl FromStr for PortMap {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let bad = |reason: &str| Error::Input {
            value: s.to_owned(),
            reason: format!("-p {reason}"),
            hint: Some(
                "-p [ADDR:]HOSTPORT[-END]:PORT[-END][/tcp|udp|sctp], for example `-p 127.0.0.1:8080:80`"
                    .into(),
            ),
        };
        let (rest, proto) = match s.rsplit_once('/') {
            Some((rest, proto)) => (rest, proto.parse::<Proto>()?),
            None => (s, Proto::Tcp),
        };
        if proto == Proto::Icmp {
            return Err(ServiceError::IcmpPort(s.to_owned()).into());
        }
        let (rest, inside) = rest.rsplit_once(':').ok_or_else(|| bad("needs HOSTPORT:PORT"))?;
        let (ip, host) = match rest.rsplit_once(':') {
            Some((ip, host)) => (Some(ip.trim_start_matches('[').trim_end_matches(']')), host),
            None => (None, rest),
        };
        let host_ip = ip
            .map(str::parse::<IpAddr>)
            .transpose()
            .map_err(|_| bad("has no IP address before the host port"))?;
        let (host, inside): (Ports, Ports) = (host.parse()?, inside.parse()?);
        if host.count() != inside.count() {
            return Err(bad("has ranges of different lengths"));
        }
        Ok(Self {
            host_ip,
            host,
            inside,
            proto,
        })
    }
}

impl PortMap {
    /// One entry a port.
    pub fn each<'a>(&'a self, container: &'a Name) -> impl Iterator<Item = Published> + 'a {
        (self.host.first..=self.host.last)
            .zip(self.inside.first..=self.inside.last)
            .map(|(host_port, port)| Published {
                container: container.clone(),
                host_ip: self.host_ip,
                host_port,
                port,
                proto: self.proto,
            })
    }
}

/// Whether no program of the host listens on these ports: by binding each for a moment.
///
/// # Errors
/// The first port that is taken, or an address that is not the host's.
pub fn check_free(maps: &[PortMap]) -> Result<()> {
    let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    for map in maps {
        let addresses = map.host_ip.map_or(any.to_vec(), |ip| vec![ip]);
        for port in map.host.first..=map.host.last {
            for ip in &addresses {
                check_one(map, SocketAddr::new(*ip, port))?;
            }
        }
    }
    Ok(())
}

fn check_one(map: &PortMap, address: SocketAddr) -> Result<()> {
    let kind = match map.proto {
        Proto::Tcp => Type::STREAM,
        Proto::Udp => Type::DGRAM,
        // Not every kernel has SCTP sockets; then no program can listen on one.
        Proto::Sctp | Proto::Icmp => return Ok(()),
    };
    let Ok(socket) = Socket::new(Domain::for_address(address), kind, None) else {
        return Ok(());
    };
    // As a server would; sockets in TIME_WAIT do not count.
    let _ = socket.set_reuse_address(map.proto == Proto::Tcp);
    if address.is_ipv6() {
        let _ = socket.set_only_v6(true);
    }
    match socket.bind(&address.into()).map_err(|e| e.kind()) {
        Err(ErrorKind::AddrInUse) => Err(Error::Refused {
            what: format!(
                "port {}/{} of the host is taken by a program that listens on it",
                address.port(),
                map.proto
            ),
            hint: "`ss -lntup` shows the programs; choose another host port".into(),
        }),
        Err(ErrorKind::AddrNotAvailable) if map.host_ip.is_some() => Err(Error::Refused {
            what: format!("{} is no address of this host", address.ip()),
            hint: "`ip -br address` shows them".into(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_maps_are_read_in_every_form() {
        let read = |s: &str| s.parse::<PortMap>();
        let m = read("127.0.0.1:8000-8002:80-82/udp").unwrap();
        assert_eq!(
            (m.host.count(), m.proto, m.host_ip),
            (3, Proto::Udp, Some("127.0.0.1".parse().unwrap()))
        );
        assert_eq!(
            read("[::1]:8080:80").unwrap().host_ip,
            Some("::1".parse().unwrap())
        );
        assert_eq!(read("8080:80").unwrap().host_ip, None);
        for bad in ["80", "0:80", "80:70000", "80-81:80", "x:80:80", "80:80/icmp", ""] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
