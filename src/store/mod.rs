//! What exists: one SQLite database a world, transactional, safe for many processes.
//!
//! It lives on the state root, which a reboot clears as it clears the kernel; a database
//! that another boot wrote is thrown away. A killed process leaves no half transaction
//! (write-ahead log; nothing needs to survive a power cut, so nothing is synced).

mod address;
mod attachment;
mod changes;
mod container;
mod element;
mod endpoint;
mod leases;
mod link;
mod manifest;
mod network;
mod open;
#[cfg(test)]
mod tests;
mod world;

pub use attachment::{Attachment, AttachmentKey, Stage};
pub use changes::Change;
pub use container::{Container, Phase};
pub use element::Held;
pub use endpoint::NewEndpoint;
pub use leases::{Holder, Leases, lease_dir};
pub use link::LinkRow;
pub use manifest::{Applied, Manifest};
pub use network::NetworkRow;
pub use open::{Store, boot_id};

impl Error {
    /// Whether another process held the database for too long.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let code = match self {
            Self::Database { source, .. } => source.sqlite_error_code(),
            _ => None,
        };
        matches!(
            code,
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        )
    }

    /// Whether the database itself is broken or out of date, so that only a new one helps.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        use rusqlite::ErrorCode as C;
        match self {
            Self::Record { .. }
            | Self::Older { .. }
            | Self::Database {
                source:
                    rusqlite::Error::InvalidColumnType(..)
                    | rusqlite::Error::FromSqlConversionFailure(..)
                    | rusqlite::Error::IntegralValueOutOfRange(..)
                    | rusqlite::Error::Utf8Error(..),
                ..
            } => true,
            Self::Database { source, .. } => matches!(
                source.sqlite_error_code(),
                Some(C::NotADatabase | C::DatabaseCorrupt | C::CannotOpen | C::TypeMismatch | C::Unknown)
            ),
            _ => false,
        }
    }
}

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the state database {path}: {source}")]
    Database { path: String, source: rusqlite::Error },
    #[error("the state directory {path}: {source}")]
    Directory { path: String, source: std::io::Error },
    #[error("the state database {path} was written by a newer moat (layout {found}, this one knows {known})")]
    Newer { path: String, found: i64, known: i64 },
    #[error(
        "the state database {path} was written by an older moat (layout {found}, this one wants {known})"
    )]
    Older { path: String, found: i64, known: i64 },
    #[error("a record in {path} cannot be read: {detail}")]
    Record { path: String, detail: String },
    #[error("the name `{name}` is taken")]
    NameTaken { name: String },
    #[error("a network named `{name}` exists")]
    NetworkExists { name: String },
    #[error("the address {ip} is in use")]
    AddressTaken { ip: std::net::IpAddr },
    #[error("network `{network}` has no such address for a container: {ip}")]
    AddressUnfit { ip: std::net::IpAddr, network: String },
    #[error("the MAC address {mac} is in use on network `{network}`")]
    MacTaken { mac: crate::model::Mac, network: String },
    #[error("network `{network}` has no free IPv{family} address")]
    Exhausted { network: String, family: char },
    #[error("host port {port}/{proto} is published by `{holder}`")]
    PortTaken {
        port: u16,
        proto: crate::model::Proto,
        holder: String,
    },
}
