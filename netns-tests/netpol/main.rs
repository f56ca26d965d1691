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
mod cli;
mod reports;
mod sequences;
mod why;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let args = Arguments::from_args();
    let folder = case::folder();
    let trial = |name: &str, test: fn() -> Result<(), libtest_mimic::Failed>| {
        Trial::test(name, test).with_ignored_flag(folder.is_none())
    };
    let trials = vec![
        Trial::test("cli::what_is_expected_is_judged", cli::test_and_expect),
        Trial::test("cli::tests_of_netassert_are_read", cli::netassert),
        Trial::test("cli::reasons_and_changes_are_named", cli::why_and_diff),
        Trial::test("cli::what_is_wrong_is_said_with_its_place", cli::wrong_input),
        Trial::test("cli::lint_finds_what_people_get_wrong", cli::lint),
        Trial::test("reports::junit_has_the_right_counts", reports::junit),
        Trial::test("reports::a_page_gives_reasons_to_a_click", reports::page)
            .with_ignored_flag(!reports::has_browser()),
        Trial::test("reports::markdown_begins_with_what_is_wrong", reports::markdown),
        Trial::test("reports::the_documented_step_holds", reports::documented_step),
        trial("netpol::every_cell_is_as_expected", cells::every_cell),
        trial(
            "netpol::every_step_of_sequences_is_as_expected",
            sequences::every_step,
        ),
        trial("netpol::what_is_named_decides", why::what_is_named_decides),
    ];
    libtest_mimic::run(&args, trials).exit();
}
