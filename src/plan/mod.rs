//! Pure: the desired state as objects, and the steps between two states.

pub mod classic;
pub mod desired;
pub mod elements;
pub mod foreign;
#[cfg(test)]
mod golden;
pub mod names;
mod object;
#[cfg(test)]
mod oracle;
pub mod policy;
mod set;
pub mod skeleton;
mod step;
pub mod text;
pub mod watch;

pub use desired::Machine;
pub use names::{MARK_IN, MARK_OUT, Names};
pub use object::{Hop, LOCAL, MAIN, Mark, Object, Place, Ruleset, State, Verdict};
pub use set::{Element, Expires, Field, SetName, Table};
pub use step::{Plan, Step};
pub use text::Renderer;
