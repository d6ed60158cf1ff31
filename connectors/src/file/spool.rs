//! Rows on their way to a Parquet file.
//!
//! A Parquet file has its index at the end, so it cannot be cut back to a checkpoint. Until it rolls,
//! its rows stand in the hidden file as an Arrow IPC stream, which can be cut behind any batch; then
//! they are written as Parquet beside it.

use crate::format::Encode;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;
use millstream::{Batch, Problem, Result};
use std::path::Path;

/// Encodes batches as an Arrow IPC stream that is never ended.
pub struct Spool {
    writer: StreamWriter<Vec<u8>>,
}

impl Spool {
    /// A stream of rows of this schema.
    pub fn new(schema: &SchemaRef) -> Result<Spool> {
        let writer = StreamWriter::try_new(Vec::new(), schema)
            .map_err(|e| Problem::error("FILE-SCHEMA", "the rows cannot be written as columns").found(e.to_string()))?;
        Ok(Spool { writer })
    }
}

impl Encode for Spool {
    fn header(&mut self, out: &mut Vec<u8>) {
        out.append(self.writer.get_mut());
    }
    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
        if batch.diff.as_ref().is_some_and(|diff| diff.values().iter().any(|d| *d != 1)) {
            return Err(Problem::error("FORMAT-CHANGELOG", "parquet has no place for the weights of a changelog")
                .help("write ndjson, which adds `_diff`, or emit on close"));
        }
        let written = self.writer.write(&batch.rows);
        let bytes = std::mem::take(self.writer.get_mut());
        written.map_err(|e| Problem::internal(format!("encoding a batch failed: {e}")))?;
        out.extend_from_slice(&bytes);
        Ok(())
    }
}

/// Writes the rows of the stream in `spool` to a Parquet file at `to`, durably; returns its length. What
/// an earlier attempt left at `to` is overwritten; what this one leaves when it fails is removed.
///
/// # Errors
/// `IO…`, `FILE-PARQUET`.
pub fn convert(spool: &Path, to: &Path) -> Result<u64> {
    // The encoded rows are smaller than the spooled ones: enough space in any case.
    let bytes = std::fs::metadata(spool).map_or(0, |m| m.len());
    write(spool, to, bytes).inspect_err(|_| {
        // Best effort: gives the space back.
        let _ = std::fs::remove_file(to);
    })
}

#[cfg(not(feature = "parquet"))]
fn write(_spool: &Path, _to: &Path, _bytes: u64) -> Result<u64> {
    Err(crate::format::parquet_absent())
}

#[cfg(feature = "parquet")]
fn write(spool: &Path, to: &Path, bytes: u64) -> Result<u64> {
    use super::place::write_failed;
    use arrow::ipc::reader::StreamReader;
    use millstream::Place;
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{Compression, ZstdLevel};
    use parquet::file::properties::WriterProperties;
    use std::fs::File;
    use std::io::{BufReader, BufWriter};

    /// Bytes of encoded columns after which a row group ends: what a conversion holds in memory.
    const ROW_GROUP_BYTES: usize = 16 << 20;
    const ROW_GROUP_ROWS: usize = 1 << 20;

    let damaged = |what: &'static str, path: &Path, e: &dyn std::fmt::Display| {
        Problem::error("FILE-PARQUET", what).at(Place::path(path)).found(e.to_string())
    };
    let input = File::open(spool).map_err(|e| Problem::io("cannot open the file", spool, &e))?;
    let reader = StreamReader::try_new(BufReader::with_capacity(1 << 20, input), None)
        .map_err(|e| damaged("the rows cannot be read back", spool, &e))?;
    let output = File::create(to).map_err(|e| write_failed("cannot create the file", to, &e, bytes))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let failed = |e: parquet::errors::ParquetError| match e {
        parquet::errors::ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => write_failed("cannot write the Parquet file", to, &io, bytes),
            Err(other) => damaged("cannot write the Parquet file", to, &other),
        },
        other => damaged("cannot write the Parquet file", to, &other),
    };
    let mut writer = ArrowWriter::try_new(BufWriter::with_capacity(1 << 18, output), reader.schema(), Some(properties))
        .map_err(failed)?;
    for batch in reader {
        writer.write(&batch.map_err(|e| damaged("the rows cannot be read back", spool, &e))?).map_err(failed)?;
        if writer.in_progress_size() >= ROW_GROUP_BYTES {
            writer.flush().map_err(failed)?;
        }
    }
    let buffered = writer.into_inner().map_err(failed)?;
    let file =
        buffered.into_inner().map_err(|e| write_failed("cannot write the Parquet file", to, e.error(), bytes))?;
    file.sync_all().map_err(|e| write_failed("cannot sync the file", to, &e, bytes))?;
    Ok(file.metadata().map_err(|e| Problem::io("cannot read the file's metadata", to, &e))?.len())
}
