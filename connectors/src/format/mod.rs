//! Bytes to columns and back: the formats of payloads and files.
//!
//! [`Format`] is what pipeline files say. Formats of lines (text, NDJSON, CSV) are decoded on the
//! worker by a [`Decoder`](millstream::connect::Decoder) and written by an [`Encode`]. Parquet and
//! Arrow IPC are read as whole files by [`ParquetRows`] and [`IpcRows`], and written by
//! `ParquetWriter` and [`IpcWriter`].
//!
//! One bad record never stops the others: it is refused with a stable code, and its bytes go with it.

mod column;
mod config;
mod csv;
mod infer;
mod instant;
mod ipc;
mod json;
mod lines;
mod number;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "parquet_absent.rs"]
mod parquet;
mod row;
mod rows;
#[cfg(test)]
mod tests;
mod text;
mod transport;

pub use column::TIME_UNIT_METADATA;
pub use config::Format;
pub use csv::CsvOptions;
pub(crate) use csv::fields as csv_fields;
pub use infer::infer;
pub(crate) use instant::is_instant;
pub use ipc::{IpcRows, IpcWriter};
pub use parquet::ParquetRows;
#[cfg(feature = "parquet")]
pub use parquet::ParquetWriter;
#[cfg(not(feature = "parquet"))]
pub(crate) use parquet::absent as parquet_absent;
pub use row::row_reader;

use millstream::{Batch, Problem, Result};

/// What a sink needs of a format made of rows: bytes to append to a file, a stream, a topic.
pub trait Encode: Send {
    /// Appends what stands before the first row of a file: the column names of CSV, otherwise nothing.
    fn header(&mut self, out: &mut Vec<u8>);
    /// Appends one line per row.
    ///
    /// # Errors
    /// `FORMAT-CHANGELOG` when rows are taken back and the format has no place for weights.
    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<()>;
}

/// Limits of decoding, and what the decoder has to know of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// The longest record, in bytes; a longer one becomes a dead letter with its first 64 KiB.
    pub line_bytes_max: usize,
    /// CSV: the names of all columns of the file, in order. Without it, the file has exactly the
    /// columns that the decoder is asked for.
    pub file_columns: Option<Vec<String>>,
}

impl Default for DecodeOptions {
    fn default() -> DecodeOptions {
        DecodeOptions { line_bytes_max: 4 << 20, file_columns: None }
    }
}

/// Refuses a batch that takes rows back or holds them several times.
fn insertions_only(batch: &Batch, format: &str) -> Result<()> {
    match batch.diff.as_ref().and_then(|d| d.values().iter().find(|d| **d != 1)) {
        None => Ok(()),
        Some(diff) => {
            Err(Problem::error("FORMAT-CHANGELOG", format!("{format} has no place for the weights of a changelog"))
                .found(format!("a row with weight {diff}"))
                .help("write ndjson, which adds `_diff`, or emit on close"))
        }
    }
}
