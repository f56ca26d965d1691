//! The truth table: one character a cell, pods by namespace, ports that give the same table together.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::words;
use crate::model::policy::PodId;
use crate::model::{Family, Proto};
use crate::ops::policy::{Cell, Report};

/// With more pods than this, rows and columns are namespaces.
const MANY: usize = 100;
/// Longer names become numbers above columns.
const UPRIGHT: usize = 12;

/// A port in one family.
type Served = (Family, u16, Proto);

/// A cell's character: `.` allowed, `X` denied, `!` unexpected, `?` where packets did something else.
fn mark(report: &Report, cell: &Cell) -> char {
    if Report::disagrees(cell) {
        '?'
    } else if report.is_unexpected(cell) {
        '!'
    } else if cell.observed.unwrap_or(cell.decided) {
        '.'
    } else {
        'X'
    }
}

/// Rows and columns of one table.
struct Axes {
    names: Vec<String>,
    /// For each pod, its row and column.
    of: Vec<usize>,
}

impl Axes {
    fn new(report: &Report) -> Self {
        let pods = &report.engine.cluster.pods;
        if pods.len() <= MANY {
            let names = pods.iter().map(ToString::to_string).collect();
            let of = (0..pods.len()).collect();
            return Self { names, of };
        }
        let mut names: Vec<String> = pods.iter().map(|p| p.namespace.clone()).collect();
        names.sort();
        names.dedup();
        let place = |n: &String| names.binary_search(n).unwrap_or(0);
        let of = pods.iter().map(|p| place(&p.namespace)).collect();
        Self { names, of }
    }
}

/// All tables, and what the characters mean.
#[must_use]
pub fn table(report: &Report) -> String {
    let axes = Axes::new(report);
    let size = axes.names.len();
    let mut grids: BTreeMap<Served, Vec<char>> = BTreeMap::new();
    for cell in &report.cells {
        let grid = grids
            .entry((cell.family, cell.port, cell.proto))
            .or_insert_with(|| vec![' '; size * size]);
        let at = &mut grid[axes.of[cell.from.index()] * size + axes.of[cell.to.index()]];
        let mark = mark(report, cell);
        *at = match *at {
            ' ' => mark,
            before if before == mark => mark,
            '?' => '?',
            '!' => '!',
            _ if matches!(mark, '?' | '!') => mark,
            _ => '~',
        };
    }
    let mut folded: Vec<(Vec<char>, Vec<Served>)> = vec![];
    for (service, grid) in grids {
        match folded.iter_mut().find(|(g, _)| *g == grid) {
            Some((_, services)) => services.push(service),
            None => folded.push((grid, vec![service])),
        }
    }
    let mut text = String::new();
    for (grid, services) in &folded {
        let _ = writeln!(text, "{}", title(services));
        draw(&mut text, &axes, grid);
        text.push('\n');
    }
    text + &legend(&folded)
}

fn legend(folded: &[(Vec<char>, Vec<Served>)]) -> String {
    let has = |c| folded.iter().any(|(grid, _)| grid.contains(&c));
    let mut words = vec![". allowed", "X denied"];
    for (mark, word) in [
        ('!', "! other than expected"),
        ('?', "? packets did something else"),
        ('~', "~ some of the pods"),
        (' ', "blank: not served"),
    ] {
        if has(mark) {
            words.push(word);
        }
    }
    format!("rows send, columns receive; {}", words.join(", "))
}

/// `80,81/TCP 53/UDP (ip4, ip6)`, families apart where their ports differ.
fn title(services: &[Served]) -> String {
    let of = |family: Family| {
        let mut by_proto: BTreeMap<Proto, Vec<String>> = BTreeMap::new();
        for (f, port, proto) in services {
            if *f == family {
                by_proto.entry(*proto).or_default().push(port.to_string());
            }
        }
        let each = by_proto
            .iter()
            .map(|(p, ports)| format!("{}/{}", ports.join(","), words::proto(*p)));
        each.collect::<Vec<_>>().join(" ")
    };
    let (four, six) = (of(Family::Ip4), of(Family::Ip6));
    match (four.is_empty(), six.is_empty()) {
        (_, true) => format!("{four} (ip4)"),
        (true, _) => format!("{six} (ip6)"),
        _ if four == six => format!("{four} (ip4, ip6)"),
        _ => format!("{four} (ip4), {six} (ip6)"),
    }
}

/// The part of a name behind its namespace.
fn short(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, pod)| pod)
}

fn namespace(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

fn draw(text: &mut String, axes: &Axes, grid: &[char]) {
    let size = axes.names.len();
    // What no cell of this table has is left out.
    let row = |r: usize| grid[r * size..][..size].iter().any(|c| *c != ' ');
    let column = |c: usize| (0..size).any(|r| grid[r * size + c] != ' ');
    let rows: Vec<usize> = (0..size).filter(|r| row(*r)).collect();
    let columns: Vec<usize> = (0..size).filter(|c| column(*c)).collect();
    let long = columns.iter().any(|c| short(&axes.names[*c]).len() > UPRIGHT);
    let number = |at: usize| format!("{}", at + 1);
    let head = |at: usize| {
        if long {
            number(at)
        } else {
            short(&axes.names[at]).to_owned()
        }
    };
    let label = |at: usize| {
        if long {
            format!("{} {}", number(at), axes.names[at])
        } else {
            axes.names[at].clone()
        }
    };
    let width = rows.iter().map(|r| label(*r).chars().count()).max().unwrap_or(0);
    let height = columns
        .iter()
        .map(|c| head(*c).chars().count())
        .max()
        .unwrap_or(0);
    // A gap where the next namespace begins.
    let gap = |at: usize, all: &[usize]| {
        at > 0 && namespace(&axes.names[all[at]]) != namespace(&axes.names[all[at - 1]])
    };
    let line = |label: &str, character: &dyn Fn(usize) -> char| {
        let mut line = format!("  {label:width$}  ");
        for (at, column) in columns.iter().enumerate() {
            if gap(at, &columns) {
                line.push(' ');
            }
            line.push(character(*column));
        }
        line.trim_end().to_owned()
    };
    if !long && columns.iter().any(|c| axes.names[*c].contains('/')) {
        let mut names = String::new();
        for (at, column) in columns.iter().enumerate() {
            if at == 0 || gap(at, &columns) {
                let mut same = columns[at..]
                    .iter()
                    .take_while(|c| namespace(&axes.names[**c]) == namespace(&axes.names[*column]));
                let room = same.by_ref().count();
                let name: String = namespace(&axes.names[*column]).chars().take(room).collect();
                let _ = write!(names, "{name:room$} ");
            }
        }
        let _ = writeln!(text, "{}", format!("  {:width$}  {names}", "").trim_end());
    }
    for level in 0..height {
        let character = |c: usize| head(c).chars().nth(level).unwrap_or(' ');
        let _ = writeln!(text, "{}", line("", &character));
    }
    for (at, row) in rows.iter().enumerate() {
        if gap(at, &rows) {
            text.push('\n');
        }
        let character = |c: usize| grid[row * size + c];
        let _ = writeln!(text, "{}", line(&label(*row), &character));
    }
}

/// The cells that are other than expected or decided, each in three lines at most.
#[must_use]
pub fn differences(report: &Report) -> Vec<String> {
    let wrong = |c: &&Cell| Report::disagrees(c) || report.is_unexpected(c);
    report
        .cells
        .iter()
        .filter(wrong)
        .map(|c| difference(report, c))
        .collect()
}

fn difference(report: &Report, cell: &Cell) -> String {
    let word = |allowed| if allowed { "allowed" } else { "denied" };
    let name = |id: PodId| report.name(id);
    let mut text = format!(
        "{} -> {} {}/{} {}: ",
        name(cell.from),
        name(cell.to),
        cell.port,
        words::proto(cell.proto),
        words::family(cell.family)
    );
    if let Some(observed) = cell.observed.filter(|o| *o != cell.decided) {
        let _ = write!(text, "decided {}, packets {}", word(cell.decided), word(observed));
    }
    if let Some(line) = report.line(cell).filter(|_| report.is_unexpected(cell)) {
        let is = word(cell.observed.unwrap_or(cell.decided));
        let _ = write!(text, "expected {} ({}), is {is}", word(line.allowed), line.place);
    }
    let why = words::because(&report.engine, &report.verdict(cell), (cell.port, cell.proto));
    format!("{text}\n    {why}")
}
