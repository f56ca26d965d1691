//! Sets of pods, a bit each.

use super::cluster::PodId;

/// A set of pods of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodSet {
    words: Vec<u64>,
}

impl PodSet {
    /// None of `count` pods.
    #[must_use]
    pub fn none(count: usize) -> Self {
        Self {
            words: vec![0; count.div_ceil(64)],
        }
    }

    /// All of `count` pods.
    #[must_use]
    pub fn all(count: usize) -> Self {
        let mut set = Self::none(count);
        for (at, word) in set.words.iter_mut().enumerate() {
            let left = count - at * 64;
            *word = if left >= 64 { u64::MAX } else { (1 << left) - 1 };
        }
        set
    }

    /// Those of `count` pods for which it is so.
    #[must_use]
    pub fn of(count: usize, is: impl Fn(PodId) -> bool) -> Self {
        let mut set = Self::none(count);
        (0..count as u32)
            .map(PodId)
            .filter(|p| is(*p))
            .for_each(|p| set.insert(p));
        set
    }

    pub fn insert(&mut self, pod: PodId) {
        self.words[pod.index() / 64] |= 1 << (pod.index() % 64);
    }

    #[must_use]
    pub fn contains(&self, pod: PodId) -> bool {
        self.words[pod.index() / 64] >> (pod.index() % 64) & 1 == 1
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    /// Keeps what is in another, too.
    pub fn keep(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    /// Takes all of another away.
    pub fn take(&mut self, other: &Self) {
        self.words
            .iter_mut()
            .zip(&other.words)
            .for_each(|(a, b)| *a &= !b);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|w| *w == 0)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = PodId> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let bits = (0..64u32).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| PodId(at as u32 * 64 + bit))
        })
    }
}
