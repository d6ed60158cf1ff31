//! NDJSON to columns: the hottest path of the product.
//!
//! A slab of lines is read once, from the first byte to the last: keys are compared with the key that
//! stood there in the line before, values of wanted fields go straight into their columns, values of
//! other fields are passed over. Nothing is copied but what is kept, and no tree is built.
//!
//! Invariants:
//! * every line that gives a row is valid JSON as a whole, also where nobody wants its fields;
//! * a refused line leaves nothing behind: every column has one value per row after every line;
//! * numbers are exact or refused, never rounded, but for floats (nearest) and time points (cut to
//!   the unit of the column).
//!
//! A refused record goes to [`Decoded::reject`] under one of these codes: `JSON-SYNTAX`, `JSON-DEPTH`,
//! `JSON-TYPE`, `JSON-RANGE`, `JSON-MISSING`, `JSON-DUPLICATE`, `TEXT-UTF8`, `LINE-TOO-LONG`.

mod keys;
pub(super) mod scan;
#[cfg(test)]
mod tests;
pub(super) mod value;

pub(super) use scan::DEPTH_MAX;

use super::column::Column;
use super::lines::{self, Collected};
use super::transport::Rows;
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use keys::Keys;
use millstream::Result;
use millstream::connect::Decoded;
use scan::{Fault, Parse, Scan};

/// Decodes NDJSON lines and JSON messages.
pub(super) struct JsonRows {
    collected: Collected,
    columns: Vec<Column>,
    keys: Keys,
    /// For each column the number of the last record that had it.
    seen: Vec<u64>,
    record: u64,
    line_bytes_max: usize,
}

impl JsonRows {
    pub fn new(schema: &SchemaRef, line_bytes_max: usize) -> Result<JsonRows> {
        let columns: Vec<Column> = schema.fields().iter().map(|f| Column::new(f, "", 1)).collect::<Result<_>>()?;
        Ok(JsonRows {
            collected: Collected::new(schema),
            keys: Keys::new(schema.fields().iter().map(|f| f.name().as_str())),
            seen: vec![0; columns.len()],
            columns,
            record: 0,
            line_bytes_max,
        })
    }

    /// One record, from its first byte to its last. The columns may be uneven after a fault.
    fn record(&mut self, scan: &mut Scan<'_>) -> Parse {
        scan.space();
        if scan.peek() != b'{' {
            return not_an_object(scan);
        }
        self.record += 1;
        let mut found = 0;
        if !scan.empty(b'}') {
            let mut last = keys::START;
            loop {
                let at = scan.at;
                match self.keys.read(scan, &mut last)? {
                    None => scan.skip(1)?,
                    Some(c) => {
                        let column = &mut self.columns[c];
                        if self.seen[c] == self.record {
                            return value::duplicate(at, &column.name);
                        }
                        self.seen[c] = self.record;
                        found += 1;
                        value::read(column, scan, 1)?;
                    }
                }
                if !scan.more(b'}')? {
                    break;
                }
            }
        }
        if found < self.columns.len() {
            self.fill_missing(scan.at)?;
        }
        scan.space();
        if scan.at < scan.data.len() && !(scan.lines && scan.peek() == b'\n') {
            return scan.syntax("the end of the record");
        }
        Ok(())
    }

    fn fill_missing(&mut self, at: usize) -> Parse {
        let columns = self.columns.iter_mut().zip(&self.seen);
        columns.filter(|(_, seen)| **seen != self.record).try_for_each(|(c, _)| value::missing(c, at))
    }

    /// Makes the columns even again after a fault. Also those that have not grown: a nested value or
    /// a text may have broken off within.
    fn roll_back(&mut self) {
        let rows = self.collected.len();
        self.columns.iter_mut().for_each(|c| c.truncate(rows));
    }

    fn flush_if_full(&mut self, bytes: usize, out: &mut Decoded) {
        if self.collected.is_full(bytes) {
            self.flush(out);
        }
    }
}

#[cold]
fn not_an_object(scan: &mut Scan<'_>) -> Parse {
    let start = scan.at;
    scan.skip(0)?;
    scan.at = start;
    scan.syntax("an object")
}

fn describe(fault: &Fault, start: usize) -> String {
    format!("{}, at byte {} of the record", fault.message, fault.at - start + 1)
}

impl Rows for JsonRows {
    fn lines(&mut self, start: u64, data: &Bytes, out: &mut Decoded) -> Result<()> {
        let valid = simdutf8::basic::from_utf8(data).is_ok();
        let first = lines::bom(start, data);
        let mut scan = Scan { data, at: first, lines: true };
        while scan.at < data.len() {
            if matches!(data[scan.at], b'\n' | b'\r') && lines::skip_empty(data, &mut scan.at) {
                continue;
            }
            let from = scan.at;
            let position = start + if from == first { 0 } else { from as u64 };
            if !valid && lines::reject_invalid(position, data, &mut scan.at, self.line_bytes_max, out) {
                continue;
            }
            let read = self.record(&mut scan);
            if read.is_ok() && scan.at - from <= self.line_bytes_max {
                scan.at += 1;
                self.collected.add(position);
                self.flush_if_full(scan.at - from, out);
                continue;
            }
            self.roll_back();
            let line = lines::line(data, from);
            scan.at = from + line.len() + 1;
            match read {
                Err(fault) if line.len() <= self.line_bytes_max => {
                    out.reject(position, fault.code, describe(&fault, from), lines::copy(line));
                }
                _ => lines::reject_long(position, line, self.line_bytes_max, out),
            }
        }
        Ok(())
    }

    fn message(&mut self, position: u64, value: Option<&Bytes>, out: &mut Decoded) {
        let read = match value {
            // A tombstone: a row without values.
            None => {
                self.record += 1;
                self.fill_missing(0)
            }
            Some(data) if data.len() > self.line_bytes_max => {
                return lines::reject_long(position, data, self.line_bytes_max, out);
            }
            Some(data) => match simdutf8::compat::from_utf8(data) {
                Ok(_) => self.record(&mut Scan { data, at: lines::bom(0, data), lines: false }),
                Err(e) => return lines::reject_utf8(position, data, e.valid_up_to(), out),
            },
        };
        match read {
            Ok(()) => {
                self.collected.add(position);
                self.flush_if_full(value.map_or(0, Bytes::len), out);
            }
            Err(fault) => {
                self.roll_back();
                out.reject(position, fault.code, describe(&fault, 0), lines::copy(value.map_or(&[], |v| v)));
            }
        }
    }

    fn flush(&mut self, out: &mut Decoded) {
        if self.collected.len() > 0 {
            let arrays: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
            self.collected.finish(arrays, out);
        }
    }
}
