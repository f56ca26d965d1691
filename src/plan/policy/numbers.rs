//! Numbers of classes: by what a class is, so that a change elsewhere renumbers nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The number of those that no policy selects in a direction: all may pass.
pub const FREE: u16 = 1;

/// More classes than there are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} classes of pods and addresses are more than the 60000 that the packet filter is given")]
pub struct TooMany(pub usize);

const MOST: usize = 60_000;

/// What stands for each class. Where two fall on one number, the later in order takes the next that is free.
pub fn number(classes: BTreeSet<String>) -> Result<BTreeMap<String, u16>, TooMany> {
    if classes.len() > MOST {
        return Err(TooMany(classes.len()));
    }
    let mut taken = HashSet::from([0, FREE]);
    let numbered = classes.into_iter().map(|class| {
        let mut number = digest(&class);
        while !taken.insert(number) {
            number = number.wrapping_add(1);
        }
        (class, number)
    });
    Ok(numbered.collect())
}

/// FNV-1a, folded.
fn digest(text: &str) -> u16 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 16 ^ hash >> 32 ^ hash >> 48) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_apart_and_stay() {
        let names = |n: usize| (0..n).map(|i| format!("class {i}")).collect::<BTreeSet<_>>();
        let (few, many) = (number(names(2000)).unwrap(), number(names(2001)).unwrap());
        assert!(few.values().all(|n| *n > FREE));
        assert_eq!(few.values().collect::<BTreeSet<_>>().len(), 2000);
        let moved = few.iter().filter(|(name, n)| many[*name] != **n).count();
        assert!(moved <= 3, "{moved} of 2000 changed their numbers");
        assert_eq!(number(names(MOST + 1)), Err(TooMany(MOST + 1)));
        assert!(number(names(MOST)).is_ok());
    }
}
