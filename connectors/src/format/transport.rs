//! Columns that come from the transport, not from the payload: written once, for all formats.
//!
//! | column | type | content |
//! |---|---|---|
//! | `_path`, `_partition` | string | the partition: the file's path, the topic's partition |
//! | `_offset` | uint64 | the record's position in the partition |
//! | `_timestamp` | timestamp | the message's own time, otherwise when the payload was read |
//! | `_key` | string or bytes | the message's key; null as string where it is not UTF-8 |

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use millstream::batch::{BATCH_ROWS, record_batch};
use millstream::connect::{Body, Decoded, Decoder, Message, PartitionId, Payload};
use millstream::{Problem, Result};
use std::sync::Arc;

/// Decodes the columns of the payload; batches are at most [`BATCH_ROWS`] long.
pub(super) trait Rows {
    /// A slab of lines; `start` is the position of its first byte.
    ///
    /// # Errors
    /// When the slab is not what the decoder was made for, so that no line of it could be trusted.
    fn lines(&mut self, start: u64, data: &Bytes, out: &mut Decoded) -> Result<()>;
    /// One message.
    fn message(&mut self, position: u64, value: Option<&Bytes>, out: &mut Decoded);
    /// Hands on the rows that have been collected.
    fn flush(&mut self, out: &mut Decoded);
}

/// A decoder for all columns: those of the payload from `rows`, the others from the transport.
pub(super) struct Transport {
    schema: SchemaRef,
    payload: SchemaRef,
    /// `None` for formats whose readers deliver rows.
    rows: Option<Box<dyn Rows>>,
    columns: Vec<Column>,
}

#[derive(Clone, Copy)]
enum Column {
    /// The nth column of the payload.
    Payload(usize),
    Partition,
    Offset,
    Timestamp,
    Key,
}

impl Transport {
    /// `make` builds the decoder of the payload's columns.
    ///
    /// # Errors
    /// `FORMAT-METADATA` for an unknown column that begins with an underscore, or one with another
    /// type; what `make` answers.
    pub fn new(
        schema: &SchemaRef,
        make: impl FnOnce(&SchemaRef) -> Result<Option<Box<dyn Rows>>>,
    ) -> Result<Transport> {
        let mut payload = Vec::new();
        let mut columns = Vec::new();
        for field in schema.fields() {
            columns.push(if field.name().starts_with('_') {
                transport_column(field)?
            } else {
                payload.push(Arc::clone(field));
                Column::Payload(payload.len() - 1)
            });
        }
        let payload = Arc::new(Schema::new(payload));
        Ok(Transport { schema: Arc::clone(schema), rows: make(&payload)?, payload, columns })
    }

    /// Puts the columns of the transport between those of the payload.
    fn complete(&self, decoded: Decoded, source: &Origins<'_>, out: &mut Decoded) {
        for (rows, positions) in decoded.batches {
            let columns = self.columns.iter().zip(self.schema.fields());
            let columns = columns.map(|(column, field)| match column {
                Column::Payload(index) => Arc::clone(rows.column(*index)),
                other => source.column(*other, field.data_type(), &positions),
            });
            let columns = columns.collect();
            out.rows(record_batch(Arc::clone(&self.schema), columns, rows.num_rows()), positions);
        }
        out.rejects.extend(decoded.rejects.into_iter().map(|mut reject| {
            reject.key = source.message(reject.position).and_then(|m| m.key.clone());
            reject
        }));
    }

    fn lines_and_messages(&mut self, body: &Body, decoded: &mut Decoded) -> Result<()> {
        let Some(rows) = &mut self.rows else {
            return Err(Problem::error("FORMAT-NO-ROWS", "this source reads columns, not bytes")
                .help("in a test, feed it a `row`"));
        };
        match body {
            Body::Bytes { start, data } => rows.lines(*start, data, decoded)?,
            Body::Messages(messages) => {
                for message in messages {
                    rows.message(message.position, message.value.as_ref(), decoded);
                }
            }
            Body::Rows { .. } => return Err(Problem::internal("rows are not decoded")),
        }
        rows.flush(decoded);
        Ok(())
    }

    /// Rows that are columns already: picks the wanted ones.
    fn pick(&self, start: u64, rows: &RecordBatch, decoded: &mut Decoded) -> Result<()> {
        let columns = self.payload.fields().iter().map(|field| {
            let column = rows.column_by_name(field.name()).filter(|c| c.data_type() == field.data_type());
            column.cloned().ok_or_else(|| {
                Problem::error("FORMAT-COLUMN", format!("the input has no column `{}`", field.name()))
                    .expected(format!("a column of type {}", field.data_type()))
                    .found(format!(
                        "columns {}",
                        rows.schema()
                            .fields()
                            .iter()
                            .map(|f| format!("{} {}", f.name(), f.data_type()))
                            .collect::<Vec<_>>()
                            .join(", ")
                    ))
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let all = record_batch(Arc::clone(&self.payload), columns, rows.num_rows());
        for from in (0..all.num_rows()).step_by(BATCH_ROWS) {
            let part = all.slice(from, BATCH_ROWS.min(all.num_rows() - from));
            let first = start + from as u64;
            let positions = UInt64Array::from_iter_values(first..first + part.num_rows() as u64);
            decoded.rows(part, positions);
        }
        Ok(())
    }
}

impl Decoder for Transport {
    fn decode(&mut self, payload: Payload, out: &mut Decoded) -> Result<()> {
        let plain = self.payload.fields().len() == self.schema.fields().len();
        if plain && !matches!(payload.body, Body::Messages(_)) {
            return match &payload.body {
                Body::Rows { start, rows } => self.pick(*start, rows, out),
                body => self.lines_and_messages(body, out),
            };
        }
        let mut decoded = Decoded::default();
        match &payload.body {
            Body::Rows { start, rows } => self.pick(*start, rows, &mut decoded)?,
            body => self.lines_and_messages(body, &mut decoded)?,
        }
        let messages = match &payload.body {
            Body::Messages(messages) => messages.as_slice(),
            _ => &[],
        };
        let origins = Origins { partition: &payload.partition, received: payload.received, messages };
        self.complete(decoded, &origins, out);
        Ok(())
    }
}

fn transport_column(field: &Field) -> Result<Column> {
    let (column, fits, expected) = match (field.name().as_str(), field.data_type()) {
        ("_path" | "_partition", kind) => (Column::Partition, *kind == DataType::Utf8, "string"),
        ("_offset", kind) => (Column::Offset, *kind == DataType::UInt64, "uint64"),
        ("_timestamp", DataType::Timestamp(TimeUnit::Microsecond, _)) => (Column::Timestamp, true, ""),
        ("_timestamp", _) => (Column::Timestamp, false, "timestamp"),
        ("_key", kind) => (Column::Key, matches!(kind, DataType::Utf8 | DataType::Binary), "string or bytes"),
        (name, _) => {
            return Err(Problem::error("FORMAT-METADATA", format!("the transport knows no column `{name}`"))
                .expected("one of _path, _partition, _offset, _timestamp, _key"));
        }
    };
    if !fits {
        return Err(Problem::error("FORMAT-METADATA", format!("column `{}` has another type", field.name()))
            .found(field.data_type().to_string())
            .expected(expected));
    }
    Ok(column)
}

/// Where the rows of a payload came from.
struct Origins<'a> {
    partition: &'a PartitionId,
    received: i64,
    /// In order of their positions; empty for bytes and rows.
    messages: &'a [Message],
}

impl Origins<'_> {
    fn message(&self, position: u64) -> Option<&Message> {
        let index = self.messages.binary_search_by_key(&position, |m| m.position).ok()?;
        Some(&self.messages[index])
    }

    fn column(&self, column: Column, kind: &DataType, positions: &UInt64Array) -> ArrayRef {
        let rows = positions.len();
        let messages = positions.values().iter().map(|p| self.message(*p));
        match column {
            Column::Partition => {
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(self.partition.as_ref(), rows)))
            }
            Column::Offset => Arc::new(positions.clone()),
            Column::Timestamp => {
                let DataType::Timestamp(_, zone) = kind else { unreachable!("checked when made") };
                let times = messages.map(|m| m.and_then(|m| m.timestamp).unwrap_or(self.received));
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone_opt(zone.clone()))
            }
            Column::Key if *kind == DataType::Binary => {
                Arc::new(messages.map(|m| m.and_then(|m| m.key.as_deref())).collect::<BinaryArray>())
            }
            // A key that is not text is no reason to refuse a record: it is null as text.
            Column::Key => {
                Arc::new(messages.map(|m| std::str::from_utf8(m?.key.as_deref()?).ok()).collect::<StringArray>())
            }
            Column::Payload(_) => unreachable!("columns of the payload come from its decoder"),
        }
    }
}
