//! What policies mean, without a cluster: nothing here touches the kernel or the store.

mod diff;
mod files;
mod report;
mod test;
mod why;

pub use diff::{Change, Diff, diff};
pub use files::{load, load_all};
pub use report::{Cell, Report};
pub use test::{Request, test};
pub use why::{Answer, Question, why};
