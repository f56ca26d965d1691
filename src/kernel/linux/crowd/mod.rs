//! Pods as a crowd: a namespace for each, sockets in all of them, and real packets from any to any at once.
//!
//! Namespaces and sockets are kept for the next trial. Nothing is bound to a path: with the process everything
//! goes.

mod maker;
mod sctp;
mod trial;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use self::maker::Maker;
use super::namespace::Namespace;
use super::{Linux, reading};
use crate::kernel::Error;
use crate::model::{Family, Proto};
use crate::plan::{Field, Place, SetName, Table};

pub use trial::{Flow, Outcome};

/// Connections that wait for somebody to take them; all of one trial fit.
const BACKLOG: i32 = 4096;

/// Bytes; what all others send at once must fit, or it is lost.
const BUFFER: usize = 4 << 20;

/// What a socket of a pod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Use {
    Listen(Family, u16),
    Echo(Family, u16),
    Ask(Family),
    Sctp(Family),
}

struct Member {
    namespace: Namespace,
    path: PathBuf,
    sockets: HashMap<Use, Socket>,
}

/// The pods and their router.
pub struct Crowd {
    maker: Maker,
    router: Namespace,
    members: Vec<Member>,
    /// Of the last trial: late packets of others are told apart by it.
    trials: u16,
}

impl Crowd {
    /// A crowd of none.
    ///
    /// # Errors
    /// The caller may not make network namespaces, or the kernel has none.
    pub fn new() -> Result<Self, Error> {
        let make = || {
            // Every pod has some sockets open; the usual limit is for a hundred pods.
            let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
            setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
            let maker = Maker::start()?;
            let router = maker.namespace()?;
            Ok(Self {
                maker,
                router,
                members: vec![],
                trials: 0,
            })
        };
        make().map_err(cannot("be made for a test stand"))
    }

    /// The router's namespace.
    #[must_use]
    pub fn router(&self) -> PathBuf {
        path(&self.router)
    }

    /// A pod's namespace; there are that many at least after [`Crowd::grow`].
    #[must_use]
    pub fn member(&self, number: usize) -> &Path {
        &self.members[number].path
    }

    /// Makes namespaces until there are so many.
    ///
    /// # Errors
    /// The kernel refuses one.
    pub fn grow(&mut self, count: usize) -> Result<(), Error> {
        while self.members.len() < count {
            let namespace = self.maker.namespace();
            let namespace = namespace.map_err(cannot("be made for a test stand"))?;
            self.members.push(Member {
                path: path(&namespace),
                namespace,
                sockets: HashMap::new(),
            });
        }
        Ok(())
    }

    /// Opens a socket unless it is there.
    fn open(&mut self, member: usize, what: Use) -> io::Result<()> {
        let Member {
            namespace, sockets, ..
        } = &mut self.members[member];
        if let Entry::Vacant(place) = sockets.entry(what) {
            place.insert(self.maker.within(namespace, move || what.open())?);
        }
        Ok(())
    }
}

impl Use {
    fn open(self) -> io::Result<Socket> {
        let raw = Protocol::from(libc::IPPROTO_SCTP);
        let (family, kind, proto, port) = match self {
            Self::Listen(family, port) => (family, Type::STREAM, None, Some(port)),
            Self::Echo(family, port) => (family, Type::DGRAM, None, Some(port)),
            Self::Ask(family) => (family, Type::DGRAM, None, None),
            Self::Sctp(family) => (family, Type::RAW, Some(raw), None),
        };
        let socket = Socket::new(domain(family), kind.nonblocking().cloexec(), proto)?;
        if let Some(port) = port {
            socket.set_reuse_address(true)?;
            if family == Family::Ip6 {
                socket.set_only_v6(true)?;
            }
            socket.bind(&SocketAddr::new(any(family), port).into())?;
        }
        if let Self::Listen(..) = self {
            socket.listen(BACKLOG)?;
        } else {
            socket.set_recv_buffer_size(BUFFER)?;
        }
        Ok(socket)
    }
}

impl Linux {
    /// What the watch of a test stand saw refused: sender, receiver, protocol and port.
    ///
    /// # Errors
    /// The set cannot be read.
    pub fn refused(&mut self, family: Family) -> Result<Vec<(IpAddr, IpAddr, u8, u16)>, Error> {
        let at = Place::Router;
        let all = self
            .nft(&at)?
            .elements(&at, Table::Stand, SetName::Refused(family));
        let all = all.map_err(reading("the refused packets"))?;
        let flow = |key: &[Field]| match key {
            [
                Field::Ip(from),
                Field::Ip(to),
                Field::Proto(proto),
                Field::Port(port),
            ] => Some((*from, *to, *proto, *port)),
            _ => None,
        };
        Ok(all.iter().filter_map(|e| flow(&e.key)).collect())
    }

    /// Forgets what was refused.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn forget_refused(&mut self, family: Family) -> Result<(), Error> {
        let nft = self.nft(&Place::Router)?;
        let done = nft.empty(Table::Stand, SetName::Refused(family));
        done.map_err(reading("the refused packets"))
    }
}

fn domain(family: Family) -> Domain {
    match family {
        Family::Ip4 => Domain::IPV4,
        Family::Ip6 => Domain::IPV6,
    }
}

fn any(family: Family) -> IpAddr {
    match family {
        Family::Ip4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ip6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A path to an open namespace, for this process.
fn path(namespace: &Namespace) -> PathBuf {
    format!("/proc/self/fd/{}", namespace.file.as_raw_fd()).into()
}

fn cannot(what: &str) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = format!("that is to {what}");
    move |source| Error::Namespace { path, source }
}

/// The use of sockets that a protocol has at its receiver.
fn served(proto: Proto, family: Family, port: u16) -> Option<Use> {
    match proto {
        Proto::Tcp => Some(Use::Listen(family, port)),
        Proto::Udp => Some(Use::Echo(family, port)),
        Proto::Sctp => Some(Use::Sctp(family)),
        Proto::Icmp => None,
    }
}
