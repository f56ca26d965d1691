//! moat dies at each of its steps: nothing is open meanwhile, and the next command tidies.

use crate::faulty::{Case, Ending};
use crate::harness::{Story, own};

pub const STORIES: &[Story] = &[
    own("crash::first_run_odd", |m| {
        Case::first_run().at_half(m, Ending::Killed, 1);
    }),
    own("crash::first_run_even", |m| {
        Case::first_run().at_half(m, Ending::Killed, 2);
    }),
    own("crash::further_run", |m| {
        Case::further_run().at_every_step(m, Ending::Killed);
    }),
    own("crash::foreground_run", |m| {
        Case::foreground().at_every_step(m, Ending::Killed);
    }),
    own("crash::link", |m| {
        Case::link().at_every_step(m, Ending::Killed);
    }),
    own("crash::unlink", |m| {
        Case::unlink().at_every_step(m, Ending::Killed);
    }),
    own("crash::rm", |m| Case::rm().at_every_step(m, Ending::Killed)),
    own("crash::last_rm", |m| {
        Case::last_rm().at_every_step(m, Ending::Killed);
    }),
    own("crash::net", |m| Case::net().at_every_step(m, Ending::Killed)),
    own("crash::first_net", |m| {
        Case::first_net().at_every_step(m, Ending::Killed);
    }),
    own("crash::net_rm", |m| {
        Case::net_rm().at_every_step(m, Ending::Killed);
    }),
    own("crash::last_net_rm", |m| {
        Case::last_net_rm().at_every_step(m, Ending::Killed);
    }),
    own("crash::stop", |m| Case::stop().at_every_step(m, Ending::Killed)),
    own("crash::policy_apply", |m| {
        Case::policy_apply().at_every_step(m, Ending::Killed);
    }),
    own("crash::label", |m| {
        Case::label().at_every_step(m, Ending::Killed);
    }),
    own("crash::governed_run", |m| {
        Case::governed_run().at_half(m, Ending::Killed, 1);
    }),
    own("crash::governed_rm", |m| {
        Case::governed_rm().at_half(m, Ending::Killed, 1);
    }),
];
