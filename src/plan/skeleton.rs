//! The rulesets, filled in for one world.
//!
//! The text is `wall.nft`, `wayout.nft`, `stand.nft` and `classic.nft`; the part between `#family` and `#end` is
//! written once for each address family from the same lines.

use super::names::{MARK_IN, MARK_OUT, Names};
use super::object::{Place, Ruleset};
use super::policy::FREE;
use crate::model::Family;

const WALL: &str = include_str!("wall.nft");
const WAYOUT: &str = include_str!("wayout.nft");
const STAND: &str = include_str!("stand.nft");
const CLASSIC: &str = include_str!("classic.nft");

/// The ruleset as nft text, for `nft -f`.
#[must_use]
pub fn ruleset(which: Ruleset, at: &Place, names: &Names) -> String {
    let hostmode = *at == Place::Host;
    let text = match which {
        Ruleset::Wall => WALL,
        Ruleset::WayOut => WAYOUT,
        Ruleset::Classic => CLASSIC,
        Ruleset::Stand => STAND,
    };
    let dnat = if hostmode { "ct status dnat" } else { "" };
    // In host mode a link to `host` is judged here; in a router there is no service to reach.
    let to_host = if hostmode { "jump to_host" } else { "" };
    let values = [
        ("p", names.prefix.clone()),
        ("table", names.table.clone()),
        ("owner", names.owner_word()),
        ("in", format!("{MARK_IN:#010x}")),
        ("out", format!("{MARK_OUT:#010x}")),
        ("marks", format!("{:#010x}", MARK_IN | MARK_OUT)),
        ("unmark", format!("{:#010x}", !(MARK_IN | MARK_OUT))),
        ("dnat", dnat.to_owned()),
        ("hostmode", to_host.to_owned()),
        (
            "inner",
            format!("{{ \"{}\", \"{}b*\" }}", names.uplink_host(), names.prefix),
        ),
        ("free", class_word(FREE)),
        ("up4", names.host4.to_string()),
        ("up6", names.host6.to_string()),
    ];
    let mut out = String::new();
    let mut families = false;
    for part in text
        .split_inclusive('\n')
        .collect::<Vec<_>>()
        .split_inclusive(|l| is_switch(l))
    {
        let lines: String = part.iter().filter(|l| !is_switch(l)).copied().collect();
        if families {
            out.extend(Family::BOTH.iter().map(|f| fill(&lines, &family_values(*f))));
        } else {
            out.push_str(&lines);
        }
        families = part.last().is_some_and(|l| l.trim() == "#family");
    }
    fill(&without_comments(&out), &values)
}

/// The number of a class as nft reads it in either of its types.
#[must_use]
pub fn class_word(class: u16) -> String {
    format!("{:#010x}", class_bits(class))
}

/// The number of a class as the kernel has it: the same whichever byte comes first.
#[must_use]
pub fn class_bits(class: u16) -> u32 {
    let [a, b] = class.to_be_bytes();
    u32::from_be_bytes([a, b, b, a])
}

fn is_switch(line: &str) -> bool {
    matches!(line.trim(), "#family" | "#end")
}

fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|l| !l.trim_start().starts_with('#'))
        .flat_map(|l| [l, "\n"])
        .collect()
}

fn family_values(family: Family) -> [(&'static str, String); 5] {
    let (ip, addr, group, loopback) = match family {
        Family::Ip4 => ("ip", "ipv4_addr", "224.0.0.0/4", "127.0.0.0/8"),
        Family::Ip6 => ("ip6", "ipv6_addr", "ff00::/8", "::1"),
    };
    [
        ("n", family.digit().to_string()),
        ("ip", ip.to_owned()),
        ("addr", addr.to_owned()),
        ("group", group.to_owned()),
        ("loopback", loopback.to_owned()),
    ]
}

fn fill(text: &str, values: &[(&str, String)]) -> String {
    values
        .iter()
        .fold(text.to_owned(), |t, (k, v)| t.replace(&format!("{{{k}}}"), v))
}
