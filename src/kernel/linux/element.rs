//! Set elements as `nf_tables` attributes, and back.
//!
//! Relies on `include/uapi/linux/netfilter/nf_tables.h` and on how `nft` lays keys out: the
//! fields of a concatenation are padded to four bytes each, in network order. An interval
//! of one field is two elements, its start and (flagged) the address after its end; of
//! several fields, one element with `KEY` and `KEY_END`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::wire::{Buffer, attributes, be32, be64, find};
use crate::model::Mac;
use crate::plan::{Element, Expires, Field, SetName, skeleton};

const LIST_ELEM: u16 = 1;
const ELEM_KEY: u16 = 1;
const ELEM_DATA: u16 = 2;
const ELEM_FLAGS: u16 = 3;
const ELEM_TIMEOUT: u16 = 4;
const ELEM_EXPIRATION: u16 = 5;
const ELEM_EXPR: u16 = 7;
const ELEM_KEY_END: u16 = 10;
const DATA_VALUE: u16 = 1;
const INTERVAL_END: u32 = 1;
const EXPR_DATA: u16 = 2;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;

/// Whether a set's elements are pairs of boundaries.
pub(super) fn has_boundaries(set: SetName) -> bool {
    set.is_interval() && set.key_types().len() == 1
}

/// The bytes of a key, value or boundary.
pub(super) fn encode_fields(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::with_capacity(fields.len() * 16);
    for field in fields {
        match field {
            Field::Ip(IpAddr::V4(a)) => out.extend_from_slice(&a.octets()),
            Field::Ip(IpAddr::V6(a)) => out.extend_from_slice(&a.octets()),
            Field::Mac(m) => out.extend_from_slice(&m.0),
            Field::Iface(name) => {
                let mut padded = [0; 16];
                for (to, from) in padded.iter_mut().zip(name.bytes().take(15)) {
                    *to = from;
                }
                out.extend_from_slice(&padded);
            }
            Field::Proto(p) => out.push(*p),
            Field::Port(p) => out.extend_from_slice(&p.to_be_bytes()),
            Field::Class(n) => out.extend_from_slice(&skeleton::class_bits(*n).to_be_bytes()),
        }
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// The fields of these types that the bytes hold; `None` when they do not fit.
pub(super) fn decode_fields(types: &[&str], mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut out = Vec::with_capacity(types.len());
    for kind in types {
        let len: usize = match *kind {
            "ipv6_addr" | "ifname" => 16,
            "ipv4_addr" | "mark" | "classid" => 4,
            "ether_addr" => 6,
            "inet_proto" => 1,
            "inet_service" => 2,
            _ => return None,
        };
        let value = bytes.get(..len)?;
        out.push(match *kind {
            "ipv4_addr" => Field::Ip(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
            "ipv6_addr" => Field::Ip(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
            "ether_addr" => Field::Mac(Mac(value.try_into().ok()?)),
            // A number of ours has its two bytes twice, see `class_bits`.
            "mark" | "classid" => Field::Class(u16::from_be_bytes([value[0], value[1]])),
            "inet_proto" => Field::Proto(value[0]),
            "inet_service" => Field::Port(u16::from_be_bytes(value.try_into().ok()?)),
            _ => Field::Iface(super::wire::text(value)),
        });
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(out)
}

/// Writes the elements of one [`Element`]: one, or two for an interval of one field.
/// `whole` adds what only a new element has: value and timeout.
pub(super) fn encode(buffer: &mut Buffer, element: &Element, whole: bool) {
    let open = buffer.nest(LIST_ELEM);
    if let Some(left) = element.expires.filter(|_| whole).and_then(time_left) {
        buffer.put(ELEM_TIMEOUT, &left.to_be_bytes());
    }
    put_key(buffer, ELEM_KEY, &encode_fields(&element.key));
    if has_boundaries(element.set) {
        if let Some(data) = element.data.as_ref().filter(|_| whole) {
            put_key(buffer, ELEM_DATA, &encode_fields(data));
        }
        buffer.end_nest(&open);
        if let Some(after) = element.end.as_deref().and_then(after) {
            let open = buffer.nest(LIST_ELEM);
            buffer.put(ELEM_FLAGS, &INTERVAL_END.to_be_bytes());
            put_key(buffer, ELEM_KEY, &after);
            buffer.end_nest(&open);
        }
        return;
    }
    if let Some(end) = &element.end {
        put_key(buffer, ELEM_KEY_END, &encode_fields(end));
    }
    if let Some(data) = element.data.as_ref().filter(|_| whole) {
        put_key(buffer, ELEM_DATA, &encode_fields(data));
    }
    buffer.end_nest(&open);
}

fn put_key(buffer: &mut Buffer, kind: u16, bytes: &[u8]) {
    let open = buffer.nest(kind);
    buffer.put(DATA_VALUE, bytes);
    buffer.end_nest(&open);
}

/// The milliseconds until then; `None` when it is over.
pub(super) fn time_left(expires: Expires) -> Option<u64> {
    let left = Duration::from_secs(expires.0).checked_sub(super::clock::since_boot())?;
    u64::try_from(left.as_millis()).ok().filter(|ms| *ms > 0)
}

/// The boundary after a range's last address; `None` after the last address there is.
fn after(end: &[Field]) -> Option<Vec<u8>> {
    match end.first()? {
        Field::Ip(IpAddr::V4(a)) => Some(a.to_bits().checked_add(1)?.to_be_bytes().to_vec()),
        Field::Ip(IpAddr::V6(a)) => Some(a.to_bits().checked_add(1)?.to_be_bytes().to_vec()),
        _ => None,
    }
}

/// One element as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub key: Vec<u8>,
    pub end: Option<Vec<u8>>,
    pub data: Option<Vec<u8>>,
    pub is_end: bool,
    /// Milliseconds until it leaves its set.
    pub left: Option<u64>,
    /// Packets and bytes.
    pub counter: Option<(u64, u64)>,
}

/// The elements in a `NFTA_SET_ELEM_LIST_ELEMENTS` attribute.
pub(super) fn decode(list: &[u8]) -> impl Iterator<Item = Raw> {
    attributes(list)
        .filter(|(kind, _)| *kind == LIST_ELEM)
        .filter_map(|(_, bytes)| {
            let value = |kind| find(find(bytes, kind)?, DATA_VALUE).map(<[u8]>::to_vec);
            let number = |kind| find(bytes, kind).and_then(be64);
            Some(Raw {
                key: value(ELEM_KEY)?,
                end: value(ELEM_KEY_END),
                data: value(ELEM_DATA),
                is_end: find(bytes, ELEM_FLAGS)
                    .and_then(be32)
                    .is_some_and(|f| f & INTERVAL_END != 0),
                left: number(ELEM_TIMEOUT).map(|t| number(ELEM_EXPIRATION).unwrap_or(t)),
                counter: find(bytes, ELEM_EXPR)
                    .and_then(|e| find(e, EXPR_DATA))
                    .and_then(|c| Some((be64(find(c, COUNTER_PACKETS)?)?, be64(find(c, COUNTER_BYTES)?)?))),
            })
        })
}

/// An interval of a set of one field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub key: Vec<u8>,
    /// The last one inside.
    pub end: Vec<u8>,
    pub data: Option<Vec<u8>>,
}

/// The intervals that boundaries stand for.
pub(super) fn pair_boundaries(mut raw: Vec<Raw>) -> Vec<Interval> {
    // At one address the end of one interval comes before the start of the next.
    raw.sort_by(|a, b| (&a.key, !a.is_end).cmp(&(&b.key, !b.is_end)));
    let mut out = Vec::new();
    let mut start: Option<Raw> = None;
    for r in raw {
        if r.is_end {
            if let Some(s) = start.take() {
                out.push(s.until(before(&r.key)));
            }
        } else {
            start = Some(r);
        }
    }
    if let Some(s) = start {
        let last = vec![0xff; s.key.len()];
        out.push(s.until(last));
    }
    out
}

impl Raw {
    fn until(self, end: Vec<u8>) -> Interval {
        Interval {
            key: self.key,
            end,
            data: self.data,
        }
    }
}

fn before(key: &[u8]) -> Vec<u8> {
    let mut out = key.to_vec();
    for byte in out.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;
    use crate::plan::{Place, Table};

    fn element(set: SetName, key: Vec<Field>, end: Option<Vec<Field>>, data: Option<Vec<Field>>) -> Element {
        Element {
            at: Place::Router,
            table: Table::Wall,
            set,
            key,
            end,
            data,
            expires: None,
        }
    }

    fn ip(text: &str) -> Field {
        Field::Ip(text.parse().unwrap())
    }

    fn interval(key: Vec<u8>, end: Vec<u8>) -> Interval {
        let data = None;
        Interval { key, end, data }
    }

    fn hex(element: &Element) -> String {
        let mut buffer = Buffer::default();
        encode(&mut buffer, element, true);
        buffer.bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The bytes are those that nft 1.0.6 sends (`nft --debug=mnl`) on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn elements_are_encoded_as_nft_does() {
        let key = vec![
            Field::Iface("mtp2".into()),
            Field::Mac(Mac([2, 0, 10, 9, 0, 2])),
            ip("10.9.0.2"),
        ];
        assert_eq!(
            hex(&element(SetName::Source(Family::Ip4), key, None, None)),
            "2800018024000180200001006d74703200000000000000000000000002000a09000200000a090002"
        );
        let key = |port| vec![ip("10.9.0.2"), ip("10.9.0.3"), Field::Proto(6), Field::Port(port)];
        assert_eq!(
            hex(&element(
                SetName::Range(Family::Ip4),
                key(8000),
                Some(key(8100)),
                None
            )),
            "3400018018000180140001000a0900020a090003060000001f400000\
             18000a80140001000a0900020a090003060000001fa40000"
        );
        let (key, data) = (
            vec![Field::Proto(6), Field::Port(8080)],
            vec![ip("fd09::3"), Field::Port(80)],
        );
        assert_eq!(
            hex(&element(SetName::Any(Family::Ip6), key, None, Some(data))),
            "30000180100001800c000100060000001f900000\
             1c00028018000100fd09000000000000000000000000000300500000"
        );
        let near = element(
            SetName::Near(Family::Ip4),
            vec![ip("10.9.0.0")],
            Some(vec![ip("10.9.255.255")]),
            None,
        );
        assert_eq!(
            hex(&near),
            "100001800c000180080001000a0900001800018008000300000000010c000180080001000a0a0000"
        );
    }

    #[test]
    fn the_last_range_has_no_boundary_after_it() {
        let set = SetName::Near(Family::Ip6);
        let all = element(
            set,
            vec![ip("ffff::")],
            Some(vec![Field::Ip([0xff; 16].into())]),
            None,
        );
        let mut buffer = Buffer::default();
        encode(&mut buffer, &all, true);
        let raw: Vec<Raw> = decode(&buffer.bytes).collect();
        assert_eq!(raw.len(), 1);
        assert_eq!(
            pair_boundaries(raw),
            [interval(encode_fields(&all.key), vec![0xff; 16])]
        );
    }

    #[test]
    fn fields_come_back_as_they_went() {
        let key = vec![ip("fd09::1"), ip("fd09::2"), Field::Proto(17), Field::Port(53)];
        let types = SetName::Port(Family::Ip6).key_types();
        assert_eq!(decode_fields(&types, &encode_fields(&key)), Some(key));
        assert_eq!(decode_fields(&types, &[0; 7]), None);
    }

    #[test]
    fn adjacent_ranges_stay_two() {
        let range = |a: &str, b: &str| {
            let mut buffer = Buffer::default();
            let range = element(SetName::Near(Family::Ip4), vec![ip(a)], Some(vec![ip(b)]), None);
            encode(&mut buffer, &range, true);
            decode(&buffer.bytes).collect::<Vec<_>>()
        };
        let mut raw = range("10.10.0.0", "10.10.255.255");
        raw.extend(range("10.9.0.0", "10.9.255.255"));
        let wanted = [
            ([10, 9, 0, 0], [10, 9, 255, 255]),
            ([10, 10, 0, 0], [10, 10, 255, 255]),
        ];
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(a, b)| interval(a.to_vec(), b.to_vec()))
            .collect();
        assert_eq!(pair_boundaries(raw), wanted);
    }
}
