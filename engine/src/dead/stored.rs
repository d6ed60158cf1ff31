//! Reading the dead-letter store: letters by number, and which of them are meant.

use super::decode;
use crate::Result;
use crate::state::Committed;
use crate::state::record::AttachedKind;
use crate::time::Micros;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{TimestampMicrosecondType, UInt64Type};
use std::sync::Arc;

/// All letters of one checkpoint.
#[derive(Debug, Default)]
pub struct Stored {
    segments: Vec<Segment>,
}

/// One file of letters.
#[derive(Debug)]
struct Segment {
    file: String,
    batches: Vec<Arc<RecordBatch>>,
}

impl Stored {
    /// Reads the whole store into memory.
    ///
    /// # Errors
    /// `STATE-MISSING-FILE`, `STATE-CORRUPT-FILE`, `DEAD-SEGMENT`: no segment is skipped.
    pub fn read(tail: &Committed) -> Result<Stored> {
        let mut segments = Vec::new();
        for attached in tail.attached(AttachedKind::DeadLetters) {
            let batches = decode(&tail.read_attached(attached)?)?.into_iter().map(Arc::new).collect();
            segments.push(Segment { file: attached.file.name.clone(), batches });
        }
        Ok(Stored { segments })
    }

    /// The letters, oldest first, numbered from 0.
    pub fn letters(&self) -> impl Iterator<Item = Letter<'_>> {
        let rows = self.segments.iter().flat_map(|segment| {
            let batches = segment.batches.iter().flat_map(|b| (0..b.num_rows()).map(move |row| (b, row)));
            batches.enumerate().map(move |(at, (rows, row))| (segment.file.as_str(), at, rows, row))
        });
        rows.enumerate().map(|(number, (file, at, rows, row))| Letter { number, file, at, rows, row })
    }
}

/// One letter, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// Its number in the store as it is now: those before it may go.
    pub number: usize,
    /// The file, and the row in it.
    pub(crate) file: &'a str,
    pub(crate) at: usize,
    /// The batch that holds it.
    pub rows: &'a Arc<RecordBatch>,
    /// Its row in `rows`.
    pub row: usize,
}

impl<'a> Letter<'a> {
    fn text(&self, column: &str) -> Option<&'a str> {
        let column = self.rows.column_by_name(column)?.as_string_opt::<i32>()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }
    fn bytes(&self, column: &str) -> Option<&'a [u8]> {
        let column = self.rows.column_by_name(column)?.as_binary_opt::<i32>()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }
    /// When it was refused.
    pub fn time(&self) -> Micros {
        let column = self.rows.column_by_name("time").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        column.map_or(0, |c| c.value(self.row))
    }
    /// The node that refused it.
    pub fn node(&self) -> &'a str {
        self.text("node").unwrap_or_default()
    }
    /// Which step of the node; unknown for letters of older versions.
    pub fn role(&self) -> Option<&'a str> {
        self.text("role")
    }
    /// Why.
    pub fn code(&self) -> &'a str {
        self.text("code").unwrap_or_default()
    }
    /// Why, in words.
    pub fn message(&self) -> &'a str {
        self.text("message").unwrap_or_default()
    }
    /// The source it came from, while that was known.
    pub fn source(&self) -> Option<&'a str> {
        self.text("source")
    }
    /// The partition of the source.
    pub fn partition(&self) -> Option<&'a str> {
        self.text("partition")
    }
    /// The position in the partition.
    pub fn position(&self) -> Option<u64> {
        let column = self.rows.column_by_name("position")?.as_primitive_opt::<UInt64Type>()?;
        column.is_valid(self.row).then(|| column.value(self.row))
    }
    /// The key of the record, where its transport has one.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.bytes("key")
    }
    /// The original bytes.
    pub fn payload(&self) -> Option<&'a [u8]> {
        self.bytes("payload")
    }
    /// The refused row as JSON; a decoder refuses bytes, and has none.
    pub fn input(&self) -> Option<&'a str> {
        self.text("input")
    }
    /// True if not all of the payload was kept.
    pub fn is_cut(&self) -> bool {
        // A line beyond the limit is cut where it is read; other payloads where they become letters.
        self.code() == "LINE-TOO-LONG" || self.message().ends_with(", cut)")
    }
}

/// One end of a range of letters; both ends are inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// A letter's number.
    Number(usize),
    /// When it was refused.
    Time(Micros),
}

/// Which letters are meant; by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only those of this node.
    pub node: Option<String>,
    /// Only those with this code.
    pub code: Option<String>,
    /// None before this one.
    pub from: Option<Bound>,
    /// None behind this one.
    pub to: Option<Bound>,
}

impl Selection {
    /// True if the letter is meant.
    pub fn holds(&self, letter: &Letter<'_>) -> bool {
        self.node.as_deref().is_none_or(|n| n == letter.node())
            && self.code.as_deref().is_none_or(|c| c == letter.code())
            && self.from.is_none_or(|from| match from {
                Bound::Number(n) => letter.number >= n,
                Bound::Time(t) => letter.time() >= t,
            })
            && self.to.is_none_or(|to| match to {
                Bound::Number(n) => letter.number <= n,
                Bound::Time(t) => letter.time() <= t,
            })
    }
}
