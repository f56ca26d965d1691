//! One use case a file; the only layer that joins store, kernel and sandbox.

pub mod annotation;
mod attach;
pub mod audit;
mod bulk;
pub mod classic;
pub mod cni;
pub mod collect;
pub mod conflist;
pub mod context;
pub mod copy;
pub mod doctor;
mod error;
pub mod fault;
pub mod flows;
pub mod fsck;
mod gc;
mod generation;
pub mod graph;
pub mod hook;
pub mod hosts;
pub mod image;
pub mod lab;
pub mod label;
pub mod life;
pub mod link;
pub mod list;
mod lock;
pub mod net;
pub mod netns;
pub mod pause;
pub mod policy;
pub mod probe;
pub mod publish;
pub mod reach;
mod remove;
pub mod run;
mod settle;
pub mod stats;
mod stop;
pub mod time;
pub mod topology;
pub mod watch;
pub mod why;

pub use crate::plan::Plan;
pub use crate::sandbox::{
    ExecRequest, Health, HealthStatus, Inside, Isolation, Limits, Restart, Root, Seccomp, Spec, Tmpfs, Users,
    Volume, signal_number,
};
pub use crate::store::Holder;
pub use context::{DEFAULT_DATA, DEFAULT_ROOT, Where};
pub use error::{Error, Result};
pub use publish::PortMap;
pub use remove::{plan_end, rm};

/// A plan as `ip` and `nft` lines, in the words of one world.
///
/// # Errors
/// When the world cannot be opened.
pub fn plan_text(place: &Where, plan: &Plan, verbose: bool) -> Result<String> {
    let moat = context::Moat::open(place)?;
    let router = moat.router_path().display().to_string();
    let renderer = crate::plan::text::Renderer {
        names: &moat.names,
        router: &router,
        now: context::clock(),
    };
    Ok(if verbose {
        renderer.verbose(plan)
    } else {
        renderer.plan(plan)
    })
}
