//! Address ranges that rules name, cut into disjoint ones: the kernel refuses intervals that overlap.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::class::{Kind, Mark, Marked, Marks};
use crate::model::Family;
use crate::model::policy::{Engine, Peer};

/// First and last address of a range, both in it, and the marks of what is there.
pub type Range = (IpAddr, IpAddr, Marked);

/// First and last, as numbers.
type Ends = (u128, u128);

/// A block of a rule with its holes.
struct Block {
    mark: Mark,
    whole: Ends,
    holes: Vec<Ends>,
}

/// The ranges of a family in which an address has marks, disjoint and in order; neighbours with equal marks are one.
pub fn ranges(engine: &Engine, marks: &Marks, family: Family) -> Vec<Range> {
    let mut blocks: Vec<Block> = vec![];
    for (mark, (_, kind)) in marks.all.iter().enumerate() {
        let Kind::Peers(id) = kind else { continue };
        for (peer, _) in engine.rule(*id).peers.iter().flatten() {
            match peer {
                Peer::Block(block) if is(family, &block.cidr) => {
                    let except = block.except.iter().filter(|e| is(family, e));
                    blocks.push(Block {
                        mark,
                        whole: ends(&block.cidr),
                        holes: except.map(ends).collect(),
                    });
                }
                Peer::Nodes(selector) => {
                    let nodes = engine
                        .cluster
                        .nodes
                        .iter()
                        .filter(|n| selector.selects(&n.labels));
                    let ips = nodes.flat_map(|n| &n.addresses).map(|ip| IpNetwork::from(*ip));
                    let ips = ips.filter(|n| is(family, n));
                    blocks.extend(ips.map(|n| Block {
                        mark,
                        whole: ends(&n),
                        holes: vec![],
                    }));
                }
                _ => {}
            }
        }
    }
    cut(&blocks)
        .into_iter()
        .map(|(first, last, marked)| (family.address(first), family.address(last), marked))
        .collect()
}

fn cut(blocks: &[Block]) -> Vec<(u128, u128, Marked)> {
    let parts = blocks.iter().flat_map(|b| b.holes.iter().chain([&b.whole]));
    let mut starts: Vec<u128> = parts
        .flat_map(|(a, b)| [Some(*a), b.checked_add(1)])
        .flatten()
        .collect();
    starts.sort_unstable();
    starts.dedup();
    let mut out: Vec<(u128, u128, Marked)> = vec![];
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).map_or(u128::MAX, |next| next - 1);
        let holds = |(a, b): &Ends| a <= start && end <= *b;
        let here = |b: &&Block| holds(&b.whole) && !b.holes.iter().any(holds);
        let mut marked: Marked = blocks.iter().filter(here).map(|b| b.mark).collect();
        marked.sort_unstable();
        marked.dedup();
        match out.last_mut() {
            _ if marked.is_empty() => {}
            Some(before) if before.1.checked_add(1) == Some(*start) && before.2 == marked => before.1 = end,
            _ => out.push((*start, end, marked)),
        }
    }
    out
}

fn is(family: Family, range: &IpNetwork) -> bool {
    Family::of(range.ip()) == family
}

fn ends(range: &IpNetwork) -> Ends {
    (Family::number(range.network()), Family::number(range.broadcast()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_are_cut_and_neighbours_joined() {
        let block = |mark, a, b, holes: &[Ends]| Block {
            mark,
            whole: (a, b),
            holes: holes.to_vec(),
        };
        assert_eq!(
            cut(&[block(0, 0, 7, &[]), block(0, 8, 15, &[])]),
            [(0, 15, vec![0])]
        );
        assert_eq!(
            cut(&[block(0, 0, 15, &[(4, 7)]), block(1, 6, 9, &[])]),
            [
                (0, 3, vec![0]),
                (6, 7, vec![1]),
                (8, 9, vec![0, 1]),
                (10, 15, vec![0])
            ]
        );
        let everything = block(0, 0, u128::MAX, &[]);
        assert_eq!(cut(&[everything]), [(0, u128::MAX, vec![0])]);
    }
}
