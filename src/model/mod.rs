//! Pure: names, addresses, networks, links, and the one function that decides.

#[cfg(test)]
pub mod broken;
mod bystander;
mod decide;
mod device;
mod end;
mod family;
mod flow;
pub mod governed;
mod image;
mod mac;
mod name;
mod nearest;
pub mod picture;
pub mod policy;
mod range;
mod service;
mod size;
mod subnet;
pub mod topology;
mod world;
pub mod yaml;

pub use bystander::{BridgePolicy, Bystander, WALLS};
pub use decide::decide;
pub use device::{Device, DeviceError};
pub use end::{End, EndError, Link};
pub use family::Family;
pub use flow::{Decision, Flow, Party, Reason, Rule};
pub use image::{ImageName, ImageNameError};
pub use mac::{Mac, MacError};
pub use name::{Name, NameError};
pub use nearest::nearest;
pub use picture::Picture;
pub use range::{Range, RangeError, RangeSet};
pub use service::{Ports, Proto, Service, ServiceError};
pub use size::bytes_of;
pub use subnet::{Subnet, SubnetError, automatic, overlaps};
pub use world::{DefaultPolicy, Endpoint, ExtraRoute, Foreign, Network, Published, Router, World};
