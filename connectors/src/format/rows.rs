//! What readers of whole files have in common: the wanted columns, their types, the first row.

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Schema, SchemaRef};
use millstream::batch::record_batch;
use millstream::{Problem, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Columns that a file may have: bounds the work that a hostile file can ask for.
pub(super) const COLUMNS_MAX: usize = 10_000;

/// Runs a step of a reader that is not ours. Readers of files have been seen to panic on damaged
/// metadata; for the caller that is a broken file like any other.
pub(super) fn guarded<T, E: ToString>(step: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(match panic.downcast::<String>() {
            Ok(text) => format!("damaged metadata: {text}"),
            Err(_) => "damaged metadata".to_owned(),
        }),
    }
}

/// The places of the wanted columns in the file.
pub(super) fn places(file: &Schema, wanted: &Schema) -> Result<Vec<usize>> {
    let place = |name: &String| {
        file.index_of(name).map_err(|_| {
            let names = file.fields().iter().map(|f| f.name().as_str());
            let problem = Problem::error("FORMAT-COLUMN", format!("the file has no column `{name}`"));
            match millstream::problem::nearest(name, names.clone()) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.expected(format!("one of {}", names.collect::<Vec<_>>().join(", "))),
            }
        })
    };
    wanted.fields().iter().map(|f| place(f.name())).collect()
}

/// The batch with the columns and types of `wanted`; its columns are looked up by name.
///
/// # Errors
/// `FORMAT-TYPE` where a value does not fit the wanted type, or is null where null is not allowed.
pub(super) fn conform(batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref().fields() == wanted.fields() {
        return Ok(batch.clone());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let mut columns = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        let name = field.name();
        let column = batch
            .column_by_name(name)
            .ok_or_else(|| Problem::error("FORMAT-COLUMN", format!("the file has no column `{name}`")))?;
        let cast = cast_with_options(column, field.data_type(), &options).map_err(|e| {
            Problem::error("FORMAT-TYPE", format!("column `{name}` does not fit its declared type"))
                .found(format!("{}: {e}", column.data_type()))
                .expected(field.data_type().to_string())
        })?;
        if !field.is_nullable() && cast.null_count() > 0 {
            return Err(Problem::error("FORMAT-TYPE", format!("column `{name}` has nulls, and is declared without")));
        }
        columns.push(cast);
    }
    Ok(record_batch(Arc::clone(wanted), columns, batch.num_rows()))
}
