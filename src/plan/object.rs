//! The nouns of the kernel's state, as plain values.
//!
//! An [`Object`] is something that is there or not. The order of the variants is the
//! order in which they can be made; taking them away goes backwards. A step that
//! opens something (`Up`, `Route`) stands after everything that closes it, so a
//! half-done plan is closed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use crate::model::{Family, Mac};

/// Everything moat owns in the kernel, or wants to: a set of objects.
pub type State = BTreeSet<Object>;

/// The network namespace in which an object lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The namespace `moat` was called in.
    Host,
    /// The router namespace of this world.
    Router,
    /// A container's namespace, by a path that can be opened: `/proc/PID/ns/net` or `CNI_NETNS`.
    Sandbox(PathBuf),
}

/// One of the rulesets loaded as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ruleset {
    /// `wall.nft`: table families `bridge` and `inet`, in the router (or the host, in host mode).
    Wall,
    /// `wayout.nft`: on the host.
    WayOut,
}

/// The nftables table that holds a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `bridge moat`
    Ports,
    /// `inet moat`
    Wall,
    /// `inet moat_out`
    WayOut,
}

/// One field of a concatenated key or of a map's value, in network byte order on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    Ip(IpAddr),
    Mac(Mac),
    Iface(String),
    Proto(u8),
    Port(u16),
}

/// When an element leaves its set by itself, in seconds since 1970. Two timed elements
/// with equal keys are the same element: the time left is not compared.
#[derive(Clone, Copy, Debug)]
pub struct Expires(pub u64);

impl PartialEq for Expires {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Expires {}
impl PartialOrd for Expires {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Expires {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}
impl std::hash::Hash for Expires {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

/// One element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    pub at: Place,
    pub table: Table,
    pub set: SetName,
    pub key: Vec<Field>,
    /// The inclusive upper end, for interval sets only (then always present).
    pub end: Option<Vec<Field>>,
    /// The value, for maps only.
    pub data: Option<Vec<Field>>,
    pub expires: Option<Expires>,
}

/// A set or map of the skeletons, without its family suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetName {
    Source(Family),
    Asked(Family),
    Tells,
    Told,
    ForeignPort,
    ForeignBridge,
    Pair(Family),
    Proto(Family),
    Port(Family),
    Range(Family),
    Peer(Family),
    Near(Family),
    Host(Family),
    World(Family),
    Cidr(Family),
    CidrPort(Family),
    Public(Family),
    Open(Family),
    Guest(Family),
    Walled(Family),
    Behind,
    Nets(Family),
    Masq(Family),
    Any(Family),
    At(Family),
}

impl SetName {
    /// Every set of a table.
    #[must_use]
    pub fn of(table: Table) -> Vec<Self> {
        let plain: &[Self] = match table {
            Table::Ports => &[Self::ForeignPort, Self::Tells, Self::Told],
            Table::Wall => &[Self::Behind, Self::ForeignBridge],
            Table::WayOut => &[],
        };
        let make: &[fn(Family) -> Self] = match table {
            Table::Ports => &[Self::Source, Self::Asked, Self::Walled],
            Table::Wall => &[
                Self::Pair,
                Self::Proto,
                Self::Port,
                Self::Range,
                Self::Peer,
                Self::Near,
                Self::Host,
                Self::World,
                Self::Cidr,
                Self::CidrPort,
                Self::Public,
                Self::Open,
                Self::Guest,
                Self::Walled,
            ],
            Table::WayOut => &[Self::Nets, Self::Masq, Self::Any, Self::At],
        };
        Family::BOTH
            .into_iter()
            .flat_map(|f| make.iter().map(move |m| m(f)))
            .chain(plain.iter().copied())
            .collect()
    }

    /// The family of its addresses; `None` for a set of interfaces.
    #[must_use]
    pub fn family(self) -> Option<Family> {
        use SetName as S;
        match self {
            S::ForeignPort | S::ForeignBridge | S::Behind => None,
            S::Tells | S::Told => Some(Family::Ip6),
            S::Source(f)
            | S::Asked(f)
            | S::Pair(f)
            | S::Proto(f)
            | S::Port(f)
            | S::Range(f)
            | S::Peer(f)
            | S::Near(f)
            | S::Host(f)
            | S::World(f)
            | S::Cidr(f)
            | S::CidrPort(f)
            | S::Public(f)
            | S::Open(f)
            | S::Guest(f)
            | S::Walled(f)
            | S::Nets(f)
            | S::Masq(f)
            | S::Any(f)
            | S::At(f) => Some(f),
        }
    }

    /// The types of the key's fields, as nft names them.
    #[must_use]
    pub fn key_types(self) -> Vec<&'static str> {
        use SetName as S;
        let addr = match self.family() {
            Some(Family::Ip6) => "ipv6_addr",
            _ => "ipv4_addr",
        };
        match self {
            S::Source(_) => vec!["ifname", "ether_addr", addr],
            S::Pair(_) | S::Peer(_) | S::Cidr(_) | S::Open(_) => vec![addr, addr],
            S::Proto(_) => vec![addr, addr, "inet_proto"],
            S::Port(_) | S::Range(_) | S::CidrPort(_) => vec![addr, addr, "inet_proto", "inet_service"],
            S::Asked(_) | S::Guest(_) | S::Tells => vec!["ifname", addr],
            S::Told => vec!["inet_proto", addr],
            S::Near(_) | S::Host(_) | S::World(_) | S::Walled(_) | S::Nets(_) | S::Masq(_) => vec![addr],
            S::Public(_) | S::At(_) => vec![addr, "inet_proto", "inet_service"],
            S::Any(_) => vec!["inet_proto", "inet_service"],
            S::ForeignPort | S::ForeignBridge | S::Behind => vec!["ifname"],
        }
    }

    /// The types of the value's fields; empty for a set.
    #[must_use]
    pub fn data_types(self) -> Vec<&'static str> {
        match self {
            Self::Any(Family::Ip4) | Self::At(Family::Ip4) => vec!["ipv4_addr", "inet_service"],
            Self::Any(Family::Ip6) | Self::At(Family::Ip6) => vec!["ipv6_addr", "inet_service"],
            _ => vec![],
        }
    }

    /// Whether elements are ranges. With one key field the kernel keeps a tree of
    /// boundaries (start, and end + 1 flagged as end); with several, `KEY` and `KEY_END`.
    #[must_use]
    pub fn is_interval(self) -> bool {
        matches!(
            self,
            Self::Range(_)
                | Self::Near(_)
                | Self::Cidr(_)
                | Self::CidrPort(_)
                | Self::Open(_)
                | Self::Nets(_)
                | Self::Masq(_)
        )
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SetName as S;
        let stem = match self {
            S::Source(_) => "source",
            S::Asked(_) => "asked",
            S::Tells => "tells",
            S::Told => "told",
            S::ForeignPort => "fport",
            S::ForeignBridge => "fbridge",
            S::Pair(_) => "pair",
            S::Proto(_) => "proto",
            S::Port(_) => "port",
            S::Range(_) => "range",
            S::Peer(_) => "peer",
            S::Near(_) => "near",
            S::Host(_) => "host",
            S::World(_) => "world",
            S::Cidr(_) => "cidr",
            S::CidrPort(_) => "cidrport",
            S::Public(_) => "public",
            S::Open(_) => "open",
            S::Guest(_) => "guest",
            S::Walled(_) => "walled",
            S::Behind => "behind",
            S::Nets(_) => "nets",
            S::Masq(_) => "masq",
            S::Any(_) => "any",
            S::At(_) => "at",
        };
        match self.family() {
            Some(family) => write!(f, "{stem}{}", family.digit()),
            None => f.write_str(stem),
        }
    }
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// Straight out of an interface.
    Dev(String),
    /// Through a gateway on an interface; always with `onlink`.
    Via(IpAddr, String),
    /// Delivered to this host itself, when it arrives at an interface.
    Local(String),
    /// Refused with an ICMP error.
    Prohibit,
}

/// What a routing policy rule does with what it matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Lookup(u32),
    Prohibit,
}

/// What a routing policy rule asks of a packet's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// These bits are set.
    With(u32),
    /// None of these bits is set.
    Without(u32),
}

impl Mark {
    /// Value and mask.
    #[must_use]
    pub fn masked(self) -> (u32, u32) {
        match self {
            Self::With(bits) => (bits, bits),
            Self::Without(bits) => (0, bits),
        }
    }

    /// What the kernel calls value and mask; `None` for what we never make.
    #[must_use]
    pub fn of(value: u32, mask: u32) -> Option<Self> {
        match value {
            0 => Some(Self::Without(mask)),
            _ if value == mask => Some(Self::With(mask)),
            _ => None,
        }
    }
}

/// The table of the host's own addresses.
pub const LOCAL: u32 = 255;

/// The main routing table.
pub const MAIN: u32 = 254;

/// One thing in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// The router's network namespace, bound to a path under the state root; `lo` is up in it.
    Namespace,
    /// One of the two rulesets, as a whole; its sets are empty when it is made.
    Ruleset { at: Place, which: Ruleset },
    /// The veth pair between host and router; both ends still down.
    Uplink { host: String, router: String, mtu: u32 },
    /// A bridge, down, with this MAC, `mcast_snooping 0`, no address generation.
    Bridge {
        at: Place,
        name: String,
        mac: Mac,
        mtu: u32,
    },
    /// A veth pair: `port` at `at`, `inside` in the container's namespace; both ends still down.
    Veth {
        at: Place,
        port: String,
        sandbox: Place,
        inside: String,
        mac: Mac,
        mtu: u32,
    },
    /// A value of `/proc/sys/KEY`. Taking it away does nothing: what the host had before is
    /// the plan's business, as another `Sysctl`.
    Sysctl { at: Place, key: String, value: String },
    /// A routing policy rule.
    Rule {
        at: Place,
        family: Family,
        priority: u32,
        mark: Option<Mark>,
        iif: Option<String>,
        then: Verdict,
    },
    /// A port's place in its bridge: master, `isolated on`, `learning off`, `locked on`.
    BridgePort { at: Place, port: String, bridge: String },
    /// Somebody else's port of somebody else's bridge, closed as ours are. Taking it away leaves
    /// it closed: it goes with its interface, and a container that loses its wall gains nothing.
    ClosedPort { at: Place, port: String, bridge: String },
    /// A static forwarding entry of a port.
    Fdb { at: Place, port: String, mac: Mac },
    /// An address, always `noprefixroute`, IPv6 always `nodad`.
    Address {
        at: Place,
        iface: String,
        address: IpNetwork,
    },
    /// A set element.
    Element(Element),
    /// An interface that is administratively up. (`lo` of a sandbox too.)
    Up { at: Place, iface: String },
    /// A permanent neighbour entry.
    Neighbour {
        at: Place,
        iface: String,
        ip: IpAddr,
        mac: Mac,
    },
    /// A route.
    Route {
        at: Place,
        table: u32,
        to: IpNetwork,
        hop: Hop,
    },
}

impl Object {
    /// The namespace the object lives in; an uplink's host end decides for it.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            Self::Namespace => &Place::Router,
            Self::Uplink { .. } => &Place::Host,
            Self::Element(e) => &e.at,
            Self::Ruleset { at, .. }
            | Self::Bridge { at, .. }
            | Self::Veth { at, .. }
            | Self::Sysctl { at, .. }
            | Self::Rule { at, .. }
            | Self::BridgePort { at, .. }
            | Self::ClosedPort { at, .. }
            | Self::Fdb { at, .. }
            | Self::Address { at, .. }
            | Self::Up { at, .. }
            | Self::Neighbour { at, .. }
            | Self::Route { at, .. } => at,
        }
    }

    /// The interface it hangs on, where it is not one itself.
    #[must_use]
    pub fn iface(&self) -> Option<&str> {
        match self {
            Self::BridgePort { port, .. } | Self::ClosedPort { port, .. } | Self::Fdb { port, .. } => {
                Some(port)
            }
            Self::Up { iface, .. }
            | Self::Address { iface, .. }
            | Self::Neighbour { iface, .. }
            | Self::Route {
                hop: Hop::Dev(iface) | Hop::Via(_, iface) | Hop::Local(iface),
                ..
            } => Some(iface),
            _ => None,
        }
    }
}
