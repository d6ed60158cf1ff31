//! One row back from its JSON: what [`millstream::json::row_json`] has written, read with the same schema.

use super::column::TIME_UNIT_METADATA;
use super::json::JsonRows;
use super::transport::Rows;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use millstream::connect::Decoded;
use millstream::dead::replay::ReadRow;
use millstream::{Problem, Result};
use std::sync::Arc;

/// The longest row, in bytes.
const ROW_BYTES_MAX: usize = 256 << 20;

/// A reader of single rows of a schema, for the replay of dead letters. Columns of the transport are columns
/// like all others here; fields that the schema has not are passed over.
///
/// # Errors
/// `FORMAT-TYPE` where JSON values cannot become the type of a column. The reader answers with the code of
/// what is wrong with a row.
pub fn row_reader(schema: &SchemaRef) -> Result<ReadRow> {
    let plain = schema.fields().iter().map(|field| {
        // Whatever the source's own notation was: rows are written with times as text.
        let mut metadata = field.metadata().clone();
        metadata.remove(TIME_UNIT_METADATA);
        field.as_ref().clone().with_metadata(metadata)
    });
    let mut rows = JsonRows::new(&Arc::new(Schema::new(plain.collect::<Vec<_>>())), ROW_BYTES_MAX)?;
    let schema = Arc::clone(schema);
    Ok(Box::new(move |json| {
        let mut decoded = Decoded::default();
        rows.message(0, Some(&Bytes::copy_from_slice(json.as_bytes())), &mut decoded);
        rows.flush(&mut decoded);
        if let Some(reject) = decoded.rejects.pop() {
            return Err(Problem::error(reject.code, reject.message));
        }
        let row = decoded.batches.pop().map(|(row, _)| row);
        let row = row.ok_or_else(|| Problem::internal("a row was neither read nor refused"))?;
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        RecordBatch::try_new_with_options(Arc::clone(&schema), row.columns().to_vec(), &options)
            .map_err(|e| Problem::error("FORMAT-TYPE", format!("the row does not fit its columns: {e}")))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::*;
    use arrow::datatypes::{DataType, Field, TimeUnit};
    use std::collections::HashMap;

    #[test]
    fn a_row_comes_back_as_it_was_written() {
        let json = HashMap::from([(millstream::json::JSON_METADATA.to_string(), "true".to_string())]);
        let unit = HashMap::from([(TIME_UNIT_METADATA.to_string(), "ms".to_string())]);
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let fields = vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("bytes", DataType::Binary, true),
            Field::new("at", micros, true).with_metadata(unit),
            Field::new("price", DataType::Decimal128(38, 9), true),
            Field::new("big", DataType::UInt64, true),
            Field::new("share", DataType::Float64, true),
            Field::new("raw", DataType::Utf8, true).with_metadata(json),
            Field::new("_path", DataType::Utf8, true),
            Field::new("day", DataType::Date32, true),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("a\"\n\u{1F600}"), None])),
            Arc::new(BinaryArray::from(vec![Some(&b"\xff\0"[..]), None])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1_700_000_000_000_001), None]).with_timezone("UTC")),
            Arc::new(
                Decimal128Array::from(vec![Some(-12_345_678_901_234_567_890_123_456_789), None])
                    .with_precision_and_scale(38, 9)
                    .unwrap(),
            ),
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])),
            Arc::new(Float64Array::from(vec![Some(0.1), None])),
            Arc::new(StringArray::from(vec![Some(r#"{"b":[1,2.50]}"#), None])),
            Arc::new(StringArray::from(vec![Some("in/a.log"), None])),
            Arc::new(Date32Array::from(vec![Some(-1), None])),
        ];
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut read = row_reader(&batch.schema()).unwrap();
        for row in 0..2 {
            assert_eq!(read(&millstream::json::row_json(&batch, row)).unwrap(), batch.slice(row, 1));
        }
        assert_eq!(read(r#"{"big": -1}"#).unwrap_err().code, "JSON-RANGE");
        assert_eq!(read(r#"{"more": 1}"#).unwrap().num_rows(), 1, "what is missing is null, what is more is left out");
    }
}
