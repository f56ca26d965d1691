//! What a verdict names is what decides: without it the verdict is another.
//!
//! For each cell denied by isolation all NetworkPolicies that are named go, for each allowed by rules all rules
//! that are named.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use moat::model::policy::{Direction, Engine, Policy, RuleId, Ruling, Verdict};

use super::case;

/// What is taken away: directions of policies, and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Blamed {
    isolating: Vec<(usize, Direction)>,
    rules: Vec<RuleId>,
}

/// What a verdict names, if it is one that names policies of the tier of NetworkPolicies.
fn blamed(verdict: &Verdict) -> Option<Blamed> {
    let mut blamed = Blamed::default();
    for side in verdict.sides() {
        match &side.ruling {
            Ruling::Isolated => {
                let of = |p: &usize| (*p, side.direction);
                blamed.isolating.extend(side.isolated_by.iter().map(of));
            }
            Ruling::Rules(rules) if verdict.allowed && blamed.rules.is_empty() => {
                blamed.rules.extend(rules);
            }
            // Another tier denies as well: taking NetworkPolicies away changes nothing.
            Ruling::Admin { allows: false, .. } => return None,
            _ => {}
        }
    }
    (blamed != Blamed::default()).then_some(blamed)
}

fn without(engine: &Engine, blamed: &Blamed) -> Engine {
    let mut policies = engine.policies.clone();
    let rules = |p: &mut Policy, d| match d {
        Direction::Ingress => p.ingress.take(),
        Direction::Egress => p.egress.take(),
    };
    for (policy, direction) in &blamed.isolating {
        rules(&mut policies[*policy], *direction);
    }
    let mut gone: Vec<RuleId> = blamed.rules.clone();
    gone.sort();
    for id in gone.iter().rev() {
        let policy = &mut policies[id.policy];
        let mut left = rules(policy, id.direction).unwrap();
        left.remove(id.rule);
        match id.direction {
            Direction::Ingress => policy.ingress = Some(left),
            Direction::Egress => policy.egress = Some(left),
        }
    }
    Engine::new(engine.cluster.clone(), policies)
}

pub fn what_is_named_decides() -> Result<(), Failed> {
    let (mut denied, mut allowed, mut next, mut wrong) = (0, 0, 0, vec![]);
    for dir in case::directories() {
        let case = case::case(dir);
        let engine = &case.engine;
        let mut changed: BTreeMap<Blamed, Engine> = BTreeMap::new();
        for row in &case.rows {
            let (from, to) = (
                engine.cluster.find(&row.from).unwrap(),
                engine.cluster.find(&row.to).unwrap(),
            );
            let ask = |e: &Engine| e.decide(from, to, row.port, row.proto(), row.family());
            let before = ask(engine);
            let Some(blamed) = blamed(&before).filter(|_| from != to) else {
                continue;
            };
            let other = changed
                .entry(blamed.clone())
                .or_insert_with(|| without(engine, &blamed));
            let after = ask(other);
            // Where isolation goes, the Baseline tier is asked, and may deny in its own name.
            let baseline = |v: &Verdict| {
                let named =
                    |s: &&moat::model::policy::Side| matches!(s.ruling, Ruling::Admin { allows: false, .. });
                v.sides().iter().any(named)
            };
            if before.allowed {
                allowed += 1;
            } else {
                denied += 1;
            }
            if !before.allowed && !after.allowed && baseline(&after) {
                next += 1;
            } else if before.allowed == after.allowed {
                wrong.push(format!("{}: {row:?}: {blamed:?}", case.name));
            }
        }
    }
    println!(
        "{denied} denied by isolation ({next} of them then by the Baseline tier), {allowed} allowed by rules"
    );
    if wrong.is_empty() && denied > 1000 && allowed > 1000 {
        return Ok(());
    }
    wrong.truncate(20);
    Err(wrong.join("\n").into())
}
