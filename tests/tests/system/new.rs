//! `new`, then `check`, then `run`: for each format as many rows come out as the data has, and what cannot
//! be guessed is said.

use super::harness::{How, Scene, repository};
use millstream::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use millstream_connectors::format::IpcWriter;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Writes a pipeline for some data, checks it and runs it; returns rows out and dead letters.
fn through(scene: &Scene, data: &Path) -> (usize, usize) {
    let path = scene.path("pipeline.yaml");
    fs::remove_file(&path).expect("the scene's own");
    let made = scene.bare(&["new", "pipeline.yaml", "--from", data.to_str().expect("UTF-8")]).fine();
    assert!(made.stderr.contains("next: millstream run pipeline.yaml"), "{}", made.stderr);
    let text = fs::read_to_string(&path).expect("just written");
    scene.bare(&["check", "pipeline.yaml"]).fine();
    scene.reset();
    scene.run(&How::workers(1).argument("--until-done")).fine();
    let published = scene.lines("out/pipeline").len();
    println!("{}: {}", data.display(), made.stdout.lines().next().unwrap_or_default());
    assert!(text.starts_with("# Written by"), "{text}");
    (published, scene.dead().len())
}

/// Rows of one form for each name, 500 of them.
fn generated() -> Vec<(&'static str, Vec<u8>)> {
    let lines = |one: fn(u32) -> String| -> Vec<u8> { (0..500).map(one).collect::<String>().into_bytes() };
    let ndjson =
        lines(|n| format!("{{\"id\":{n},\"ts\":{},\"name\":\"n{}\"}}\n", 1_700_000_000_000u64 + u64::from(n), n % 3));
    let csv =
        [b"id;when;note\n".to_vec(), lines(|n| format!("{n};2026-01-01T00:{:02}:{:02}Z;\"a;b\"\n", n / 60, n % 60))];
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, &ndjson).expect("into memory");
    let gz = gz.finish().expect("into memory");
    let zst = zstd::encode_all(ndjson.as_slice(), 0).expect("into memory");
    vec![
        ("a.ndjson", ndjson),
        ("a.ndjson.gz", gz),
        ("a.zst", zst),
        ("a.csv", csv.concat()),
        ("headless.csv", lines(|n| format!("{n},x{n},1.5\n"))),
        ("a.log", lines(|n| format!("at=2026-01-01T00:00:00Z level=info n={n} msg=\"all well\"\n"))),
        (
            "access.log",
            lines(|n| format!("10.0.0.1 - - [17/May/2015:10:05:03 +0000] \"GET /{n} HTTP/1.1\" 200 {n} \"-\" \"-\"\n")),
        ),
        ("sys.log", lines(|n| format!("<13>Oct 11 22:14:15 host app[{n}]: hello, world {n}\n"))),
        ("words.txt", lines(|n| format!("number {n}, and some words\n"))),
        ("no_end.txt", lines(|n| format!("number {n}{}", if n == 499 { "" } else { "\n" }))),
    ]
}

#[test]
fn as_many_rows_as_the_data_has() {
    let scene = Scene::new("");
    for (name, content) in generated() {
        scene.write(&format!("in/{name}"), content);
        assert_eq!(through(&scene, Path::new(&format!("in/{name}"))), (500, 0), "{name}");
    }
}

#[test]
fn files_with_a_schema_of_their_own() {
    let scene = Scene::new(
        "
version: 1
name: maker
nodes:
  bids: { kind: generator, dataset: bids, rows: 500 }
  out: { kind: file_sink, from: bids, path: made, format: parquet }
",
    );
    scene.run(&How::workers(1)).fine();
    let made = fs::read_dir(scene.path("made")).expect("made").flatten().map(|e| e.path());
    let made = made.into_iter().find(|p| p.extension().is_some_and(|e| e == "parquet")).expect("one file");
    fs::rename(made, scene.path("in/a.data")).expect("ours");
    assert_eq!(through(&scene, Path::new("in/a.data")), (500, 0));
    let columns = fs::read_to_string(scene.path("pipeline.yaml")).expect("just written");
    assert!(columns.contains("      price: int64!\n") && columns.contains("field: ts,"), "{columns}");
    let rows = arrow_file(500);
    scene.write("in/a.arrow", rows);
    assert_eq!(through(&scene, Path::new("in/a.arrow")), (500, 0));
}

fn arrow_file(rows: i64) -> Vec<u8> {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let batch = RecordBatch::try_from_iter([("n", column)]).expect("one column");
    let mut writer = IpcWriter::new(Vec::new(), &batch.schema()).expect("into memory");
    writer.write(&batch).expect("into memory");
    writer.finish().expect("into memory")
}

#[test]
fn real_logs() {
    let folder = repository().join("../shared/data/logs");
    if !folder.exists() {
        println!("skipped: ../shared/data/logs is not there");
        return;
    }
    let scene = Scene::new("");
    for entry in fs::read_dir(folder).expect("it is there").flatten() {
        let bytes = fs::read(entry.path()).expect("it is there");
        let lines = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).count();
        let (out, dead) = through(&scene, &entry.path());
        println!("{}: {out} rows, {dead} dead letters of {lines} lines", entry.path().display());
        assert_eq!(out + dead, lines, "{}", entry.path().display());
        assert!(dead * 100 < lines, "{}: {dead} dead letters", entry.path().display());
    }
}

#[test]
fn nothing_is_written_over_and_what_is_unknown_is_said() {
    let scene = Scene::new("# mine\n");
    scene.write("in/a.ndjson", "{\"a\":1}\n");
    let new = |arguments: &[&str]| scene.bare(&[&["new", "pipeline.yaml", "--from"], arguments].concat());
    let mine = || fs::read_to_string(scene.path("pipeline.yaml")).expect("it is there");
    new(&["in/a.ndjson"]).refused(&["NEW-EXISTS"]);
    assert_eq!(mine(), "# mine\n");
    for (name, content, code) in [
        ("empty", &b""[..], "NEW-EMPTY"),
        ("mixed", b"{\"a\":1}\nwords\n{\"a\":2}\nwords\n", "NEW-MIXED"),
        ("binary", b"\x00\x01\x02\xff\xfe\x00\x00\n\x00\x00", "NEW-UNKNOWN"),
    ] {
        scene.write(&format!("in/{name}"), content);
        new(&[&format!("in/{name}"), "--force"]).refused(&[code]);
        assert_eq!(mine(), "# mine\n", "{name}");
    }
    new(&["in/mixed", "--format", "ndjsn", "--force"]).refused(&["NEW-FORMAT"]);
    new(&["in/nothing", "--force"]).refused(&["IO-NOT-FOUND"]);
    new(&["in/mixed", "--format", "ndjson", "--force"]).fine();
    assert!(mine().contains("format: ndjson"), "{}", mine());
}
