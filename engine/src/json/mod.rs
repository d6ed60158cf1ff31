//! Rows as NDJSON: what sinks write, what subscriptions send, how a dead letter shows its row.
//!
//! One object per row and line, fields in the order of the schema, every column present (`null` where
//! there is no value). Column names are escaped once; the type of each column is looked at once per
//! batch, so the row loop only writes.
//!
//! | type | written as |
//! |---|---|
//! | integers, decimals | exact numbers |
//! | floats | the shortest digits that read back as the same value, `12.0` for whole ones; NaN and infinities as `null` |
//! | timestamps | RFC 3339 in UTC with `Z`, as many fraction digits as needed (0, 3, 6 or 9) |
//! | dates, times | `2026-01-31`, `23:59:59.5` with the same rule for the fraction |
//! | bytes | base64 |
//! | lists, maps, structs | arrays and objects |
//! | strings with field metadata `millstream.json` = `true` | their own text, a value of its own |
//!
//! A type without a sensible JSON form (an interval) is refused by [`Encoder::new`]; encoding itself
//! cannot fail.

mod scalar;
#[cfg(test)]
mod tests;
mod writer;

pub use scalar::{plain_run, write_date, write_string, write_time, write_timestamp};
pub use writer::Writer;

use crate::{Problem, Result};
use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// Field metadata that marks a string column whose text is JSON: it is written and read as a value,
/// not as a string.
pub const JSON_METADATA: &str = "millstream.json";

/// The key that carries a row's weight, where weights are written.
pub const DIFF_KEY: &str = "_diff";

/// Writes record batches of one schema as NDJSON. Cheap to keep, meant to be used for many batches.
#[derive(Clone, Debug)]
pub struct Encoder {
    schema: SchemaRef,
    /// `{"a":`, then `,"b":`, …
    prefixes: Vec<Vec<u8>>,
}

impl Encoder {
    /// An encoder for batches of `schema`.
    ///
    /// # Errors
    /// `JSON-UNSUPPORTED` where a column's type has no JSON form.
    pub fn new(schema: &SchemaRef) -> Result<Encoder> {
        for field in schema.fields() {
            supported(field).map_err(|t| {
                Problem::error("JSON-UNSUPPORTED", format!("column `{}` cannot be written as JSON", field.name()))
                    .found(format!("type {t}"))
                    .help("cast it to a string, a number or a timestamp first")
            })?;
        }
        Ok(Encoder { schema: Arc::clone(schema), prefixes: prefixes(schema) })
    }

    /// Appends one line per row to `out`.
    ///
    /// # Panics
    /// When the batch has other columns than the encoder's schema.
    pub fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) {
        self.encode_with_diff(batch, None, out);
    }

    /// Appends one line per row to `out`, with the row's weight as the last field `_diff` where
    /// weights are given.
    ///
    /// # Panics
    /// When the batch has other columns than the encoder's schema, or `diff` another length.
    pub fn encode_with_diff(&mut self, batch: &RecordBatch, diff: Option<&Int64Array>, out: &mut Vec<u8>) {
        assert_eq!(batch.num_columns(), self.prefixes.len(), "the batch has the columns of the encoder");
        let fields = self.schema.fields();
        let writers: Vec<Writer<'_>> =
            batch.columns().iter().zip(fields).map(|(c, f)| Writer::of(c.as_ref(), f)).collect();
        let diff = diff.map(|d| {
            assert_eq!(d.len(), batch.num_rows(), "one weight per row");
            d.values().as_ref()
        });
        out.reserve(batch.num_rows() * 32 * (1 + writers.len()));
        for row in 0..batch.num_rows() {
            write_row(&self.prefixes, &writers, row, diff.map(|d| d[row]), out);
            out.push(b'\n');
        }
    }
}

/// One row of a batch as a JSON object without a line end: for dead letters and previews.
///
/// A column whose type has no JSON form is written as its debug text.
pub fn row_json(batch: &RecordBatch, row: usize) -> String {
    let schema = batch.schema();
    let writers: Vec<Writer<'_>> =
        batch.columns().iter().zip(schema.fields()).map(|(c, f)| Writer::of(c.as_ref(), f)).collect();
    let mut out = Vec::new();
    write_row(&prefixes(&schema), &writers, row, None, &mut out);
    String::from_utf8(out).expect("every writer writes UTF-8")
}

fn write_row(prefixes: &[Vec<u8>], writers: &[Writer<'_>], row: usize, diff: Option<i64>, out: &mut Vec<u8>) {
    for (prefix, writer) in prefixes.iter().zip(writers) {
        out.extend_from_slice(prefix);
        writer.write(row, out);
    }
    if writers.is_empty() {
        out.push(b'{');
    }
    if let Some(diff) = diff {
        out.extend_from_slice(if writers.is_empty() { b"\"_diff\":" } else { b",\"_diff\":" });
        out.extend_from_slice(itoa::Buffer::new().format(diff).as_bytes());
    }
    out.push(b'}');
}

fn prefixes(schema: &Schema) -> Vec<Vec<u8>> {
    writer::prefixes(schema.fields().iter().map(|f| f.name().as_str()))
}

/// `Err` names the type that has no JSON form.
fn supported(field: &Field) -> Result<(), DataType> {
    use DataType::*;
    match field.data_type() {
        Null | Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 => Ok(()),
        Float32 | Float64 | Utf8 | LargeUtf8 | Utf8View | Date32 | Date64 | Time32(_) | Time64(_) => Ok(()),
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) | Timestamp(..) => Ok(()),
        Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => Ok(()),
        List(f) | LargeList(f) | FixedSizeList(f, _) => supported(f),
        Struct(fields) => fields.iter().try_for_each(|f| supported(f)),
        Map(entries, _) => supported(entries),
        Dictionary(_, values) => supported(&Field::new("", values.as_ref().clone(), true)),
        other => Err(other.clone()),
    }
}
