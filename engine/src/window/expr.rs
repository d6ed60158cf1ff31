//! Expressions over batches, and their errors as ours.

use super::table::plain_type;
use crate::problem::codes;
use crate::sql::row_error;
use crate::{Problem, Result};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch};
use arrow::compute::{cast, prep_null_mask_filter};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;
use std::sync::Arc;

/// A failure inside a function or an accumulator.
pub(super) fn failed(error: DataFusionError) -> Problem {
    let (code, message) = row_error(&error);
    Problem::error(code, message)
}

/// Code and message for the row over which an expression has failed.
///
/// # Errors
/// The problem itself, where it is not about a row.
pub(super) fn of_a_row(problem: Problem) -> Result<(&'static str, String)> {
    match codes::find(&problem.code).filter(|c| c.code.starts_with("EXPR-")) {
        Some(code) => Ok((code.code, problem.what.clone())),
        None => Err(problem),
    }
}

/// An array kernel refused columns of our own making.
pub(super) fn kernel(error: arrow::error::ArrowError) -> Problem {
    Problem::internal("columns do not fit together").found(error.to_string())
}

/// The value of an expression for each row.
pub(super) fn column(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    expr.evaluate(rows).and_then(|v| v.into_array(rows.num_rows())).map_err(failed)
}

/// A key column: dictionaries unpacked, one zero and one NaN, so that equal keys have equal bits.
pub(super) fn key_column(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    let column = column(expr, rows)?;
    Ok(match column.data_type() {
        DataType::Float64 => {
            let one = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            let values: PrimitiveArray<Float64Type> = column.as_primitive::<Float64Type>().unary(one);
            Arc::new(values)
        }
        DataType::Float32 => {
            let one = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            let values: PrimitiveArray<Float32Type> = column.as_primitive::<Float32Type>().unary(one);
            Arc::new(values)
        }
        other => {
            let plain = plain_type(other);
            if plain == *other { column } else { cast(&column, &plain).map_err(kernel)? }
        }
    })
}

/// A filter: true or not, never NULL.
pub(super) fn mask(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let column = column(expr, rows)?;
    let mask = column
        .as_boolean_opt()
        .ok_or_else(|| Problem::internal("a filter is not boolean").found(column.data_type().to_string()))?;
    Ok(if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() })
}

/// Event time as microseconds, whatever the unit of the column.
pub(super) fn micros(column: &ArrayRef) -> Result<PrimitiveArray<Int64Type>> {
    let micros = match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Arc::clone(column),
        DataType::Timestamp(_, zone) => {
            cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone())).map_err(kernel)?
        }
        other => {
            return Err(Problem::error("WINDOW-TIME-TYPE", "event time is not a timestamp")
                .found(other.to_string())
                .expected("Timestamp"));
        }
    };
    Ok(micros.as_primitive::<TimestampMicrosecondType>().reinterpret_cast())
}
