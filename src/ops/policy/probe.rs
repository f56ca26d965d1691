//! `moat policy test --probe`: a namespace for each pod, the policies in the kernel, and a real packet for every cell.
//!
//! Everything lives in namespaces that go with this process; nothing of the machine's own network is touched, and
//! nothing is recorded: there is nothing to undo.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::super::error::{Error, Result};
use super::report::{Probed, Report};
use crate::kernel::Kernel as _;
use crate::kernel::linux::Linux;
use crate::kernel::linux::crowd::{Crowd, Flow, Outcome};
use crate::model::policy::{Cluster, Engine, PodId};
use crate::model::{Family, Proto};
use crate::plan::policy::{self as plan, SEATS};
use crate::plan::{Names, Object, Place, Plan, State};

/// Cells between two words about how far it is.
const PART: usize = 6_000;

/// How long a new stand may take until its control holds, and between two looks.
const SETTLING: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// Pods and policies that live: what changes is changed in place.
pub struct Stand {
    crowd: Crowd,
    kernel: Linux,
    plan: plan::Stand,
    families: Vec<Family>,
    /// What each seat has at the moment.
    seats: Vec<State>,
    /// The seat of each pod of the cluster that sits there.
    seat_of: Vec<usize>,
    policies: State,
}

/// What it took to enforce policies.
#[derive(Clone, Copy, Debug)]
pub struct Enforced {
    /// In the kernel now.
    pub elements: usize,
    /// That were added or taken away for it.
    pub changes: usize,
    /// To work them out, and to bring them into the kernel.
    pub compiling: Duration,
    pub loading: Duration,
}

/// A flow of a cell.
pub type Wanted = (PodId, PodId, u16, Proto, Family);

impl Stand {
    /// A router without pods.
    ///
    /// # Errors
    /// Namespaces cannot be made, or the kernel lacks something.
    pub fn new(families: &[Family]) -> Result<Self> {
        let crowd = Crowd::new()?;
        let names = Names::of_world(0);
        let mut kernel = Linux::new(names.clone(), crowd.router())?;
        let plan = plan::Stand::new(names, "stand".parse()?);
        kernel.apply(&Plan::add(&plan.router(families)).0, &mut |_| {})?;
        Ok(Self {
            crowd,
            kernel,
            plan,
            families: families.to_vec(),
            seats: vec![],
            seat_of: vec![],
            policies: State::new(),
        })
    }

    /// Gives the pods of a cluster their seats and addresses; whether anything changed.
    ///
    /// # Errors
    /// Two pods have one address, there are too many, or the kernel refuses an address.
    pub fn seat(&mut self, cluster: &Cluster) -> Result<bool> {
        let (seat_of, addresses) = seating(cluster, &self.families)?;
        self.crowd.grow(addresses.len())?;
        let count = addresses.len().max(self.seats.len());
        let wanted: Vec<State> = (0..count)
            .map(|n| {
                let has = addresses.get(n).map_or(&[][..], |a| a);
                // Ports are numbered from 1.
                self.plan.seat(n as u32 + 1, self.crowd.member(n), has)
            })
            .collect();
        let none = State::new();
        let present = wanted.iter().enumerate().flat_map(|(n, wanted)| {
            let has = self.seats.get(n).unwrap_or(&none);
            has.iter()
                .filter(move |o| has == wanted || outlives_addresses(o))
                .cloned()
        });
        let plan = Plan::between(&present.collect(), &wanted.iter().flatten().cloned().collect());
        self.kernel.apply(&plan.0, &mut |_| {})?;
        (self.seats, self.seat_of) = (wanted, seat_of);
        Ok(!plan.is_empty())
    }

    /// Brings policies into the kernel in place of those that are there. Their cluster must be seated.
    ///
    /// # Errors
    /// They are too many, or the kernel refuses an element.
    pub fn enforce(&mut self, engine: &Engine) -> Result<Enforced> {
        let begun = Instant::now();
        let wanted = plan::compile(engine, &Place::Router).map_err(|e| Error::Refused {
            what: e.to_string(),
            hint: "test a part of the cluster".into(),
        })?;
        let change = plan::change(&self.policies, &wanted);
        let (compiling, begun) = (begun.elapsed(), Instant::now());
        self.kernel.apply(&change.0, &mut |_| {})?;
        self.policies = wanted;
        Ok(Enforced {
            elements: self.policies.len(),
            changes: change.0.len(),
            compiling,
            loading: begun.elapsed(),
        })
    }

    /// Tries flows with packets.
    ///
    /// # Errors
    /// A socket cannot be made, or an end has no address of the family.
    pub fn observe(&mut self, cluster: &Cluster, wanted: &[Wanted]) -> Result<Vec<Outcome>> {
        let flows: Result<Vec<Flow>> = wanted.iter().map(|w| self.flow(cluster, *w)).collect();
        Ok(self.crowd.try_flows(&mut self.kernel, &flows?)?)
    }

    /// The positive control: every flow must be answered while no policy is in force. The first that is not, even after
    /// a while: the kernel takes new interfaces into IPv6 some milliseconds after they are up.
    ///
    /// # Errors
    /// As for [`Stand::observe`].
    pub fn control(&mut self, cluster: &Cluster, wanted: &[Wanted]) -> Result<Option<Wanted>> {
        let begun = Instant::now();
        self.enforce(&Engine::new(cluster.clone(), vec![]))?;
        let mut left = wanted.to_vec();
        loop {
            let outcomes = self.observe(cluster, &left)?;
            let failed = left.iter().zip(outcomes).filter(|(_, o)| *o != Outcome::Answered);
            left = failed.map(|(w, _)| *w).collect();
            if left.is_empty() || begun.elapsed() > SETTLING {
                return Ok(left.first().copied());
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn flow(&self, cluster: &Cluster, (from, to, port, proto, family): Wanted) -> Result<Flow> {
        let address = |id: PodId| {
            let pod = cluster.pod(id);
            pod.address(family).ok_or_else(|| Error::Refused {
                what: format!("`{pod}` has no address of family ip{}", family.digit()),
                hint: "`--families` leaves a family out".into(),
            })
        };
        Ok(Flow {
            from: self.seat_of[from.index()],
            to: self.seat_of[to.index()],
            source: address(from)?,
            target: address(to)?,
            proto,
            port,
        })
    }
}

/// Whether something in a pod's namespace stays when its addresses go: with the last one the kernel takes routes and
/// neighbours of its family along, permanent ones also (`fib_disable_ip`).
fn outlives_addresses(object: &Object) -> bool {
    let inside = matches!(object.place(), Place::Sandbox(_));
    !(inside && matches!(object, Object::Route { .. } | Object::Neighbour { .. }))
}

/// The seat of each pod, and the addresses of each seat. Pods on the network of one node share a seat.
fn seating(cluster: &Cluster, families: &[Family]) -> Result<(Vec<usize>, Vec<Vec<IpAddr>>)> {
    let mut seats: Vec<(PodId, Vec<IpAddr>)> = vec![];
    let mut seat_of = vec![];
    for id in cluster.ids() {
        let pod = cluster.pod(id);
        let own: Vec<IpAddr> = families.iter().filter_map(|f| pod.address(*f)).collect();
        let shared = seats
            .iter()
            .position(|(_, all)| own.iter().any(|ip| all.contains(ip)));
        let Some(n) = shared else {
            seat_of.push(seats.len());
            seats.push((id, own));
            continue;
        };
        let other = cluster.pod(seats[n].0);
        if pod.is_inside() || other.is_inside() || seats[n].1 != own {
            return Err(Error::Refused {
                what: format!("`{other}` and `{pod}` have one address, so no packet tells them apart"),
                hint: "`status.podIPs` of a pod are its own; those with `hostNetwork` share their node's"
                    .into(),
            });
        }
        seat_of.push(n);
    }
    if seats.len() > SEATS {
        return Err(Error::Refused {
            what: format!(
                "{} pods are more than the {SEATS} that packets are tried between",
                seats.len()
            ),
            hint: "leave --probe out, or test a part of the cluster".into(),
        });
    }
    Ok((seat_of, seats.into_iter().map(|s| s.1).collect()))
}

/// Tries every cell of a report, and writes into it what packets did. `done` hears how much of the work is done.
///
/// # Errors
/// Something fails that no policy forbids, or a packet is seen nowhere: the machine cannot say.
pub fn probe(report: &mut Report, done: &mut dyn FnMut(usize, usize)) -> Result<()> {
    let begun = Instant::now();
    let mut families: Vec<Family> = report.cells.iter().map(|c| c.family).collect();
    families.sort_unstable();
    families.dedup();
    let cluster = report.engine.cluster.clone();
    let mut stand = Stand::new(&families)?;
    stand.seat(&cluster)?;
    let cells = report.cells.iter();
    let wanted: Vec<Wanted> = cells.map(|c| (c.from, c.to, c.port, c.proto, c.family)).collect();
    let all = 2 * wanted.len();

    for (n, part) in wanted.chunks(PART).enumerate() {
        done(n * PART, all);
        if let Some(cell) = stand.control(&cluster, part)? {
            return Err(unfit(
                "does not reach",
                "although no policy is in force",
                &cluster,
                cell,
            ));
        }
    }
    let enforced = stand.enforce(&report.engine)?;
    for (n, part) in wanted.chunks(PART).enumerate() {
        done(wanted.len() + n * PART, all);
        let outcomes = stand.observe(&cluster, part)?;
        for ((cell, wanted), outcome) in report.cells[n * PART..].iter_mut().zip(part).zip(outcomes) {
            cell.observed = match outcome {
                Outcome::Answered => Some(true),
                Outcome::Refused => Some(false),
                Outcome::Lost => {
                    return Err(unfit(
                        "neither reaches nor is seen kept from",
                        "",
                        &cluster,
                        *wanted,
                    ));
                }
            };
        }
    }
    report.probed = Some(Probed {
        elements: enforced.elements,
    });
    report.took += begun.elapsed();
    Ok(())
}

fn unfit(what: &str, when: &str, cluster: &Cluster, (from, to, port, proto, family): Wanted) -> Error {
    let (from, to, n) = (cluster.pod(from), cluster.pod(to), family.digit());
    let when = if when.is_empty() {
        String::new()
    } else {
        format!(", {when}")
    };
    Error::Refused {
        what: format!(
            "`{from}` {what} `{to}` {port}/{proto} by ip{n}{when}: packets say nothing on this machine"
        ),
        hint: "`moat doctor` says what the kernel lacks; is the machine very busy?".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::{Strategy as _, ValueTree as _};
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::model::policy::{Source, oracle, read};

    /// Random policies and pods one after the other on one living stand: packets do what the oracle says.
    #[test]
    fn packets_do_what_the_documentation_says() {
        let Ok(mut stand) = Stand::new(&[Family::Ip4]) else {
            eprintln!("skipped: no leave to make namespaces");
            return;
        };
        let mut runner = TestRunner::deterministic();
        for _ in 0..25 {
            let world = oracle::world().new_tree(&mut runner).unwrap().current();
            let (name, text) = ("world.json".into(), world.manifest());
            let read = read(&[Source { name, text }]).unwrap();
            let engine = Engine::new(read.cluster, read.policies);
            let cluster = engine.cluster.clone();
            let number = |id: PodId| -> usize { cluster.pod(id).name[1..].parse().unwrap() };
            let mut wanted: Vec<Wanted> = vec![];
            for (from, to) in cluster.ids().flat_map(|a| cluster.ids().map(move |b| (a, b))) {
                let services = cluster.pod(to).services().into_iter();
                wanted.extend(services.map(|(port, proto)| (from, to, port, proto, Family::Ip4)));
            }
            stand.seat(&cluster).unwrap();
            assert_eq!(stand.control(&cluster, &wanted).unwrap(), None);
            stand.enforce(&engine).unwrap();
            let outcomes = stand.observe(&cluster, &wanted).unwrap();
            for ((from, to, port, proto, _), outcome) in wanted.into_iter().zip(outcomes) {
                let word = if proto == Proto::Udp { "UDP" } else { "TCP" };
                let right = if world.allowed(number(from), number(to), (port, word)) {
                    Outcome::Answered
                } else {
                    Outcome::Refused
                };
                assert_eq!(
                    outcome,
                    right,
                    "p{} {port}/{proto}\n{}",
                    number(to),
                    world.manifest()
                );
            }
        }
    }
}
