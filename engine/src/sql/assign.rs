//! Adds `window_start` and `window_end` to rows, where no aggregate right above does it by itself.

use super::expr::evaluate;
use super::program::Physical;
use super::run::Failure;
use crate::Problem;
use crate::batch::{Batch, Origin};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType, UInt64Type};
use std::fmt;
use std::sync::Arc;

/// Windows of fixed length, half-open, aligned to the Unix epoch plus the offset.
#[derive(Clone, Debug)]
pub(super) struct Assign {
    /// Yields `Timestamp(us, UTC)` over the input.
    pub(super) time: Physical,
    /// Distance between two starts; equal to the size for tumbling windows.
    pub(super) slide_us: i64,
    /// Length.
    pub(super) size_us: i64,
    /// Shift against the Unix epoch.
    pub(super) offset_us: i64,
    /// The input's fields, then start and end.
    pub(super) schema: SchemaRef,
}

impl fmt::Display for Assign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "window {} slide {}us size {}us offset {}us", self.time, self.slide_us, self.size_us, self.offset_us)
    }
}

impl Assign {
    /// One row per window that a row belongs to, in the order of rows, then of windows.
    pub(super) fn run(&self, batch: &Batch) -> Result<Batch, Failure> {
        let time = evaluate(self.time.as_ref(), &batch.rows)?;
        if time.null_count() > 0 {
            return Err(Failure::Row(
                "WINDOW-NO-TIME",
                "the event time is NULL, so the row belongs to no window".into(),
            ));
        }
        let time = time.as_primitive::<TimestampMicrosecondType>();
        let (mut rows, mut starts) = (Vec::with_capacity(time.len()), Vec::with_capacity(time.len()));
        for (row, &t) in time.values().iter().enumerate() {
            let last = t.saturating_sub((t.wrapping_sub(self.offset_us)).rem_euclid(self.slide_us));
            let windows = ((self.size_us - (t - last)).max(0) + self.slide_us - 1) / self.slide_us;
            for back in (0..windows).rev() {
                rows.push(u32::try_from(row).expect("a batch has at most 8,192 rows"));
                starts.push(last.saturating_sub(back * self.slide_us));
            }
        }
        self.widen(batch, &UInt32Array::from(rows), starts)
    }

    fn widen(&self, batch: &Batch, rows: &UInt32Array, starts: Vec<i64>) -> Result<Batch, Failure> {
        let once = self.slide_us == self.size_us;
        let pick = |a: &dyn Array| take(a, rows, None).expect("indices are rows of the batch");
        let mut columns: Vec<ArrayRef> =
            batch.rows.columns().iter().map(|c| if once { Arc::clone(c) } else { pick(c.as_ref()) }).collect();
        let ends = starts.iter().map(|s| s.saturating_add(self.size_us)).collect::<Vec<_>>();
        columns.push(Arc::new(TimestampMicrosecondArray::from(starts).with_timezone("UTC")));
        columns.push(Arc::new(TimestampMicrosecondArray::from(ends).with_timezone("UTC")));
        let widened = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| Failure::Fatal(Problem::internal("windows do not fit their rows").found(e.to_string())))?;
        if once {
            return Ok(batch.with_rows(widened));
        }
        Ok(Batch {
            rows: widened,
            diff: batch.diff.as_ref().map(|d| pick(d).as_primitive::<Int64Type>().clone()),
            origin: batch
                .origin
                .as_ref()
                .map(|o| Origin { positions: pick(&o.positions).as_primitive::<UInt64Type>().clone(), ..o.clone() }),
            charge: batch.charge.clone(),
        })
    }
}
