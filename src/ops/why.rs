//! `moat why`: may they, and why; with `--probe`, what a real packet says.

use serde::Serialize;

use super::context::{Moat, Where};
use super::error::{Error, Result};
use super::probe;
use crate::model::{Decision, Family, Flow, Party, Reason, Service, World, decide};

/// The answer as `moat why --json` prints it.
#[derive(Debug, Serialize)]
pub struct Answer {
    pub allowed: bool,
    pub because: Vec<Reason>,
    pub probe: Option<Probe>,
    /// The command that would change the answer.
    pub change: Option<String>,
}

/// What a real packet did.
#[derive(Clone, Debug, Serialize)]
pub struct Probe {
    pub reached: bool,
    pub detail: String,
}

/// Answers whether a flow may pass.
///
/// # Errors
/// A party does not exist, or a probe cannot be sent.
pub fn why(place: &Where, from: &Party, to: &Party, service: Service, probing: bool) -> Result<Answer> {
    let mut moat = Moat::settled(place)?;
    let (from, to) = (&known(&moat, from)?, &known(&moat, to)?);
    let world = moat.world()?;
    let families = families(&world, from, to);
    let decisions: Vec<(Family, Decision)> = families
        .iter()
        .map(|f| {
            (
                *f,
                decide(
                    &world,
                    &Flow {
                        from: from.clone(),
                        to: to.clone(),
                        service,
                        family: *f,
                    },
                ),
            )
        })
        .collect();
    let mut answer = merge(&decisions);
    if probing {
        answer.probe = Some(send(&moat, &world, from, to, service, &families)?);
    }
    Ok(answer)
}

/// The party by the name that is recorded.
fn known(moat: &Moat, party: &Party) -> Result<Party> {
    Ok(match party {
        Party::Container(name) => Party::Container(match moat.store.container(name.as_str())? {
            Some(c) => c.name,
            None => match moat.called_classic(name.as_str())? {
                Some(shown) => shown.name,
                None => moat.find(name.as_str())?.name,
            },
        }),
        other => other.clone(),
    })
}

/// The families both ends have; of an address, its own.
fn families(world: &World, from: &Party, to: &Party) -> Vec<Family> {
    let has = |p: &Party, f: Family| match p {
        Party::Container(n) => match (world.endpoints.get(n), world.bystanders.get(n)) {
            (None, None) => true,
            (e, b) => e.and_then(|e| e.address(f)).is_some() || b.and_then(|b| b.address(f)).is_some(),
        },
        Party::Address(ip) => Family::of(*ip) == f,
        Party::Host | Party::World => true,
    };
    let both: Vec<Family> = Family::BOTH
        .into_iter()
        .filter(|f| has(from, *f) && has(to, *f))
        .collect();
    if both.is_empty() { vec![Family::Ip4] } else { both }
}

/// Allowed when it is in every family; what differs is said apart.
fn merge(decisions: &[(Family, Decision)]) -> Answer {
    let allowed = decisions.iter().all(|(_, d)| d.allowed);
    let mut because: Vec<Reason> = Vec::new();
    let differ = decisions.iter().any(|(_, d)| d.allowed != allowed);
    for (family, d) in decisions {
        for reason in &d.because {
            let mut reason = reason.clone();
            if differ {
                reason.text = format!("IPv{}: {}", family.digit(), reason.text);
            }
            if !because.contains(&reason) {
                because.push(reason);
            }
        }
    }
    let change = decisions
        .iter()
        .find(|(_, d)| d.allowed == allowed)
        .and_then(|(_, d)| d.change.clone());
    Answer {
        allowed,
        because,
        probe: None,
        change,
    }
}

/// Sends real packets in every family, watched for at the receiver.
fn send(
    moat: &Moat,
    world: &World,
    from: &Party,
    to: &Party,
    service: Service,
    families: &[Family],
) -> Result<Probe> {
    let (Party::Container(a), Party::Container(b)) = (from, to) else {
        return Err(Error::Refused {
            what: "a probe needs two containers: it watches the receiver's interface".into(),
            hint: "leave --probe out for the host and the world".into(),
        });
    };
    let (sender, receiver) = (moat.netns_of(a)?, moat.netns_of(b)?);
    let (proto, port) = probe::packet(service);
    let mut reached = true;
    let mut details = Vec::new();
    for family in families {
        let address = |n| world.address_of(n, *family);
        let (Some(source), Some(target)) = (address(a), address(b)) else {
            continue;
        };
        let seen = probe::send(&probe::Shot {
            from: sender.clone(),
            to: receiver.clone(),
            sources: probe::Shot::sources(world, source, b),
            target,
            proto,
            port,
        })?;
        reached &= seen.reached;
        details.push(format!("IPv{}: {}", family.digit(), seen.detail));
    }
    Ok(Probe {
        reached,
        detail: details.join("; "),
    })
}
