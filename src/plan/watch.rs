//! The rules that tell a listener of flows which packets the wall gives no mark.
//!
//! They stand in a table of the listener's own, never in the wall's: nothing is logged while nobody listens. The
//! table belongs to the socket that made it (`flags owner`), so the kernel takes it away with the listener.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;

use super::names::{MARK_IN, MARK_OUT, Names};
use crate::model::Family;

/// What a listener must know of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// The ranges of containers.
    pub subnets: Vec<IpNetwork>,
    /// Interfaces that other plugins made, from which walled containers come.
    pub sides: BTreeSet<String>,
}

/// The name of a listener's table.
#[must_use]
pub fn table(names: &Names, listener: u32) -> String {
    format!("{}_flows_{listener}", names.table)
}

/// One line for `nft`, and so one transaction: the packets without a mark, which routing refuses next, go to a
/// group of NFLOG, at most 2000 a second. The first bytes of a packet say everything.
#[must_use]
pub fn rules(names: &Names, listener: u32, group: u16, watched: &Watched) -> String {
    let table = table(names, listener);
    let unmarked = format!("meta mark & {:#010x} == 0", MARK_IN | MARK_OUT);
    let log = format!("limit rate 2000/second burst 500 packets log group {group} snaplen 128");
    // What goes to us is judged elsewhere; groups and broadcasts are no flows.
    let far = "fib daddr type != { local, multicast, broadcast, anycast }";
    let sides = watched.sides.iter().map(|side| format!(", \"{side}\""));
    let inside = format!("{{ \"{}b*\"{} }}", names.prefix, sides.collect::<String>());
    let mut commands = vec![
        // What an earlier listener of this number left is its own to take away.
        format!("add table inet {table} {{ flags owner; }}"),
        format!(
            "add chain inet {table} denied {{ type filter hook prerouting priority -89; policy accept; }}"
        ),
        format!("add rule inet {table} denied ct direction reply return"),
        format!("add rule inet {table} denied ct state related return"),
        format!("add rule inet {table} denied iifname {inside} {unmarked} {far} {log}"),
    ];
    for family in Family::BOTH {
        let of: Vec<String> = (watched.subnets.iter())
            .filter(|s| Family::of(s.ip()) == family)
            .map(ToString::to_string)
            .collect();
        if !of.is_empty() {
            let ip = match family {
                Family::Ip4 => "ip",
                Family::Ip6 => "ip6",
            };
            commands.push(format!(
                "add rule inet {table} denied iifname != {inside} {ip} daddr {{ {} }} {unmarked} {far} {log}",
                of.join(", ")
            ));
        }
    }
    commands.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_one_line_and_name_both_families() {
        let watched = Watched {
            subnets: vec!["10.9.0.0/16".parse().unwrap(), "fd00:9::/64".parse().unwrap()],
            sides: BTreeSet::from(["cni0".to_owned()]),
        };
        let text = rules(&Names::of_world(0), 7, 21, &watched);
        assert!(!text.contains('\n') && text.starts_with("add table inet moat_flows_7 { flags owner; };"));
        assert!(text.contains("iifname { \"mtb*\", \"cni0\" } meta mark & 0x06000000 == 0"));
        assert!(text.contains("ip daddr { 10.9.0.0/16 }") && text.contains("ip6 daddr { fd00:9::/64 }"));
        assert_eq!(text.matches("log group 21 snaplen 128").count(), 3);
    }
}
