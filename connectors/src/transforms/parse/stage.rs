//! The stage: row by row through one format.

use super::{LineFormat, NO_MATCH};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};
use millstream::batch::record_batch;
use millstream::operator::{Emit, Stage};
use millstream::{Batch, Problem, Result};
use std::sync::Arc;

pub(super) struct Parse {
    field: String,
    kept: Vec<String>,
    output: SchemaRef,
    format: Box<dyn LineFormat>,
}

impl Parse {
    pub fn new(field: &str, kept: &[String], output: &SchemaRef, format: Box<dyn LineFormat>) -> Parse {
        Parse { field: field.into(), kept: kept.to_vec(), output: Arc::clone(output), format }
    }

    /// Reads every row; returns the ones refused, in order.
    fn read(&mut self, batch: &Batch, text: &StringArray, out: &mut Emit) -> Vec<usize> {
        let mut refused = Vec::new();
        self.format.reserve(text.len());
        for row in 0..text.len() {
            if text.is_null(row) {
                out.reject(batch, row, NO_MATCH, format!("field `{}`: found nothing, expected text", self.field));
                refused.push(row);
            } else if let Err(refusal) = self.format.row(text.value(row)) {
                out.reject(batch, row, refusal.code, refusal.message);
                refused.push(row);
            }
        }
        refused
    }
}

impl Stage for Parse {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let text = text_column(&batch, &self.field)?;
        let refused = self.read(&batch, &text, out);
        let kept: Vec<&str> = self.kept.iter().map(String::as_str).collect();
        let mut rest = batch.project(&kept);
        if !refused.is_empty() {
            let mut taken = vec![true; batch.len()];
            refused.iter().for_each(|row| taken[*row] = false);
            rest = rest.filter(&BooleanArray::from(taken));
        }
        let mut columns = self.format.finish();
        columns.extend(rest.rows.columns().iter().cloned());
        let rows = record_batch(Arc::clone(&self.output), columns, rest.len());
        out.send(rest.with_rows(rows));
        Ok(())
    }
}

/// The column as UTF-8. Bytes that are none become null, and so a refused row.
fn text_column(batch: &Batch, field: &str) -> Result<StringArray> {
    let column = batch.column(field).ok_or_else(|| Problem::internal(format!("the column `{field}` was pruned")))?;
    let text: ArrayRef = match column.data_type() {
        DataType::Utf8 => Arc::clone(column),
        _ => compute::cast(column, &DataType::Utf8)
            .map_err(|e| Problem::internal(format!("the column `{field}` as text: {e}")))?,
    };
    Ok(text.as_string::<i32>().clone())
}
