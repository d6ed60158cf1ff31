//! Values of a test file as columns, and columns as they are shown and compared.
//!
//! A value goes through the NDJSON decoder in the type of its column, and what came is written by the NDJSON
//! encoder; so a test writes what a file would hold, and equal values are written alike.

use crate::format::{DecodeOptions, Format};
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use millstream::connect::{Body, Decoded, PartitionId, Payload};
use millstream::json::row_json;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A row as JSON, by column.
pub type Values = Map<String, Value>;

/// The name under which a value is decoded: that of the column may begin with an underscore.
const COLUMN: &str = "value";

/// One value as an array of the column's type.
///
/// # Errors
/// Why it does not fit.
pub(super) fn array(field: &Field, value: &Value) -> Result<ArrayRef, String> {
    if value.is_null() {
        return if field.is_nullable() {
            Ok(new_null_array(field.data_type(), 1))
        } else {
            Err("it is never null".into())
        };
    }
    if let (DataType::Binary | DataType::LargeBinary | DataType::BinaryView, Value::String(text)) =
        (field.data_type(), value)
    {
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![text.as_bytes()]));
        return cast(&bytes, field.data_type()).map_err(|e| e.to_string());
    }
    let decoded = field.clone().with_name(COLUMN).with_data_type(plain(field.data_type())).with_nullable(true);
    let schema = Arc::new(Schema::new(vec![decoded]));
    let mut decoder = Format::Ndjson.decoder(&schema, &DecodeOptions::default()).map_err(|p| p.to_string())?;
    let line = Value::Object(Map::from_iter([(COLUMN.to_string(), value.clone())])).to_string();
    let partition: PartitionId = "test".into();
    let mut out = Decoded::default();
    let payload = Payload::new(&partition, Body::Bytes { start: 0, data: format!("{line}\n").into() });
    decoder.decode(payload, &mut out).map_err(|p| p.to_string())?;
    match (out.rejects.first(), out.batches.first()) {
        (Some(reject), _) => Err(bare(&reject.message)),
        (None, Some((rows, _))) => cast(rows.column(0), field.data_type()).map_err(|e| e.to_string()),
        (None, None) => Err("nothing was read".into()),
    }
}

/// What the decoder says of a value, without the place in the record that it was wrapped in.
fn bare(message: &str) -> String {
    let message = message.split_once(": ").map_or(message, |(_, why)| why);
    message.split(", at byte ").next().unwrap_or(message).to_string()
}

/// The type that the decoder knows for one that a query may put out.
fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Dictionary(_, value) => plain(value),
        other => other.clone(),
    }
}

/// A row of arrays of one, as it is compared.
pub(super) fn written(columns: Vec<(String, ArrayRef)>) -> Values {
    let named = columns.into_iter().map(|(name, array)| (name, array, true));
    RecordBatch::try_from_iter_with_nullable(named).map_or_else(|_| Values::new(), |batch| row(&batch, 0))
}

/// A row as it is compared and shown. Bytes that are text are shown as such.
pub(super) fn row(batch: &RecordBatch, row: usize) -> Values {
    let mut values: Values = serde_json::from_str(&row_json(batch, row)).unwrap_or_default();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if let Some(bytes) = column.as_binary_opt::<i32>()
            && bytes.is_valid(row)
            && let Ok(text) = std::str::from_utf8(bytes.value(row))
        {
            values.insert(field.name().clone(), text.into());
        }
    }
    values
}

/// True if a value that came is the one expected; floats may differ in the last digits.
pub(super) fn same(expected: &Value, came: &Value) -> bool {
    match (expected, came) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}
