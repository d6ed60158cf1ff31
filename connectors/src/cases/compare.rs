//! What was expected against what came, as multisets of rows.

use super::values::{Values, row, same};
use super::{Want, Wanted};
use arrow::array::RecordBatch;

/// A port that gave something else than expected.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Difference {
    /// The node, port or sink.
    pub port: String,
    /// How many rows were expected.
    pub expected: u64,
    /// How many came.
    pub came: u64,
    /// The columns that were compared, in the order of the file; none where rows were counted.
    pub columns: Vec<String>,
    /// The rows: those expected in the order of the file, then those that nobody expected.
    pub rows: Vec<Line>,
}

/// One row of a [`Difference`].
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Line {
    /// Whether it came, and should have.
    pub came: Came,
    /// Its columns.
    pub row: Values,
}

/// Whether a row came, and should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    /// Expected, and came.
    AsExpected,
    /// Expected, and did not come.
    Missing,
    /// Came, and was not expected.
    Unexpected,
}

/// The difference, where there is one.
pub(super) fn compare(wanted: &Wanted, batch: &RecordBatch) -> Option<Difference> {
    let came: Vec<Values> = (0..batch.num_rows()).map(|n| row(batch, n)).collect();
    let difference = |expected, columns, rows| Difference {
        port: wanted.port.clone(),
        expected,
        came: came.len() as u64,
        columns,
        rows,
    };
    match &wanted.what {
        Want::Count(count) => (*count != came.len() as u64).then(|| difference(*count, Vec::new(), Vec::new())),
        Want::Rows(rows) => {
            let lines = lines(rows, &came);
            let equal = lines.iter().all(|l| l.came == Came::AsExpected);
            (!equal).then(|| difference(rows.len() as u64, columns(rows, batch), lines))
        }
    }
}

/// The columns that some row names; where none does, all that came.
fn columns(rows: &[Values], batch: &RecordBatch) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for name in rows.iter().flat_map(Values::keys) {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    if columns.is_empty() {
        columns.extend(batch.schema().fields().iter().map(|f| f.name().clone()));
    }
    columns
}

fn lines(expected: &[Values], came: &[Values]) -> Vec<Line> {
    let pairs = pairs(expected, came);
    let mut lines: Vec<Line> = expected
        .iter()
        .zip(&pairs)
        .map(|(row, pair)| Line {
            came: if pair.is_some() { Came::AsExpected } else { Came::Missing },
            row: row.clone(),
        })
        .collect();
    let unexpected = came.iter().enumerate().filter(|(n, _)| !pairs.contains(&Some(*n)));
    lines.extend(unexpected.map(|(_, row)| Line { came: Came::Unexpected, row: row.clone() }));
    lines
}

fn fits(expected: &Values, came: &Values) -> bool {
    expected.iter().all(|(name, value)| came.get(name).is_some_and(|found| same(value, found)))
}

/// For each expected row the one that came for it. Rows may name different columns, so one that came may
/// fit several: the greatest number of pairs is found, by augmenting paths.
fn pairs(expected: &[Values], came: &[Values]) -> Vec<Option<usize>> {
    let mut taken_by: Vec<Option<usize>> = vec![None; came.len()];
    for row in 0..expected.len() {
        augment(row, expected, came, &mut taken_by, &mut vec![false; came.len()]);
    }
    let mut pairs = vec![None; expected.len()];
    for (came, row) in taken_by.iter().enumerate() {
        if let Some(row) = row {
            pairs[*row] = Some(came);
        }
    }
    pairs
}

fn augment(
    row: usize,
    expected: &[Values],
    came: &[Values],
    taken_by: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    for n in 0..came.len() {
        if seen[n] || !fits(&expected[row], &came[n]) {
            continue;
        }
        seen[n] = true;
        if taken_by[n].is_none_or(|other| augment(other, expected, came, taken_by, seen)) {
            taken_by[n] = Some(row);
            return true;
        }
    }
    false
}
