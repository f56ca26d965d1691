//! An interpreter of the table `inet` of `wall.nft`, as far as its rules go. It panics on a
//! rule it does not understand, so a changed rule is never skipped.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::Family;
use crate::plan::skeleton::{class_bits, ruleset};
use crate::plan::{Element, Field, MARK_IN, MARK_OUT, Names, Object, Place, Ruleset, SetName, State, Table};

/// A packet at a hook.
#[derive(Clone, Debug)]
pub struct Packet {
    pub iif: &'static str,
    pub from: IpAddr,
    pub to: IpAddr,
    pub proto: u8,
    pub source_port: u16,
    pub port: u16,
    pub reply: bool,
    pub translated: bool,
}

/// What rules write upon a packet.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    mark: u32,
    priority: u32,
}

/// What came of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Accept,
    Drop,
    /// Back to the caller.
    Return,
}

/// The wall of one place: its chains, and its sets.
pub struct Wall {
    chains: BTreeMap<String, Vec<Vec<String>>>,
    sets: BTreeMap<String, (SetName, Vec<Element>)>,
}

impl Wall {
    pub fn new(at: &Place, names: &Names, state: &State) -> Self {
        let text = ruleset(Ruleset::Wall, at, names);
        let inet = &text[text.find("table inet").unwrap()..text.find("table bridge").unwrap()];
        let mut chains = BTreeMap::new();
        for part in inet.split("chain ").skip(1) {
            let (name, rest) = part.split_once('{').unwrap();
            // A one-line chain ends where its line does.
            let (first, more) = rest.split_once('\n').unwrap();
            let body = match first.trim().strip_suffix('}') {
                Some(line) => line.to_owned(),
                None => more.split("\n    }").next().unwrap().to_owned(),
            };
            let rules = body.lines().map(|l| l.trim().trim_end_matches(';').to_owned());
            let rules = rules.filter(|l| !l.is_empty() && !l.starts_with("type "));
            let rules = rules
                .map(|l| l.split_whitespace().map(str::to_owned).collect())
                .collect();
            chains.insert(name.trim().to_owned(), rules);
        }
        let mut sets: BTreeMap<_, _> = SetName::of(Table::Wall)
            .into_iter()
            .map(|s| (s.to_string(), (s, vec![])))
            .collect();
        for object in state {
            match object {
                Object::Element(e) if e.at == *at && e.table == Table::Wall => {
                    sets.get_mut(&e.set.to_string()).unwrap().1.push(e.clone());
                }
                _ => {}
            }
        }
        Self { chains, sets }
    }

    /// The marks with which a packet leaves prerouting: where it may go.
    pub fn marks(&self, packet: &Packet) -> u32 {
        let mut on = Written {
            mark: MARK_IN | MARK_OUT,
            priority: 0,
        };
        assert_ne!(self.chain("judge", packet, &mut on), End::Drop);
        assert_eq!(on.priority, 0, "what policies look up by is left on the packet");
        on.mark
    }

    /// Whether a packet to the router or host itself is let in.
    pub fn lets_in(&self, packet: &Packet) -> bool {
        self.chain("to_us", packet, &mut Written::default()) != End::Drop
    }

    fn chain(&self, name: &str, packet: &Packet, on: &mut Written) -> End {
        for rule in &self.chains[name] {
            let words: Vec<&str> = rule.iter().map(String::as_str).collect();
            match self.rule(&words, packet, on) {
                None => {}
                Some(end) => return end,
            }
        }
        End::Return
    }

    /// `None`: on to the next rule.
    fn rule<'w>(&self, mut words: &'w [&'w str], packet: &Packet, on: &mut Written) -> Option<End> {
        loop {
            match words {
                [] => return None,
                ["accept"] => return Some(End::Accept),
                ["drop"] => return Some(End::Drop),
                ["return"] => return Some(End::Return),
                ["goto", chain] => return Some(self.chain(chain, packet, on)),
                ["jump", chain] => {
                    let end = self.chain(chain, packet, on);
                    return (end != End::Return).then_some(end);
                }
                ["meta", "mark", "set", "meta", "mark", "|", bits] => {
                    on.mark |= hex(bits);
                    return None;
                }
                ["meta", "mark", "set", "meta", "mark", "&", bits] => {
                    on.mark &= hex(bits);
                    return None;
                }
                ["meta", what @ ("mark" | "priority"), "set", rest @ ..] => {
                    let value = match rest {
                        [bits] => Some(hex(bits)),
                        ["ip" | "ip6", side, "map", map] => self.value(map, &Field::Ip(packet.side(side))),
                        _ => panic!("a rule that this interpreter does not know: {words:?}"),
                    };
                    match (*what, value) {
                        (_, None) => {}
                        ("mark", Some(value)) => on.mark = value,
                        (_, Some(value)) => on.priority = value,
                    }
                    return None;
                }
                ["limit", "rate", _, rest @ ..] => words = rest,
                _ => words = self.condition(words, packet, *on)?,
            }
        }
    }

    /// The words after a condition that holds; `None` where it does not.
    fn condition<'w>(&self, words: &'w [&'w str], packet: &Packet, on: Written) -> Option<&'w [&'w str]> {
        let (holds, rest) = match words {
            ["meta", "mark", bits, rest @ ..] if bits.starts_with("0x") => (on.mark == hex(bits), rest),
            [
                "meta",
                "l4proto",
                "!=",
                "{",
                "tcp,",
                "udp,",
                "sctp",
                "}",
                rest @ ..,
            ] => (![6, 17, 132].contains(&packet.proto), rest),
            ["ct", "state", "invalid" | "related", rest @ ..] => (false, rest),
            ["ct", "direction", "reply", rest @ ..] => (packet.reply, rest),
            ["ct", "status", "dnat", rest @ ..] => (packet.translated, rest),
            ["iifname", set, rest @ ..] if set.starts_with('@') => {
                (self.holds(set, &[Field::Iface(packet.iif.to_owned())]), rest)
            }
            ["iifname", ".", ..] => self.lookup(words, packet, on),
            ["iifname", rest @ ..] => {
                let (names, rest) = literal(rest);
                let fits = |n: &str| match n.strip_suffix('*') {
                    Some(stem) => packet.iif.starts_with(stem),
                    None => packet.iif == n,
                };
                match names.split_first() {
                    Some((&"!=", names)) => (!names.iter().any(|n| fits(n)), rest),
                    _ => (names.iter().any(|n| fits(n)), rest),
                }
            }
            ["icmp", "type", "echo-request", rest @ ..] => (packet.proto == 1, rest),
            // Only echo requests are sent here; every list of types has them.
            ["icmpv6", "type", rest @ ..] => {
                let (types, rest) = literal(rest);
                (packet.proto == 58 && types.contains(&"echo-request"), rest)
            }
            ["ip", "saddr", "0.0.0.0/0", rest @ ..] => (packet.from.is_ipv4(), rest),
            ["ip6", "saddr", "::/0", rest @ ..] => (packet.from.is_ipv6(), rest),
            _ => self.lookup(words, packet, on),
        };
        holds.then_some(rest)
    }

    /// `FIELD . FIELD ... [!=] @SET`
    fn lookup<'w>(&self, mut words: &'w [&'w str], packet: &Packet, on: Written) -> (bool, &'w [&'w str]) {
        let mut key = Vec::new();
        let mut family = None;
        loop {
            let (field, rest) = match words {
                ["ip", side, rest @ ..] => {
                    family = Some(Family::Ip4);
                    (Field::Ip(packet.side(side)), rest)
                }
                ["ip6", side, rest @ ..] => {
                    family = Some(Family::Ip6);
                    (Field::Ip(packet.side(side)), rest)
                }
                ["iifname", rest @ ..] => (Field::Iface(packet.iif.to_owned()), rest),
                ["meta", "l4proto", rest @ ..] => (Field::Proto(packet.proto), rest),
                ["meta", "mark", rest @ ..] => (class(on.mark), rest),
                ["meta", "priority", rest @ ..] => (class(on.priority), rest),
                ["th", "dport", rest @ ..] => (Field::Port(packet.port), rest),
                ["th", "sport", rest @ ..] => (Field::Port(packet.source_port), rest),
                _ => panic!("a rule that this interpreter does not know: {words:?}"),
            };
            key.push(field);
            words = match rest {
                [".", rest @ ..] => rest,
                ["!=", set, rest @ ..] => return (applies(family, packet) && !self.holds(set, &key), rest),
                [set, rest @ ..] => return (applies(family, packet) && self.holds(set, &key), rest),
                [] => panic!("a lookup without a set"),
            };
        }
    }

    /// What a map says of a key.
    fn value(&self, map: &str, key: &Field) -> Option<u32> {
        let (_, elements) = &self.sets[map.strip_prefix('@').unwrap()];
        let holds = |e: &&Element| match &e.end {
            Some(end) => &e.key[0] <= key && key <= &end[0],
            None => e.key[0] == *key,
        };
        match elements.iter().find(holds)?.data.as_deref() {
            Some([Field::Class(n)]) => Some(class_bits(*n)),
            other => panic!("{other:?} is no class"),
        }
    }

    fn holds(&self, set: &str, key: &[Field]) -> bool {
        let (name, elements) = &self.sets[set.strip_prefix('@').unwrap()];
        assert_eq!(name.key_types().len(), key.len(), "{set}");
        elements.iter().any(|e| match &e.end {
            Some(end) => (e.key.iter().zip(end).zip(key)).all(|((a, b), k)| a <= k && k <= b),
            None => e.key == key,
        })
    }
}

/// A lookup without addresses is in a chain of one family.
fn applies(family: Option<Family>, packet: &Packet) -> bool {
    family.is_none_or(|f| f == Family::of(packet.from))
}

fn hex(word: &str) -> u32 {
    u32::from_str_radix(word.trim_start_matches("0x"), 16).unwrap()
}

fn class(bits: u32) -> Field {
    Field::Class((bits >> 16) as u16)
}

/// A quoted name, or a list of names in braces; `!=` stays in front.
fn literal<'w>(words: &'w [&'w str]) -> (Vec<&'w str>, &'w [&'w str]) {
    let (not, words) = match words {
        ["!=", rest @ ..] => (vec!["!="], rest),
        _ => (vec![], words),
    };
    let n = match words {
        ["{", ..] => words.iter().position(|w| *w == "}").unwrap() + 1,
        _ => 1,
    };
    let plain = words[..n].iter().filter(|w| !matches!(**w, "{" | "}"));
    let names = plain.map(|w| w.trim_end_matches(',').trim_matches('"'));
    (not.into_iter().chain(names).collect(), &words[n..])
}

impl Packet {
    fn side(&self, side: &str) -> IpAddr {
        match side {
            "saddr" => self.from,
            "daddr" => self.to,
            _ => panic!("no such field: {side}"),
        }
    }

    /// The answer of a flow's other end.
    pub fn answer(&self, iif: &'static str) -> Self {
        Self {
            iif,
            from: self.to,
            to: self.from,
            proto: self.proto,
            source_port: self.port,
            port: self.source_port,
            reply: true,
            translated: self.translated,
        }
    }
}
