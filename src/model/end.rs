//! The ends of a link, and the link itself.

use std::fmt;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::{Name, NameError, Service, ServiceError};

/// One end of a link. Only a container or a label can be the `from` end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum End {
    Container(Name),
    /// Every container with this label.
    Label(String, String),
    /// The host's own services.
    Host,
    /// Everything that is neither a container nor the host.
    World,
    /// Part of the world.
    Cidr(IpNetwork),
}

/// Why a text is no end of a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("a label is `label:KEY=VALUE`, not: `{0}`")]
    Label(String),
    #[error("no address range: `{0}`")]
    Cidr(String),
    #[error("the network part of `{0}` has host bits set; did you mean `{1}`?")]
    HostBits(String, IpNetwork),
    #[error("only a container or `label:KEY=VALUE` can be linked from, not: `{0}`")]
    From(String),
}

impl End {
    /// The `from` end of a link.
    ///
    /// # Errors
    /// When the text names no container and no label.
    pub fn from_end(s: &str) -> Result<Self, EndError> {
        match s.parse::<Self>()? {
            end @ (Self::Container(_) | Self::Label(..)) => Ok(end),
            _ => Err(EndError::From(s.to_owned())),
        }
    }

    /// The `TO[:PORT[-END][/PROTO]]` of a link. An IPv6 range with a port is written `[RANGE]:PORT`.
    ///
    /// # Errors
    /// When the end or the service cannot be read.
    pub fn with_service(s: &str) -> Result<(Self, Service), EndError> {
        if let Some((inside, rest)) = s.strip_prefix('[').and_then(|t| t.split_once(']')) {
            let service = match rest.strip_prefix(':') {
                Some(service) => service.parse()?,
                None if rest.is_empty() => Service::Any,
                None => return Err(EndError::Cidr(s.to_owned())),
            };
            return Ok((inside.parse()?, service));
        }
        if s.matches(':').count() > 1 && looks_like_range(s) {
            return Ok((s.parse()?, Service::Any));
        }
        // `label:`, `cni:` and `oci:` bring a colon of their own.
        let own = ["label:", "cni:", "oci:"]
            .iter()
            .find(|p| s.starts_with(**p))
            .map_or(0, |p| p.len());
        match s[own..].rfind(':') {
            Some(at) => Ok((s[..own + at].parse()?, s[own + at + 1..].parse()?)),
            None => Ok((s.parse()?, Service::Any)),
        }
    }
}

fn looks_like_range(s: &str) -> bool {
    s.split('/')
        .next()
        .is_some_and(|a| a.parse::<std::net::IpAddr>().is_ok())
}

impl FromStr for End {
    type Err = EndError;

    fn from_str(s: &str) -> Result<Self, EndError> {
        match s {
            "host" => return Ok(Self::Host),
            "world" => return Ok(Self::World),
            _ => {}
        }
        if let Some(label) = s.strip_prefix("label:") {
            return match label.split_once('=') {
                Some((k, v)) if !k.is_empty() => Ok(Self::Label(k.to_owned(), v.to_owned())),
                _ => Err(EndError::Label(s.to_owned())),
            };
        }
        if looks_like_range(s) {
            let net: IpNetwork = s.parse().map_err(|_| EndError::Cidr(s.to_owned()))?;
            let exact =
                IpNetwork::new(net.network(), net.prefix()).map_err(|_| EndError::Cidr(s.to_owned()))?;
            return if net.ip() == exact.ip() {
                Ok(Self::Cidr(exact))
            } else {
                Err(EndError::HostBits(s.to_owned(), exact))
            };
        }
        Ok(Self::Container(s.parse()?))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(n) => write!(f, "{n}"),
            Self::Label(k, v) => write!(f, "label:{k}={v}"),
            Self::Host => f.write_str("host"),
            Self::World => f.write_str("world"),
            Self::Cidr(n) => write!(f, "{n}"),
        }
    }
}

impl TryFrom<String> for End {
    type Error = EndError;
    fn try_from(s: String) -> Result<Self, EndError> {
        s.parse()
    }
}

impl From<End> for String {
    fn from(e: End) -> Self {
        e.to_string()
    }
}

/// A permission: `from` may open flows to `to`, on this service; replies pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link {
    pub from: End,
    pub to: End,
    pub service: Service,
    /// Seconds since the boot.
    pub expires: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_with_services() {
        let read = |s: &str| End::with_service(s).map(|(e, v)| format!("{e} {v}"));
        for (text, want) in [
            ("db:5432/tcp", "db 5432/tcp"),
            ("db", "db any"),
            ("label:app=db:80-81", "label:app=db 80-81/tcp"),
            ("label:app=db", "label:app=db any"),
            ("cni:net/1f:53/udp", "cni:net/1f 53/udp"),
            ("oci:1f:53/udp", "oci:1f 53/udp"),
            ("host:22", "host 22/tcp"),
            ("db:icmp", "db icmp"),
            ("10.0.0.0/8:443/tcp", "10.0.0.0/8 443/tcp"),
            ("1.1.1.1:53/udp", "1.1.1.1/32 53/udp"),
            ("2001:db8::/32", "2001:db8::/32 any"),
            ("[2001:db8::/32]:443/tcp", "2001:db8::/32 443/tcp"),
            ("world", "world any"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(want), "{text}");
        }
        for bad in [
            "db:0",
            "db:70000",
            "a/b:80",
            "10.0.0.1/8",
            "label:x:80",
            "10.0.0.0/40",
            "db:80/http",
            "",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(End::from_end("world").is_err());
    }
}
