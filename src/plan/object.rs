//! The nouns of the kernel's state, as plain values.
//!
//! An [`Object`] is something that is there or not. The order of the variants is the
//! order in which they can be made; taking them away goes backwards. A step that
//! opens something (`Up`, `Route`) stands after everything that closes it, so a
//! half-done plan is closed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::set::{Element, Table};
use crate::model::{Family, Mac};

/// Everything moat owns in the kernel, or wants to: a set of objects.
pub type State = BTreeSet<Object>;

/// The network namespace in which an object lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// `stand.nft`: on a test stand of policies, beside the wall.
    Stand,
    /// `classic.nft`: table families `bridge` and `inet`, on the host.
    Classic,
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
    /// Whether it belongs to `classic.nft`, which comes and goes apart from the rest.
    #[must_use]
    pub fn is_classic(&self) -> bool {
        match self {
            Self::Ruleset { which, .. } => *which == Ruleset::Classic,
            Self::Element(e) => matches!(e.table, Table::Classic | Table::ClassicPorts),
            _ => false,
        }
    }

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
