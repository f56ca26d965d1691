//! What the reference plugins of CNI do, one plugin type a file: for configurations that were
//! written for them. The reference is <https://github.com/containernetworking/plugins>, v1.9.1.

pub mod host_local;
