//! Three answers to one question, which must agree on random small worlds: what the
//! documents say (`principles`), what `decide` says, and what the rules of `wall.nft` do with
//! the compiled set elements (`wall`).

mod agree;
mod changes;
mod picture;
mod principles;
mod wall;
mod worlds;

pub use wall::{Packet, Wall};
