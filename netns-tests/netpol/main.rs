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
mod packets;
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
    // Packets need namespaces; `make netpol` has the time for all of them.
    let all = std::env::var("NETPOL").is_ok_and(|v| v == "all");
    let unfit = folder.is_none() || !nix::unistd::geteuid().is_root();
    let trials = vec![
        Trial::test("cli::what_is_expected_is_judged", cli::test_and_expect),
        Trial::test("cli::cells_are_tried_with_packets", cli::probe)
            .with_ignored_flag(!nix::unistd::geteuid().is_root()),
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
        trial("packets::a_tenth_of_the_cases", packets::a_tenth).with_ignored_flag(unfit),
        trial(
            "packets::what_is_not_enforced_is_seen",
            packets::what_is_not_enforced,
        )
        .with_ignored_flag(unfit),
        Trial::test("packets::a_thousand_pods", packets::a_thousand_pods)
            .with_ignored_flag(!nix::unistd::geteuid().is_root()),
        trial("packets::every_case", packets::every_case).with_ignored_flag(unfit || !all),
        trial("packets::every_sequence", packets::every_sequence).with_ignored_flag(unfit || !all),
    ];
    libtest_mimic::run(&args, trials).exit();
}
