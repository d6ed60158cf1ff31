//! Operators with state that panic on a record: found by starting again, and set aside.
//!
//! A panic may have broken an operator's state, so the job fails and starts again from its last checkpoint.
//! What was learned lives in the [`Runtime`](super::Runtime), through its starts of a pipeline:
//!
//! ```text
//!   1st panic   again from the checkpoint: it may have been chance
//!   2nd panic   again, and the operator gets its rows one by one: it is *watched*
//!   3rd panic   the row in hand is to blame: again, and this row is refused before the operator sees it
//! ```
//!
//! The refused row is a dead letter like any other, in the same commit as the output; only then is it forgotten.
//! A row is known by its input, its content and, where that is known, its origin; of equal rows as many are
//! refused as were blamed. An operator is watched until [`WATCHED`] checkpoints have passed without a panic. A
//! panic that no row is to blame for (at the close of an epoch, for example) is tried [`TRIES`] times, and no more
//! than [`ROWS`] rows are set aside between two checkpoints: then the job fails for good.
//!
//! Another process that goes on after a crash knows nothing of this and learns it again.

use super::isolate::{PANIC, message};
use super::shared::lock;
use crate::Problem;
use crate::batch::Batch;
use crate::operator::Rejected;
use crate::problem::{Domain, Retry};
use crate::time::Epoch;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Checkpoints after which a panic is forgotten.
const WATCHED: u64 = 60;
/// Panics without a row to blame before the job fails for good.
const TRIES: u32 = 3;
/// Rows set aside since the last checkpoint before the job fails for good.
const ROWS: usize = 100;

/// What is known of the operators of one pipeline.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    operators: Mutex<BTreeMap<String, Suspect>>,
    /// Rows that are to be refused and have not come yet.
    awaited: AtomicUsize,
    /// There has been a panic: until then nobody needs to look further.
    any: AtomicBool,
    /// The newest durable checkpoint.
    newest: AtomicU64,
}

#[derive(Debug, Default)]
struct Suspect {
    /// Panics lately.
    panics: u32,
    /// The newest checkpoint at the last of them.
    at: u64,
    rows: Vec<Blamed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    port: usize,
    json: String,
    /// Source, partition, position.
    origin: Option<(String, String, u64)>,
}

#[derive(Debug)]
struct Blamed {
    row: Row,
    words: String,
    /// The epoch in which it came and was refused.
    refused: Option<Epoch>,
}

impl Suspects {
    /// A job starts from this checkpoint, which closed this epoch.
    pub fn restart(&self, checkpoint: u64, epoch: Epoch) {
        self.newest.store(checkpoint, Relaxed);
        let mut operators = lock(&self.operators);
        for suspect in operators.values_mut() {
            suspect.rows.retain(|r| r.refused.is_none_or(|e| e > epoch));
            suspect.rows.iter_mut().for_each(|r| r.refused = None);
        }
        self.awaited.store(operators.values().map(|s| s.rows.len()).sum(), Relaxed);
    }

    /// A checkpoint is durable.
    pub fn committed(&self, checkpoint: u64) {
        self.newest.store(checkpoint, Relaxed);
    }

    /// True if the operator is to get its rows one by one.
    pub fn watches(&self, id: &str) -> bool {
        if !self.any.load(Relaxed) {
            return false;
        }
        let newest = self.newest.load(Relaxed);
        lock(&self.operators).get(id).is_some_and(|s| s.panics >= 2 && newest <= s.at + WATCHED)
    }

    /// Takes the rows out of a batch that are to blame.
    pub fn sift(&self, id: &str, port: usize, epoch: Epoch, batch: Batch) -> (Batch, Vec<Rejected>) {
        if self.awaited.load(Relaxed) == 0 {
            return (batch, Vec::new());
        }
        let mut operators = lock(&self.operators);
        let Some(suspect) = operators.get_mut(id) else { return (batch, Vec::new()) };
        let mut rejected = Vec::new();
        let mut take = |at: usize| {
            let row = batch.slice(at, 1);
            let key = Row::of(port, &row);
            let blamed = suspect.rows.iter_mut().find(|r| r.refused.is_none() && r.row == key)?;
            blamed.refused = Some(epoch);
            self.awaited.fetch_sub(1, Relaxed);
            rejected.push(Rejected { row, code: PANIC, message: message(&blamed.words) });
            Some(())
        };
        let keep: arrow::array::BooleanArray = (0..batch.len()).map(|at| Some(take(at).is_none())).collect();
        match rejected.is_empty() {
            true => (batch, rejected),
            false => (batch.filter(&keep), rejected),
        }
    }

    /// An operator has panicked with these rows in hand, if with any. The problem that the job fails with.
    pub fn blame(&self, id: &str, hand: Option<(usize, &Batch)>, words: String) -> Problem {
        let newest = self.newest.load(Relaxed);
        self.any.store(true, Relaxed);
        let mut operators = lock(&self.operators);
        let suspect = operators.entry(id.to_string()).or_default();
        if newest > suspect.at + WATCHED {
            suspect.panics = 0;
        }
        (suspect.panics, suspect.at) = (suspect.panics + 1, newest);
        let one = hand.filter(|(_, batch)| batch.len() == 1 && suspect.panics > 2);
        let what = match one {
            Some((port, batch)) => {
                let row = Row::of(port, batch);
                suspect.rows.push(Blamed { row, words: words.clone(), refused: None });
                "the node panics on a row, which is set aside"
            }
            None => "the node panicked",
        };
        let blamed = suspect.rows.len();
        let hopeless = blamed > ROWS || (one.is_none() && suspect.panics > TRIES);
        let problem = Problem::error(PANIC, what).node(id.split('/').next().unwrap_or(id)).found(words);
        match hopeless {
            false => problem.kind(Domain::Internal, Retry::Backoff),
            true if one.is_none() => problem
                .help("it does so each time, and no row is to blame; mend the node")
                .kind(Domain::Internal, Retry::No),
            true => problem
                .help(format!("{blamed} rows since the last checkpoint make it panic; mend the node"))
                .kind(Domain::Internal, Retry::No),
        }
    }
}

impl Row {
    fn of(port: usize, row: &Batch) -> Row {
        let origin = row.origin.as_ref().map(|o| (o.source.to_string(), o.partition.to_string(), o.positions.value(0)));
        Row { port, json: crate::json::row_json(&row.rows, 0), origin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::record_batch;
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    fn batch(values: &[i64]) -> Batch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        Batch::new(record_batch(schema, vec![Arc::new(Int64Array::from(values.to_vec()))], values.len()))
    }

    fn sifted(suspects: &Suspects, epoch: Epoch, values: &[i64]) -> (usize, usize) {
        let (left, rejected) = suspects.sift("op", 0, epoch, batch(values));
        (left.len(), rejected.len())
    }

    #[test]
    fn the_third_panic_blames_the_row_in_hand() {
        let suspects = Suspects::default();
        for panic in 1..=2 {
            let problem = suspects.blame("op", Some((0, &batch(&[1, 7]))), "no".into());
            assert_eq!(problem.retry, Retry::Backoff);
            assert_eq!(suspects.watches("op"), panic == 2);
            suspects.restart(0, 0);
            assert_eq!(sifted(&suspects, 1, &[1, 7]), (2, 0));
        }
        assert_eq!(suspects.blame("op", Some((0, &batch(&[7]))), "no".into()).retry, Retry::Backoff);
        suspects.restart(0, 0);
        assert_eq!(sifted(&suspects, 1, &[1, 7, 7]), (2, 1), "one was blamed, one is refused");
        assert_eq!(sifted(&suspects, 2, &[7]), (1, 0));
        // The letter was not committed: it is awaited again.
        suspects.restart(3, 0);
        assert_eq!(sifted(&suspects, 4, &[7]), (0, 1));
        suspects.restart(4, 4);
        assert_eq!(sifted(&suspects, 5, &[7]), (1, 0), "the letter is durable");
        suspects.committed(100);
        assert!(!suspects.watches("op"));
    }

    #[test]
    fn without_a_row_to_blame_it_ends() {
        let suspects = Suspects::default();
        let retries = (0..5).map(|_| suspects.blame("op", None, "no".into()).retry);
        assert_eq!(retries.take_while(|r| *r == Retry::Backoff).count(), 3);
    }
}
