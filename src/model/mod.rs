//! Pure: names, addresses, networks, links, and the one function that decides.

mod decide;
mod end;
mod family;
mod mac;
mod name;
mod service;
mod subnet;
mod world;

pub use decide::{Decision, Flow, Party, Reason, Rule, decide};
pub use end::{End, EndError, Link};
pub use family::Family;
pub use mac::{Mac, MacError};
pub use name::{Name, NameError};
pub use service::{Ports, Proto, Service, ServiceError};
pub use subnet::{Subnet, SubnetError, automatic, overlaps};
pub use world::{DefaultPolicy, Endpoint, Network, Published, Router, World};
