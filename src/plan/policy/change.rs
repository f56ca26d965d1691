//! From the elements of some policies to those of others, while packets pass.

use std::collections::BTreeMap;

use crate::plan::object::{Object, State};
use crate::plan::set::{Element, SetName};
use crate::plan::step::{Plan, Step};

/// The steps between two compiled states; as many as fit are one transaction. Where they are more, grants that end
/// go first, then addresses change their classes, each at once, and new grants come last: on the way every pod is
/// as it was or as it will be, or closed.
#[must_use]
pub fn change(before: &State, after: &State) -> Plan {
    let elements = |from: &State, without: &State| -> Vec<Element> {
        let only = from.difference(without);
        only.filter_map(|o| match o {
            Object::Element(e) => Some(e.clone()),
            _ => None,
        })
        .collect()
    };
    let (gone, come) = (elements(before, after), elements(after, before));
    let grants =
        |list: &[Element]| -> Vec<Element> { list.iter().filter(|e| e.set.is_grant()).cloned().collect() };
    let mut steps: Vec<Step> = grants(&gone).into_iter().map(del).collect();
    // Ranges are cut anew: all that change go before others take their place.
    let is_range = |e: &&Element| e.set.is_interval() && !e.set.is_grant();
    steps.extend(gone.iter().filter(is_range).cloned().map(del));
    steps.extend(come.iter().filter(is_range).cloned().map(add));
    let mut addresses: BTreeMap<(SetName, String), Vec<Step>> = BTreeMap::new();
    let is_address = |e: &&Element| !e.set.is_interval() && !e.set.is_grant();
    let changed = gone.iter().filter(is_address).map(|e| (e, del(e.clone())));
    for (e, step) in changed.chain(come.iter().filter(is_address).map(|e| (e, add(e.clone())))) {
        addresses.entry((e.set, e.identity())).or_default().push(step);
    }
    steps.extend(addresses.into_values().flatten());
    steps.extend(grants(&come).into_iter().map(add));
    Plan(steps)
}

fn add(e: Element) -> Step {
    Step::Add(Object::Element(e))
}

fn del(e: Element) -> Step {
    Step::Del(Object::Element(e))
}
