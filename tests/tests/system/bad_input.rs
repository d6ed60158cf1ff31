//! Rubbish in: every line comes out or is a dead letter with a reason, and the totals add up.

use super::harness::{How, LIMIT, Scene};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

const PIPELINE: &str = "
version: 1
name: bad-input
guarantee: exactly_once
checkpoint: { every: 50ms }
nodes:
  events:
    kind: file_source
    path: in/*.ndjson
    format: ndjson
    schema: { seq: int64!, small: int8, at: timestamp(ms), text: string }
  out: { kind: file_sink, from: events, path: out, format: ndjson }
";

/// Lines that must be refused, with the code that says why.
fn refused() -> Vec<(Vec<u8>, &'static str)> {
    let deep = [b"{\"seq\":1,\"text\":".as_slice(), &b"[".repeat(5_000), b"}"].concat();
    let lines: [(&[u8], &str); 24] = [
        (b"{\"seq\":1,", "JSON-SYNTAX"),
        (b"{\"seq\":\xff\xfe}", "TEXT-UTF8"),
        (b"{\"seq\":1,\"text\":\"\xc3\x28\"}", "TEXT-UTF8"),
        (b"{\"seq\":99999999999999999999}", "JSON-RANGE"),
        (b"{\"seq\":1e400}", "JSON-RANGE"),
        (b"{\"seq\":1,\"small\":300}", "JSON-RANGE"),
        (b"{\"seq\":1,\"small\":-129}", "JSON-RANGE"),
        (b"{\"seq\":1,\"at\":99999999999999999}", "JSON-RANGE"),
        (b"{\"small\":1}", "JSON-MISSING"),
        (b"{\"seq\":null}", "JSON-MISSING"),
        (b"{}", "JSON-MISSING"),
        (b"[1,2]", "JSON-SYNTAX"),
        (b"null", "JSON-SYNTAX"),
        (b"hello", "JSON-SYNTAX"),
        (b"   ", "JSON-SYNTAX"),
        (b"\x00\x00", "JSON-SYNTAX"),
        (b"{\"seq\":NaN}", "JSON-SYNTAX"),
        (b"{\"seq\":1}{\"seq\":2}", "JSON-SYNTAX"),
        (b"\xef\xbb\xbf{\"seq\":7}", "JSON-SYNTAX"),
        (b"{\"seq\":1,\"text\":\"\\ud800\"}", "JSON-SYNTAX"),
        (b"{\"seq\":\"x\"}", "JSON-TYPE"),
        (b"{\"seq\":1.5}", "JSON-TYPE"),
        (b"{\"seq\":1,\"at\":\"yesterday\"}", "JSON-TYPE"),
        (b"{\"seq\":1,\"seq\":2}", "JSON-DUPLICATE"),
    ];
    lines.iter().map(|(l, c)| (l.to_vec(), *c)).chain([(deep, "JSON-DEPTH")]).collect()
}

fn by_code(dead: &[Value]) -> BTreeMap<String, usize> {
    let mut codes = BTreeMap::new();
    for letter in dead {
        for field in ["node", "code", "message", "source", "partition"] {
            assert!(letter[field].as_str().is_some_and(|t| !t.is_empty()), "{field}: {letter}");
        }
        *codes.entry(letter["code"].as_str().expect("checked").to_owned()).or_default() += 1;
    }
    codes
}

#[test]
fn every_line_is_in_the_output_or_in_the_dead_letters() {
    let scene = Scene::new(PIPELINE);
    let refused = refused();
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    let (mut text, mut good) = (Vec::new(), 0);
    for round in 0..40 {
        for (line, code) in &refused {
            // Good lines around every bad one.
            for _ in 0..20 {
                writeln!(text, "{{\"seq\":{good},\"small\":1}}").expect("a vector");
                good += 1;
            }
            text.extend_from_slice(line);
            text.push(b'\n');
            *expected.entry((*code).to_owned()).or_default() += 1;
        }
        text.push(b'\n'); // an empty line is no record
        assert!(round < 40);
    }
    text.extend_from_slice(b"{\"seq\":7"); // cut
    *expected.entry("JSON-SYNTAX".to_owned()).or_default() += 1;
    scene.write("in/a.ndjson", &text);
    for workers in [1, 2] {
        scene.reset();
        scene.run(&How::workers(workers)).fine();
        let mut seqs: Vec<u64> = scene
            .lines("out")
            .iter()
            .map(|l| serde_json::from_str::<Value>(l).expect("JSON")["seq"].as_u64().expect("a number"))
            .collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (0..good).collect::<Vec<_>>());
        assert_eq!(by_code(&scene.dead()), expected);
    }
}

/// The most memory a process has had, in KiB.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn a_line_of_100_mib_is_one_dead_letter_and_never_in_memory() {
    let scene = Scene::new(PIPELINE);
    let mut text = b"{\"seq\":1}\n{\"seq\":2,\"text\":\"".to_vec();
    text.resize(text.len() + (100 << 20), b'x');
    text.extend_from_slice(b"\"}\n{\"seq\":3}\n");
    scene.write("in/a.ndjson", &text);
    drop(text);
    let mut run = scene.start(&How::workers(1));
    let mut most = 0;
    let ended = loop {
        most = most.max(peak(run.pid()).unwrap_or(0));
        if let Some(ended) = run.wait(std::time::Duration::from_millis(1)) {
            break ended;
        }
    };
    ended.fine();
    println!("at most {} MiB", most >> 10);
    assert!(most > 0 && most < 256 << 10, "{most} KiB");
    assert_eq!(scene.lines("out").len(), 2);
    assert_eq!(by_code(&scene.dead()), BTreeMap::from([("LINE-TOO-LONG".to_owned(), 1)]));
}

const FOLLOWED: &str = "
version: 1
name: followed
guarantee: exactly_once
checkpoint: { every: 50ms }
nodes:
  events: { kind: file_source, path: in/*.log, format: text, read: watch, poll: 10ms, rotate_wait: 200ms }
  out: { kind: file_sink, from: events, path: out, format: text, roll: { rows: 1 } }
";

fn append(file: &Path, lines: std::ops::Range<u32>) {
    let mut file = OpenOptions::new().append(true).create(true).open(file).expect("a temporary file");
    lines.for_each(|n| writeln!(file, "line {n}").expect("a temporary file"));
}

/// Lines that have come out so far.
fn published(scene: &Scene, below: u32) -> bool {
    let mut found = scene.lines("out");
    found.sort_unstable();
    let mut expected: Vec<String> = (0..below).map(|n| format!("line {n}")).collect();
    expected.sort_unstable();
    found == expected
}

#[test]
fn a_followed_file_is_rotated_truncated_and_deleted() {
    let scene = Scene::new(FOLLOWED);
    let (log, old) = (scene.path("in/a.log"), scene.path("in/a.log.1"));
    append(&log, 0..100);
    let mut run = scene.start(&How::workers(2));
    run.until("the first lines", || published(&scene, 100));
    // Rotation: the old file gets its last lines after its new name.
    fs::rename(&log, &old).expect("ours");
    append(&old, 100..150);
    append(&log, 150..300);
    run.until("rotation", || published(&scene, 300));
    // copytruncate.
    OpenOptions::new().write(true).truncate(true).open(&log).expect("ours");
    append(&log, 300..310);
    run.until("truncation", || published(&scene, 310));
    // Gone, and another one of that name.
    fs::remove_file(&log).expect("ours");
    append(&scene.path("in/b.log"), 310..400);
    run.until("a new file after a deletion", || published(&scene, 400));
    append(&log, 400..450);
    run.until("a new file under the old name", || published(&scene, 450));
    let ended = run.kill();
    assert!(ended.stderr.contains("node events: FILE-TRUNCATED"), "{}", ended.stderr);
    // What is there has been read: a restart must not read it again.
    let mut again = scene.start(&How::workers(1));
    append(&log, 450..460);
    again.until("the rest after a restart", || published(&scene, 460));
}

#[test]
fn a_file_cut_back_or_gone_while_nothing_ran_is_an_error() {
    let scene = Scene::new(PIPELINE);
    let lines: String = (0..300_000).map(|n| format!("{{\"seq\":{n}}}\n")).collect();
    scene.write("in/a.ndjson", &lines);
    let crash = || {
        scene.reset();
        let ended = scene.run(&How::workers(1).with("MILLSTREAM_FAILPOINT", "state.commit.record_put:1"));
        assert!(ended.struck(), "{}", ended.stderr);
    };
    crash();
    scene.write("in/a.ndjson", "{\"seq\":1}\n");
    scene.run(&How::workers(1)).refused(&["FILE-POSITION-LOST", "FILE-TRUNCATED"]);
    fs::remove_file(scene.path("in/a.ndjson")).expect("ours");
    scene.run(&How::workers(1)).refused(&["FILE-POSITION-LOST"]);
    // Brought back under another name in the same folder, it is found.
    scene.write("in/a.ndjson", &lines);
    crash();
    fs::rename(scene.path("in/a.ndjson"), scene.path("in/b.ndjson")).expect("ours");
    let mut run = scene.start(&How::workers(2));
    run.wait(LIMIT).expect("ends in time").fine();
    assert_eq!(scene.lines("out").len(), 300_000);
}
