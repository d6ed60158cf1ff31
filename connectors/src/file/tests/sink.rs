//! A sink that crashes anywhere leaves exactly the committed rows; names, rolling, full disks.

use crate::file::config::{Compression, FileSinkConfig, Roll};
use crate::file::{Access, FileSinkFactory};
use crate::format::{CsvOptions, Format};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use millstream::Batch;
use millstream::connect::{Handle, Sink, SinkFactory};
use millstream_pipelines::units::{ByteSize, Duration};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("k", DataType::Utf8, true)]))
}

fn batch(ids: std::ops::Range<i64>) -> Batch {
    let keys: StringArray = ids.clone().map(|i| (i % 5 != 4).then(|| format!("k{}", i % 5))).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(keys)];
    Batch::new(RecordBatch::try_new(schema(), columns).unwrap())
}

fn config(path: &str, format: Format) -> FileSinkConfig {
    FileSinkConfig {
        path: path.into(),
        format,
        roll: Roll::default(),
        compression: Compression::Auto,
        prefix: "part-".into(),
        open_max: 3,
    }
}

fn factory(dir: &Path, config: &FileSinkConfig) -> FileSinkFactory {
    FileSinkFactory::new(config.clone(), &Access::new(dir), "pipeline.out").unwrap()
}

fn files(dir: &Path, hidden: bool) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return all };
    for entry in entries.map(|e| e.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            all.extend(files(&entry.path(), hidden));
        } else if entry.file_name().to_string_lossy().starts_with('.') == hidden && !is_mark(&entry.path()) {
            all.push(entry.path());
        }
    }
    all.sort();
    all
}

/// What a recovery leaves until the next checkpoint.
fn is_mark(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "published") && fs::metadata(path).unwrap().len() == 0
}

/// The ids in all published files.
fn published(dir: &Path) -> Vec<i64> {
    let mut ids: Vec<i64> = files(dir, false).iter().flat_map(|f| ids_of(f)).collect();
    ids.sort_unstable();
    ids
}

fn ids_of(path: &Path) -> Vec<i64> {
    let name = path.to_string_lossy();
    let file = fs::File::open(path).unwrap();
    if name.ends_with(".parquet") {
        let rows = crate::format::ParquetRows::open(&file, None, 0).unwrap();
        return rows.flat_map(|r| r.unwrap().1.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    }
    let mut text = String::new();
    let mut input: Box<dyn Read> = match name.rsplit_once('.').unwrap().1 {
        "gz" => Box::new(flate2::read::MultiGzDecoder::new(file)),
        "zst" => Box::new(zstd::stream::read::Decoder::new(file).unwrap()),
        _ => Box::new(file),
    };
    input.read_to_string(&mut text).unwrap();
    if name.contains(".csv") {
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("id,k"), "{name}");
        return lines.map(|l| l.split(',').next().unwrap().parse().unwrap()).collect();
    }
    text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["id"].as_i64().unwrap()).collect()
}

/// What the engine does to a sink, with a crash anywhere.
struct Run {
    rng: fastrand::Rng,
    factory: FileSinkFactory,
    dir: PathBuf,
    workers: usize,
    epoch: u64,
    /// The first id that has not been given to a sink.
    next: i64,
    /// Handles of the last record, and the first id behind it.
    record: (Vec<Handle>, i64),
    /// The epoch of the last record: the next incarnation goes on behind it.
    recorded: u64,
}

/// A directory in memory where there is one: these tests sync thousands of times.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Run {
    fn new(seed: u64, dir: &Path, config: &FileSinkConfig) -> Run {
        let mut rng = fastrand::Rng::with_seed(seed);
        let workers = rng.usize(1..=2);
        Run {
            rng,
            factory: factory(dir, config),
            dir: dir.into(),
            workers,
            epoch: 1,
            next: 0,
            record: (Vec::new(), 0),
            recorded: 0,
        }
    }

    fn start(&mut self) -> Vec<Box<dyn Sink>> {
        let again = self.rng.bool();
        for _ in 0..=usize::from(again) {
            self.factory.recover(self.record.0.clone()).unwrap();
        }
        assert_eq!(published(&self.dir), (0..self.record.1).collect::<Vec<_>>(), "after recovery");
        assert_eq!(files(&self.dir, true), Vec::<PathBuf>::new(), "nothing hidden is left");
        (self.next, self.epoch) = (self.record.1, self.recorded + 1);
        (0..self.workers).map(|w| self.factory.open(w, &schema()).unwrap()).collect()
    }

    /// One incarnation; every `return` is a crash.
    fn live(&mut self, steps: usize) {
        let mut sinks = self.start();
        let mut pending: Vec<(u64, Vec<Handle>)> = Vec::new();
        for _ in 0..steps {
            match self.rng.usize(0..10) {
                0..=4 => {
                    let n = self.rng.i64(0..400);
                    self.epoch += u64::from(self.rng.bool());
                    let worker = self.rng.usize(0..self.workers);
                    sinks[worker].write(self.epoch, batch(self.next..self.next + n)).unwrap();
                    self.next += n;
                }
                5 | 6 => sinks.iter_mut().for_each(|s| s.flush().unwrap()),
                7 | 8 => {
                    let checkpoint = self.epoch;
                    self.epoch += 1;
                    let mut handles = Vec::new();
                    for sink in &mut sinks {
                        handles.push(sink.prepare(checkpoint).unwrap());
                        if self.rng.usize(0..20) == 0 {
                            return;
                        }
                    }
                    if self.rng.usize(0..10) == 0 {
                        return;
                    }
                    self.record = (handles.clone(), self.next);
                    self.recorded = checkpoint;
                    pending.push((checkpoint, handles));
                }
                _ if !pending.is_empty() => {
                    let (checkpoint, handles) = pending.remove(0);
                    for (sink, handle) in sinks.iter_mut().zip(&handles) {
                        sink.commit(checkpoint, handle).unwrap();
                        if self.rng.usize(0..10) == 0 {
                            return;
                        }
                    }
                }
                _ => {}
            }
            if self.rng.usize(0..8) == 0 {
                let seen = published(&self.dir);
                assert!(seen.iter().all(|id| *id < self.record.1), "nothing is published before its record");
            }
        }
    }

    fn finish(&mut self) {
        let mut sinks = self.start();
        sinks[0].write(self.epoch + 1, batch(self.next..self.next + 10)).unwrap();
        for sink in &mut sinks {
            sink.finish().unwrap();
            let handle = sink.prepare(self.epoch + 1).unwrap();
            sink.commit(self.epoch + 1, &handle).unwrap();
            sink.commit(self.epoch + 1, &handle).unwrap();
        }
        assert_eq!(published(&self.dir), (0..self.next + 10).collect::<Vec<_>>());
        assert_eq!(files(&self.dir, true), Vec::<PathBuf>::new());
        let out = fs::read_dir(self.dir.join("out")).unwrap();
        assert_eq!(
            out.filter(|e| is_mark(&e.as_ref().unwrap().path())).count(),
            0,
            "marks are gone with the checkpoint"
        );
    }
}

#[test]
fn a_crash_anywhere_leaves_exactly_the_committed_rows() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let roll = Roll { size: ByteSize::new(20_000), every: Duration::from_secs(3_600), rows: Some(1_000) };
    for (i, (path, format, compression)) in [
        ("out", Format::Ndjson, Compression::Auto),
        ("out/${row.k}", Format::Ndjson, Compression::Auto),
        ("out", Format::Csv(CsvOptions::default()), Compression::None),
        ("out", Format::Ndjson, Compression::Gzip),
        ("out", Format::Ndjson, Compression::Zstd),
        ("out/k=${row.k}/x", Format::Parquet, Compression::Auto),
    ]
    .into_iter()
    .enumerate()
    {
        for round in 0..3 {
            let dir = scratch();
            let config = FileSinkConfig { roll: roll.clone(), compression, ..config(path, format.clone()) };
            let mut run = Run::new(seed ^ (i as u64 * 100 + round), dir.path(), &config);
            for _ in 0..6 {
                let steps = run.rng.usize(1..60);
                run.live(steps);
            }
            run.finish();
        }
    }
}

#[test]
fn files_roll_by_size_rows_and_age() {
    for (roll, files_min) in [
        (Roll { size: ByteSize::new(5_000), ..Roll::default() }, 5),
        (Roll { rows: Some(500), ..Roll::default() }, 4),
        (Roll { every: Duration::from_millis(0), ..Roll::default() }, 20),
    ] {
        let dir = scratch();
        let config = FileSinkConfig { roll, ..config("out", Format::Ndjson) };
        let mut sink = factory(dir.path(), &config).open(0, &schema()).unwrap();
        for i in 0..20 {
            sink.write(1, batch(i * 100..(i + 1) * 100)).unwrap();
        }
        sink.finish().unwrap();
        let handle = sink.prepare(1).unwrap();
        assert_eq!(files(dir.path(), false).len(), 0);
        sink.commit(1, &handle).unwrap();
        let names = files(dir.path(), false);
        assert!(names.len() >= files_min, "{names:?}");
        assert_eq!(published(dir.path()), (0..2_000).collect::<Vec<_>>());
    }
}

#[test]
fn fresh_starts_and_other_sinks_never_collide() {
    let dir = scratch();
    let one = factory(dir.path(), &config("out", Format::Ndjson));
    let other =
        FileSinkFactory::new(config("out", Format::Ndjson), &Access::new(dir.path()), "pipeline.other").unwrap();
    let mut left_open = other.open(0, &schema()).unwrap();
    left_open.write(1, batch(1_000..1_010)).unwrap();
    left_open.flush().unwrap();
    for start in [0, 10, 20] {
        // `--fresh`: the epochs begin anew, the files of earlier runs are still there.
        one.recover(Vec::new()).unwrap();
        let mut sink = one.open(0, &schema()).unwrap();
        sink.write(1, batch(start..start + 10)).unwrap();
        sink.finish().unwrap();
        let handle = sink.prepare(1).unwrap();
        sink.commit(1, &handle).unwrap();
    }
    assert_eq!(published(dir.path()), (0..30).collect::<Vec<_>>());
    assert_eq!(files(dir.path(), true).len(), 1, "the other sink's file is not touched");
}

#[test]
fn what_was_committed_before_the_path_changed_is_published_where_it_lies() {
    for (rolled, format) in [(true, Format::Ndjson), (false, Format::Ndjson), (true, Format::Parquet)] {
        let dir = scratch();
        let mut sink = factory(dir.path(), &config("out", format.clone())).open(0, &schema()).unwrap();
        sink.write(1, batch(0..10)).unwrap();
        if rolled {
            sink.finish().unwrap();
        }
        let handle = sink.prepare(1).unwrap();
        // Rows of an epoch that never was.
        sink.write(2, batch(10..20)).unwrap();
        sink.flush().unwrap();
        drop(sink);
        // The node has another name now, too.
        let config = config("elsewhere", format);
        let moved = FileSinkFactory::new(config, &Access::new(dir.path()), "pipeline.renamed").unwrap();
        moved.recover(vec![handle]).unwrap();
        assert_eq!(published(&dir.path().join("out")), (0..10).collect::<Vec<_>>(), "rolled: {rolled}");
        assert_eq!(files(dir.path(), true), Vec::<PathBuf>::new(), "rolled: {rolled}");
        let mut sink = moved.open(0, &schema()).unwrap();
        sink.write(2, batch(10..20)).unwrap();
        sink.finish().unwrap();
        let handle = sink.prepare(2).unwrap();
        sink.commit(2, &handle).unwrap();
        assert_eq!(published(&dir.path().join("elsewhere")), (10..20).collect::<Vec<_>>());
    }
}

#[test]
fn published_files_may_be_taken_away_but_not_changed() {
    let dir = scratch();
    let factory = factory(dir.path(), &config("out", Format::Ndjson));
    let mut sink = factory.open(0, &schema()).unwrap();
    sink.write(1, batch(0..10)).unwrap();
    sink.finish().unwrap();
    let handle = sink.prepare(1).unwrap();
    sink.commit(1, &handle).unwrap();
    let file = files(dir.path(), false).remove(0);
    fs::write(&file, "something else").unwrap();
    assert_eq!(factory.recover(vec![handle.clone()]).unwrap_err().code, "FILE-PART-LOST");
    fs::remove_file(&file).unwrap();
    factory.recover(vec![handle]).unwrap();
}

#[test]
fn a_file_published_by_a_restart_may_be_taken_away_before_the_next_checkpoint() {
    for format in [Format::Ndjson, Format::Parquet] {
        let dir = scratch();
        let factory = factory(dir.path(), &config("out", format));
        let mut sink = factory.open(0, &schema()).unwrap();
        sink.write(1, batch(0..10)).unwrap();
        let handle = sink.prepare(1).unwrap();
        drop(sink);
        factory.recover(vec![handle.clone()]).unwrap();
        assert_eq!(published(dir.path()), (0..10).collect::<Vec<_>>());
        factory.recover(vec![handle.clone()]).unwrap();
        fs::remove_file(files(dir.path(), false).remove(0)).unwrap();
        factory.recover(vec![handle]).unwrap();
        assert!(published(dir.path()).is_empty());
    }
}

#[test]
fn a_damaged_open_file_is_an_error() {
    for damage in ["flip", "short", "gone"] {
        let dir = scratch();
        let factory = factory(dir.path(), &config("out", Format::Ndjson));
        let mut sink = factory.open(0, &schema()).unwrap();
        sink.write(1, batch(0..10)).unwrap();
        let handle = sink.prepare(1).unwrap();
        let file = files(dir.path(), true).remove(0);
        let mut bytes = fs::read(&file).unwrap();
        let code = match damage {
            "flip" => {
                bytes[7] ^= 1;
                fs::write(&file, bytes).unwrap();
                "FILE-PART-DAMAGED"
            }
            "short" => {
                fs::write(&file, &bytes[..20]).unwrap();
                "FILE-PART-LOST"
            }
            _ => {
                fs::remove_file(&file).unwrap();
                "FILE-PART-LOST"
            }
        };
        assert_eq!(factory.recover(vec![handle]).unwrap_err().code, code, "{damage}");
    }
}

#[test]
fn values_cannot_leave_the_directory() {
    let dir = scratch();
    let factory = factory(dir.path(), &config("out/${row.k}", Format::Ndjson));
    let mut sink = factory.open(0, &schema()).unwrap();
    let values = ["..", "../../etc", "/etc/passwd", "a/b", ".hidden", "", "ü\0\n", "ok-1.2_3"];
    let keys = StringArray::from_iter_values(values);
    let ids = Int64Array::from_iter_values(0..keys.len() as i64);
    sink.write(1, Batch::new(RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(keys)]).unwrap())).unwrap();
    sink.finish().unwrap();
    let handle = sink.prepare(1).unwrap();
    sink.commit(1, &handle).unwrap();
    assert_eq!(published(dir.path()), (0..8).collect::<Vec<_>>());
    let names = fs::read_dir(dir.path().join("out")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let names: std::collections::BTreeSet<String> = names.collect();
    let expected = ["_", "_.", "_._.._etc", "___", "_etc_passwd", "_hidden", "a_b", "ok-1.2_3"];
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn configs_that_make_no_sense_are_refused() {
    let make = |config: FileSinkConfig| {
        let dir = scratch();
        FileSinkFactory::new(config, &Access::new(dir.path()), "o")
            .and_then(|f| f.open(0, &schema()).map(|_| ()))
            .unwrap_err()
            .code
            .to_string()
    };
    let base = || config("out", Format::Ndjson);
    assert_eq!(make(FileSinkConfig { path: "out/${name}".into(), ..base() }), "FILE-TEMPLATE");
    assert_eq!(make(FileSinkConfig { path: "out/${row.k".into(), ..base() }), "FILE-TEMPLATE");
    assert_eq!(make(FileSinkConfig { path: "out/${row.k}/../..".into(), ..base() }), "FILE-TEMPLATE");
    assert_eq!(make(FileSinkConfig { path: String::new(), ..base() }), "FILE-TEMPLATE");
    assert_eq!(make(FileSinkConfig { path: "out/${row.ky}".into(), ..base() }), "FILE-TEMPLATE-FIELD");
    assert_eq!(make(FileSinkConfig { prefix: "../x".into(), ..base() }), "FILE-PREFIX");
    assert_eq!(
        make(FileSinkConfig { compression: Compression::Gzip, ..config("out", Format::Parquet) }),
        "FILE-COMPRESSION"
    );
    assert_eq!(make(config("out", Format::ArrowIpc)), "FILE-FORMAT");
}

#[test]
fn a_file_in_place_of_the_directory_is_said() {
    let dir = scratch();
    fs::write(dir.path().join("out"), "x").unwrap();
    let problem = factory(dir.path(), &config("out", Format::Ndjson)).open(0, &schema()).err().unwrap();
    assert_eq!(problem.code, "FILE-NOT-DIRECTORY");
}

/// A small file system of our own, gone with the value.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Small> {
        let dir = scratch();
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(dir.path())
            .output();
        done.is_ok_and(|o| o.status.success()).then_some(Small(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Row D1: a full disk is told with path and bytes, and the same call succeeds once there is room.
#[test]
fn a_full_disk_loses_and_doubles_nothing() {
    let Some(small) = Small::mount() else {
        println!("skipped: a small tmpfs cannot be mounted here");
        return;
    };
    let dir = small.0.path();
    for (base, path, format) in [
        ("out", "out", Format::Ndjson),
        ("split", "split/${row.k}", Format::Ndjson),
        ("columns", "columns", Format::Parquet),
    ] {
        let config = FileSinkConfig { open_max: 10, ..config(path, format) };
        let mut sink = factory(dir, &config).open(0, &schema()).unwrap();
        let filler = dir.join("filler");
        assert!(fs::write(&filler, vec![0; 400_000]).is_err(), "the disk is full");
        let mut refused = 0;
        // As the engine does it: every call again until it works.
        let mut insist = |sink: &mut dyn Sink, call: &mut dyn FnMut(&mut dyn Sink) -> millstream::Result<()>| {
            while let Err(problem) = call(sink) {
                assert_eq!(problem.code, "IO-DISK-FULL", "{problem}");
                assert!(problem.place.is_some(), "{problem}");
                refused += 1;
                if refused == 3 {
                    fs::remove_file(&filler).unwrap();
                }
            }
        };
        for i in 0..20 {
            insist(&mut *sink, &mut |s| s.write(1, batch(i * 100..(i + 1) * 100)));
            insist(&mut *sink, &mut |s| s.flush());
        }
        insist(&mut *sink, &mut |s| s.finish());
        let handle = sink.prepare(1).unwrap();
        sink.commit(1, &handle).unwrap();
        assert_eq!(refused, 3, "{base}");
        assert_eq!(published(&dir.join(base)), (0..2_000).collect::<Vec<_>>(), "{base}");
        fs::remove_dir_all(dir.join(base)).unwrap();
    }
}

#[test]
fn rows_of_a_column_file_are_readable_and_whole() {
    let dir = scratch();
    let mut sink = factory(dir.path(), &config("out", Format::Parquet)).open(0, &schema()).unwrap();
    for i in 0..5 {
        sink.write(1, batch(i * 1_000..(i + 1) * 1_000)).unwrap();
        sink.prepare(u64::try_from(i).unwrap()).unwrap();
    }
    sink.finish().unwrap();
    let handle = sink.prepare(9).unwrap();
    sink.commit(9, &handle).unwrap();
    let names = files(dir.path(), false);
    assert_eq!(names.len(), 1);
    assert!(names[0].to_string_lossy().ends_with(".parquet"));
    let rows: Vec<RecordBatch> = crate::format::ParquetRows::open(&fs::File::open(&names[0]).unwrap(), None, 0)
        .unwrap()
        .map(|r| r.unwrap().1)
        .collect();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 5_000);
    assert!(rows[0].column(1).is_null(4));
    assert_eq!(files(dir.path(), true), Vec::<PathBuf>::new());
}
