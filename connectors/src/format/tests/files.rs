//! Parquet and Arrow IPC: round trips, projection, resumption, broken files.
#![allow(clippy::print_stderr)] // Seeds, for whom a test fails.

use super::*;
use millstream::Result;
use std::fs::File;
use std::io::Write;

fn rows(from: i64, count: i64) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from_iter_values(from..from + count)) as ArrayRef),
        ("s", Arc::new(StringArray::from_iter_values((from..from + count).map(|n| format!("row {n}"))))),
    ])
    .unwrap()
}

fn parquet_file(count: i64) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let mut writer = ParquetWriter::new(&mut file, &rows(0, 1).schema()).unwrap();
    writer.write(&rows(0, count / 2)).unwrap();
    writer.write(&rows(count / 2, count - count / 2)).unwrap();
    assert!(writer.bytes() > 0);
    writer.finish().unwrap();
    file
}

fn ipc_stream(count: i64) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let mut writer = IpcWriter::new(&mut file, &rows(0, 1).schema()).unwrap();
    writer.write(&rows(0, count / 2)).unwrap();
    writer.write(&rows(count / 2, count - count / 2)).unwrap();
    writer.finish().unwrap();
    file
}

fn ipc_file(count: i64) -> File {
    let mut file = tempfile::tempfile().unwrap();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(&mut file, &rows(0, 1).schema()).unwrap();
    writer.write(&rows(0, count / 2)).unwrap();
    writer.write(&rows(count / 2, count - count / 2)).unwrap();
    writer.finish().unwrap();
    file
}

/// All values of column `n`, after checking that positions and values agree.
fn numbers(batches: impl Iterator<Item = Result<(u64, RecordBatch)>>) -> Vec<i64> {
    let mut all = Vec::new();
    for batch in batches {
        let (row, batch) = batch.unwrap();
        assert!(batch.num_rows() <= 8_192);
        let column = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().clone();
        assert_eq!(column.value(0), i64::try_from(row).unwrap());
        all.extend(column.values());
    }
    all
}

#[test]
fn every_start_gives_the_rest() {
    let count = 20_001;
    let (parquet, stream, file) = (parquet_file(count), ipc_stream(count), ipc_file(count));
    assert_eq!(ParquetRows::schema(&parquet).unwrap(), rows(0, 1).schema());
    assert_eq!(IpcRows::schema(&stream).unwrap(), rows(0, 1).schema());
    for start in [0, 1, 8_191, 8_192, 10_000, 20_000, 20_001] {
        let want: Vec<i64> = (start as i64..count).collect();
        assert_eq!(numbers(ParquetRows::open(&parquet, None, start).unwrap()), want, "parquet from {start}");
        assert_eq!(numbers(IpcRows::open(&stream, None, start).unwrap()), want, "stream from {start}");
        assert_eq!(numbers(IpcRows::open(&file, None, start).unwrap()), want, "file from {start}");
    }
    assert_eq!(ParquetRows::open(&parquet, None, 20_002).err().unwrap().code, "PARQUET-START");
    let past: Vec<_> = IpcRows::open(&stream, None, 20_002).unwrap().collect();
    assert_eq!(past.last().unwrap().as_ref().unwrap_err().code, "IPC-START");
}

#[test]
fn declared_columns_and_types() {
    let (parquet, stream) = (parquet_file(10), ipc_stream(10));
    let wanted = schema_of(&[("s", DataType::Utf8), ("n", DataType::Int16)]);
    for batch in
        ParquetRows::open(&parquet, Some(&wanted), 3).unwrap().chain(IpcRows::open(&stream, Some(&wanted), 3).unwrap())
    {
        let (_, batch) = batch.unwrap();
        assert_eq!(batch.schema(), wanted);
    }
    let unknown = schema_of(&[("nn", DataType::Int64)]);
    let problem = ParquetRows::open(&parquet, Some(&unknown), 0).err().unwrap();
    assert_eq!((problem.code.as_ref(), problem.help.as_deref()), ("FORMAT-COLUMN", Some("did you mean `n`?")));
    assert_eq!(IpcRows::open(&stream, Some(&unknown), 0).err().unwrap().code, "FORMAT-COLUMN");
    let narrow = schema_of(&[("s", DataType::Int64)]);
    assert_eq!(ParquetRows::open(&parquet, Some(&narrow), 0).unwrap().next().unwrap().unwrap_err().code, "FORMAT-TYPE");
}

/// The bytes of a file, and a file of other bytes.
fn bytes_of(file: &File) -> Vec<u8> {
    use std::io::{Read, Seek};
    let mut file = file.try_clone().unwrap();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn broken_footers() {
    let good = bytes_of(&parquet_file(100));
    let mut long = good.clone();
    let at = long.len() - 8;
    long[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut garbled = good.clone();
    garbled[at - 40..at].fill(0xff);
    for bytes in [&b""[..], b"PAR1", b"PAR1PAR1PAR1PAR1", &good[..good.len() - 1], &long, &garbled] {
        let code = ParquetRows::open(&file_of(bytes), None, 0).err().unwrap().code.clone();
        assert!(code == "PARQUET-FOOTER", "{} bytes: {code}", bytes.len());
    }
    // Without its beginning the file has a good footer; its pages are not where it says.
    let first = ParquetRows::open(&file_of(&good[10..]), None, 0).unwrap().next().unwrap();
    assert_eq!(first.unwrap_err().code, "PARQUET-DATA");
    for bytes in [&b""[..], b"ARROW1", b"\xff\xff\xff\xff", b"hello, world"] {
        assert_eq!(IpcRows::open(&file_of(bytes), None, 0).err().unwrap().code, "IPC-SCHEMA");
    }
}

/// The readers believe every length: one beyond the end of the file must not become an allocation.
#[test]
fn lengths_beyond_the_file_are_refused() {
    for good in [bytes_of(&ipc_stream(50)), bytes_of(&ipc_file(50))] {
        let mut refused = 0;
        for at in 0..good.len() - 8 {
            let mut bytes = good.clone();
            bytes[at + 6] = 0x7f;
            let read = IpcRows::open(&file_of(&bytes), None, 0).map(|rows| rows.take(10).map(|b| b.is_ok()).last());
            refused += usize::from(read.is_err());
        }
        assert!(refused > 10, "{refused}");
    }
}

/// Damage anywhere gives an error or other values, never a panic.
#[test]
fn damaged_files_never_panic() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (parquet, stream, file) = (bytes_of(&parquet_file(50)), bytes_of(&ipc_stream(50)), bytes_of(&ipc_file(50)));
    for _ in 0..100 {
        for good in [&parquet, &stream, &file] {
            let mut bytes = good.clone();
            let at = rng.usize(..bytes.len());
            bytes[at] ^= 1 << rng.u8(..8);
            if rng.u8(..4) == 0 {
                bytes.truncate(at);
            }
            let damaged = file_of(&bytes);
            let parquet = ParquetRows::open(&damaged, None, 0).map(|rows| rows.take(10).map(|b| b.is_ok()).last());
            let ipc = IpcRows::open(&damaged, None, 0).map(|rows| rows.take(10).map(|b| b.is_ok()).last());
            assert!(parquet.is_err() || ipc.is_err(), "a file is not of both formats");
        }
    }
}
