//! Reading a mapping key by key: what nobody asked for is an error in the end.

use super::{Fault, Key, Node, Pos};
use crate::model::nearest;

/// A mapping whose keys are taken one by one.
#[derive(Debug)]
pub struct Fields<'a> {
    pub pos: Pos,
    what: String,
    entries: &'a [(Key, Node)],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(entries: &'a [(Key, Node)], pos: Pos, what: String) -> Self {
        Self {
            pos,
            what,
            entries,
            known: vec![],
        }
    }

    /// The value of a key, which is known from now on; `None` also where nothing stands behind it.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        let found = self.entries.iter().find(|(k, _)| k.text == key);
        found.map(|(_, node)| node).filter(|node| !node.is_null())
    }

    /// The value of a key that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn need(&mut self, key: &'static str) -> Result<&'a Node, Fault> {
        let missing = Fault::new(self.pos, format!("{} needs the key `{key}`", self.what));
        self.take(key).ok_or(missing)
    }

    /// The keys that nobody took.
    pub fn rest(&self) -> impl Iterator<Item = &'a (Key, Node)> + '_ {
        let entries = self.entries.iter();
        entries.filter(|(k, _)| !self.known.contains(&k.text.as_str()))
    }

    /// Ends the reading: keys that begin with `x-` are somebody else's.
    ///
    /// # Errors
    /// The first other key that nobody took.
    pub fn finish_extensible(self) -> Result<(), Fault> {
        let own = |k: &Key| k.text.starts_with("x-");
        match self.rest().find(|(k, _)| !own(k)) {
            Some((key, _)) => Err(self.unknown(key)),
            None => Ok(()),
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// The first key that nobody took.
    pub fn finish(self) -> Result<(), Fault> {
        match self.rest().next() {
            Some((key, _)) => Err(self.unknown(key)),
            None => Ok(()),
        }
    }

    fn unknown(&self, key: &Key) -> Fault {
        let what = format!("unknown or unsupported key `{}` of {}", key.text, self.what);
        let near = nearest(&key.text, self.known.iter().copied());
        let mut known = self.known.clone();
        known.sort_unstable();
        Fault::new(key.pos, what).hinting(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys are: {}", known.join(", ")),
        })
    }
}
