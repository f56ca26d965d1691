//! `moat`: containers on one host that cannot see each other until somebody links them.
//!
//! Layers, outermost first; an arrow never points the other way (`netns-tests/layers.rs` checks):
//! `cli, cni -> ops -> { sandbox, image -> beneath, store, kernel -> plan } -> model`.

#![cfg_attr(
    test,
    allow(clippy::pedantic, clippy::disallowed_methods, clippy::print_stderr)
)]

pub mod beneath;
pub mod cli;
pub mod cni;
pub mod image;
#[allow(unsafe_code)] // sockets and namespaces; each block says why it is sound
pub mod kernel;
pub mod model;
pub mod ops;
pub mod plan;
#[allow(unsafe_code)] // clone3, mount_setattr and the child between clone and exec
pub mod sandbox;
pub mod store;
