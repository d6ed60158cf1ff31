//! In the place of Parquet, in a program that is built without it: a refusal.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream::{Problem, Result};
use std::fs::File;

/// What is said where Parquet is asked for.
pub fn absent() -> Problem {
    Problem::error("FORMAT-ABSENT", "this program was built without Parquet")
        .expected("one of text, ndjson, csv, arrow_ipc")
        .help("build it with the feature `parquet` of millstream-connectors")
}

/// The rows of a Parquet file: there are none.
pub enum ParquetRows {}

impl ParquetRows {
    /// The schema of a file.
    ///
    /// # Errors
    /// `FORMAT-ABSENT`, always.
    pub fn schema(_file: &File) -> Result<SchemaRef> {
        Err(absent())
    }
    /// Opens a file.
    ///
    /// # Errors
    /// `FORMAT-ABSENT`, always.
    pub fn open(_file: &File, _schema: Option<&SchemaRef>, _start_row: u64) -> Result<ParquetRows> {
        Err(absent())
    }
}

impl Iterator for ParquetRows {
    type Item = Result<(u64, RecordBatch)>;

    fn next(&mut self) -> Option<Self::Item> {
        match *self {}
    }
}
