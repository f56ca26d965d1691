//! `moat`: containers on one host that cannot see each other until somebody links them.
//!
//! Layers, outermost first; an arrow never points the other way (`netns-tests/layers.rs` checks):
//! `cli -> ops -> { sandbox, store, kernel -> plan } -> model`.

pub mod cli;
pub mod kernel;
pub mod model;
pub mod ops;
pub mod plan;
pub mod sandbox;
pub mod store;
