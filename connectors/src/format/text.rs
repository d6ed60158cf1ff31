//! Lines of text: one column, one row per line.
//!
//! The column is a string (a line that is not UTF-8 is refused as `TEXT-UTF8`) or bytes (every line
//! fits). An empty line is a row with an empty text; line ends are LF or CRLF and belong to no row.

use super::lines::{self, Collected};
use super::transport::Rows;
use super::{Encode, insertions_only};
use arrow::array::cast::AsArray;
use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use millstream::connect::Decoded;
use millstream::{Batch, Problem, Result};
use std::sync::Arc;

/// Decodes lines of text. Without a wanted column it only counts lines.
pub(super) struct TextRows {
    collected: Collected,
    kind: Option<DataType>,
    offsets: Vec<i32>,
    data: Vec<u8>,
    /// Rows that are tombstones.
    nulls: Vec<usize>,
    line_bytes_max: usize,
}

impl TextRows {
    pub fn new(schema: &SchemaRef, line_bytes_max: usize) -> Result<TextRows> {
        let kind = match schema.fields().as_ref() {
            [] => None,
            [field] => Some(field.data_type().clone()),
            more => return Err(one_column(&format!("{} columns", more.len()))),
        };
        match kind {
            None | Some(DataType::Utf8 | DataType::Utf8View | DataType::Binary) => {}
            Some(other) => return Err(one_column(&format!("type {other}"))),
        }
        let collected = Collected::new(schema);
        Ok(TextRows { collected, kind, offsets: vec![0], data: Vec::new(), nulls: Vec::new(), line_bytes_max })
    }

    fn bytes(&self) -> bool {
        self.kind == Some(DataType::Binary)
    }

    #[inline]
    fn push(&mut self, position: u64, line: &[u8], out: &mut Decoded) {
        if self.kind.is_some() {
            self.data.extend_from_slice(line);
            // A batch is handed on long before its texts reach 2 GiB.
            self.offsets.push(self.data.len() as i32);
        }
        self.collected.add(position);
        if self.collected.is_full(line.len()) {
            self.flush(out);
        }
    }

    fn column(&mut self, rows: usize) -> Option<ArrayRef> {
        let kind = self.kind.as_ref()?;
        let fresh = Vec::with_capacity(self.data.len() + self.data.len() / 8);
        let data = std::mem::replace(&mut self.data, fresh);
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into());
        let nulls = (!self.nulls.is_empty()).then(|| {
            let nulls = std::mem::take(&mut self.nulls);
            let mut valid = BooleanBufferBuilder::new(rows);
            valid.append_n(rows, true);
            nulls.into_iter().for_each(|row| valid.set_bit(row, false));
            NullBuffer::new(valid.finish())
        });
        if self.bytes() {
            return Some(Arc::new(BinaryArray::new(offsets, data.into(), nulls)));
        }
        let array = StringArray::try_new(offsets, data.into(), nulls).expect("every line was checked to be UTF-8");
        Some(match kind {
            DataType::Utf8View => Arc::new(StringViewArray::from(&array)),
            _ => Arc::new(array),
        })
    }
}

fn one_column(found: &str) -> Problem {
    Problem::error("FORMAT-TYPE", "text has one column, `value`")
        .expected("`value` of type string or bytes")
        .found(found)
}

impl Rows for TextRows {
    fn lines(&mut self, start: u64, data: &Bytes, out: &mut Decoded) -> Result<()> {
        let check = !self.bytes() && simdutf8::basic::from_utf8(data).is_err();
        let mut at = lines::bom(start, data);
        let first = at;
        while at < data.len() {
            let position = start + if at == first { 0 } else { at as u64 };
            if check && lines::reject_invalid(position, data, &mut at, self.line_bytes_max, out) {
                continue;
            }
            let line = lines::line(data, at);
            at += line.len() + 1;
            let text = lines::trim_cr(line);
            if text.len() > self.line_bytes_max {
                lines::reject_long(position, line, self.line_bytes_max, out);
            } else {
                self.push(position, text, out);
            }
        }
        Ok(())
    }

    fn message(&mut self, position: u64, value: Option<&Bytes>, out: &mut Decoded) {
        let Some(data) = value else {
            self.nulls.push(self.collected.len());
            return self.push(position, &[], out);
        };
        if data.len() > self.line_bytes_max {
            return lines::reject_long(position, data, self.line_bytes_max, out);
        }
        match simdutf8::compat::from_utf8(data) {
            Err(e) if !self.bytes() => lines::reject_utf8(position, data, e.valid_up_to(), out),
            _ => self.push(position, data, out),
        }
    }

    fn flush(&mut self, out: &mut Decoded) {
        let rows = self.collected.len();
        if rows > 0 {
            let columns = self.column(rows).into_iter().collect();
            self.collected.finish(columns, out);
        }
    }
}

/// Writes one column as lines; null as an empty line. A text with line ends in it gives several lines.
pub(super) struct TextEncoder;

impl TextEncoder {
    pub fn new(schema: &SchemaRef) -> Result<TextEncoder> {
        match schema.fields().as_ref() {
            [field] if matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::Binary) => {
                Ok(TextEncoder)
            }
            [field] => Err(one_column(&format!("type {}", field.data_type()))),
            fields => Err(one_column(&format!("{} columns", fields.len()))),
        }
    }
}

impl Encode for TextEncoder {
    fn header(&mut self, _out: &mut Vec<u8>) {}

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
        insertions_only(batch, "text")?;
        let column = batch.rows.column(0);
        let mut write = |value: Option<&[u8]>| {
            out.extend_from_slice(value.unwrap_or_default());
            out.push(b'\n');
        };
        match column.data_type() {
            DataType::Utf8 => column.as_string::<i32>().iter().for_each(|v| write(v.map(str::as_bytes))),
            DataType::Utf8View => column.as_string_view().iter().for_each(|v| write(v.map(str::as_bytes))),
            DataType::Binary => column.as_binary::<i32>().iter().for_each(write),
            other => return Err(one_column(&format!("type {other}"))),
        }
        Ok(())
    }
}
