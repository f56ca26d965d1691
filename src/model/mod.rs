//! Pure: names, addresses, networks, links, and the one function that decides.

mod family;
mod mac;

pub use family::Family;
pub use mac::{Mac, MacError};
