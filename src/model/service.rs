//! What a link opens: everything, a protocol, or ports of a protocol.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A transport protocol. `Icmp` means ICMP for IPv4 and ICMPv6 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    Tcp,
    Udp,
    Sctp,
    Icmp,
}

impl Proto {
    /// The number in the IP header of this family.
    #[must_use]
    pub fn number(self, family: super::Family) -> u8 {
        match (self, family) {
            (Self::Tcp, _) => 6,
            (Self::Udp, _) => 17,
            (Self::Sctp, _) => 132,
            (Self::Icmp, super::Family::Ip4) => 1,
            (Self::Icmp, super::Family::Ip6) => 58,
        }
    }

    /// The protocol of a number in the IP header.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            1 | 58 => Some(Self::Icmp),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Icmp => "icmp",
        }
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Proto {
    type Err = ServiceError;
    fn from_str(s: &str) -> Result<Self, ServiceError> {
        match s {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            "icmp" => Ok(Self::Icmp),
            _ => Err(ServiceError::Proto(s.to_owned())),
        }
    }
}

/// An inclusive range of ports, 1 to 65535, not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

impl Ports {
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// How many ports, 1 to 65535.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for Ports {
    type Err = ServiceError;
    fn from_str(s: &str) -> Result<Self, ServiceError> {
        let number = |t: &str| {
            let digits = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            t.parse::<u16>()
                .ok()
                .filter(|p| digits && *p > 0)
                .ok_or_else(|| ServiceError::Port(s.to_owned()))
        };
        let (first, last) = match s.split_once('-') {
            Some((a, b)) => (number(a)?, number(b)?),
            None => (number(s)?, number(s)?),
        };
        if first > last {
            return Err(ServiceError::Backwards(s.to_owned()));
        }
        Ok(Self { first, last })
    }
}

/// What a link opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Service {
    /// Every protocol and port.
    Any,
    /// Every port of a protocol; the only form for ICMP.
    Proto(Proto),
    Ports(Proto, Ports),
}

/// Why a text is no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    #[error("a port is a number from 1 to 65535, or FIRST-LAST, not: `{0}`")]
    Port(String),
    #[error("the first port of a range is not above the last: `{0}`")]
    Backwards(String),
    #[error("the protocols are tcp, udp, sctp and icmp, not: `{0}`")]
    Proto(String),
    #[error("icmp has no ports: `{0}`")]
    IcmpPort(String),
}

impl Service {
    /// Whether this service covers the protocol and port (0 for ICMP).
    #[must_use]
    pub fn covers(self, proto: Proto, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Proto(p) => p == proto,
            Self::Ports(p, ports) => p == proto && ports.contains(port),
        }
    }

    /// Whether all of `other` is covered.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Proto(p), o) => o.proto() == Some(p),
            (Self::Ports(p, a), Self::Ports(q, b)) => p == q && a.first <= b.first && b.last <= a.last,
            (Self::Ports(..), _) => false,
        }
    }

    #[must_use]
    pub fn proto(self) -> Option<Proto> {
        match self {
            Self::Any => None,
            Self::Proto(p) | Self::Ports(p, _) => Some(p),
        }
    }

    #[must_use]
    pub fn ports(self) -> Option<Ports> {
        match self {
            Self::Ports(_, ports) => Some(ports),
            _ => None,
        }
    }
}

/// `5432/tcp`, `8000-8100/udp`, `53` (tcp), `/udp` or `udp` (every port), `icmp`.
impl FromStr for Service {
    type Err = ServiceError;
    fn from_str(s: &str) -> Result<Self, ServiceError> {
        let (ports, proto) = match s.split_once('/') {
            Some((ports, proto)) => (ports, Some(proto.parse::<Proto>()?)),
            None => (s, None),
        };
        if let (None, Ok(p)) = (proto, ports.parse::<Proto>()) {
            return Ok(Self::Proto(p));
        }
        match (ports, proto) {
            ("", Some(p)) => Ok(Self::Proto(p)),
            (_, Some(Proto::Icmp)) => Err(ServiceError::IcmpPort(s.to_owned())),
            (_, p) => Ok(Self::Ports(p.unwrap_or(Proto::Tcp), ports.parse()?)),
        }
    }
}

/// As `links` and `ps` print it: `5432/tcp`, `udp`, or `any`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Proto(p) => write!(f, "{p}"),
            Self::Ports(p, ports) => write!(f, "{ports}/{p}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_read_as_they_print() {
        for text in ["5432/tcp", "8000-8100/udp", "80/sctp", "icmp", "udp"] {
            assert_eq!(text.parse::<Service>().unwrap().to_string(), text);
        }
        assert_eq!("53".parse::<Service>().unwrap().to_string(), "53/tcp");
        assert_eq!("/udp".parse::<Service>().unwrap(), Service::Proto(Proto::Udp));
        for bad in ["0", "70000", "5-1", "80/http", "80/icmp", "", "+5", "1-", "/"] {
            assert!(bad.parse::<Service>().is_err(), "{bad}");
        }
    }
}
