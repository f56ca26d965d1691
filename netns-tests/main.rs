//! Stories about the walls, told by the real binary and real packets.
//!
//! Each story runs in a process of its own with fresh network, mount and pid namespaces:
//! nothing it does reaches the machine, and nothing of it outlives it. `cargo test --test
//! netns -- walls` runs some, `-- --list` names them.

#![allow(
    clippy::unwrap_used,
    clippy::pedantic,
    clippy::disallowed_methods,
    clippy::zombie_processes,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]
// Stories use what they need of the harness.
#![allow(dead_code)]

mod attacks;
mod audit;
mod bystanders;
mod chain;
mod chain_ends;
mod chain_faults;
mod chain_keys;
mod chain_ports;
mod chain_walls;
mod clients;
mod cni;
mod cni_bandwidth;
mod cni_chains;
mod cni_classic;
mod cni_faults;
mod cni_many;
mod cni_policy;
mod cni_tuning;
mod conformance;
mod copies;
mod crash;
mod cut;
mod debian;
mod defaults;
mod faults;
mod faulty;
mod flows;
mod fuzz;
mod governed;
mod harness;
mod heal;
mod hook;
mod host;
mod images;
mod input;
mod isolation;
mod isolation_bombs;
mod isolation_rights;
mod isolation_view;
mod lab;
mod links;
mod names;
mod net;
mod newcomer;
mod parallel;
mod plugin;
mod pods;
mod ports;
mod roots;
mod runtime;
mod shop;
mod soak;
mod supervise;
mod topology;
mod trace;
mod walls;
mod world;

fn main() {
    let debian = std::env::var_os(debian::TAR).map_or(&[][..], |_| debian::STORIES);
    let stories: Vec<harness::Story> = [
        debian,
        audit::STORIES,
        walls::STORIES,
        links::STORIES,
        names::STORIES,
        cut::STORIES,
        ports::STORIES,
        heal::STORIES,
        host::STORIES,
        crash::STORIES,
        faults::STORIES,
        flows::STORIES,
        faults::beside::STORIES,
        faults::clock::STORIES,
        faults::rooms::STORIES,
        faults::spoil::STORIES,
        faults::steps::STORIES,
        faults::watch::STORIES,
        governed::STORIES,
        parallel::STORIES,
        input::STORIES,
        newcomer::STORIES,
        isolation::STORIES,
        isolation_bombs::STORIES,
        defaults::STORIES,
        isolation_rights::STORIES,
        isolation_view::STORIES,
        fuzz::STORIES,
        runtime::STORIES,
        topology::STORIES,
        shop::STORIES,
        images::STORIES,
        copies::STORIES,
        supervise::STORIES,
        cni_policy::STORIES,
        cni::STORIES,
        cni_faults::STORIES,
        cni_classic::STORIES,
        cni_tuning::STORIES,
        cni_bandwidth::STORIES,
        cni_chains::STORIES,
        chain_walls::STORIES,
        chain_ports::STORIES,
        chain_keys::STORIES,
        chain_ends::STORIES,
        attacks::STORIES,
        bystanders::STORIES,
        roots::STORIES,
        chain_faults::STORIES,
        clients::STORIES,
        cni_many::STORIES,
        hook::STORIES,
        lab::STORIES,
        soak::STORIES,
        conformance::STORIES,
    ]
    .concat();
    harness::main(&stories);
}
