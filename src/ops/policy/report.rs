//! What a test of policies found: the cells, what was expected of them, and what packets did.
//!
//! Whoever prints (`cli/policy`) reads it; whoever sends packets fills in `observed`.

use std::time::Duration;

use crate::model::policy::{self, Engine, Expectations, Expected, PodId, Verdict};
use crate::model::{Family, Proto};

/// One flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub from: PodId,
    pub to: PodId,
    pub port: u16,
    pub proto: Proto,
    pub family: Family,
    pub decided: bool,
    /// `None` when nobody looked.
    pub observed: Option<bool>,
    /// The number of the line that speaks of it, for [`Report::line`].
    pub line: Option<u32>,
}

impl From<policy::Cell> for Cell {
    /// Decided, and nothing else known yet.
    fn from(cell: policy::Cell) -> Self {
        let policy::Cell {
            from,
            to,
            port,
            proto,
            family,
            decided,
        } = cell;
        Self {
            from,
            to,
            port,
            proto,
            family,
            decided,
            observed: None,
            line: None,
        }
    }
}

/// How a test with packets went.
#[derive(Clone, Copy, Debug)]
pub struct Probed {
    /// Set elements in which the policies were in the kernel.
    pub elements: usize,
}

/// Everything that a test found.
#[derive(Debug)]
pub struct Report {
    pub engine: Engine,
    pub expectations: Expectations,
    /// By family, receiver, port and protocol, then sender.
    pub cells: Vec<Cell>,
    pub took: Duration,
    /// `None` when no packet was sent.
    pub probed: Option<Probed>,
}

impl Report {
    /// The line that speaks of a cell.
    #[must_use]
    pub fn line(&self, cell: &Cell) -> Option<&Expected> {
        cell.line.map(|n| self.expectations.line(n as usize))
    }

    /// What should hold of a cell.
    #[must_use]
    pub fn expected(&self, cell: &Cell) -> Option<bool> {
        self.line(cell).map(|l| l.allowed)
    }

    /// Whether a cell is other than somebody expects; what packets did counts, where somebody looked.
    #[must_use]
    pub fn is_unexpected(&self, cell: &Cell) -> bool {
        let is = cell.observed.unwrap_or(cell.decided);
        self.expected(cell).is_some_and(|wanted| wanted != is)
    }

    /// Whether packets did something else than was decided.
    #[must_use]
    pub fn disagrees(cell: &Cell) -> bool {
        cell.observed.is_some_and(|o| o != cell.decided)
    }

    /// Why a cell is as it is.
    #[must_use]
    pub fn verdict(&self, cell: &Cell) -> Verdict {
        self.engine
            .decide(cell.from, cell.to, cell.port, cell.proto, cell.family)
    }

    /// The name of an end, `shop/web`.
    #[must_use]
    pub fn name(&self, pod: PodId) -> String {
        self.engine.cluster.pod(pod).to_string()
    }

    /// 0 all as expected, 1 an expectation does not hold, 4 packets and decision differ.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        if self.cells.iter().any(Self::disagrees) {
            4
        } else {
            i32::from(self.cells.iter().any(|c| self.is_unexpected(c)))
        }
    }
}
