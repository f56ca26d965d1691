//! The attributes of a token bucket (`struct tc_tbf_qopt` in `include/uapi/linux/pkt_sched.h`),
//! which the crate does not know, and the numbers in them.
//!
//! The bucket's size is told as the time it takes to fill at the rate, in ticks of 64 ns
//! (`PSCHED_SHIFT` in `include/net/pkt_sched.h`).

use netlink_packet_core::{DefaultNla, Nla as _};
use netlink_packet_route::tc::{TcAttribute, TcMessage, TcOption};

use super::limit::Limit;
use super::wire;

pub(super) const KIND: &str = "tbf";

const PARMS: u16 = 1;
const RATE64: u16 = 4;

/// Where the fields of `struct tc_tbf_qopt` begin.
const RATE: usize = 8;
const LIMIT: usize = 24;
const BUFFER: usize = 28;
const SIZE: usize = 36;

/// How long a packet may wait, in microseconds; the reference's value.
const LATENCY: u128 = 25_000;
const NANOSECONDS_OF_TICK: u128 = 64;

/// As the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Bytes a second.
    rate: u64,
    /// Bytes that may wait.
    limit: u32,
    /// Ticks.
    buffer: u32,
}

impl Bucket {
    /// The reference's numbers, except that what does not fit is cut off at the largest value
    /// instead of at 32 bits.
    pub fn of(limit: Limit) -> Self {
        let narrow = |n: u128| u32::try_from(n).unwrap_or(u32::MAX);
        let (rate, burst) = ((limit.rate / 8).max(1), limit.burst / 8);
        let wide = u128::from(rate);
        let filling = narrow(u128::from(burst) * 1_000_000 / wide);
        Self {
            rate,
            limit: narrow(wide * LATENCY / 1_000_000 + u128::from(burst)),
            buffer: narrow(u128::from(filling) * 1000 / NANOSECONDS_OF_TICK),
        }
    }

    pub fn options(self) -> Vec<TcOption> {
        let mut parms = [0; SIZE];
        let rate = u32::try_from(self.rate).unwrap_or(u32::MAX);
        for (at, value) in [(RATE, rate), (LIMIT, self.limit), (BUFFER, self.buffer)] {
            parms[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        let mut all = vec![other(PARMS, &parms)];
        if rate == u32::MAX {
            all.push(other(RATE64, &self.rate.to_ne_bytes()));
        }
        all
    }

    /// `None` for another qdisc.
    pub fn read(message: &TcMessage) -> Option<Self> {
        let is_kind = |a: &TcAttribute| matches!(a, TcAttribute::Kind(k) if k == KIND);
        message.attributes.iter().find(|a| is_kind(a))?;
        // An unknown kind's options are one attribute, undivided.
        let options = message.attributes.iter().find_map(|a| match a {
            TcAttribute::Options(all) => match all.first() {
                Some(TcOption::Other(whole)) => Some(whole),
                _ => None,
            },
            _ => None,
        })?;
        let mut bytes = vec![0; options.value_len()];
        options.emit_value(&mut bytes);
        let parms = wire::find(&bytes, PARMS)?;
        let number = |at: usize| Some(u32::from_ne_bytes(parms.get(at..at + 4)?.try_into().ok()?));
        let wide = wire::find(&bytes, RATE64).and_then(|b| b.try_into().ok().map(u64::from_ne_bytes));
        Some(Self {
            rate: wide.unwrap_or(number(RATE)?.into()),
            limit: number(LIMIT)?,
            buffer: number(BUFFER)?,
        })
    }
}

fn other(kind: u16, value: &[u8]) -> TcOption {
    TcOption::Other(DefaultNla::new(kind, value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tc qdisc show` and the reference's test say of these limits.
    #[test]
    fn numbers_are_those_of_the_reference() {
        let bucket = |rate, burst| Bucket::of(Limit { rate, burst });
        let b = bucket(8_000_000, 80_000);
        // 10 kB at 1 MB a second are 10 ms.
        assert_eq!((b.rate, b.limit, b.buffer), (1_000_000, 35_000, 156_250));
        // containerd's burst for "any".
        let b = bucket(1_000_000, 4_294_967_295);
        assert_eq!((b.rate, b.limit, b.buffer), (125_000, 536_874_036, u32::MAX));
        assert_eq!(bucket(1, 8).rate, 1);
        assert_eq!(bucket(u64::MAX, u64::MAX).limit, u32::MAX);
    }
}
