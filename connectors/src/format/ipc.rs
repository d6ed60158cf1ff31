//! Arrow IPC files, in the file format (`.arrow`, `.feather`) and the stream format (`.arrows`).
//!
//! Bodies compressed with LZ4 or zstd are refused as `IPC-DATA`.

use super::rows::{COLUMNS_MAX, conform, guarded, places};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::ipc::writer::StreamWriter;
use millstream::batch::BATCH_ROWS;
use millstream::{Problem, Result};
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::sync::Arc;

/// The rows of an Arrow IPC file, in order, each batch with the position (row number) of its first row.
/// Batches are at most [`BATCH_ROWS`] long.
pub struct IpcRows {
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
    schema: SchemaRef,
    /// Position of the first row of `pending`.
    row: u64,
    pending: Option<RecordBatch>,
    skip: u64,
}

impl IpcRows {
    /// The schema of a file.
    ///
    /// # Errors
    /// As [`IpcRows::open`].
    pub fn schema(file: &File) -> Result<SchemaRef> {
        Ok(batches(file)?.0)
    }

    /// Opens a file at `start_row`. With `schema`, only its columns are delivered, brought to its
    /// types; without, all columns as they are.
    ///
    /// # Errors
    /// `IPC-SCHEMA` where the file is no Arrow IPC file, `FORMAT-COLUMN` where it lacks a column.
    pub fn open(file: &File, schema: Option<&SchemaRef>, start_row: u64) -> Result<IpcRows> {
        let (own, batches) = batches(file)?;
        let schema = schema.unwrap_or(&own).clone();
        places(&own, &schema)?;
        Ok(IpcRows { batches, schema, row: 0, pending: None, skip: start_row })
    }

    /// The next batch of the file, without the rows that are skipped.
    fn load(&mut self) -> Option<Result<()>> {
        let batch = match guarded(|| self.batches.next().transpose()) {
            Ok(Some(batch)) => batch,
            Err(found) => {
                return Some(Err(Problem::error("IPC-DATA", "the file cannot be read any further")
                    .found(format!("{found}, behind row {}", self.row))));
            }
            Ok(None) if self.skip > 0 => {
                return Some(Err(Problem::error("IPC-START", "the file has fewer rows than have been read of it")
                    .found(format!("{} rows", self.row))
                    .expected(format!("{} more", self.skip))
                    .help("the file was replaced by another one; give it a new name")));
            }
            Ok(None) => return None,
        };
        let skip = self.skip.min(batch.num_rows() as u64);
        self.skip -= skip;
        self.row += skip;
        // Cannot exceed the number of rows of a batch in memory.
        let skip = skip as usize;
        let rest = batch.slice(skip, batch.num_rows() - skip);
        Some(conform(&rest, &self.schema).map(|rest| self.pending = (rest.num_rows() > 0).then_some(rest)))
    }
}

impl Iterator for IpcRows {
    type Item = Result<(u64, RecordBatch)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.pending.take() {
                let row = self.row;
                let rows = batch.num_rows().min(BATCH_ROWS);
                self.row += rows as u64;
                self.pending = (rows < batch.num_rows()).then(|| batch.slice(rows, batch.num_rows() - rows));
                return Some(Ok((row, batch.slice(0, rows))));
            }
            if let Err(problem) = self.load()? {
                // Nothing can be read behind an error.
                (self.batches, self.skip) = (Box::new(std::iter::empty()), 0);
                return Some(Err(problem));
            }
        }
    }
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

fn batches(file: &File) -> Result<(SchemaRef, Batches)> {
    let failed = |e: &dyn std::fmt::Display| {
        Problem::error("IPC-SCHEMA", "the file is no complete Arrow IPC file").found(e.to_string())
    };
    let mut file = file.try_clone().map_err(|e| failed(&e))?;
    let mut magic = [0; 6];
    file.rewind().map_err(|e| failed(&e))?;
    let read = file.read(&mut magic).map_err(|e| failed(&e))?;
    file.rewind().map_err(|e| failed(&e))?;
    let (schema, batches): (SchemaRef, Batches) = if &magic[..read] == b"ARROW1" {
        let reader = guarded(|| FileReader::try_new_buffered(file, None)).map_err(|e| failed(&e))?;
        (reader.schema(), Box::new(reader))
    } else {
        let reader = guarded(|| StreamReader::try_new(BufReader::new(file), None)).map_err(|e| failed(&e))?;
        (reader.schema(), Box::new(reader))
    };
    check_schema(&schema)?;
    Ok((schema, batches))
}

fn check_schema(schema: &Schema) -> Result<()> {
    if schema.fields().len() > COLUMNS_MAX {
        return Err(Problem::error("IPC-LIMIT", "the file asks for more than is allowed")
            .found(format!("{} columns", schema.fields().len()))
            .expected(format!("at most {COLUMNS_MAX}")));
    }
    Ok(())
}

/// Writes Arrow IPC in the stream format, which can be cut after any batch.
pub struct IpcWriter<W: Write> {
    writer: StreamWriter<W>,
}

impl<W: Write> IpcWriter<W> {
    /// Begins a stream with the columns of `schema`.
    pub fn new(out: W, schema: &SchemaRef) -> Result<IpcWriter<W>> {
        let writer = StreamWriter::try_new(out, &Arc::clone(schema)).map_err(|e| write_failed(&e))?;
        Ok(IpcWriter { writer })
    }
    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|e| write_failed(&e))
    }
    /// Writes the end mark and gives the output back, for the caller to sync.
    pub fn finish(self) -> Result<W> {
        self.writer.into_inner().map_err(|e| write_failed(&e))
    }
}

fn write_failed(error: &ArrowError) -> Problem {
    Problem::outside("IPC-WRITE", "the Arrow IPC file cannot be written").found(error.to_string())
}
