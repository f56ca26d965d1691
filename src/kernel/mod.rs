//! The only layer that talks to the kernel about networks.
//!
//! It makes, takes away and observes the objects that `plan` names; it decides nothing.
//! [`linux`] does it for real, [`fake`] in memory, [`faulty`] fails where a test says so.

pub mod fake;
mod fate;
pub mod faulty;
pub mod linux;
mod words;

use crate::plan::{Object, Place, State, Step};

/// What `observe` is to look at.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Container namespaces to look into, beside the host and the router.
    pub sandboxes: Vec<Place>,
    /// Interfaces that others made and on which something of ours may hang.
    pub foreign: std::collections::BTreeSet<(Place, String)>,
    /// Keys of `/proc/sys` to read, as `net/ipv4/ip_forward`.
    pub sysctls: Vec<(Place, String)>,
}

/// Something failed in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step failed; the steps before it hold.
    #[error("{what}: {source}")]
    Step {
        /// The object, in words.
        what: String,
        source: std::io::Error,
    },
    /// `nft` is missing or refused a ruleset.
    #[error("loading the ruleset `{which}` with `nft`: {detail}")]
    Nft { which: String, detail: String },
    /// A namespace could not be opened or entered.
    #[error("entering the network namespace {path}: {source}")]
    Namespace { path: String, source: std::io::Error },
    /// The state could not be read.
    #[error("reading {what} from the kernel: {source}")]
    Observe { what: String, source: std::io::Error },
}

/// A kernel with moat's objects in it.
pub trait Kernel {
    /// Everything of ours that is there, including leftovers of containers no record knows.
    ///
    /// # Errors
    /// When a dump cannot be read or the router cannot be entered.
    fn observe(&mut self, scope: &Scope) -> Result<State, Error>;

    /// Does the steps in order, batched where the kernel allows. Adding what is there already
    /// and taking away what is gone are not errors (a retried or interrupted plan converges);
    /// anything else stops it. `done` is called with the index of each finished step.
    ///
    /// # Errors
    /// The first step that failed, with the object in words.
    fn apply(&mut self, steps: &[Step], done: &mut dyn FnMut(usize)) -> Result<(), Error>;

    /// Whether one object is there; constant cost.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn has(&mut self, object: &Object) -> Result<bool, Error>;
}
