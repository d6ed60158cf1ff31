//! What all windowed state has in common on its way to the store: the key group in front of each row,
//! the segments that die with event time, and the watermark beside them.

use crate::batch::record_batch;
use crate::key;
use crate::operator::{Change, KeyGroups, StateBlock};
use crate::time::Watermark;
use crate::{Problem, Result};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt8Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt8Type};
use std::sync::Arc;

const CLOSED: &str = "closed";

/// How far event time is closed: windows that end here or earlier are gone.
#[derive(Debug)]
pub(crate) struct Closed {
    /// Microseconds; `i64::MIN` before the first watermark.
    pub(crate) until: i64,
    saved: i64,
}

impl Default for Closed {
    fn default() -> Self {
        Closed { until: i64::MIN, saved: i64::MIN }
    }
}

impl Closed {
    /// Moves on; true if that closes anything new. Never goes back.
    pub(crate) fn advance(&mut self, watermark: Watermark, lateness_us: i64) -> bool {
        let until = held_back(watermark, lateness_us).0;
        let moved = until > self.until;
        self.until = self.until.max(until);
        moved
    }

    /// Hands itself over if it moved: one row per key group, so that every worker finds it again.
    pub(crate) fn delta(&mut self, out: &mut Vec<StateBlock>) {
        if self.saved != self.until {
            self.saved = self.until;
            out.push(StateBlock { table: CLOSED.into(), segment: 0, change: Change::Drop });
            self.base(out);
        }
    }

    pub(crate) fn base(&self, out: &mut Vec<StateBlock>) {
        if self.until == i64::MIN {
            return;
        }
        let groups = UInt8Array::from_iter_values(0..=u8::MAX);
        let until = Int64Array::from_value(self.until, key::GROUPS);
        let schema = state_schema([Field::new("until_us", DataType::Int64, false)]);
        let rows = record_batch(schema, vec![Arc::new(groups), Arc::new(until)], key::GROUPS);
        out.push(StateBlock { table: CLOSED.into(), segment: 0, change: Change::Rows(rows) });
    }

    /// Takes the block if it is one of ours. A drop only makes room for the rows that follow it.
    pub(crate) fn restore(&mut self, block: &StateBlock) -> Result<bool> {
        if block.table != CLOSED {
            return Ok(false);
        }
        if let Change::Rows(rows) = &block.change {
            let until = rows.column(1).as_primitive_opt::<Int64Type>().ok_or_else(|| foreign(block))?;
            self.until = until.values().iter().copied().fold(self.until, i64::max);
            self.saved = self.until;
        }
        Ok(true)
    }
}

/// The watermark that is behind `watermark` by this much; nothing known and the end stay what they are.
pub(crate) fn held_back(watermark: Watermark, lateness_us: i64) -> Watermark {
    match watermark {
        Watermark::END | Watermark::UNKNOWN => watermark,
        Watermark(at) => Watermark(at.saturating_sub(lateness_us)),
    }
}

/// `_group`, then these.
pub(crate) fn state_schema(fields: impl IntoIterator<Item = Field>) -> SchemaRef {
    let group = Field::new("_group", DataType::UInt8, false);
    Arc::new(Schema::new(std::iter::once(group).chain(fields).collect::<Vec<_>>()))
}

/// The key group of each row: all in the first group where there are no keys.
pub(crate) fn groups_of(keys: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    if keys.is_empty() {
        return Ok(Arc::new(UInt8Array::from_value(0, rows)));
    }
    let mut hashes = Vec::new();
    key::hash_rows(keys, &mut hashes)?;
    Ok(Arc::new(UInt8Array::from_iter_values(hashes.iter().map(|h| key::group(*h)))))
}

/// The rows of a block that belong to these key groups, still with `_group` in front.
pub(crate) fn own_rows(block: &StateBlock, rows: &RecordBatch, groups: &KeyGroups) -> Result<RecordBatch> {
    let own = rows.columns().first().and_then(|c| c.as_primitive_opt::<UInt8Type>());
    let own = own.ok_or_else(|| foreign(block))?;
    if *groups == KeyGroups::ALL || own.values().iter().all(|g| groups.contains(*g)) {
        return Ok(rows.clone());
    }
    let mask = BooleanArray::from_iter(own.values().iter().map(|g| Some(groups.contains(*g))));
    Ok(filter_record_batch(rows, &mask).expect("one flag per row"))
}

pub(crate) fn foreign(block: &StateBlock) -> Problem {
    Problem::error("STATE-SCHEMA", format!("state table `{}` is not what this operator hands over", block.table))
        .help("undo the change of the node, or give up the state: run again with --drop-state and its name")
}
