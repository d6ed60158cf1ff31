//! What came out of a test run.

use crate::batch::{Batch, record_batch};
use crate::json::row_json;
use crate::typed::Row;
use crate::{Problem, Result};
use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, HashMap};

/// What came out of a [`TestRun`](super::TestRun), by sink and by the ports that were observed.
///
/// Rows are what is left after retractions: a row that came and was taken back is not there. They stand in
/// the order in which they first came.
#[derive(Debug)]
pub struct Outcome {
    ports: BTreeMap<String, RecordBatch>,
}

impl Outcome {
    pub(super) fn new(ports: impl Iterator<Item = (String, SchemaRef, Vec<Batch>)>) -> Result<Outcome, Vec<Problem>> {
        let (mut all, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, schema, batches) in ports {
            match consolidate(&schema, &batches) {
                Ok(rows) => drop(all.insert(name, rows)),
                Err(problem) => problems.push(problem.node(name)),
            }
        }
        if problems.is_empty() { Ok(Outcome { ports: all }) } else { Err(problems) }
    }

    /// The rows of a sink, or of a port that was observed.
    ///
    /// # Panics
    /// When it is neither.
    pub fn batch(&self, port: &str) -> &RecordBatch {
        let names = || self.ports.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.ports.get(port).unwrap_or_else(|| panic!("`{port}` was not observed; there is {}", names()))
    }

    /// As [`Outcome::batch`], as structs.
    ///
    /// # Panics
    /// Also when the columns are not those of `T`.
    pub fn rows<T: Row>(&self, port: &str) -> Vec<T> {
        T::from_batch(self.batch(port)).unwrap_or_else(|problem| panic!("`{port}`: {problem}"))
    }

    /// As [`Outcome::batch`], as JSON objects.
    ///
    /// # Panics
    /// As [`Outcome::batch`].
    pub fn json(&self, port: &str) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let rows = self.batch(port);
        let object = |row| serde_json::from_str(&row_json(rows, row)).expect("a row is written as a JSON object");
        (0..rows.num_rows()).map(object).collect()
    }

    /// How many rows.
    ///
    /// # Panics
    /// As [`Outcome::batch`].
    pub fn count(&self, port: &str) -> usize {
        self.batch(port).num_rows()
    }
}

/// What is left of these batches.
fn consolidate(schema: &SchemaRef, batches: &[Batch]) -> Result<RecordBatch> {
    let schema = batches.first().map_or_else(|| schema.clone(), Batch::schema);
    if schema.fields().is_empty() {
        return Ok(record_batch(schema, Vec::new(), left(batches)?));
    }
    let all = concat_batches(&schema, batches.iter().map(|b| &b.rows))
        .map_err(|e| Problem::internal(format!("the batches of one port have different columns: {e}")))?;
    let mut weights: Vec<(u32, i64)> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for ((row, index), diff) in (0..all.num_rows()).zip(0u32..).zip(batches.iter().flat_map(diffs)) {
        let at = *known.entry(row_json(&all, row)).or_insert(weights.len());
        match weights.get_mut(at) {
            Some((_, weight)) => *weight += diff,
            None => weights.push((index, diff)),
        }
    }
    if let Some((row, weight)) = weights.iter().find(|(_, weight)| *weight < 0) {
        return Err(taken_back(*weight).found(row_json(&all, *row as usize)));
    }
    let repeated = |(row, weight): &(u32, i64)| std::iter::repeat_n(*row, usize::try_from(*weight).unwrap_or(0));
    let indices: UInt32Array = weights.iter().flat_map(repeated).collect::<Vec<u32>>().into();
    take_record_batch(&all, &indices).map_err(|e| Problem::internal(format!("rows cannot be taken: {e}")))
}

fn diffs(batch: &Batch) -> Vec<i64> {
    batch.diff.as_ref().map_or_else(|| vec![1; batch.len()], |d| d.values().to_vec())
}

/// Rows without columns are all the same.
fn left(batches: &[Batch]) -> Result<usize> {
    let sum: i64 = batches.iter().flat_map(diffs).sum();
    usize::try_from(sum).map_err(|_| taken_back(sum))
}

fn taken_back(weight: i64) -> Problem {
    Problem::error("TEST-RETRACTION", "a row was taken back more often than it came")
        .expected(format!("a weight of at least 0, found {weight}"))
}
