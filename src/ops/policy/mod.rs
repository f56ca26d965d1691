//! What policies mean, without a cluster, and with `probe` what packets do. Nothing here knows the store.

mod diff;
mod files;
mod probe;
mod report;
mod test;
mod why;

pub use crate::kernel::linux::crowd::Outcome;
pub use diff::{Change, Diff, diff};
pub use files::{load, load_all};
pub use probe::{Enforced, Stand, Wanted, probe};
pub use report::{Cell, Probed, Report};
pub use test::{Request, test};
pub use why::{Answer, Question, why};
