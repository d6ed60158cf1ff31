//! Whether a job that has failed is started again.

use super::signals;
use millstream::Problem;
use millstream::plan::Pipeline;
use millstream::problem::{Retry, Severity};
use millstream::runtime::Job;
use std::time::Duration;

/// Failures in a row, without a checkpoint in between, after which it is left at that.
const MAX: u32 = 5;

/// Counts the failures of one pipeline.
pub struct Restarts {
    /// Every source can be read again from the checkpoint.
    possible: bool,
    in_a_row: u32,
    newest: u64,
}

impl Restarts {
    pub fn new(pipeline: &Pipeline) -> Restarts {
        let possible = pipeline.nodes.iter().filter_map(|n| n.work.source()).all(|s| s.replayable());
        Restarts { possible, in_a_row: 0, newest: 0 }
    }

    /// How long to wait before the next start; `None` = no more.
    pub fn after(&mut self, problem: &Problem, job: &Job) -> Option<Duration> {
        if !self.possible || problem.retry != Retry::Backoff || signals::asked() > 0 {
            return None;
        }
        if problem.code == "NODE-PANIC" {
            // Each start finds out more; the engine says when there is nothing more to find out.
            return Some(Duration::ZERO);
        }
        let newest = job.status().checkpoint;
        self.in_a_row = if newest > self.newest { 1 } else { self.in_a_row + 1 };
        self.newest = newest;
        (self.in_a_row <= MAX).then(|| Duration::from_millis(50) * 2u32.pow(self.in_a_row))
    }
}

/// The problem as a warning: what happened, and that it goes on.
pub fn warning(problem: &Problem, pause: Duration) -> Problem {
    let mut warning = problem.clone().help(match pause {
        Duration::ZERO => "starting again from the last checkpoint".into(),
        pause => format!("starting again from the last checkpoint in {pause:?}"),
    });
    warning.severity = Severity::Warning;
    warning
}
