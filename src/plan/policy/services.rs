//! What may pass between two ends: ports of each protocol that has them, and all other protocols.

use crate::model::Proto;

/// The protocols with ports, in the order of [`Services::ports`].
pub const WITH_PORTS: [Proto; 3] = [Proto::Tcp, Proto::Udp, Proto::Sctp];

const LAST: u16 = u16::MAX;

/// Ports: inclusive ranges, in order, disjoint, and never next to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ranges(Vec<(u16, u16)>);

impl Ranges {
    #[must_use]
    pub fn all() -> Self {
        Self(vec![(0, LAST)])
    }

    /// Nothing where the last is the smaller one.
    #[must_use]
    pub fn of(first: u16, last: u16) -> Self {
        Self((first <= last).then_some((first, last)).into_iter().collect())
    }

    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0 == [(0, LAST)]
    }

    pub fn iter(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.0.iter().copied()
    }

    pub fn add(&mut self, other: &Self) {
        let mut all = [&self.0[..], &other.0].concat();
        all.sort_unstable();
        self.0.clear();
        for (first, last) in all {
            match self.0.last_mut() {
                Some(before) if u32::from(first) <= u32::from(before.1) + 1 => {
                    before.1 = before.1.max(last);
                }
                _ => self.0.push((first, last)),
            }
        }
    }

    pub fn take(&mut self, other: &Self) {
        for (a, b) in &other.0 {
            let mut left = Vec::with_capacity(self.0.len() + 1);
            for (first, last) in &self.0 {
                if first < a {
                    left.push((*first, (*last).min(a - 1)));
                }
                if last > b {
                    left.push(((*first).max(b + 1), *last));
                }
            }
            self.0 = left;
        }
    }
}

/// A set of services.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Services {
    /// Of TCP, UDP and SCTP.
    pub ports: [Ranges; 3],
    /// Every protocol without ports.
    pub others: bool,
}

impl Services {
    #[must_use]
    pub fn all() -> Self {
        Self {
            ports: [Ranges::all(), Ranges::all(), Ranges::all()],
            others: true,
        }
    }

    /// These ports of one protocol, or of each.
    #[must_use]
    pub fn of(proto: Option<Proto>, ports: &Ranges) -> Self {
        let is = |p: Proto| proto.is_none_or(|wanted| wanted == p);
        Self {
            ports: WITH_PORTS.map(|p| if is(p) { ports.clone() } else { Ranges::default() }),
            others: false,
        }
    }

    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.others && self.ports.iter().all(|p| p.0.is_empty())
    }

    #[must_use]
    pub fn is_all(&self) -> bool {
        self.others && self.ports.iter().all(Ranges::is_all)
    }

    pub fn add(&mut self, other: &Self) {
        self.others |= other.others;
        self.ports
            .iter_mut()
            .zip(&other.ports)
            .for_each(|(a, b)| a.add(b));
    }

    pub fn take(&mut self, other: &Self) {
        self.others &= !other.others;
        self.ports
            .iter_mut()
            .zip(&other.ports)
            .for_each(|(a, b)| a.take(b));
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (mut outside, mut both) = (self.clone(), self.clone());
        outside.take(other);
        both.take(&outside);
        both
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> impl Strategy<Value = (Ranges, Vec<(u16, u16)>)> {
        let edge = prop_oneof![0u16..12, (LAST - 11)..=LAST];
        prop::collection::vec((edge.clone(), edge), 0..4).prop_map(|list| {
            let mut all = Ranges::default();
            list.iter().for_each(|(a, b)| all.add(&Ranges::of(*a, *b)));
            (all, list)
        })
    }

    proptest! {
        #[test]
        fn ranges_are_sets_of_ports((a, listed) in ranges(), (b, _) in ranges()) {
            let holds = |r: &Ranges, port| r.iter().any(|(x, y)| (x..=y).contains(&port));
            let (mut sum, mut rest) = (a.clone(), a.clone());
            sum.add(&b);
            rest.take(&b);
            for port in (0..14).chain(LAST - 13..=LAST) {
                prop_assert_eq!(holds(&a, port), listed.iter().any(|(x, y)| (*x..=*y).contains(&port)));
                prop_assert_eq!(holds(&sum, port), holds(&a, port) || holds(&b, port));
                prop_assert_eq!(holds(&rest, port), holds(&a, port) && !holds(&b, port));
            }
            for set in [&a, &sum, &rest] {
                let list: Vec<_> = set.iter().collect();
                prop_assert!(list.windows(2).all(|w| w[0].1 < w[1].0 && w[1].0 - w[0].1 > 1), "{:?}", list);
            }
        }
    }
}
