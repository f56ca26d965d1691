//! The corpus with real packets: every cell of a case is tried on a stand whose pods, addresses and policies are changed
//! in place from case to case, in both families where the case says the same of both.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use moat::model::policy::{Cluster, Engine, Peer};
use moat::model::{Family, Proto};
use moat::ops::policy::{Outcome, Stand, Wanted};

use super::case::{self, Case};
use super::sequences;

/// Threads with a stand each; the machine of a CI has two cores.
const STANDS: usize = 2;

/// What was tried, by group of cases.
#[derive(Clone, Copy, Default)]
struct Count {
    cases: usize,
    /// By family.
    cells: [usize; 2],
    elements: usize,
    took: Duration,
}

/// A stand, and what is known of it.
struct Bench {
    stand: Stand,
    /// The cells that all were answered with no policy in force, on the pods that sit there.
    controlled: Vec<Wanted>,
}

impl Bench {
    fn new() -> Result<Self, Failed> {
        let stand = Stand::new(&Family::BOTH)?;
        let controlled = vec![];
        Ok(Self { stand, controlled })
    }

    /// Tries a case in place of whatever is there; what is other than expected.
    fn run(&mut self, case: &Case, count: &mut Count) -> Result<Vec<String>, Failed> {
        let begun = Instant::now();
        let (engine, cluster) = (&case.engine, &case.engine.cluster);
        let rows = rows(case);
        let wanted: Vec<Wanted> = rows.iter().map(|r| r.0).collect();
        if self.stand.seat(cluster)? || self.controlled != wanted {
            if let Some(cell) = self.stand.control(cluster, &wanted)? {
                let cell = describe(cluster, cell);
                return Err(format!(
                    "{}: {cell} does not pass although no policy is in force",
                    case.name
                )
                .into());
            }
            self.controlled.clone_from(&wanted);
        }
        count.elements += self.stand.enforce(engine)?.elements;
        let outcomes = self.stand.observe(cluster, &wanted)?;
        let wrong = rows
            .iter()
            .zip(outcomes)
            .filter_map(|((cell, allowed), outcome)| {
                let right = if *allowed {
                    Outcome::Answered
                } else {
                    Outcome::Refused
                };
                let cell = describe(cluster, *cell);
                (outcome != right).then(|| format!("{}: {cell}: {outcome:?}, not {right:?}", case.name))
            });
        let wrong = wrong.collect();
        count.cases += 1;
        wanted.iter().for_each(|w| count.cells[w.4 as usize] += 1);
        count.took += begun.elapsed();
        Ok(wrong)
    }
}

/// The cells of a case with what is expected; those of one family for both, where no rule names addresses.
fn rows(case: &Case) -> Vec<(Wanted, bool)> {
    let cluster = &case.engine.cluster;
    let both = !names_addresses(&case.engine) && case.rows.iter().all(|r| r.family.is_none());
    let mut rows = vec![];
    for row in &case.rows {
        let (from, to) = (cluster.find(&row.from).unwrap(), cluster.find(&row.to).unwrap());
        let families = if both {
            Family::BOTH.to_vec()
        } else {
            vec![row.family()]
        };
        for family in families {
            let has = |id| cluster.pod(id).address(family).is_some();
            if has(from) && has(to) {
                rows.push(((from, to, row.port, row.proto(), family), row.allowed));
            }
        }
    }
    rows
}

fn names_addresses(engine: &Engine) -> bool {
    let rules = |p: &moat::model::policy::Policy| {
        [p.egress.clone(), p.ingress.clone()]
            .into_iter()
            .flatten()
            .flatten()
            .collect::<Vec<_>>()
    };
    let peers = engine
        .policies
        .iter()
        .flat_map(rules)
        .flat_map(|r| r.peers.unwrap_or_default());
    let mut by_address = peers.filter(|(p, _)| matches!(p, Peer::Block(_) | Peer::Nodes(_)));
    by_address.next().is_some()
}

fn describe(cluster: &Cluster, (from, to, port, proto, family): Wanted) -> String {
    let proto: Proto = proto;
    format!(
        "{} -> {} {port}/{proto} ip{}",
        cluster.pod(from),
        cluster.pod(to),
        family.digit()
    )
}

/// Tries lists of cases on stands side by side, each list in its order; the counts of each list and all that is wrong.
fn run(lists: Vec<Vec<PathBuf>>) -> Result<(Vec<Count>, Vec<String>), Failed> {
    let counts = Mutex::new(vec![Count::default(); lists.len()]);
    let wrong = Mutex::new(vec![]);
    let waiting = Mutex::new(lists.into_iter().enumerate());
    let work = || -> Result<(), String> {
        let mut bench = Bench::new().map_err(|e| format!("{e:?}"))?;
        loop {
            let Some((n, list)) = waiting.lock().unwrap().next() else {
                return Ok(());
            };
            let mut count = Count::default();
            for dir in list {
                let found = bench.run(&case::case(&dir), &mut count);
                wrong.lock().unwrap().extend(found.map_err(|e| format!("{e:?}"))?);
            }
            counts.lock().unwrap()[n] = count;
        }
    };
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..STANDS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    results.into_iter().collect::<Result<(), String>>()?;
    Ok((counts.into_inner().unwrap(), wrong.into_inner().unwrap()))
}

fn judge(mut wrong: Vec<String>) -> Result<(), Failed> {
    if wrong.is_empty() {
        return Ok(());
    }
    let count = wrong.len();
    wrong.truncate(40);
    Err(format!("{count} cells are other than expected\n{}", wrong.join("\n")).into())
}

/// All cases, as a table.
pub fn every_case() -> Result<(), Failed> {
    let begun = Instant::now();
    let all = case::directories();
    let group = |dir: &Path| -> String {
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        name.split('-').nth(1).unwrap_or_default().to_owned()
    };
    let (counts, wrong) = run(all.iter().map(|dir| vec![dir.clone()]).collect())?;
    let mut groups: std::collections::BTreeMap<String, Count> = std::collections::BTreeMap::new();
    for (dir, count) in all.iter().zip(counts) {
        let sum = groups.entry(group(dir)).or_default();
        sum.cases += count.cases;
        sum.elements += count.elements;
        sum.took += count.took;
        (0..2).for_each(|f| sum.cells[f] += count.cells[f]);
    }
    println!(
        "{:10} {:>6} {:>9} {:>9} {:>9} {:>8}",
        "packets", "cases", "ip4", "ip6", "elements", "seconds"
    );
    for (group, c) in groups {
        let seconds = c.took.as_secs_f32();
        println!(
            "{group:10} {:>6} {:>9} {:>9} {:>9} {seconds:>8.1}",
            c.cases, c.cells[0], c.cells[1], c.elements
        );
    }
    println!(
        "{} cases in {:.1} s, {} cells wrong",
        all.len(),
        begun.elapsed().as_secs_f32(),
        wrong.len()
    );
    judge(wrong)
}

/// A tenth of the cases, another one at each run; `NETPOL_SEED` runs one again.
pub fn a_tenth() -> Result<(), Failed> {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = std::env::var("NETPOL_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(now % 1_000_000);
    println!("NETPOL_SEED={seed}");
    let mut cases: Vec<(u64, &PathBuf)> = case::directories()
        .iter()
        .enumerate()
        .map(|(n, dir)| (mixed(seed.wrapping_add(n as u64)), dir))
        .collect();
    cases.sort_unstable();
    let tenth = cases
        .iter()
        .take(cases.len() / 10)
        .map(|(_, dir)| vec![(*dir).clone()]);
    let (counts, wrong) = run(tenth.collect())?;
    let cells: usize = counts.iter().flat_map(|c| c.cells).sum();
    println!("{} cases, {cells} cells with packets", counts.len());
    judge(
        wrong
            .into_iter()
            .map(|w| format!("NETPOL_SEED={seed}: {w}"))
            .collect(),
    )
}

/// SplitMix64.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Policies that are not in force are seen to be none: what these tests say of the others is worth something.
pub fn what_is_not_enforced() -> Result<(), Failed> {
    let dir = case::directories()
        .iter()
        .find(|d| d.ends_with("002-e2e-should-support-a-default-deny-all-policy"));
    let case = case::case(dir.unwrap());
    let cluster = &case.engine.cluster;
    let wanted: Vec<Wanted> = rows(&case)
        .into_iter()
        .filter(|(_, allowed)| !allowed)
        .map(|r| r.0)
        .collect();
    let mut stand = Stand::new(&Family::BOTH)?;
    stand.seat(cluster)?;
    assert!(!wanted.is_empty() && stand.control(cluster, &wanted)?.is_none());
    let enforced = stand.enforce(&case.engine)?;
    let refused = stand.observe(cluster, &wanted)?;
    assert!(enforced.changes > 0 && refused.iter().all(|o| *o == Outcome::Refused));
    // And in place back again.
    assert!(stand.control(cluster, &wanted)?.is_none());
    Ok(())
}

/// The sequences, each step reached from the one before while everything lives.
pub fn every_sequence() -> Result<(), Failed> {
    let begun = Instant::now();
    let root = case::directories()[0].parent().unwrap();
    let steps = |s: &sequences::Sequence| s.steps.iter().map(|step| root.join(step)).collect();
    let lists: Vec<Vec<PathBuf>> = sequences::all()?.iter().map(steps).collect();
    let (counts, wrong) = run(lists)?;
    let steps: usize = counts.iter().map(|c| c.cases).sum();
    println!(
        "{} sequences, {steps} steps in {:.1} s",
        counts.len(),
        begun.elapsed().as_secs_f32()
    );
    judge(wrong)
}

/// A thousand pods and a hundred policies in the kernel, and what one pod's new label changes.
pub fn a_thousand_pods() -> Result<(), Failed> {
    let manifest = |label: usize| {
        let mut text = String::new();
        for n in 0..1000 {
            let (space, app) = (n % 20, if n == 500 { label } else { n / 20 });
            text += &format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: p{n}, namespace: s{space}, labels: {{app: a{app}, tier: t{}}}}}, \
                 spec: {{containers: [{{name: c, ports: [{{containerPort: 80}}, {{containerPort: 81, protocol: UDP}}]}}]}}, \
                 status: {{podIPs: [{{ip: 10.1.{}.{}}}, {{ip: 'fd00::{n:x}'}}]}}}}\n---\n",
                n % 3,
                n / 250,
                n % 250 + 1
            );
        }
        for n in 0..100 {
            text += &format!(
                "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: n{n}, namespace: s{}}}, spec: {{\
                 podSelector: {{matchLabels: {{app: a{}}}}}, policyTypes: [Ingress, Egress], \
                 ingress: [{{from: [{{namespaceSelector: {{}}, podSelector: {{matchLabels: {{tier: t{}}}}}}}, \
                 {{ipBlock: {{cidr: 10.2.{n}.0/24}}}}], ports: [{{port: 80}}, {{port: 8000, endPort: 8{n:03}}}]}}], \
                 egress: [{{to: [{{podSelector: {{matchLabels: {{app: a{}}}}}}}]}}, {{ports: [{{port: 53, protocol: UDP}}]}}]}}}}\n---\n",
                n % 20,
                n / 2,
                n % 3,
                n % 7
            );
        }
        let name = "thousand.yaml".into();
        let read = moat::model::policy::read(&[moat::model::policy::Source { name, text }]);
        let read = read.unwrap_or_else(|e| panic!("{e}"));
        Engine::new(read.cluster, read.policies)
    };
    // As a pod of another policy, and as another peer.
    let (before, after) = (manifest(10), manifest(20));
    let mut stand = Stand::new(&Family::BOTH)?;
    let whole = stand.enforce(&before)?;
    let one = stand.enforce(&after)?;
    println!(
        "1000 pods, 100 policies: {} elements, compiled in {:?}, loaded in {:?}; one label: {} changes, compiled in {:?}, applied in {:?}",
        whole.elements, whole.compiling, whole.loading, one.changes, one.compiling, one.loading
    );
    // Its own classes, as a pod and as a peer, in both directions and families, go and come.
    assert!((1..=60).contains(&one.changes), "{one:?}");
    Ok(())
}
