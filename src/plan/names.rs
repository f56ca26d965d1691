//! The names of our kernel objects: one prefix, defined here.
//!
//! Two state roots are two worlds in one kernel, so everything that can meet on the host
//! carries the world's prefix. Interface names are at most 15 bytes.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How one world names things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Whose names these are: 16 hex digits of the state root's path. Prefix and table may be
    /// another root's, too, by chance; this tells them apart (see [`Names::owner_word`]).
    pub owner: String,
    /// Prefix of interface names: `mt`, or `m` and four hex digits for another root.
    pub prefix: String,
    /// The nftables table: `moat`, or `moat_` and the same digits.
    pub table: String,
    /// Routing table of the container routes.
    pub route_table: u32,
    /// First of the priorities of our routing policy rules.
    pub priority: u32,
    /// The host's end of the uplink: what containers call `host`.
    pub host4: Ipv4Addr,
    pub host6: Ipv6Addr,
    /// The router's end of the uplink.
    pub router4: Ipv4Addr,
    pub router6: Ipv6Addr,
}

/// The bit of the packet mark that means "may be delivered to a container, or to the host by
/// a link". Looked up in the table of the container routes.
pub const MARK_IN: u32 = 0x0200_0000;
/// The bit that means "may leave by the way out". Looked up in the main table, which has no
/// route to a container: what may go out can never come in, whatever sets are lost.
pub const MARK_OUT: u32 = 0x0400_0000;

/// The prefix of the default root's world.
const DEFAULT_PREFIX: &str = "mt";

impl Names {
    /// The table that refuses what is sent to a container on somebody else's port. The number of
    /// a world is a multiple of 4: it and the next two tables are free.
    #[must_use]
    pub fn fence_table(&self) -> u32 {
        self.route_table + 1
    }

    /// The table that refuses everything.
    #[must_use]
    pub fn refuse_table(&self) -> u32 {
        self.route_table + 2
    }

    /// Whether a routing table is one of ours.
    #[must_use]
    pub fn owns_table(&self, table: u32) -> bool {
        [self.route_table, self.fence_table(), self.refuse_table()].contains(&table)
    }

    /// The names of a state root's world. The root of number 0 is `default`.
    #[must_use]
    pub fn of_root(root: &Path, default: &Path) -> Self {
        let number = if root == default { 0 } else { number(root) };
        let digest = Sha256::digest(root.as_os_str().as_bytes());
        let mut owner = String::new();
        for byte in &digest[..8] {
            let _ = write!(owner, "{byte:02x}");
        }
        Self {
            owner,
            ..Self::of_world(number)
        }
    }

    /// What says on the host whose an object is: the name of a chain without rules in each of our
    /// tables, and the alias of each interface.
    #[must_use]
    pub fn owner_word(&self) -> String {
        format!("root_{}", self.owner)
    }

    /// The table of the way out.
    #[must_use]
    pub fn way_out(&self) -> String {
        format!("{}_out", self.table)
    }

    /// Whether a table is the way out of some root's world.
    #[must_use]
    pub fn is_way_out(table: &str) -> bool {
        let digits = table
            .strip_prefix("moat")
            .and_then(|rest| rest.strip_suffix("_out"));
        digits.is_some_and(|d| match d.strip_prefix('_') {
            Some(hex) => hex.len() == 4 && u16::from_str_radix(hex, 16).is_ok(),
            None => d.is_empty(),
        })
    }

    /// Whether no other root can have the same names.
    #[must_use]
    pub fn are_unique(&self) -> bool {
        self.prefix == DEFAULT_PREFIX
    }

    /// The names of the world with this number; 0 is the default root's.
    #[must_use]
    pub fn of_world(number: u16) -> Self {
        let (prefix, table) = if number == 0 {
            (DEFAULT_PREFIX.to_owned(), "moat".to_owned())
        } else {
            (format!("m{number:04x}"), format!("moat_{number:04x}"))
        };
        let [a, b] = number.to_be_bytes();
        // 169.254.0.0/24 and 169.254.255.0/24 are reserved (RFC 3927): the third octet skips them.
        let third = 1 + a % 254;
        let fourth = b & !3;
        let group = |last| Ipv6Addr::new(0xfd6d, 0x6f61, 0x7400, number, 0, 0, 0, last);
        Self {
            owner: format!("{number:016x}"),
            prefix,
            table,
            route_table: 0x6d74_0000 + u32::from(number),
            priority: 5200,
            host4: Ipv4Addr::new(169, 254, third, fourth + 1),
            host6: group(1),
            router4: Ipv4Addr::new(169, 254, third, fourth + 2),
            router6: group(2),
        }
    }

    /// The host's end of the uplink.
    #[must_use]
    pub fn uplink_host(&self) -> String {
        format!("{}up", self.prefix)
    }

    /// The router's end of the uplink.
    #[must_use]
    pub fn uplink_router(&self) -> String {
        format!("{}way", self.prefix)
    }

    /// Bridge number `n` of this world.
    #[must_use]
    pub fn bridge(&self, n: u32) -> String {
        format!("{}b{n:x}", self.prefix)
    }

    /// The bridge port of endpoint `n`.
    #[must_use]
    pub fn port(&self, n: u32) -> String {
        format!("{}p{n:x}", self.prefix)
    }

    /// The functional block that slows down what endpoint `n` sends.
    #[must_use]
    pub fn slowed(&self, n: u32) -> String {
        format!("{}i{n:x}", self.prefix)
    }

    /// Whether an interface name is one of ours.
    #[must_use]
    pub fn owns(&self, iface: &str) -> bool {
        iface.strip_prefix(self.prefix.as_str()).is_some_and(|rest| {
            rest == "up"
                || rest == "way"
                || rest
                    .strip_prefix(['b', 'p'])
                    .is_some_and(|n| u32::from_str_radix(n, 16).is_ok())
        })
    }
}

/// A number from a root's path that is not the default: it keeps two roots' names apart,
/// unless they have the same one by chance.
fn number(root: &Path) -> u16 {
    // FNV-1a; only spread matters.
    let hash = root.as_os_str().as_bytes().iter().fold(0x811c_9dc5_u32, |h, b| {
        (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)
    });
    // Multiples of 4 below 0xfe00, not 0: each has an uplink subnet of its own.
    let n = (hash ^ (hash >> 16)) % (0xfe00 / 4 - 1) + 1;
    u16::try_from(n * 4).unwrap_or(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_with_the_same_names_have_different_owners() {
        let of = |root: &str| Names::of_root(Path::new(root), Path::new("/run/moat"));
        let (one, two) = (of("/run/r186"), of("/run/r300"));
        assert_eq!((&one.prefix, &one.table), (&two.prefix, &two.table));
        assert_ne!(one.owner, two.owner);
        assert_eq!(one.owner.len(), 16);
        assert!(of("/run/moat").are_unique() && !one.are_unique());
        for root in ["/run/moat", "/run/r186"] {
            assert!(Names::is_way_out(&of(root).way_out()));
        }
        for other in [
            "moat",
            "moat_out_",
            "moats_out",
            "moat_12345_out",
            "moat_x_out",
            "out",
        ] {
            assert!(!Names::is_way_out(other), "{other}");
        }
    }
}
