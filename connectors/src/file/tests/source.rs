//! `RELIABILITY.md` 2.3 row B3, and that a resume at any position gives the rest exactly.

use crate::file::config::{Compression, FileSourceConfig, OnLost, Paths, ReadMode, Start};
use crate::file::cut::Lines;
use crate::file::{Access, FileSource};
use crate::format::Format;
use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use millstream::Problem;
use millstream::connect::{Body, PartitionId, Polled, Position, Reader, Source};
use millstream_pipelines::units::{ByteSize, Duration};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

fn config(path: &str, read: ReadMode) -> FileSourceConfig {
    FileSourceConfig {
        path: Paths(vec![path.into()]),
        read,
        format: Format::Text,
        compression: Compression::Auto,
        start: Start::Beginning,
        max_line: ByteSize::mib(4),
        ignore_older: None,
        poll: Duration::from_millis(5),
        rotate_wait: Duration::from_millis(20),
        on_lost: OnLost::Fail,
    }
}

/// A source over a temporary directory, and what it told.
struct Bench {
    dir: tempfile::TempDir,
    told: Arc<Mutex<Vec<Problem>>>,
}

impl Bench {
    fn new() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap(), told: Arc::default() }
    }
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
    }
    fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        append(&self.path(name), bytes.as_ref());
    }
    fn source(&self, config: FileSourceConfig) -> FileSource {
        let told = Arc::clone(&self.told);
        let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]));
        FileSource::new(config, Access::new(self.dir.path()), schema)
            .with_events(Arc::new(move |p| told.lock().unwrap().push(p)))
    }
    fn codes(&self) -> Vec<String> {
        self.told.lock().unwrap().iter().map(|p| p.code.to_string()).collect()
    }
}

fn append(path: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// Reads until the partition ends or is idle.
fn drain(reader: &mut dyn Reader) -> (Vec<u8>, Option<Position>) {
    let (mut all, mut last) = (Vec::new(), None);
    loop {
        match reader.next(1 << 20).unwrap() {
            Polled::Data(payload, position) => {
                let Body::Bytes { data, .. } = payload.body else { panic!("bytes") };
                all.extend_from_slice(&data);
                last = Some(position);
            }
            Polled::Idle => return (all, last),
            Polled::End(position) => return (all, Some(position)),
        }
    }
}

/// Reads until `wanted` has come, however many idle polls that takes.
fn expect(reader: &mut dyn Reader, wanted: &[u8]) -> Option<Position> {
    let (mut all, mut last) = (Vec::new(), None);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while all.len() < wanted.len() && std::time::Instant::now() < until {
        let (more, position) = drain(reader);
        all.extend(more);
        last = position.or(last);
    }
    assert_eq!(String::from_utf8_lossy(&all), String::from_utf8_lossy(wanted));
    last
}

fn open(source: &FileSource, name: &str, from: Option<&Position>) -> Box<dyn Reader> {
    source.open(&PartitionId::from(name), from).unwrap()
}

fn once(bench: &Bench, name: &str) -> Result<Vec<u8>, Problem> {
    let source = bench.source(config(name, ReadMode::Once));
    let mut all = Vec::new();
    for partition in source.partitions()? {
        let mut reader = source.open(&partition, None)?;
        loop {
            match reader.next(1 << 20)? {
                Polled::Data(payload, _) => {
                    let Body::Bytes { data, .. } = payload.body else { panic!("bytes") };
                    all.extend_from_slice(&data);
                }
                Polled::Idle => panic!("a file that is read once is never idle"),
                Polled::End(_) => break,
            }
        }
    }
    Ok(all)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

#[test]
fn content_passes_as_it_is_but_for_the_byte_order_mark() {
    let b = Bench::new();
    let lines = b"one\r\ntwo\nthr\xff\xfee\n\nlast without end";
    let two_members = [gzip(&lines[..7]), gzip(&lines[7..])].concat();
    let two_frames = [zstd::encode_all(&lines[..7], 0).unwrap(), zstd::encode_all(&lines[7..], 0).unwrap()].concat();
    for (name, bytes, expected) in [
        ("plain", lines.to_vec(), lines.to_vec()),
        ("bom", [b"\xef\xbb\xbf".as_slice(), lines].concat(), lines.to_vec()),
        ("gz", two_members, lines.to_vec()),
        ("zst", two_frames, lines.to_vec()),
        ("empty", Vec::new(), Vec::new()),
        ("empty.gz", gzip(b""), Vec::new()),
        ("one-byte", b"x".to_vec(), b"x".to_vec()),
        ("only-bom", b"\xef\xbb\xbf".to_vec(), Vec::new()),
    ] {
        b.put(name, bytes);
        assert_eq!(once(&b, name).unwrap(), expected, "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let b = Bench::new();
    b.put("utf16", b"\xff\xfeh\0i\0\n\0");
    let whole = gzip(&vec![b'x'; 100_000]);
    b.put("cut.gz", &whole[..whole.len() - 20]);
    b.put("bad.zst", b"\x28\xb5\x2f\xfdnonsense that is no frame");
    fs::create_dir(b.path("dir")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, b.path("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for (name, code) in [
        ("utf16", "FILE-ENCODING"),
        ("cut.gz", "FILE-COMPRESSED-CUT"),
        ("bad.zst", "FILE-COMPRESSED-DAMAGED"),
        ("dir", "FILE-IS-DIRECTORY"),
        ("fifo", "FILE-NOT-REGULAR"),
        ("absent", "IO-NOT-FOUND"),
        ("no-such-*.log", "FILE-NO-MATCH"),
        ("a**b[", "FILE-PATTERN"),
    ] {
        assert_eq!(once(&b, name).unwrap_err().code, code, "{name}");
    }
}

#[test]
fn the_content_before_a_cut_is_delivered() {
    let b = Bench::new();
    let whole = gzip("a line of text\n".repeat(200_000).as_bytes());
    b.put("cut.gz", &whole[..whole.len() / 2]);
    let source = b.source(config("cut.gz", ReadMode::Once));
    let mut reader = open(&source, "cut.gz", None);
    let mut lines = 0;
    let problem = loop {
        match reader.next(1 << 20) {
            Ok(Polled::Data(p, _)) => lines += p.size() / 15,
            Ok(other) => panic!("{other:?}"),
            Err(problem) => break problem,
        }
    };
    assert_eq!(problem.code, "FILE-COMPRESSED-CUT");
    assert!((90_000..110_000).contains(&lines), "{lines}");
}

#[test]
fn patterns_find_files_in_all_directories() {
    let b = Bench::new();
    for name in ["a.log", "x/b.log", "x/y/c.log", "x/y/c.txt"] {
        b.put(name, name);
    }
    let source = b.source(FileSourceConfig {
        path: Paths(vec!["**/*.log".into(), "x/y/c.txt".into()]),
        ..config("", ReadMode::Once)
    });
    let names: Vec<String> = source.partitions().unwrap().iter().map(|p| p.to_string()).collect();
    assert_eq!(names, ["a.log", "x/b.log", "x/y/c.log", "x/y/c.txt"]);
}

#[test]
fn a_half_line_waits_and_the_last_one_counts_when_read_once() {
    let b = Bench::new();
    b.put("log", "one\ntw");
    let source = b.source(config("log", ReadMode::Watch));
    let mut reader = open(&source, "log", None);
    assert_eq!(drain(&mut *reader).0, b"one\n");
    b.append("log", "o\nthree\n");
    expect(&mut *reader, b"two\nthree\n");
    assert_eq!(once(&b, "log").unwrap(), b"one\ntwo\nthree\n");
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    let b = Bench::new();
    b.put("app.log", "1\n2\n");
    let source = b.source(config("app.log*", ReadMode::Watch));
    assert_eq!(source.partitions().unwrap().len(), 1);
    let mut reader = open(&source, "app.log", None);
    assert_eq!(drain(&mut *reader).0, b"1\n2\n");
    fs::rename(b.path("app.log"), b.path("app.log.1")).unwrap();
    b.append("app.log.1", "3\n");
    b.put("app.log", "4\n");
    b.append("app.log.1", "half");
    let position = expect(&mut *reader, b"3\nhalf4\n");
    assert_eq!(source.partitions().unwrap().len(), 1, "app.log.1 has been read under its old name");

    let again = b.source(config("app.log*", ReadMode::Watch));
    again.resume(&[(PartitionId::from("app.log"), position.clone().unwrap())]).unwrap();
    assert_eq!(again.partitions().unwrap().len(), 1, "after a restart too");
    b.append("app.log", "5\n");
    expect(&mut *open(&again, "app.log", position.as_ref()), b"5\n");
}

#[test]
fn a_file_renamed_while_nobody_looked_is_found_again() {
    for copy in [false, true] {
        let b = Bench::new();
        b.put("app.log", "1\n2\n");
        let source = b.source(config("app.log*", ReadMode::Watch));
        let (_, position) = drain(&mut *open(&source, "app.log", None));
        b.append("app.log", "3\n");
        if copy {
            fs::copy(b.path("app.log"), b.path("app.log.1")).unwrap();
        } else {
            fs::rename(b.path("app.log"), b.path("app.log.1")).unwrap();
        }
        b.put("app.log", "4 is new\n");
        let again = b.source(config("app.log*", ReadMode::Watch));
        let position = position.unwrap();
        again.resume(&[(PartitionId::from("app.log"), position.clone())]).unwrap();
        let mut reader = open(&again, "app.log", Some(&position));
        expect(&mut *reader, b"3\n4 is new\n");
        let names = again.partitions().unwrap();
        assert_eq!(names.len(), 1, "copy {copy}: {names:?}");
    }
}

#[test]
fn a_truncated_file_starts_over() {
    let b = Bench::new();
    b.put("log", "old 1\nold 2\nunfinished");
    let source = b.source(config("log", ReadMode::Watch));
    let mut reader = open(&source, "log", None);
    assert_eq!(drain(&mut *reader).0, b"old 1\nold 2\n");
    fs::OpenOptions::new().write(true).open(b.path("log")).unwrap().set_len(0).unwrap();
    b.append("log", "new 1\n");
    expect(&mut *reader, b"new 1\n");
    // Longer at once than it was: only the first bytes tell.
    let file = fs::OpenOptions::new().write(true).open(b.path("log")).unwrap();
    file.set_len(0).unwrap();
    b.append("log", "another one, and much longer\n");
    expect(&mut *reader, b"another one, and much longer\n");
    assert_eq!(b.codes(), ["FILE-TRUNCATED", "FILE-TRUNCATED"]);
}

#[test]
fn a_file_cut_to_a_part_of_itself_goes_on_at_its_new_end() {
    let b = Bench::new();
    let head = "a line of the head\n".repeat(100);
    b.put("log", format!("{head}tail\n"));
    let source = b.source(config("log", ReadMode::Watch));
    let mut reader = open(&source, "log", None);
    drain(&mut *reader);
    fs::OpenOptions::new().write(true).open(b.path("log")).unwrap().set_len(head.len() as u64).unwrap();
    assert_eq!(drain(&mut *reader).0, b"");
    b.append("log", "more\n");
    expect(&mut *reader, b"more\n");
    assert_eq!(b.codes(), ["FILE-TRUNCATED"]);
}

#[test]
fn a_file_cut_while_it_is_read_once_is_an_error() {
    let b = Bench::new();
    b.put("log", "line\n".repeat(100_000));
    let source = b.source(config("log", ReadMode::Once));
    let mut reader = open(&source, "log", None);
    assert!(matches!(reader.next(64 << 10).unwrap(), Polled::Data(..)));
    fs::OpenOptions::new().write(true).open(b.path("log")).unwrap().set_len(10).unwrap();
    assert_eq!(reader.next(64 << 10).unwrap_err().code, "FILE-TRUNCATED");
}

#[test]
fn a_replaced_file_is_read_whole() {
    let b = Bench::new();
    b.put("log", "old\n");
    let source = b.source(config("log", ReadMode::Watch));
    let mut reader = open(&source, "log", None);
    drain(&mut *reader);
    b.put("log.tmp", "replaced\n");
    fs::rename(b.path("log.tmp"), b.path("log")).unwrap();
    expect(&mut *reader, b"replaced\n");
}

#[test]
fn a_deleted_file_is_let_go_and_comes_back() {
    let b = Bench::new();
    b.put("log", "one\n");
    let source = b.source(config("log", ReadMode::Watch));
    let mut reader = open(&source, "log", None);
    assert!(matches!(reader.next(1 << 20).unwrap(), Polled::Data(..)));
    b.append("log", "two\nthree");
    fs::remove_file(b.path("log")).unwrap();
    let position = expect(&mut *reader, b"two\nthree");
    // The position soon says that the file has been read to its end, so a restart asks for nothing.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let mut position = position.unwrap();
    while position.0["ended"] != true && std::time::Instant::now() < until {
        position = drain(&mut *reader).1.unwrap_or(position);
    }
    let again = b.source(config("log", ReadMode::Watch));
    let mut other = open(&again, "log", Some(&position));
    assert_eq!(drain(&mut *other).0, b"");
    b.put("log", "back\n");
    expect(&mut *reader, b"back\n");
    expect(&mut *other, b"back\n");
}

#[test]
fn a_lost_position_is_an_error_or_a_restart() {
    for (what, on_lost) in [
        ("gone", OnLost::Fail),
        ("other", OnLost::Fail),
        ("other", OnLost::Restart),
        ("gone", OnLost::Restart),
        ("shorter", OnLost::Fail),
    ] {
        let b = Bench::new();
        b.put("log", "one\ntwo\n");
        let config = FileSourceConfig { on_lost, ..config("log", ReadMode::Watch) };
        let (_, position) = drain(&mut *open(&b.source(config.clone()), "log", None));
        match what {
            "gone" => fs::remove_file(b.path("log")).unwrap(),
            "shorter" => b.put("log", "one\n"),
            _ => b.put("log", "quite another file\n"),
        }
        let source = b.source(config);
        let opened = source.open(&PartitionId::from("log"), position.as_ref());
        match on_lost {
            OnLost::Fail => assert_eq!(opened.err().unwrap().code, "FILE-POSITION-LOST", "{what}"),
            OnLost::Restart => {
                let expected = if what == "gone" { b"".as_slice() } else { b"quite another file\n" };
                assert_eq!(drain(&mut *opened.unwrap()).0, expected, "{what}");
                assert_eq!(b.codes(), ["FILE-POSITION-LOST"], "{what}");
            }
        }
    }
}

#[test]
fn start_at_the_end_skips_what_is_there_but_not_new_files() {
    let b = Bench::new();
    b.put("a.log", "old\nhal");
    let source = b.source(FileSourceConfig { start: Start::End, ..config("*.log", ReadMode::Watch) });
    source.partitions().unwrap();
    let mut a = open(&source, "a.log", None);
    assert_eq!(drain(&mut *a).0, b"");
    b.append("a.log", "f\n");
    expect(&mut *a, b"half\n");
    b.put("b.log", "new file\n");
    assert_eq!(source.partitions().unwrap().len(), 2);
    expect(&mut *open(&source, "b.log", None), b"new file\n");
}

#[test]
fn a_compressed_file_that_grows_is_read_on() {
    let b = Bench::new();
    let whole = gzip(&(0..200_000).flat_map(|i| format!("{i}\n").into_bytes()).collect::<Vec<u8>>());
    b.put("x.gz", &whole[..whole.len() / 3]);
    let source =
        b.source(FileSourceConfig { rotate_wait: Duration::from_millis(60_000), ..config("x.gz", ReadMode::Watch) });
    let mut reader = open(&source, "x.gz", None);
    let (mut all, _) = drain(&mut *reader);
    b.append("x.gz", &whole[whole.len() / 3..]);
    while !all.ends_with(b"199999\n") {
        all.extend(drain(&mut *reader).0);
    }
    assert_eq!(all, (0..200_000).flat_map(|i| format!("{i}\n").into_bytes()).collect::<Vec<u8>>());
}

#[test]
fn resuming_at_any_position_gives_the_rest() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut text = Vec::new();
    for i in 0..3_000 {
        text.extend_from_slice(format!("{i}:{}\n", "x".repeat(rng.usize(0..300))).as_bytes());
    }
    for (name, bytes) in
        [("t", text.clone()), ("t.gz", gzip(&text)), ("t.zst", zstd::encode_all(text.as_slice(), 1).unwrap())]
    {
        let b = Bench::new();
        b.put(name, bytes);
        let source = b.source(config(name, ReadMode::Once));
        let mut reader = open(&source, name, None);
        let mut read = Vec::new();
        let mut stops = 0;
        while let Polled::Data(payload, position) = reader.next(1).unwrap() {
            let Body::Bytes { start, data } = payload.body else { panic!("bytes") };
            assert_eq!(start, read.len() as u64);
            read.extend_from_slice(&data);
            let (rest, _) = drain(&mut *open(&b.source(config(name, ReadMode::Once)), name, Some(&position)));
            assert_eq!([read.as_slice(), &rest].concat(), text, "{name} at {}", read.len());
            stops += 1;
        }
        assert_eq!(read, text);
        assert!(stops > 3, "{name}: {stops}");
    }
}

#[test]
fn a_position_at_the_end_of_a_file_read_once_takes_in_what_was_appended() {
    let b = Bench::new();
    b.put("log", "one\n");
    let (_, position) = drain(&mut *open(&b.source(config("log", ReadMode::Once)), "log", None));
    b.append("log", "two\n");
    let (rest, end) = drain(&mut *open(&b.source(config("log", ReadMode::Once)), "log", position.as_ref()));
    assert_eq!(rest, b"two\n");
    fs::remove_file(b.path("log")).unwrap();
    let (rest, _) = drain(&mut *open(&b.source(config("log", ReadMode::Once)), "log", end.as_ref()));
    assert_eq!(rest, b"", "what has been read may go");
}

/// A line of 100 MiB is given as its first bytes; neither reader nor payload ever holds more.
#[test]
fn a_huge_line_is_cut_in_bounded_memory() {
    let b = Bench::new();
    let file = fs::File::create(b.path("log")).unwrap();
    let mut out = std::io::BufWriter::new(&file);
    out.write_all(b"before\n").unwrap();
    for _ in 0..100 {
        out.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    out.write_all(b"\nafter\n").unwrap();
    out.flush().unwrap();
    for read in [ReadMode::Once, ReadMode::Watch] {
        let source = b.source(config("log", read));
        let mut reader = open(&source, "log", None);
        let mut pieces = Vec::new();
        while let Polled::Data(payload, _) = reader.next(1 << 20).unwrap() {
            let Body::Bytes { start, data } = payload.body else { panic!("bytes") };
            assert!(data.len() <= (4 << 20) + 2, "{}", data.len());
            pieces.push((start, data.len()));
        }
        assert_eq!(pieces, [(0, 7), (7, (4 << 20) + 2), (7 + (100 << 20) + 1, 6)]);
    }
    let mut lines = Lines::new(0, 4 << 20, false);
    for _ in 0..100 {
        lines.buffer(1 << 20).extend_from_slice(&vec![b'x'; 1 << 20]);
        assert_eq!(lines.take(), None);
        assert!(lines.buffer(0).capacity() <= 9 << 20, "{}", lines.buffer(0).capacity());
    }
}

#[test]
fn files_of_columns_are_read_from_any_row() {
    let b = Bench::new();
    let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)]));
    let rows = |from: i32, n: i32| {
        let values = StringArray::from_iter_values((from..from + n).map(|i| i.to_string()));
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(values)]).unwrap()
    };
    for (name, format) in [("x.parquet", Format::Parquet), ("x.arrow", Format::ArrowIpc)] {
        let mut bytes = Vec::new();
        if format == Format::Parquet {
            let mut writer = crate::format::ParquetWriter::new(&mut bytes, &schema).unwrap();
            (0..3).for_each(|i| writer.write(&rows(i * 10_000, 10_000)).unwrap());
            writer.finish().unwrap();
        } else {
            let mut writer = crate::format::IpcWriter::new(&mut bytes, &schema).unwrap();
            (0..3).for_each(|i| writer.write(&rows(i * 10_000, 10_000)).unwrap());
            writer.finish().unwrap();
        }
        b.put(name, bytes);
        let source = b.source(FileSourceConfig { format, ..config(name, ReadMode::Once) });
        let mut reader = open(&source, name, None);
        let mut next = 0;
        let end = loop {
            match reader.next(1).unwrap() {
                Polled::Data(payload, position) => {
                    let Body::Rows { start, rows } = payload.body else { panic!("rows") };
                    assert_eq!(start, next);
                    assert_eq!(rows.column(0).as_string::<i32>().value(0), next.to_string());
                    next += rows.num_rows() as u64;
                    reader = open(&source, name, Some(&position));
                }
                Polled::End(position) => break position,
                Polled::Idle => panic!("a file that is read once is never idle"),
            }
        };
        assert_eq!(next, 30_000, "{name}");
        fs::remove_file(b.path(name)).unwrap();
        assert!(matches!(open(&source, name, Some(&end)).next(1).unwrap(), Polled::End(_)));
    }
    b.put("broken.parquet", "PAR1 nonsense PAR1");
    let source = b.source(FileSourceConfig { format: Format::Parquet, ..config("broken.parquet", ReadMode::Once) });
    assert_eq!(open(&source, "broken.parquet", None).next(1).unwrap_err().code, "PARQUET-FOOTER");
}

/// Whatever the blocks, the cutter gives the same bytes at the same offsets.
#[test]
fn cutting_does_not_depend_on_blocks() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..300 {
        let text: Vec<u8> = (0..rng.usize(0..400)).map(|_| *rng.choice(b"ab\n\"".iter()).unwrap()).collect();
        let quotes = rng.bool();
        let max = rng.usize(1..50);
        let mut lines = Lines::new(0, max, quotes);
        let mut at = 0;
        let mut expected = 0;
        while at < text.len() {
            let n = rng.usize(1..=text.len() - at);
            lines.buffer(n).extend_from_slice(&text[at..at + n]);
            at += n;
            while let Some(cut) = lines.take() {
                assert_eq!(cut.start, expected);
                assert!(cut.data.ends_with(b"\n"));
                expected = cut.next;
                if cut.data.len() as u64 == cut.next - cut.start {
                    assert_eq!(
                        &cut.data[..],
                        &text[usize::try_from(cut.start).unwrap()..usize::try_from(cut.next).unwrap()]
                    );
                } else {
                    assert_eq!(cut.data.len(), max + 2);
                }
            }
            assert_eq!(lines.end(), at as u64);
            assert!(lines.waiting().len() <= max);
        }
        if let Some(rest) = lines.rest() {
            assert_eq!((rest.start, rest.next), (expected, text.len() as u64));
        }
    }
}

#[test]
fn a_line_end_inside_quotes_does_not_end_a_csv_record() {
    let mut lines = Lines::new(0, 100, true);
    lines.buffer(0).extend_from_slice(b"a,\"b\nc\"\nd,\"e\n");
    assert_eq!(&lines.take().unwrap().data[..], b"a,\"b\nc\"\n");
    assert_eq!(lines.take(), None);
    lines.buffer(0).extend_from_slice(b"f\"\n");
    assert_eq!(&lines.take().unwrap().data[..], b"d,\"e\nf\"\n");
}

#[test]
fn nothing_outside_of_the_root_can_be_reached() {
    let b = Bench::new();
    b.put("in/ok", "x");
    b.put("secret", "s");
    std::os::unix::fs::symlink(b.path("secret"), b.path("in/link")).unwrap();
    let root = b.path("in");
    let access = Access { base: root.clone(), root: Some(root.clone()) };
    assert!(access.open(&root.join("ok")).is_ok());
    for path in ["link", "../secret", "/etc/hostname", "/proc/self/environ"] {
        assert_eq!(access.open(&access.resolve(path)).unwrap_err().code, "FILE-OUTSIDE-ROOT", "{path}");
    }
}
