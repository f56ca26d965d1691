//! The question that `decide` is asked, and its answer.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::{Family, Name, Service};

/// Who sends, or is sent to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    Container(Name),
    Host,
    /// Somewhere that is neither a container nor the host.
    World,
    Address(IpAddr),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(n) => write!(f, "{n}"),
            Self::Host => f.write_str("host"),
            Self::World => f.write_str("world"),
            Self::Address(a) => write!(f, "{a}"),
        }
    }
}

/// The question: may `from` open a flow to `to`, of this service, in this family?
/// A service wider than one port asks whether all of it may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub from: Party,
    pub to: Party,
    pub service: Service,
    pub family: Family,
}

/// The kind of thing that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// A link, or the lack of one.
    Link,
    /// A network policy, or what holds where none speaks.
    Policy,
    /// A published port, or the lack of one.
    Port,
    /// What holds without either.
    Default,
    /// An end that does not exist or has no address of the family.
    Missing,
}

/// One reason, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub rule: Rule,
    pub text: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub because: Vec<Reason>,
    /// The command that would change the answer.
    pub change: Option<String>,
}

impl Decision {
    pub(super) fn yes(rule: Rule, text: String, change: Option<String>) -> Self {
        Self {
            allowed: true,
            because: vec![Reason { rule, text }],
            change,
        }
    }

    pub(super) fn no(rule: Rule, text: String, change: Option<String>) -> Self {
        Self {
            allowed: false,
            because: vec![Reason { rule, text }],
            change,
        }
    }

    pub(super) fn also(mut self, rule: Rule, text: String) -> Self {
        self.because.push(Reason { rule, text });
        self
    }
}
