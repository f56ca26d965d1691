//! As much of SCTP (RFC 9260) as asks for an association and answers: most kernels are built without it.

use crate::kernel::linux::probe::crc32c;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;

/// A packet that came, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody asks; the answer is to carry this tag.
    Asked { from: u16, to: u16, tag: u32 },
    /// Somebody answers what was asked with this tag: yes or no, it was heard there.
    Answered { tag: u32 },
}

/// An INIT from port to port, to be answered with this tag.
pub fn init(from: u16, to: u16, tag: u32) -> Vec<u8> {
    packet(from, to, 0, INIT, tag)
}

/// The answer to an INIT, with a cookie that nobody will send back.
pub fn init_ack(from: u16, to: u16, tag: u32) -> Vec<u8> {
    packet(from, to, tag, INIT_ACK, 1)
}

/// Header, one chunk with a tag of its sender, a window, one stream each way and a first number.
fn packet(from: u16, to: u16, verification: u32, chunk: u8, tag: u32) -> Vec<u8> {
    let cookie: &[u8] = if chunk == INIT_ACK {
        &[0, 7, 0, 8, b'm', b'o', b'a', b't']
    } else {
        &[]
    };
    let mut out = Vec::with_capacity(40);
    out.extend(from.to_be_bytes());
    out.extend(to.to_be_bytes());
    out.extend(verification.to_be_bytes());
    out.extend([0; 4]);
    out.extend([chunk, 0, 0, 20 + cookie.len() as u8]);
    out.extend(tag.to_be_bytes());
    out.extend([0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
    out.extend(cookie);
    let sum = crc32c(&out).to_le_bytes();
    out[8..12].copy_from_slice(&sum);
    out
}

/// Reads a packet without its IP header.
pub fn read(packet: &[u8]) -> Option<Heard> {
    let port = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
    let tag = |at: usize| Some(u32::from_be_bytes(packet.get(at..at + 4)?.try_into().ok()?));
    match *packet.get(12)? {
        INIT => Some(Heard::Asked {
            from: port(0)?,
            to: port(2)?,
            tag: tag(16)?,
        }),
        // A kernel that has SCTP refuses what nobody asked for there.
        INIT_ACK | ABORT => Some(Heard::Answered { tag: tag(4)? }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_answered_with_its_tag() {
        let asked = read(&init(50_000, 80, 0x0102_0304)).unwrap();
        let Heard::Asked { from, to, tag } = asked else {
            panic!("{asked:?}");
        };
        assert_eq!((from, to, tag), (50_000, 80, 0x0102_0304));
        assert_eq!(read(&init_ack(to, from, tag)), Some(Heard::Answered { tag }));
        assert_eq!(init_ack(80, 50_000, tag).len(), 40);
        assert_eq!(read(&[0; 11]), None);
    }
}
