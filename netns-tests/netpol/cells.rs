//! Every cell of every case: the matrix, the single decision and the compiled sets say what is expected.

use std::collections::BTreeMap;

use libtest_mimic::Failed;
use moat::model::Family;
use moat::model::policy::cells;
use moat::plan::Place;
use moat::plan::policy::{Sets, compile};

use super::case;

pub fn every_cell() -> Result<(), Failed> {
    let (mut cases, mut rows, mut wrong) = (0, 0, vec![]);
    // For each group: cases, cells, wrong ones.
    let mut groups: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for dir in case::directories() {
        let case = case::case(dir);
        let (engine, before) = (&case.engine, wrong.len());
        let served = |id| engine.cluster.pod(id).services();
        let matrix: BTreeMap<_, _> = cells(engine, &Family::BOTH, &served, &mut |_, _| {})
            .into_iter()
            .map(|c| ((c.family, c.from, c.to, c.port, c.proto), c.decided))
            .collect();
        let sets = Sets::new(&compile(engine, &Place::Router).unwrap());
        for row in &case.rows {
            let (family, proto) = (row.family(), row.proto());
            let (Some(from), Some(to)) = (engine.cluster.find(&row.from), engine.cluster.find(&row.to))
            else {
                return Err(format!("{}: no {} or {}", case.name, row.from, row.to).into());
            };
            let in_matrix = matrix.get(&(family, from, to, row.port, proto)).copied();
            let single = engine.decide(from, to, row.port, proto, family).allowed;
            let address = |id| engine.cluster.pod(id).address(family).unwrap();
            let number = proto.number(family);
            let sets = from == to || sets.allow(address(from), address(to), number, row.port);
            if (in_matrix, single, sets) != (Some(row.allowed), row.allowed, row.allowed) {
                wrong.push(format!(
                    "{}: {} -> {}:{}/{}: expected {}, matrix {in_matrix:?}, single {single}, sets {sets}",
                    case.name, row.from, row.to, row.port, row.protocol, row.allowed
                ));
            }
            rows += 1;
        }
        let group = case.name.split('-').nth(1).unwrap_or_default().to_owned();
        let count = groups.entry(group).or_default();
        *count = [
            count[0] + 1,
            count[1] + case.rows.len(),
            count[2] + wrong.len() - before,
        ];
        cases += 1;
    }
    println!("{:10} {:>6} {:>8} {:>6}", "group", "cases", "cells", "wrong");
    for (group, [cases, cells, wrong]) in groups {
        println!("{group:10} {cases:>6} {cells:>8} {wrong:>6}");
    }
    println!("{cases} cases, {rows} cells, {} wrong", wrong.len());
    if wrong.is_empty() && cases >= 400 {
        return Ok(());
    }
    wrong.truncate(40);
    Err(wrong.join("\n").into())
}
