//! Every ordered pair of pods, and every port that the receiver serves.

use super::cluster::PodId;
use super::engine::Engine;
use super::rule::Direction;
use super::set::PodSet;
use crate::model::{Family, Proto};

/// One flow with its decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub from: PodId,
    pub to: PodId,
    pub port: u16,
    pub proto: Proto,
    pub family: Family,
    pub decided: bool,
}

/// The cells for what `services` says of each pod (its own ports, at least), for pods that have an address of
/// the family: by family, receiver, port and protocol, then sender. `done` hears of each part of the work.
pub fn cells(
    engine: &Engine,
    families: &[Family],
    services: &dyn Fn(PodId) -> Vec<(u16, Proto)>,
    done: &mut dyn FnMut(usize, usize),
) -> Vec<Cell> {
    let cluster = &engine.cluster;
    let served: Vec<(PodId, Vec<(u16, Proto)>)> = cluster.ids().map(|id| (id, services(id))).collect();
    let mut all: Vec<(u16, Proto)> = served.iter().flat_map(|(_, s)| s.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    let total = families.len() * all.len();
    let mut cells = vec![];
    for (step, (family, (port, proto))) in families
        .iter()
        .flat_map(|f| all.iter().map(move |s| (*f, *s)))
        .enumerate()
    {
        done(step, total);
        let there: Vec<PodId> = cluster
            .ids()
            .filter(|id| cluster.pod(*id).address(family).is_some())
            .collect();
        let out: Vec<PodSet> = there
            .iter()
            .map(|from| engine.row(*from, Direction::Egress, port, proto, family))
            .collect();
        for (to, services) in &served {
            if !services.contains(&(port, proto)) || !there.contains(to) {
                continue;
            }
            let into = engine.row(*to, Direction::Ingress, port, proto, family);
            for (from, out) in there.iter().zip(&out) {
                if engine.are_both_outside(*from, *to) {
                    continue;
                }
                cells.push(Cell {
                    from: *from,
                    to: *to,
                    port,
                    proto,
                    family,
                    decided: from == to || (out.contains(*to) && into.contains(*from)),
                });
            }
        }
    }
    cells.sort_by_key(|c| (c.family, c.to, c.port, c.proto, c.from));
    cells
}

impl Engine {
    /// What passes between two endpoints outside of the cluster is nobody's matter.
    #[must_use]
    pub fn are_both_outside(&self, from: PodId, to: PodId) -> bool {
        let outside = |id| self.cluster.pod(id).standing == super::cluster::Standing::Outside;
        outside(from) && outside(to)
    }
}
