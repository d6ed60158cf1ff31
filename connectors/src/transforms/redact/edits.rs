//! Replacements in the value buffer of a column, collected in order and then applied in one copy.

use arrow::array::{Array, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use millstream::{Problem, Result};
use std::borrow::Cow;

/// Replacements, in the order of the buffer, none overlapping another, each within one value.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<Edit>);

#[derive(Debug)]
struct Edit {
    row: usize,
    from: usize,
    to: usize,
    text: Cow<'static, str>,
}

impl Edits {
    /// Puts `text` in place of the bytes `from..to` of the value buffer, which belong to value `row`.
    pub fn replace(&mut self, row: usize, from: usize, to: usize, text: impl Into<Cow<'static, str>>) {
        debug_assert!(from <= to && self.0.last().is_none_or(|last| last.to <= from), "edits come in order");
        self.0.push(Edit { row, from, to, text: text.into() });
    }

    /// The column with all replacements made; `None` without any.
    ///
    /// # Errors
    /// `REDACT-TOO-LARGE` when the values would no longer fit into one column of 2 GiB.
    pub fn apply(&self, column: &StringArray) -> Result<Option<StringArray>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (old, offsets) = (column.value_data(), column.value_offsets());
        let first = start(column, 0);
        let end = start(column, column.len());
        let mut values = Vec::with_capacity(end - first + self.0.iter().map(|e| e.text.len()).sum::<usize>());
        let mut moved = Vec::with_capacity(offsets.len());
        let (mut copied, mut row) = (first, 0);
        for edit in &self.0 {
            // Offsets up to the edit move by what earlier edits added or took; wrapping keeps the sum exact.
            let shift = values.len().wrapping_sub(copied);
            while row <= edit.row {
                moved.push(start(column, row).wrapping_add(shift));
                row += 1;
            }
            values.extend_from_slice(&old[copied..edit.from]);
            values.extend_from_slice(edit.text.as_bytes());
            copied = edit.to;
        }
        let shift = values.len().wrapping_sub(copied);
        moved.extend((row..offsets.len()).map(|row| start(column, row).wrapping_add(shift)));
        values.extend_from_slice(&old[copied..end]);
        let offsets = moved.into_iter().map(i32::try_from).collect::<Result<Vec<i32>, _>>().map_err(|_| {
            Problem::error("REDACT-TOO-LARGE", "the replacements make a batch's column too large")
                .expected("less than 2 GiB")
        })?;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let new = StringArray::try_new(offsets, Buffer::from_vec(values), column.nulls().cloned());
        new.map(Some).map_err(|e| Problem::internal(format!("redacted text: {e}")))
    }
}

/// Where value `row` begins in the value buffer; for the number of rows, where the last one ends.
pub(super) fn start(column: &StringArray, row: usize) -> usize {
    usize::try_from(column.value_offsets()[row]).expect("offsets of an Arrow array are not negative")
}

/// Where value `row` begins and ends in the value buffer.
pub(super) fn bounds(column: &StringArray, row: usize) -> (usize, usize) {
    (start(column, row), start(column, row + 1))
}

/// Walks over the rows of a column as positions in its value buffer go up.
pub(super) struct Rows<'a> {
    column: &'a StringArray,
    row: usize,
}

impl<'a> Rows<'a> {
    pub fn new(column: &'a StringArray) -> Rows<'a> {
        Rows { column, row: 0 }
    }

    /// The value that holds byte `at`, where it begins and where it ends. `at` must not go back.
    pub fn around(&mut self, at: usize) -> (usize, usize, usize) {
        while start(self.column, self.row + 1) <= at {
            self.row += 1;
        }
        let (from, to) = bounds(self.column, self.row);
        (self.row, from, to)
    }
}

/// The bytes up to the end of the last value; positions in it are positions in the value buffer.
pub(super) fn bytes(column: &StringArray) -> &[u8] {
    &column.value_data()[..start(column, column.len())]
}
