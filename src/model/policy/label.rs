//! Labels and what selects by them, with the semantics of `k8s.io/apimachinery/pkg/labels`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::yaml::Pos;

/// Labels of a pod, namespace or node.
pub type Labels = BTreeMap<String, String>;

/// The label that every namespace bears, with its own name as value.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// How a requirement judges the value of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// One condition of a selector.
#[derive(Clone, Debug)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// One or more with `In` and `NotIn`; the empty text is a value like others.
    pub values: BTreeSet<String>,
    pub pos: Pos,
}

/// Conditions that must all hold; none at all selects everything.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    pub requirements: Vec<Requirement>,
    pub pos: Pos,
}

impl Requirement {
    /// An absent key is in no set of values: so `NotIn` holds, also where the empty value is excluded.
    #[must_use]
    pub fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|v| self.values.contains(v)),
            Operator::NotIn => value.is_none_or(|v| !self.values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl Selector {
    #[must_use]
    pub fn selects(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|r| r.holds(labels))
    }

    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether two say the same, wherever they stand.
    #[must_use]
    pub fn key(&self) -> String {
        let mut parts: Vec<_> = self.requirements.iter().map(|r| format!("{r:#}")).collect();
        parts.sort();
        parts.join("\n")
    }
}

/// As kubectl writes selectors; with `#` unambiguous for any text.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            return write!(f, "{:?} {:?} {:?}", self.key, self.operator, self.values);
        }
        let key = &self.key;
        let values = || self.values.iter().map(String::as_str).collect::<Vec<_>>();
        match (self.operator, self.values.len()) {
            (Operator::Exists, _) => write!(f, "{key}"),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::In, 1) => write!(f, "{key}={}", values().concat()),
            (Operator::NotIn, 1) => write!(f, "{key}!={}", values().concat()),
            (Operator::In, _) => write!(f, "{key} in ({})", values().join(",")),
            (Operator::NotIn, _) => write!(f, "{key} notin ({})", values().join(",")),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("everything");
        }
        for (i, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(operator: Operator, values: &[&str]) -> Requirement {
        Requirement {
            key: "app".into(),
            operator,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
            pos: Pos::default(),
        }
    }

    #[test]
    fn absent_keys_and_empty_values() {
        use Operator::{DoesNotExist, Exists, In, NotIn};
        let absent = Labels::new();
        let empty = Labels::from([("app".into(), String::new())]);
        let web = Labels::from([("app".into(), "web".into())]);
        // Operator, values, then: key absent, value empty, value `web`.
        let table: &[(Operator, &[&str], [bool; 3])] = &[
            (In, &["web"], [false, false, true]),
            (In, &[""], [false, true, false]),
            (In, &["", "web"], [false, true, true]),
            (NotIn, &["web"], [true, true, false]),
            (NotIn, &[""], [true, false, true]),
            (NotIn, &["", "web"], [true, false, false]),
            (Exists, &[], [false, true, true]),
            (DoesNotExist, &[], [true, false, false]),
        ];
        for (operator, values, want) in table {
            let r = requirement(*operator, values);
            let got = [&absent, &empty, &web].map(|l| r.holds(l));
            assert_eq!(got, *want, "{r}");
        }
        assert!(Selector::default().selects(&absent));
    }
}
