//! Rows on their way through calls, and their form in a checkpoint.
//!
//! Table `rows`: `_group`, then `id`, `mark` (the watermark before the row's epoch), `source`, `partition`,
//! `position` (NULL behind an exchange or an operator), then the input's columns. Table `left`: `_group` and
//! `id` of rows that have left since. Columns are found by their place: the input may have any names.

use crate::batch::{Batch, Origin, record_batch};
use crate::meaning::is_wider;
use crate::operator::{Change, KeyGroups, StateBlock};
use crate::{Problem, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringBuilder, UInt8Array, UInt64Array,
    UInt64Builder, new_null_array,
};
use arrow::compute::{cast, concat_batches, filter};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt8Type, UInt64Type};
use std::collections::HashSet;
use std::sync::Arc;

/// Rows that are here.
pub(super) const ROWS: &str = "rows";
/// Rows that were, when an earlier block was written.
pub(super) const LEFT: &str = "left";
/// Columns of `rows` before those of the input.
const OWN: usize = 6;

/// Rows of one batch that have come and not left.
pub(super) struct Chunk {
    /// One number per row, unique among all rows of the state, ascending on one worker.
    pub ids: UInt64Array,
    pub batch: Batch,
    /// The watermark before the epoch in which they came.
    pub mark: i64,
    pub group: u8,
    /// They were here at the checkpoint from which this run went on.
    pub again: bool,
    /// They are in a block.
    pub saved: bool,
    /// Bytes of one row, about.
    pub row_bytes: u64,
}

impl Chunk {
    pub fn len(&self) -> usize {
        self.ids.len()
    }
    pub fn bytes(&self) -> u64 {
        self.row_bytes * self.len() as u64
    }
    /// Takes the first rows away.
    pub fn split(&mut self, rows: usize) -> Chunk {
        let rows = rows.min(self.len());
        let first = self.slice(0, rows);
        *self = self.slice(rows, self.len() - rows);
        first
    }
    fn slice(&self, from: usize, rows: usize) -> Chunk {
        Chunk { ids: self.ids.slice(from, rows), batch: self.batch.slice(from, rows), ..*self }
    }
    /// Without the rows of these numbers.
    pub fn without(&mut self, gone: &HashSet<u64>) {
        let keep: BooleanArray = self.ids.values().iter().map(|id| Some(!gone.contains(id))).collect();
        if keep.true_count() < keep.len() {
            self.ids = filter(&self.ids, &keep).expect("one value per row").as_primitive::<UInt64Type>().clone();
            self.batch = self.batch.filter(&keep);
        }
    }
}

/// Bytes of one of these rows, about.
pub(super) fn row_bytes(rows: &RecordBatch) -> u64 {
    let bytes: usize = rows.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum();
    (bytes / rows.num_rows().max(1)) as u64
}

/// Blocks of these rows, in their order.
pub(super) fn rows_blocks<'a>(chunks: impl Iterator<Item = &'a Chunk>) -> Result<Vec<StateBlock>> {
    let mut blocks = Vec::new();
    let mut run: Vec<RecordBatch> = Vec::new();
    for chunk in chunks {
        let rows = rows_of(chunk);
        // A source may encode a column in another way than it did before a restart.
        if run.first().is_some_and(|first| first.schema() != rows.schema()) {
            blocks.push(joined(&std::mem::take(&mut run))?);
        }
        run.push(rows);
    }
    if !run.is_empty() {
        blocks.push(joined(&run)?);
    }
    Ok(blocks)
}

fn joined(run: &[RecordBatch]) -> Result<StateBlock> {
    let rows = concat_batches(&run[0].schema(), run)
        .map_err(|e| Problem::internal(format!("rows in calls cannot be put together: {e}")))?;
    Ok(StateBlock { table: ROWS.into(), segment: 0, change: Change::Rows(rows) })
}

fn rows_of(chunk: &Chunk) -> RecordBatch {
    let rows = chunk.len();
    let (mut sources, mut partitions) = (StringBuilder::new(), StringBuilder::new());
    let mut positions = UInt64Builder::with_capacity(rows);
    for row in 0..rows {
        let origin = chunk.batch.origin.as_ref();
        sources.append_option(origin.map(|o| &o.source));
        partitions.append_option(origin.map(|o| &o.partition));
        positions.append_option(origin.map(|o| o.positions.value(row)));
    }
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt8Array::from(vec![chunk.group; rows])),
        Arc::new(chunk.ids.clone()),
        Arc::new(Int64Array::from(vec![chunk.mark; rows])),
        Arc::new(sources.finish()),
        Arc::new(partitions.finish()),
        Arc::new(positions.finish()),
    ];
    columns.extend(chunk.batch.rows.columns().iter().cloned());
    record_batch(rows_schema(&chunk.batch.schema()), columns, rows)
}

fn rows_schema(input: &SchemaRef) -> SchemaRef {
    let mut fields = vec![
        Arc::new(Field::new("_group", DataType::UInt8, false)),
        Arc::new(Field::new("id", DataType::UInt64, false)),
        Arc::new(Field::new("mark", DataType::Int64, false)),
        Arc::new(Field::new("source", DataType::Utf8, true)),
        Arc::new(Field::new("partition", DataType::Utf8, true)),
        Arc::new(Field::new("position", DataType::UInt64, true)),
    ];
    debug_assert_eq!(fields.len(), OWN);
    fields.extend(input.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

/// The block that says which rows have left; `None` where none have.
pub(super) fn left_block(left: Vec<(u8, u64)>) -> Option<StateBlock> {
    if left.is_empty() {
        return None;
    }
    let schema =
        Schema::new(vec![Field::new("_group", DataType::UInt8, false), Field::new("id", DataType::UInt64, false)]);
    let groups = UInt8Array::from_iter_values(left.iter().map(|l| l.0));
    let ids = UInt64Array::from_iter_values(left.iter().map(|l| l.1));
    let rows = record_batch(Arc::new(schema), vec![Arc::new(groups), Arc::new(ids)], left.len());
    Some(StateBlock { table: LEFT.into(), segment: 0, change: Change::Rows(rows) })
}

/// The numbers of the rows of a block.
pub(super) fn ids(rows: &RecordBatch) -> Result<&UInt64Array> {
    rows.columns().get(1).and_then(|c| c.as_primitive_opt::<UInt64Type>()).ok_or_else(foreign)
}

/// The rows of a block that belong to these groups, in order, in the columns that are wanted now; rows that
/// came together may come apart.
pub(super) fn chunks(rows: &RecordBatch, wanted: &SchemaRef, own: &KeyGroups) -> Result<Vec<Chunk>> {
    let ids = ids(rows)?;
    let column = |at: usize| rows.columns().get(at).ok_or_else(foreign);
    let groups = column(0)?.as_primitive_opt::<UInt8Type>().ok_or_else(foreign)?;
    let marks = column(2)?.as_primitive_opt::<Int64Type>().ok_or_else(foreign)?;
    let sources = column(3)?.as_string_opt::<i32>().ok_or_else(foreign)?;
    let partitions = column(4)?.as_string_opt::<i32>().ok_or_else(foreign)?;
    let positions = column(5)?.as_primitive_opt::<UInt64Type>().ok_or_else(foreign)?;
    let input = fitted(rows, wanted)?;
    let row_bytes = row_bytes(&input);
    let text = |of: &arrow::array::StringArray, row: usize| of.is_valid(row).then(|| of.value(row).to_owned());
    let alike = |a: usize, b: usize| {
        (groups.value(a), marks.value(a)) == (groups.value(b), marks.value(b))
            && (text(sources, a), text(partitions, a)) == (text(sources, b), text(partitions, b))
    };
    let mut found = Vec::new();
    let mut from = 0;
    while from < rows.num_rows() {
        let more = (from + 1..rows.num_rows()).take_while(|row| alike(from, *row)).count();
        let len = more + 1;
        if own.contains(groups.value(from)) {
            let origin = text(sources, from).zip(text(partitions, from)).map(|(source, partition)| Origin {
                source: source.into(),
                partition: partition.into(),
                positions: positions.slice(from, len),
                slab: None,
            });
            found.push(Chunk {
                ids: ids.slice(from, len),
                batch: Batch { origin, ..Batch::new(input.slice(from, len)) },
                mark: marks.value(from),
                group: groups.value(from),
                again: true,
                saved: true,
                row_bytes,
            });
        }
        from += len;
    }
    Ok(found)
}

/// The input's columns of a block as the node wants them now, found by name. The job has checked what they
/// mean ([`crate::meaning`]); a source may have encoded them in another way than the node declares, which stays.
fn fitted(rows: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch> {
    let schema = rows.schema();
    let stored = |name: &str| (OWN..rows.num_columns()).find(|at| schema.field(*at).name() == name);
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for field in wanted.fields() {
        let column = match stored(field.name()) {
            Some(at) if is_wider(rows.column(at).data_type(), field.data_type()) => {
                cast(rows.column(at), field.data_type()).map_err(|_| foreign())?
            }
            Some(at) => Arc::clone(rows.column(at)),
            None if field.is_nullable() => new_null_array(field.data_type(), rows.num_rows()),
            None => return Err(foreign()),
        };
        fields.push(field.as_ref().clone().with_data_type(column.data_type().clone()));
        columns.push(column);
    }
    Ok(record_batch(Arc::new(Schema::new(fields)), columns, rows.num_rows()))
}

fn foreign() -> Problem {
    Problem::internal("a block of rows in calls has other columns than it was written with")
}
