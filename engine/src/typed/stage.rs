//! Closures as stages: columns to rows, the closure, rows to columns. Weights and origins follow.

use super::key::Key;
use super::row::Row;
use crate::batch::{BATCH_ROWS, Batch, Origin, record_batch};
use crate::operator::{Emit, Stage};
use crate::plan::describe;
use crate::{Problem, Result};
use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Int64Array, UInt32Array, UInt64Array};
use arrow::compute;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt64Type};
use std::marker::PhantomData;
use std::sync::Arc;

/// The column that carries the key of a row from `key_by` to the operator behind the exchange.
pub(super) const KEY: &str = "_key";

/// Sends a batch in pieces that are not larger than a batch may be.
pub(super) fn send(batch: &Batch, out: &mut Emit) {
    for from in (0..batch.len()).step_by(BATCH_ROWS) {
        out.send(batch.slice(from, BATCH_ROWS.min(batch.len() - from)));
    }
}

/// Keeps the rows of which the closure says true.
pub(super) struct Filter<T, F>(pub Arc<F>, pub PhantomData<fn(T)>);

impl<T: Row, F: Fn(&T) -> bool + 'static> Stage for Filter<T, F> {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let mask = BooleanArray::from(T::from_batch(&batch.rows)?.iter().map(|r| (self.0)(r)).collect::<Vec<bool>>());
        let kept = batch.filter(&mask);
        out.filtered(batch.len() - kept.len());
        out.send(kept);
        Ok(())
    }
}

/// One row for each row.
pub(super) struct Map<T, F>(pub Arc<F>, pub PhantomData<fn(T)>);

impl<T: Row, U: Row, F: Fn(T) -> U + 'static> Stage for Map<T, F> {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let rows: Vec<U> = T::from_batch(&batch.rows)?.into_iter().map(|r| (self.0)(r)).collect();
        out.send(batch.with_rows(U::to_batch(&rows)));
        Ok(())
    }
}

/// Any number of rows for each row; each has the weight and the origin of the row it came from.
pub(super) struct FlatMap<T, F>(pub Arc<F>, pub PhantomData<fn(T)>);

impl<T, U, I, F> Stage for FlatMap<T, F>
where
    T: Row,
    U: Row,
    I: IntoIterator<Item = U>,
    F: Fn(T) -> I + 'static,
{
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let (mut rows, mut from) = (Vec::new(), Vec::new());
        for (n, row) in (0u32..).zip(T::from_batch(&batch.rows)?) {
            let before = rows.len();
            rows.extend((self.0)(row));
            from.resize(rows.len(), n);
            out.filtered(usize::from(rows.len() == before));
        }
        let from = UInt32Array::from(from);
        let take = |a: &dyn Array| compute::take(a, &from, None).expect("indices lie in the batch");
        let origin = |o: &Origin| {
            let positions: UInt64Array = take(&o.positions).as_primitive::<UInt64Type>().clone();
            Origin {
                positions,
                source: Arc::clone(&o.source),
                partition: Arc::clone(&o.partition),
                slab: o.slab.clone(),
            }
        };
        let made = Batch {
            rows: U::to_batch(&rows),
            diff: batch.diff.as_ref().map(|d| -> Int64Array { take(d).as_primitive::<Int64Type>().clone() }),
            origin: batch.origin.as_ref().map(origin),
            charge: batch.charge.clone(),
        };
        send(&made, out);
        Ok(())
    }
}

/// Columns to columns.
pub(super) struct MapBatches<F> {
    pub map: Arc<F>,
    pub schema: SchemaRef,
}

impl<F: Fn(Batch) -> Result<Batch> + 'static> Stage for MapBatches<F> {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let before = batch.len();
        let made = (self.map)(batch)?;
        let actual = made.schema();
        let types =
            |s: &SchemaRef| s.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>();
        if types(&actual) != types(&self.schema) {
            return Err(Problem::error("FLOW-SCHEMA", "the closure returned other columns than the row type has")
                .found(describe(&actual))
                .expected(describe(&self.schema)));
        }
        out.filtered(before.saturating_sub(made.len()));
        send(&made, out);
        Ok(())
    }
}

/// Adds the key of each row as a column.
pub(super) struct AddKey<T, F>(pub Arc<F>, pub PhantomData<fn(T)>);

impl<T: Row, K: Key, F: Fn(&T) -> K + 'static> Stage for AddKey<T, F> {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let (mut keys, mut bytes) = (BinaryBuilder::new(), Vec::new());
        for row in T::from_batch(&batch.rows)? {
            bytes.clear();
            (self.0)(&row).write(&mut bytes);
            keys.append_value(&bytes);
        }
        // The columns as they are: a source may encode strings in another way than the row type does.
        let fields = batch.schema().fields().iter().cloned().chain([key_field()]).collect::<Vec<_>>();
        let mut columns = batch.rows.columns().to_vec();
        columns.push(Arc::new(keys.finish()) as ArrayRef);
        out.send(batch.with_rows(record_batch(Arc::new(Schema::new(fields)), columns, batch.len())));
        Ok(())
    }
}

fn key_field() -> Arc<Field> {
    Arc::new(Field::new(KEY, DataType::Binary, false))
}

/// The columns of `T`, and the key.
pub(super) fn keyed_schema<T: Row>() -> SchemaRef {
    Arc::new(Schema::new(T::schema().fields().iter().cloned().chain([key_field()]).collect::<Vec<_>>()))
}

/// Rows as they are, for a subscription: makes the node above keep all of its columns.
pub(super) struct Pass;

impl Stage for Pass {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        out.send(batch);
        Ok(())
    }
}
