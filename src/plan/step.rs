//! Steps: an object to make or to take away, and plans that can be reversed.

use super::object::{Object, State};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Add(Object),
    Del(Object),
}

impl Step {
    /// The step that undoes this one.
    #[must_use]
    pub fn reversed(&self) -> Self {
        match self {
            Self::Add(o) => Self::Del(o.clone()),
            Self::Del(o) => Self::Add(o.clone()),
        }
    }

    #[must_use]
    pub fn object(&self) -> &Object {
        match self {
            Self::Add(o) | Self::Del(o) => o,
        }
    }
}

/// Steps in the order in which they are to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(pub Vec<Step>);

impl Plan {
    /// What makes `wanted` out of `present`: first what is too much goes, last made first;
    /// then what is missing comes.
    #[must_use]
    pub fn between(present: &State, wanted: &State) -> Self {
        let gone = present
            .iter()
            .rev()
            .filter(|o| !wanted.contains(o))
            .cloned()
            .map(Step::Del);
        let new = wanted.difference(present).cloned().map(Step::Add);
        Self(gone.chain(new).collect())
    }

    /// What makes `after` out of `before`, both planned: as [`Plan::between`], and an element
    /// whose time changed is taken away and made again. What was observed is compared
    /// with `between`: the time that an element has left is never exactly what was planned.
    #[must_use]
    pub fn change(before: &State, after: &State) -> Self {
        let retimed = |o: &&Object| {
            matches!((o, after.get(*o)), (Object::Element(a), Some(Object::Element(b)))
            if a.expires.map(|x| x.0) != b.expires.map(|x| x.0))
        };
        let kept: State = before.iter().filter(|o| !retimed(o)).cloned().collect();
        let mut gone: Vec<Step> = before
            .iter()
            .rev()
            .filter(|o| retimed(o) || !after.contains(o))
            .cloned()
            .map(Step::Del)
            .collect();
        gone.extend(after.difference(&kept).cloned().map(Step::Add));
        Self(gone)
    }

    /// Makes all of `objects`.
    #[must_use]
    pub fn add(objects: &State) -> Self {
        Self(objects.iter().cloned().map(Step::Add).collect())
    }

    /// Takes all of `objects` away.
    #[must_use]
    pub fn remove(objects: &State) -> Self {
        Self(objects.iter().rev().cloned().map(Step::Del).collect())
    }

    /// Undoes this plan.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self(self.0.iter().rev().map(Step::reversed).collect())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
