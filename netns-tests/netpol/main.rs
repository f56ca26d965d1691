//! The shared corpus of network policies against the model: what other engines agree on, cell by cell.
//!
//! The corpus lies beside the checkout (`../shared/netpol`), or where `MOAT_NETPOL` says; without it these tests
//! say that they are ignored. It is unpacked below `target` and never part of the project.

#![allow(
    clippy::unwrap_used,
    clippy::pedantic,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod case;
mod cells;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let args = Arguments::from_args();
    let folder = case::folder();
    let trial = |name: &str, test: fn() -> Result<(), libtest_mimic::Failed>| {
        Trial::test(name, test).with_ignored_flag(folder.is_none())
    };
    let trials = vec![trial("netpol::every_cell_is_as_expected", cells::every_cell)];
    libtest_mimic::run(&args, trials).exit();
}
