//! Netlink attributes and messages as bytes, for the subsystems no crate encodes well.
//!
//! Owns the layout of `struct nlmsghdr`, `struct nfgenmsg` and `struct nlattr`
//! (`include/uapi/linux/netlink.h`, `nfnetlink.h`); every length is padded to four bytes.
//! Integers of netfilter attributes are in network order, headers in host order.

use std::io;

/// The attribute's value is itself a list of attributes.
pub(super) const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;
const GENMSG: usize = 4;

/// Messages in one buffer, as one `sendmsg` takes them.
#[derive(Default)]
pub(super) struct Buffer {
    pub bytes: Vec<u8>,
}

/// An open message or nested attribute; closing it writes its length.
#[must_use]
pub(super) struct Open(usize);

impl Buffer {
    /// Starts a netfilter message: `kind` is the subsystem and message, `family` an `NFPROTO_*`.
    pub fn message(&mut self, kind: u16, flags: u16, seq: u32, family: u8, resource: u16) -> Open {
        let open = Open(self.bytes.len());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        open
    }

    /// Ends the message that `open` started.
    pub fn end_message(&mut self, open: &Open) {
        let len = u32::try_from(self.bytes.len() - open.0).unwrap_or(u32::MAX);
        self.bytes[open.0..open.0 + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// Starts a nested attribute.
    pub fn nest(&mut self, kind: u16) -> Open {
        let open = Open(self.bytes.len());
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        open
    }

    /// Ends the attribute that `open` started.
    pub fn end_nest(&mut self, open: &Open) {
        let len = u16::try_from(self.bytes.len() - open.0).unwrap_or(u16::MAX);
        self.bytes[open.0..open.0 + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// One attribute, padded.
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// A text with its final zero.
    pub fn put_text(&mut self, kind: u16, text: &str) {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.put(kind, &value);
    }
}

/// The attributes of a list, as (type without flags, value). Stops where the bytes make no sense.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.get(..4)?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of this type.
pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, v)| v)
}

pub(super) fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

pub(super) fn be64(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(value.try_into().ok()?))
}

/// A zero-terminated text.
pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// One received message.
#[derive(Clone, Copy)]
pub(super) struct Received<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    /// After the `nlmsghdr`.
    pub payload: &'a [u8],
}

impl<'a> Received<'a> {
    /// The attributes after `struct nfgenmsg`.
    pub fn attributes(&self) -> &'a [u8] {
        self.payload.get(GENMSG..).unwrap_or_default()
    }

    /// The family byte of `struct nfgenmsg`.
    pub fn family(&self) -> u8 {
        self.payload.first().copied().unwrap_or_default()
    }

    /// The errno of an `NLMSG_ERROR` or `NLMSG_DONE`: `Ok` for an acknowledgement.
    pub fn outcome(&self) -> io::Result<()> {
        let code = self
            .payload
            .get(..4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, i32::from_ne_bytes);
        match code {
            0 => Ok(()),
            c => Err(io::Error::from_raw_os_error(c.wrapping_neg())),
        }
    }
}

/// The messages of a datagram.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let h = bytes.get(..HEADER)?;
        let len = usize::try_from(u32::from_ne_bytes([h[0], h[1], h[2], h[3]])).ok()?;
        let payload = bytes.get(HEADER..len)?;
        let message = Received {
            kind: u16::from_ne_bytes([h[4], h[5]]),
            flags: u16::from_ne_bytes([h[6], h[7]]),
            seq: u32::from_ne_bytes([h[8], h[9], h[10], h[11]]),
            payload,
        };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}
