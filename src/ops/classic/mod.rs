//! What the reference plugins of CNI do, one plugin type a file: for configurations that were
//! written for them. The reference is <https://github.com/containernetworking/plugins>, v1.9.1.

mod attachment;
pub mod bandwidth;
pub mod bridge;
mod bystanders;
pub mod fill;
pub mod firewall;
mod heal;
pub mod host_local;
mod local;
pub mod loopback;
pub mod portmap;
pub mod tuning;
pub mod unplug;
mod want;

use std::path::Path;

use super::error::{Error, Result};
use crate::kernel::linux::{Linux, is_namespace};
use crate::plan::{Names, Place};

pub use self::attachment::{check, forwards, ready, remove, stale};
pub(in crate::ops) use self::bystanders::{Opened, Shown};
pub use crate::kernel::linux::RouteWish;
pub use crate::plan::classic::{Hidden, Ingress, Mapping};
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

/// The namespace at a path, whether or not it is there.
fn namespace(path: &Path) -> Place {
    Place::Sandbox(path.to_owned())
}

fn refused(what: String, hint: &str) -> Error {
    Error::Refused {
        what,
        hint: hint.to_owned(),
    }
}
