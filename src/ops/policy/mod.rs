//! What policies mean: without a cluster, with `probe` what packets do, and upon live containers.

mod apply;
mod diff;
mod files;
mod live;
mod probe;
mod report;
mod test;
mod why;

pub use crate::kernel::linux::crowd::Outcome;
pub use apply::{View, apply, ls, rm};
pub use diff::{Change, Diff, diff};
pub use files::{load, load_all};
pub use live::{compiled, table_live, why_live};
pub use probe::{Enforced, Stand, Wanted, probe};
pub use report::{Cell, Probed, Report};
pub use test::{Request, test};
pub use why::{Answer, Question, why};
