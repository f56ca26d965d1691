//! Faults. Here: a step fails, at each of the steps: one error, and the world is as it was.

pub mod beside;
pub mod clock;
pub mod leak;
pub mod rooms;
pub mod spoil;
pub mod steps;
pub mod watch;

use crate::faulty::{Case, Ending};
use crate::harness::{Story, own};

pub const STORIES: &[Story] = &[
    own("fault::first_run_odd", |m| {
        Case::first_run().at_half(m, Ending::Failed, 1);
    }),
    own("fault::first_run_even", |m| {
        Case::first_run().at_half(m, Ending::Failed, 2);
    }),
    own("fault::further_run", |m| {
        Case::further_run().at_every_step(m, Ending::Failed);
    }),
    own("fault::foreground_run", |m| {
        Case::foreground().at_every_step(m, Ending::Failed);
    }),
    own("fault::link", |m| {
        Case::link().at_every_step(m, Ending::Failed);
    }),
    own("fault::unlink", |m| {
        Case::unlink().at_every_step(m, Ending::Failed);
    }),
    own("fault::rm", |m| Case::rm().at_every_step(m, Ending::Failed)),
    own("fault::last_rm", |m| {
        Case::last_rm().at_every_step(m, Ending::Failed);
    }),
    own("fault::net", |m| Case::net().at_every_step(m, Ending::Failed)),
    own("fault::first_net", |m| {
        Case::first_net().at_every_step(m, Ending::Failed);
    }),
    own("fault::net_rm", |m| {
        Case::net_rm().at_every_step(m, Ending::Failed);
    }),
    own("fault::last_net_rm", |m| {
        Case::last_net_rm().at_every_step(m, Ending::Failed);
    }),
    own("fault::stop", |m| Case::stop().at_every_step(m, Ending::Failed)),
    own("fault::policy_apply", |m| {
        Case::policy_apply().at_every_step(m, Ending::Failed);
    }),
    own("fault::label", |m| {
        Case::label().at_every_step(m, Ending::Failed);
    }),
    own("fault::governed_run", |m| {
        Case::governed_run().at_half(m, Ending::Failed, 2);
    }),
    own("fault::governed_rm", |m| {
        Case::governed_rm().at_half(m, Ending::Failed, 2);
    }),
];
