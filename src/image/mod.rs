//! Images: reading them from layouts, archives and tars, keeping their layers, and copying trees.
//!
//! Owns the directory `images` below the data root and the form of archives; decides nothing about containers.
//! Everything that is read here may be hostile: nothing of an archive leads out of the directory it is unpacked
//! in ([`inside`]), claims are checked before they are believed ([`limits`], [`stream`]), and what has a digest
//! is used only if it has that digest. Relies on openat2(2) and overlayfs.rst.

mod attributes;
#[cfg(test)]
mod broken;
mod bundle;
mod describe;
mod entry;
mod error;
mod import;
mod inside;
mod library;
mod limits;
mod pack;
mod pull;
mod source;
mod stream;
#[cfg(test)]
mod tests;
mod unpack;

pub use describe::{Defaults, architecture};
pub use error::{Error, Result};
pub use import::{Progress, Read, Teller, read};
pub use inside::Inside;
pub use library::{Hold, Image, Library, Room};
pub use pack::{Delivery, Place, extract, receive, send};
pub use pull::{Registry, fetch};
pub use stream::Digest;
