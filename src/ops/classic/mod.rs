//! What the reference plugins of CNI do, one plugin type a file: for configurations that were
//! written for them. The reference is <https://github.com/containernetworking/plugins>, v1.9.1.

pub mod bandwidth;
pub mod host_local;
pub mod loopback;
pub mod tuning;

use std::path::Path;

use super::error::Result;
use crate::kernel::linux::{Linux, is_namespace};
use crate::plan::{Names, Place};

pub use crate::store::AttachmentKey as Key;

/// The kernel for work on interfaces that others made: no world's names are in it.
fn kernel() -> Result<Linux> {
    Ok(Linux::new(Names::of_world(0), "/".into())?)
}

/// The namespace of a container, if it is there.
fn sandbox(netns: Option<&Path>) -> Option<Place> {
    let path = netns.filter(|p| is_namespace(p).unwrap_or(true))?;
    Some(Place::Sandbox(path.to_owned()))
}
