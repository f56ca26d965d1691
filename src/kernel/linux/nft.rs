//! The contents of our nftables tables: elements, counters, and whether a table is whole.
//!
//! Speaks `nf_tables` over one [`Nfnl`] socket. Only our own tables are ever named: a
//! foreign table made by a newer nft may not be readable.

use std::collections::BTreeMap;
use std::io;

use super::change::ElementMessage;
use super::element::{self, Raw};
use super::nfnl::{NFTABLES, Nfnl};
use super::wire::{Buffer, Received, be32, find, text};
use crate::plan::{Element, Expires, Names, Place, SetName, Table};

const MSG_GETTABLE: u16 = 1;
const MSG_DELTABLE: u16 = 2;
const MSG_GETCHAIN: u16 = 4;
const MSG_GETRULE: u16 = 7;
const MSG_GETSETELEM: u16 = 13;
const MSG_DELSETELEM: u16 = 14;
const MSG_GETGEN: u16 = 16;
pub(super) const TABLE: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const CHAIN_NAME: u16 = 3;
const RULE_CHAIN: u16 = 2;
pub(super) const LIST_SET: u16 = 2;
pub(super) const LIST_ELEMENTS: u16 = 3;
const GEN_ID: u16 = 1;
const INET: u8 = 1;
const BRIDGE: u8 = 7;

/// From this many elements of a set on, one dump is cheaper than single questions.
const DUMP_FROM: usize = 64;

/// The tables of one world as one socket sees them.
pub(super) struct Nft {
    pub(super) socket: Nfnl,
    names: Names,
    /// Transactions that took effect since somebody last asked.
    pub committed: u32,
    /// Whether something was deleted: closing the socket waits for a grace period then.
    pub destroyed: bool,
}

impl Nft {
    pub fn new(socket: Nfnl, names: Names) -> Self {
        Self {
            socket,
            names,
            committed: 0,
            destroyed: false,
        }
    }

    pub fn socket(&mut self) -> &mut Nfnl {
        &mut self.socket
    }

    pub(super) fn table(&self, table: Table) -> (u8, String) {
        match table {
            Table::Ports => (BRIDGE, self.names.table.clone()),
            Table::Wall => (INET, self.names.table.clone()),
            Table::WayOut => (INET, format!("{}_out", self.names.table)),
            Table::Stand => (INET, format!("{}_stand", self.names.table)),
            Table::ClassicPorts => (BRIDGE, format!("{}_cni", self.names.table)),
            Table::Classic => (INET, format!("{}_cni", self.names.table)),
        }
    }

    /// Every element of a set.
    pub fn elements(&mut self, at: &Place, table: Table, set: SetName) -> io::Result<Vec<Element>> {
        let raw = self.raw(table, set)?;
        let (keys, values) = (set.key_types(), set.data_types());
        let make = |key: &[u8], end: Option<&[u8]>, data: Option<&[u8]>, left: Option<u64>| {
            Some(Element {
                at: at.clone(),
                table,
                set,
                key: element::decode_fields(&keys, key)?,
                end: match end {
                    Some(e) => Some(element::decode_fields(&keys, e)?),
                    None => None,
                },
                data: match data {
                    Some(d) => Some(element::decode_fields(&values, d)?),
                    None => None,
                },
                expires: left.map(from_now),
            })
        };
        let found = if element::has_boundaries(set) {
            element::pair_boundaries(raw)
                .iter()
                .filter_map(|i| make(&i.key, Some(&i.end), i.data.as_deref(), None))
                .collect()
        } else {
            raw.iter()
                .filter_map(|r| make(&r.key, r.end.as_deref(), r.data.as_deref(), r.left))
                .collect()
        };
        Ok(found)
    }

    fn raw(&mut self, table: Table, set: SetName) -> io::Result<Vec<Raw>> {
        let (family, name) = self.table(table);
        let set = set.to_string();
        self.socket.dump(
            |buffer, seq, flags| {
                let open = buffer.message(kind(MSG_GETSETELEM), flags, seq, family, 0);
                buffer.put_text(TABLE, &name);
                buffer.put_text(LIST_SET, &set);
                buffer.end_message(&open);
            },
            |m, found| {
                if let Some(list) = find(m.attributes(), LIST_ELEMENTS) {
                    found.extend(element::decode(list));
                }
            },
        )
    }

    /// One element; only for sets without boundaries.
    pub(super) fn one(&mut self, wanted: &Element) -> io::Result<Option<Raw>> {
        let (family, name) = self.table(wanted.table);
        let message = ElementMessage {
            index: 0,
            element: wanted,
            add: false,
            exclusive: false,
        };
        let found = self.socket.ask(
            |buffer, seq, flags| {
                message.encode_as(buffer, kind(MSG_GETSETELEM), flags, seq, &(family, name));
            },
            |m| find(m.attributes(), LIST_ELEMENTS).and_then(|l| element::decode(l).next()),
        )?;
        Ok(found.filter(|r| matches(r, wanted)))
    }

    /// Whether exactly this element is there.
    pub fn has(&mut self, wanted: &Element) -> io::Result<bool> {
        if element::has_boundaries(wanted.set) {
            let all = self.elements(&wanted.at, wanted.table, wanted.set)?;
            return Ok(all.contains(wanted));
        }
        Ok(self.one(wanted)?.is_some_and(|r| {
            r.data == wanted.data.as_deref().map(element::encode_fields)
                && r.left.is_some() == wanted.expires.is_some()
        }))
    }

    /// Packets and bytes of elements; `None` for one that is not there or does not count.
    pub fn counters(&mut self, wanted: &[&Element]) -> io::Result<Vec<Option<(u64, u64)>>> {
        let mut by_set: BTreeMap<(Table, SetName), Vec<usize>> = BTreeMap::new();
        for (i, e) in wanted.iter().enumerate() {
            by_set.entry((e.table, e.set)).or_default().push(i);
        }
        let mut out = vec![None; wanted.len()];
        for ((table, set), members) in by_set {
            if members.len() < DUMP_FROM {
                for i in members {
                    out[i] = self.one(wanted[i])?.and_then(|r| r.counter);
                }
                continue;
            }
            let all: BTreeMap<_, _> = self
                .raw(table, set)?
                .into_iter()
                .map(|r| ((r.key, r.end), r.counter))
                .collect();
            for i in members {
                out[i] = all.get(&identity(wanted[i])).copied().flatten();
            }
        }
        Ok(out)
    }

    /// The number of the ruleset's current state: it grows with every change, whoever makes it.
    pub fn generation(&mut self) -> io::Result<u32> {
        let found = self.socket.ask(
            |buffer, seq, flags| {
                let open = buffer.message(kind(MSG_GETGEN), flags, seq, 0, 0);
                buffer.end_message(&open);
            },
            |m| find(m.attributes(), GEN_ID).and_then(be32),
        )?;
        found.ok_or_else(|| io::Error::other("the kernel told no ruleset generation"))
    }

    /// The names of all tables of a family, whosever they are.
    pub fn names(&mut self, family: u8) -> io::Result<Vec<String>> {
        self.socket.dump(
            |buffer: &mut Buffer, seq, flags| {
                let open = buffer.message(kind(MSG_GETTABLE), flags, seq, family, 0);
                buffer.end_message(&open);
            },
            |m, found| found.extend(find(m.attributes(), TABLE).map(text)),
        )
    }

    /// The rules in each chain of a table; `None` when the table is missing or dormant.
    pub fn chains(&mut self, table: Table) -> io::Result<Option<BTreeMap<String, usize>>> {
        let (family, name) = self.table(table);
        let about = |message: u16| {
            let name = name.clone();
            move |buffer: &mut Buffer, seq, flags| {
                let open = buffer.message(kind(message), flags, seq, family, 0);
                buffer.put_text(TABLE, &name);
                buffer.end_message(&open);
            }
        };
        let flags = self.socket.ask(about(MSG_GETTABLE), |m| {
            find(m.attributes(), TABLE_FLAGS).and_then(be32)
        })?;
        if flags != Some(0) {
            return Ok(None);
        }
        let ours = |m: &Received<'_>| {
            m.family() == family && find(m.attributes(), TABLE).map(text).as_deref() == Some(name.as_str())
        };
        // A dump of chains names no table; the foreign ones are left out here.
        let chains = self.socket.dump(about(MSG_GETCHAIN), |m, found| {
            if let Some(chain) = find(m.attributes(), CHAIN_NAME).filter(|_| ours(&m)) {
                found.push(text(chain));
            }
        })?;
        let rules = self.socket.dump(about(MSG_GETRULE), |m, found| {
            if let Some(chain) = find(m.attributes(), RULE_CHAIN).filter(|_| ours(&m)) {
                found.push(text(chain));
            }
        })?;
        let mut out: BTreeMap<String, usize> = chains.into_iter().map(|c| (c, 0)).collect();
        for chain in rules {
            *out.entry(chain).or_default() += 1;
        }
        Ok(Some(out))
    }

    /// Takes every element of a set away.
    pub fn empty(&mut self, table: Table, set: SetName) -> io::Result<()> {
        let (family, name) = self.table(table);
        let refusals = self.socket.transaction(1, |buffer, _, seq, flags| {
            let open = buffer.message(kind(MSG_DELSETELEM), flags, seq, family, 0);
            buffer.put_text(TABLE, &name);
            buffer.put_text(LIST_SET, &set.to_string());
            buffer.end_message(&open);
        })?;
        match refusals.first() {
            Some(refusal) => Err(io::Error::from_raw_os_error(refusal.errno)),
            None => Ok(()),
        }
    }

    /// Takes tables away in one transaction; missing ones are no matter.
    pub fn remove_tables(&mut self, tables: &[Table]) -> io::Result<()> {
        let mut left: Vec<(u8, String)> = tables.iter().map(|t| self.table(*t)).collect();
        while !left.is_empty() {
            let refusals = self.socket.transaction(left.len(), |buffer, i, seq, flags| {
                let open = buffer.message(kind(MSG_DELTABLE), flags, seq, left[i].0, 0);
                buffer.put_text(TABLE, &left[i].1);
                buffer.end_message(&open);
            })?;
            if refusals.is_empty() {
                self.committed += 1;
                self.destroyed = true;
                break;
            }
            let mut missing = Vec::new();
            for r in &refusals {
                match r.message {
                    Some(i) if r.errno == libc::ENOENT => missing.push(i),
                    _ => return Err(io::Error::from_raw_os_error(r.errno)),
                }
            }
            let mut index = 0;
            left.retain(|_| {
                index += 1;
                !missing.contains(&(index - 1))
            });
        }
        Ok(())
    }
}

pub(super) fn kind(message: u16) -> u16 {
    NFTABLES << 8 | message
}

fn identity(e: &Element) -> (Vec<u8>, Option<Vec<u8>>) {
    (
        element::encode_fields(&e.key),
        e.end.as_deref().map(element::encode_fields),
    )
}

/// The kernel answers for an interval with the one that holds the key.
fn matches(raw: &Raw, wanted: &Element) -> bool {
    let (key, end) = identity(wanted);
    raw.key == key && raw.end == end
}

fn from_now(left: u64) -> Expires {
    Expires(super::clock::since_boot().as_secs() + left.div_ceil(1000))
}
