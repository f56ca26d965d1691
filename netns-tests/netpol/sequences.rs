//! The sequences of changes: every step is a case, and is as expected when it is reached from the one before.

use std::path::Path;

use libtest_mimic::Failed;
use serde::Deserialize;

use super::case;

#[derive(Deserialize)]
pub struct Sequence {
    name: String,
    pub steps: Vec<String>,
}

pub fn all() -> Result<Vec<Sequence>, Failed> {
    let text = std::fs::read(case::folder().unwrap().join("sequences.json"))?;
    Ok(serde_json::from_slice(&text)?)
}

pub fn every_step() -> Result<(), Failed> {
    let sequences = all()?;
    let mut steps = 0;
    let root: &Path = case::directories()[0].parent().unwrap();
    for sequence in &sequences {
        for step in &sequence.steps {
            let case = case::case(&root.join(step));
            for row in &case.rows {
                let find = |name| case.engine.cluster.find(name).unwrap();
                let (from, to) = (find(&row.from), find(&row.to));
                let verdict = case.engine.decide(from, to, row.port, row.proto(), row.family());
                if verdict.allowed != row.allowed {
                    return Err(format!("{}, {step}: {row:?}", sequence.name).into());
                }
            }
            steps += 1;
        }
    }
    println!("{} sequences, {steps} steps", sequences.len());
    assert!(sequences.len() >= 44);
    Ok(())
}
