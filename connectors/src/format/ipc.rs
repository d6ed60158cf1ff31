//! Arrow IPC files, in the file format (`.arrow`, `.feather`) and the stream format (`.arrows`).
//!
//! Bodies compressed with LZ4 or zstd are refused as `IPC-DATA`.

use super::rows::{COLUMNS_MAX, conform, guarded, places};
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader, read_footer_length};
use arrow::ipc::writer::StreamWriter;
use arrow::ipc::{root_as_footer, root_as_message};
use millstream::batch::BATCH_ROWS;
use millstream::{Problem, Result};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
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
    let is_file = &magic[..read] == b"ARROW1";
    let sizes = guarded(|| if is_file { check_blocks(&mut file) } else { check_messages(&mut file) });
    sizes.map_err(|e| failed(&e))?;
    file.rewind().map_err(|e| failed(&e))?;
    let (schema, batches): (SchemaRef, Batches) = if is_file {
        let reader = guarded(|| FileReader::try_new_buffered(file, None)).map_err(|e| failed(&e))?;
        (reader.schema(), Box::new(reader))
    } else {
        let reader = guarded(|| StreamReader::try_new(BufReader::new(file), None)).map_err(|e| failed(&e))?;
        (reader.schema(), Box::new(reader))
    };
    check_schema(&schema)?;
    Ok((schema, batches))
}

/// The readers allocate what a message claims to hold before they read it: a damaged length would end the
/// process. So no length may be larger than the file. Of the file format: the blocks that the footer names.
fn check_blocks(file: &mut File) -> Result<(), ArrowError> {
    let size = file.seek(SeekFrom::End(0))?;
    let mut tail = [0; 10];
    file.seek(SeekFrom::End(-10))?;
    file.read_exact(&mut tail)?;
    let length = read_footer_length(tail)?;
    let footer = (length as u64).checked_add(10).and_then(|l| size.checked_sub(l)).ok_or_else(|| too_long("footer"))?;
    file.seek(SeekFrom::Start(footer))?;
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    let footer = root_as_footer(&bytes).map_err(|e| ArrowError::ParseError(e.to_string()))?;
    let blocks = footer.recordBatches().into_iter().chain(footer.dictionaries()).flatten();
    for block in blocks {
        let parts = [block.offset(), i64::from(block.metaDataLength()), block.bodyLength()];
        let end = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(u64::try_from(*part).ok()?));
        end.filter(|end| *end <= size).ok_or_else(|| too_long("block"))?;
    }
    Ok(())
}

/// Of the stream format: one message after the other.
fn check_messages(file: &mut File) -> Result<(), ArrowError> {
    let size = file.seek(SeekFrom::End(0))?;
    let mut at = 0;
    // A stream may end without its end mark.
    while size - at >= 8 {
        let mut head = [0; 8];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut head)?;
        let (first, second) = head.split_at(4);
        // Before version 0.15 there was no mark before the length.
        let (length, skip) = if first == [0xff; 4] { (second, 8) } else { (first, 4) };
        let length = u64::from(u32::from_le_bytes(length.try_into().expect("four bytes")));
        if length == 0 {
            return Ok(());
        }
        at += skip;
        if length > size - at {
            return Err(too_long("message"));
        }
        file.seek(SeekFrom::Start(at))?;
        // Fits: no longer than the file is.
        let mut bytes = vec![0; length as usize];
        file.read_exact(&mut bytes)?;
        let message = root_as_message(&bytes).map_err(|e| ArrowError::ParseError(e.to_string()))?;
        at += length;
        let body = u64::try_from(message.bodyLength()).ok().filter(|body| *body <= size - at);
        at += body.ok_or_else(|| too_long("message"))?;
    }
    Ok(())
}

fn too_long(what: &str) -> ArrowError {
    ArrowError::ParseError(format!("a {what} that is longer than what is left of the file"))
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
