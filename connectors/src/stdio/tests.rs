//! Standard input through a pipe, standard output into a buffer.

use super::config::{StdinConfig, StdoutConfig};
use super::{Stdin, Stdout, is_broken_pipe};
use crate::format::{CsvOptions, Format};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use millstream::Batch;
use millstream::connect::{Body, PartitionId, Polled, Reader, SinkFactory, Source};
use millstream_pipelines::units::ByteSize;
use std::io::{PipeWriter, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn stdin(max_line: u64) -> (Box<dyn Reader>, PipeWriter) {
    let (input, output) = std::io::pipe().unwrap();
    let config = StdinConfig { format: Format::Text, max_line: ByteSize::new(max_line) };
    let source = Stdin::with_input(config, input.into()).unwrap();
    assert!(source.bounded() && !source.replayable());
    (source.open(&PartitionId::from("stdin"), None).unwrap(), output)
}

fn text(polled: Polled) -> String {
    match polled {
        Polled::Data(payload, _) => match payload.body {
            Body::Bytes { data, .. } => String::from_utf8_lossy(&data).into_owned(),
            other => panic!("{other:?}"),
        },
        other => format!("{other:?}"),
    }
}

#[test]
fn lines_come_as_soon_as_they_are_whole() {
    let (mut reader, mut pipe) = stdin(1 << 20);
    let began = Instant::now();
    assert!(matches!(reader.next(1 << 20).unwrap(), Polled::Idle));
    assert!(began.elapsed() < Duration::from_secs(2));
    pipe.write_all(b"one\ntwo\nthr").unwrap();
    assert_eq!(text(reader.next(1 << 20).unwrap()), "one\ntwo\n");
    assert!(matches!(reader.next(1 << 20).unwrap(), Polled::Idle));
    pipe.write_all(b"ee\nlast").unwrap();
    assert_eq!(text(reader.next(1 << 20).unwrap()), "three\n");
    drop(pipe);
    assert_eq!(text(reader.next(1 << 20).unwrap()), "last");
    let Polled::End(position) = reader.next(1 << 20).unwrap() else { panic!("the end") };
    assert_eq!(position.0, 18);
}

#[test]
fn a_line_that_is_too_long_is_cut() {
    let (mut reader, mut pipe) = stdin(10);
    std::thread::spawn(move || {
        pipe.write_all(&vec![b'x'; 1 << 20]).unwrap();
        pipe.write_all(b"\nshort\n").unwrap();
    });
    let mut all = String::new();
    loop {
        match reader.next(1 << 20).unwrap() {
            Polled::Idle => {}
            Polled::End(_) => break,
            data => all += &text(data),
        }
    }
    assert_eq!(all, "xxxxxxxxxxx\nshort\n");
}

#[derive(Default)]
struct Broken(Vec<u8>);

impl Write for Broken {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() > 20 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn rows() -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)]).unwrap()
}

#[test]
fn all_workers_write_whole_lines_and_one_header() {
    let output = Arc::new(Mutex::new(Vec::new()));
    let config = StdoutConfig { format: Format::Csv(CsvOptions::default()) };
    let stdout = Stdout::with_output(config, output.clone()).unwrap();
    for worker in 0..2 {
        let mut sink = stdout.open(worker, &rows().schema()).unwrap();
        sink.write(1, Batch::new(rows())).unwrap();
        sink.flush().unwrap();
    }
    assert_eq!(String::from_utf8(output.lock().unwrap().clone()).unwrap(), "n\n1\n2\n3\n1\n2\n3\n");
}

#[test]
fn a_reader_that_goes_away_is_not_a_panic() {
    let stdout = Stdout::with_output(StdoutConfig::default(), Arc::new(Mutex::new(Broken::default()))).unwrap();
    let mut sink = stdout.open(0, &rows().schema()).unwrap();
    let problem = (0..10).find_map(|_| sink.write(1, Batch::new(rows())).and_then(|()| sink.flush()).err()).unwrap();
    assert!(is_broken_pipe(&problem), "{problem}");
}

#[test]
fn formats_of_whole_files_are_refused() {
    assert_eq!(Stdout::new(StdoutConfig { format: Format::Parquet }).err().unwrap().code, "STDOUT-FORMAT");
    let config = StdinConfig { format: Format::ArrowIpc, max_line: ByteSize::mib(1) };
    assert_eq!(Stdin::new(config).err().unwrap().code, "STDIN-FORMAT");
}
