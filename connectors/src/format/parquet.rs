//! Parquet files: read as a whole, row by row position; written with zstd.

use super::rows::{COLUMNS_MAX, conform, guarded, places};
use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::properties::WriterProperties;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream::batch::BATCH_ROWS;
use millstream::{Problem, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

/// The greatest footer that is read, in bytes. A file of 10,000 columns and 1,000 row groups stays
/// below it; a length made up by a broken file mostly does not.
const FOOTER_BYTES_MAX: u64 = 64 << 20;

/// The greatest size of one column in one row group, unpacked, in bytes.
const CHUNK_BYTES_MAX: i64 = 1 << 30;

/// Rows per row group that is written: what has to be held in memory until it is on disk.
const GROUP_ROWS: usize = 128 * BATCH_ROWS;

/// The rows of a Parquet file, in order, each batch with the position (row number) of its first row.
pub struct ParquetRows {
    /// `None` behind an error.
    reader: Option<ParquetRecordBatchReader>,
    schema: SchemaRef,
    row: u64,
    rows: u64,
}

impl ParquetRows {
    /// The schema of a file, as Arrow types.
    ///
    /// # Errors
    /// As [`ParquetRows::open`].
    pub fn schema(file: &File) -> Result<SchemaRef> {
        Ok(Arc::clone(builder(file)?.schema()))
    }

    /// Opens a file at `start_row`. With `schema`, only its columns are read, and brought to its
    /// types; without, all columns as they are.
    ///
    /// # Errors
    /// `PARQUET-FOOTER` where the file is no Parquet file or its metadata is broken, `PARQUET-LIMIT`
    /// where it asks for more than the limits, `FORMAT-COLUMN`, and `PARQUET-START` where `start_row`
    /// lies behind its end.
    pub fn open(file: &File, schema: Option<&SchemaRef>, start_row: u64) -> Result<ParquetRows> {
        let builder = builder(file)?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows())
            .map_err(|_| footer("a negative number of rows"))?;
        if start_row > rows {
            return Err(Problem::error("PARQUET-START", "the file has fewer rows than have been read of it")
                .found(format!("{rows} rows"))
                .expected(format!("at least {start_row}"))
                .help("the file was replaced by another one; give it a new name"));
        }
        let schema = schema.unwrap_or(builder.schema()).clone();
        let roots = places(builder.schema(), &schema)?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let offset = usize::try_from(start_row).map_err(|_| footer("more rows than this machine can count"))?;
        let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS).with_offset(offset);
        let reader = guarded(|| builder.build()).map_err(|e| footer(&e))?;
        Ok(ParquetRows { reader: Some(reader), schema, row: start_row, rows })
    }

    /// Number of rows of the whole file.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Iterator for ParquetRows {
    type Item = Result<(u64, RecordBatch)>;

    /// # Errors
    /// `PARQUET-DATA` for a broken page, `FORMAT-TYPE` where values do not fit the declared type. Nothing
    /// can be read behind an error.
    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        let read = guarded(|| reader.next().transpose());
        let batch = match read {
            Ok(batch) => batch?,
            Err(found) => {
                return Some(Err(Problem::error("PARQUET-DATA", "the file cannot be read any further")
                    .found(format!("{found}, at row {}", self.row))));
            }
        };
        self.reader = Some(reader);
        let row = self.row;
        self.row += batch.num_rows() as u64;
        Some(conform(&batch, &self.schema).map(|batch| (row, batch)))
    }
}

fn builder(file: &File) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    check_tail(file)?;
    let file = file.try_clone().map_err(|e| footer(&e.to_string()))?;
    let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).map_err(|e| footer(&e))?;
    check_metadata(builder.metadata())?;
    Ok(builder)
}

/// The last eight bytes: the length of the footer, and the magic number. Looked at here so that a
/// made-up length costs nothing.
fn check_tail(mut file: &File) -> Result<()> {
    let mut tail = [0; 8];
    let size = file.seek(SeekFrom::End(0)).map_err(|e| footer(&e.to_string()))?;
    if size < 12 {
        return Err(footer(&format!("a file of {size} bytes")));
    }
    file.seek(SeekFrom::End(-8)).and_then(|_| file.read_exact(&mut tail)).map_err(|e| footer(&e.to_string()))?;
    if &tail[4..] != b"PAR1" {
        return Err(footer("a file that does not end with PAR1"));
    }
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    if length > size - 12 {
        return Err(footer(&format!("a footer of {length} bytes in a file of {size}")));
    }
    if length > FOOTER_BYTES_MAX {
        return Err(limit(format!("a footer of {length} bytes"), format!("at most {FOOTER_BYTES_MAX}")));
    }
    Ok(())
}

fn check_metadata(metadata: &ParquetMetaData) -> Result<()> {
    let columns = metadata.file_metadata().schema_descr().num_columns();
    if columns > COLUMNS_MAX {
        return Err(limit(format!("{columns} columns"), format!("at most {COLUMNS_MAX}")));
    }
    for chunk in metadata.row_groups().iter().flat_map(|g| g.columns()) {
        let size = chunk.uncompressed_size();
        if !(0..=CHUNK_BYTES_MAX).contains(&size) {
            let found = format!("{size} bytes for column `{}` in one row group", chunk.column_path());
            return Err(limit(found, format!("0 to {CHUNK_BYTES_MAX}")));
        }
    }
    Ok(())
}

fn footer(found: &str) -> Problem {
    Problem::error("PARQUET-FOOTER", "the file is no complete Parquet file").found(found)
}

fn limit(found: String, expected: String) -> Problem {
    Problem::error("PARQUET-LIMIT", "the file asks for more than is allowed").found(found).expected(expected)
}

/// Writes a Parquet file, compressed with zstd. The file is complete only after
/// [`finish`](ParquetWriter::finish).
pub struct ParquetWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Begins a file with the columns of `schema`.
    ///
    /// # Errors
    /// `PARQUET-WRITE` for a type that Parquet does not have.
    pub fn new(out: W, schema: &SchemaRef) -> Result<ParquetWriter<W>> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_created_by(concat!("millstream ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties)).map_err(|e| write_failed(&e))?;
        Ok(ParquetWriter { writer })
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|e| write_failed(&e))
    }

    /// Bytes written so far, with an estimate of what is still held in memory.
    pub fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Writes the footer and gives the output back, for the caller to sync.
    pub fn finish(self) -> Result<W> {
        self.writer.into_inner().map_err(|e| write_failed(&e))
    }
}

fn write_failed(error: &ParquetError) -> Problem {
    Problem::outside("PARQUET-WRITE", "the Parquet file cannot be written").found(error.to_string())
}
