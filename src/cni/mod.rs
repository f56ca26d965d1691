//! The CNI plugin: reads a call, hands it to a plugin type, prints one JSON document.
//!
//! Decides nothing about the kernel: that is `ops`. The specification is
//! <https://www.cni.dev/docs/spec/>, versions 0.1.0 to 1.1.0.

pub mod args;
pub mod call;
pub mod classic;
pub mod delegate;
mod dispatch;
mod entry;
pub mod error;
pub mod json;
mod moat;
pub mod read;
pub mod result;
pub mod runtime;
pub mod shape;
#[cfg(test)]
mod tests;

pub use dispatch::{Answer, names, plugin, run};
pub use entry::{about, main};

use call::{Call, Version};
use error::Result;
use result::Outcome;

/// A plugin type: `moat` itself, or one of the reference plugins that we also answer as.
pub trait Plugin {
    /// The name after which the binary is called, as in `type`.
    fn name(&self) -> &'static str;
    /// The versions in which it answers; calls in others never reach it.
    fn versions(&self) -> &'static [Version] {
        &Version::ALL
    }
    /// The keys of `CNI_ARGS` that it knows, for ADD and CHECK: with others the call fails unless
    /// `IgnoreUnknown` is among them. `None` for a plugin that does not look at `CNI_ARGS`.
    fn args(&self) -> Option<&'static [&'static str]> {
        None
    }
    /// # Errors
    /// With nothing left behind.
    fn add(&self, call: &Call) -> Result<Outcome>;
    /// Missing things are success.
    ///
    /// # Errors
    /// When something is there that would not go.
    fn del(&self, call: &Call) -> Result<()>;
    /// # Errors
    /// What is missing or wrong.
    fn check(&self, call: &Call) -> Result<()>;
    /// # Errors
    /// The first thing that would not go, after all were tried.
    fn gc(&self, call: &Call) -> Result<()>;
    /// # Errors
    /// Why ADD would fail.
    fn status(&self, call: &Call) -> Result<()>;
}
