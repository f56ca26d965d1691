//! The nouns inside our nftables tables: elements, their fields, and the sets that hold them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::object::Place;
use crate::model::{Family, Mac};

/// The nftables table that holds a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// `bridge moat`
    Ports,
    /// `inet moat`
    Wall,
    /// `inet moat_out`
    WayOut,
    /// `inet moat_stand`
    Stand,
    /// `bridge moat_cni`
    ClassicPorts,
    /// `inet moat_cni`
    Classic,
}

/// One field of a concatenated key or of a map's value, in network byte order on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Field {
    Ip(IpAddr),
    Mac(Mac),
    Iface(String),
    Proto(u8),
    Port(u16),
    /// Of pods or of peers; in bytes it reads the same in either order, because the types of `meta mark` and
    /// `meta priority` have the order of the machine in some sets, and that of the network in others.
    Class(u16),
}

/// When an element leaves its set by itself, in seconds since the boot. Two timed elements
/// with equal keys are the same element: the time left is not compared.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Element {
    pub at: Place,
    pub table: Table,
    pub set: SetName,
    pub key: Vec<Field>,
    /// The inclusive upper end, for interval sets only (then always present).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Vec<Field>>,
    /// The value, for maps only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Vec<Field>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expires>,
}

impl Element {
    /// One without an upper end, a value or an end.
    #[must_use]
    pub fn new(at: &Place, table: Table, set: SetName, key: Vec<Field>) -> Self {
        Self {
            at: at.clone(),
            table,
            set,
            key,
            end: None,
            data: None,
            expires: None,
        }
    }

    /// What makes two elements the same one in the kernel, whatever their values.
    #[must_use]
    pub fn identity(&self) -> String {
        use fmt::Write as _;
        // `port` and `any4` are sets of several tables.
        let mut out = format!("{:?} {}", self.table, self.set);
        for field in self.key.iter().chain(self.end.iter().flatten()) {
            // Writing to a String cannot fail.
            let _ = match field {
                Field::Ip(ip) => write!(out, " {ip}"),
                Field::Mac(mac) => write!(out, " {mac}"),
                Field::Iface(name) => write!(out, " {name}"),
                Field::Proto(n) => write!(out, " {n}"),
                Field::Port(n) | Field::Class(n) => write!(out, " {n}"),
            };
        }
        out
    }
}

/// A set or map of the skeletons, without its family suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    Itself(Family),
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
    Hide(Family),
    Home(Family),
    Snat(Family),
    SnatAll(Family),
    Checked,
    Mac,
    IsolatedPort,
    Bridges,
    Isolated,
    SameBridge,
    Guarded,
    EgressClass(Family),
    EgressPeer(Family),
    EgressBlock(Family),
    IngressClass(Family),
    IngressPeer(Family),
    IngressBlock(Family),
    PolicyWorld(Family),
    Refused(Family),
    May,
    MaySome,
    MayOther,
    MayProto,
    MayPort,
    MayRange,
}

impl SetName {
    /// Every set of a table.
    #[must_use]
    pub fn of(table: Table) -> Vec<Self> {
        let make: &[fn(Family) -> Self] = match table {
            Table::Ports => &[Self::Source, Self::Asked, Self::Walled],
            Table::Wall => &[
                Self::Pair,
                Self::Proto,
                Self::Port,
                Self::Range,
                Self::Peer,
                Self::Itself,
                Self::Near,
                Self::Host,
                Self::World,
                Self::Cidr,
                Self::CidrPort,
                Self::Public,
                Self::Open,
                Self::Guest,
                Self::Walled,
                Self::EgressClass,
                Self::EgressPeer,
                Self::EgressBlock,
                Self::IngressClass,
                Self::IngressPeer,
                Self::IngressBlock,
                Self::PolicyWorld,
            ],
            Table::Stand => &[Self::Refused],
            Table::WayOut => &[Self::Nets, Self::Masq, Self::Any, Self::At],
            Table::ClassicPorts => &[],
            Table::Classic => &[
                Self::Any,
                Self::At,
                Self::Hide,
                Self::Home,
                Self::Snat,
                Self::SnatAll,
            ],
        };
        // The sets that are not made once for each family.
        let names: &[Self] = match table {
            Table::Ports => &[Self::ForeignPort, Self::Tells, Self::Told],
            Table::Wall => &[
                Self::Behind,
                Self::ForeignBridge,
                Self::May,
                Self::MaySome,
                Self::MayOther,
                Self::MayProto,
                Self::MayPort,
                Self::MayRange,
            ],
            Table::ClassicPorts => &[Self::Checked, Self::Mac, Self::IsolatedPort],
            Table::Classic => &[Self::Bridges, Self::Isolated, Self::SameBridge, Self::Guarded],
            Table::WayOut | Table::Stand => &[],
        };
        Family::BOTH
            .into_iter()
            .flat_map(|f| make.iter().map(move |m| m(f)))
            .chain(names.iter().copied())
            .collect()
    }

    /// The address family; `None` for a set of interfaces.
    #[must_use]
    pub fn family(self) -> Option<Family> {
        use SetName as S;
        if matches!(self, S::Tells | S::Told) {
            return Some(Family::Ip6);
        }
        let (S::Source(f)
        | S::Asked(f)
        | S::Pair(f)
        | S::Proto(f)
        | S::Port(f)
        | S::Range(f)
        | S::Peer(f)
        | S::Itself(f)
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
        | S::At(f)
        | S::Hide(f)
        | S::Home(f)
        | S::Snat(f)
        | S::SnatAll(f)
        | S::EgressClass(f)
        | S::EgressPeer(f)
        | S::EgressBlock(f)
        | S::IngressClass(f)
        | S::IngressPeer(f)
        | S::IngressBlock(f)
        | S::PolicyWorld(f)
        | S::Refused(f)) = self
        else {
            return None;
        };
        Some(f)
    }

    /// The types of the key's fields, as nft names them.
    #[must_use]
    pub fn key_types(self) -> Vec<&'static str> {
        use SetName as S;
        let addr = match self.family() {
            Some(Family::Ip6) => "ipv6_addr",
            Some(Family::Ip4) | None => "ipv4_addr",
        };
        match self {
            S::Source(_) => vec!["ifname", "ether_addr", addr],
            S::Pair(_) | S::Peer(_) | S::Itself(_) | S::Cidr(_) | S::Open(_) | S::Home(_) => vec![addr, addr],
            S::Proto(_) => vec![addr, addr, "inet_proto"],
            S::Port(_) | S::Range(_) | S::CidrPort(_) | S::Refused(_) => {
                vec![addr, addr, "inet_proto", "inet_service"]
            }
            S::Near(_) | S::Host(_) | S::World(_) | S::Walled(_) | S::Nets(_) | S::Masq(_) | S::Hide(_) => {
                vec![addr]
            }
            S::EgressClass(_)
            | S::EgressPeer(_)
            | S::EgressBlock(_)
            | S::IngressClass(_)
            | S::IngressPeer(_)
            | S::IngressBlock(_)
            | S::PolicyWorld(_) => vec![addr],
            S::May | S::MaySome | S::MayOther => vec!["mark", "classid"],
            S::MayProto => vec!["mark", "classid", "inet_proto"],
            S::MayPort | S::MayRange => vec!["mark", "classid", "inet_proto", "inet_service"],
            S::Asked(_) | S::Guest(_) | S::Tells => vec!["ifname", addr],
            S::Told => vec!["inet_proto", addr],
            S::Public(_) | S::At(_) | S::Snat(_) | S::SnatAll(_) => {
                vec![addr, "inet_proto", "inet_service"]
            }
            S::Any(_) => vec!["inet_proto", "inet_service"],
            S::ForeignPort
            | S::ForeignBridge
            | S::Behind
            | S::Checked
            | S::IsolatedPort
            | S::Bridges
            | S::Isolated
            | S::Guarded => vec!["ifname"],
            S::SameBridge => vec!["ifname", "ifname"],
            S::Mac => vec!["ifname", "ether_addr"],
        }
    }

    /// The types of the value's fields; empty for a set.
    #[must_use]
    pub fn data_types(self) -> Vec<&'static str> {
        match self {
            Self::Any(Family::Ip4) | Self::At(Family::Ip4) => vec!["ipv4_addr", "inet_service"],
            Self::Any(Family::Ip6) | Self::At(Family::Ip6) => vec!["ipv6_addr", "inet_service"],
            Self::EgressClass(_) | Self::IngressClass(_) => vec!["mark"],
            Self::EgressPeer(_) | Self::IngressPeer(_) | Self::EgressBlock(_) | Self::IngressBlock(_) => {
                vec!["classid"]
            }
            _ => vec![],
        }
    }

    /// Whether elements open something between classes of pods and of peers.
    #[must_use]
    pub fn is_grant(self) -> bool {
        use SetName as S;
        matches!(
            self,
            S::May | S::MaySome | S::MayOther | S::MayProto | S::MayPort | S::MayRange
        )
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
                | Self::Home(_)
                | Self::EgressBlock(_)
                | Self::IngressBlock(_)
                | Self::MayRange
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
            S::Behind => "behind",
            S::Guest(_) => "guest",
            S::Walled(_) => "walled",
            S::Pair(_) => "pair",
            S::Proto(_) => "proto",
            S::Port(_) => "port",
            S::Range(_) => "range",
            S::Peer(_) => "peer",
            S::Itself(_) => "itself",
            S::Near(_) => "near",
            S::Host(_) => "host",
            S::World(_) => "world",
            S::Cidr(_) => "cidr",
            S::CidrPort(_) => "cidrport",
            S::Public(_) => "public",
            S::Open(_) => "open",
            S::Nets(_) => "nets",
            S::Masq(_) => "masq",
            S::Any(_) => "any",
            S::At(_) => "at",
            S::Hide(_) => "hide",
            S::Home(_) => "home",
            S::Snat(_) => "snat",
            S::SnatAll(_) => "snatall",
            S::Checked => "checked",
            S::Mac => "mac",
            S::IsolatedPort => "ports",
            S::Bridges => "bridges",
            S::Isolated => "isolated",
            S::SameBridge => "same_bridge",
            S::Guarded => "guarded",
            S::EgressClass(_) => "eclass",
            S::EgressPeer(_) => "epeer",
            S::EgressBlock(_) => "eblock",
            S::IngressClass(_) => "iclass",
            S::IngressPeer(_) => "ipeer",
            S::IngressBlock(_) => "iblock",
            S::PolicyWorld(_) => "pworld",
            S::Refused(_) => "refused",
            S::May => "may",
            S::MaySome => "maysome",
            S::MayOther => "mayother",
            S::MayProto => "mayproto",
            S::MayPort => "mayport",
            S::MayRange => "mayrange",
        };
        f.write_str(stem)?;
        self.family()
            .map_or(Ok(()), |family| write!(f, "{}", family.digit()))
    }
}
