//! What the formats that read lines have in common: line ends, limits, refusals, the growing batch.

use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use millstream::batch::{BATCH_ROWS, record_batch};
use millstream::connect::Decoded;
use std::sync::Arc;

/// How much of a line that is too long goes into its dead letter.
pub(super) const KEPT_BYTES: usize = 64 << 10;

/// Input after which a batch is handed on even if it has few rows, so that its texts stay far from
/// the 2 GiB that 32-bit offsets reach.
const BATCH_BYTES: usize = 64 << 20;

/// Rows that have been read and not yet handed on.
pub(super) struct Collected {
    schema: SchemaRef,
    positions: Vec<u64>,
    bytes: usize,
}

impl Collected {
    pub fn new(schema: &SchemaRef) -> Collected {
        Collected { schema: Arc::clone(schema), positions: Vec::new(), bytes: 0 }
    }
    #[inline]
    pub fn len(&self) -> usize {
        self.positions.len()
    }
    /// Counts a row that has been added to the columns.
    #[inline]
    pub fn add(&mut self, position: u64) {
        self.positions.push(position);
    }
    /// True when the batch has to be handed on; `bytes` of input were read for the last row.
    #[inline]
    pub fn is_full(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.positions.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }
    pub fn finish(&mut self, columns: Vec<ArrayRef>, out: &mut Decoded) {
        let fresh = Vec::with_capacity(self.positions.len());
        let positions = std::mem::replace(&mut self.positions, fresh);
        self.bytes = 0;
        out.rows(record_batch(Arc::clone(&self.schema), columns, positions.len()), UInt64Array::from(positions));
    }
}

/// The length of the byte order mark at the start of a file or message.
pub(super) fn bom(start: u64, data: &[u8]) -> usize {
    if start == 0 && data.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

/// The line that begins at `from`, without its line feed.
pub(super) fn line(data: &[u8], from: usize) -> &[u8] {
    let rest = &data[from..];
    &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())]
}

/// The line without the carriage return of a CRLF line end.
pub(super) fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Passes over an empty line (with or without carriage return) at `at`, if there is one.
pub(super) fn skip_empty(data: &[u8], at: &mut usize) -> bool {
    let length = match &data[*at..] {
        [b'\n', ..] | [b'\r'] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => return false,
    };
    *at += length;
    true
}

/// A copy, so that a dead letter does not keep a whole slab alive.
pub(super) fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(trim_cr(bytes))
}

pub(super) fn reject_long(position: u64, line: &[u8], limit: usize, out: &mut Decoded) {
    let message = format!("found a record of {} bytes, expected at most {limit}", line.len());
    out.reject(position, "LINE-TOO-LONG", message, copy(&line[..line.len().min(KEPT_BYTES)]));
}

/// `valid` is the number of valid bytes before the first bad one.
pub(super) fn reject_utf8(position: u64, line: &[u8], valid: usize, out: &mut Decoded) {
    let byte = line.get(valid).copied().unwrap_or(0);
    let message = format!("found byte 0x{byte:02x} at byte {} of the record, expected UTF-8", valid + 1);
    out.reject(position, "TEXT-UTF8", message, copy(line));
}

/// Refuses the line at `at` and passes over it, if it is not UTF-8.
pub(super) fn reject_invalid(position: u64, data: &[u8], at: &mut usize, limit: usize, out: &mut Decoded) -> bool {
    let line = line(data, *at);
    let Err(error) = simdutf8::compat::from_utf8(line) else { return false };
    *at += line.len() + 1;
    if line.len() > limit {
        reject_long(position, line, limit, out);
    } else {
        reject_utf8(position, line, error.valid_up_to(), out);
    }
    true
}
