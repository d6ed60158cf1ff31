//! `dead replay`: after the pipeline has been mended, its dead letters give what they would have given at
//! once, each of them once, also when the replay is killed at any named failpoint and begun again.

use super::harness::{Ended, How, Scene, same};
use super::kill::newest_record;
use millstream::state::failpoint;
use std::fmt::Write;

/// Refuses numbers over 127 in the decoder, and keys with capitals in the parser. Watches, so that the
/// windows stay open while letters are mended.
const BROKEN: &str = "
version: 1
name: mended
guarantee: exactly_once
nodes:
  events:
    kind: file_source
    path: in/*.ndjson
    format: ndjson
    read: watch
    schema: { seq: int64!, small: int8, text: string, ts: timestamp(ms)! }
    event_time: { field: ts, out_of_order: 1h, idle_after: 10m }
  parsed:
    kind: parse
    from: events
    field: text
    regex: '^(?P<key>[a-z]+) (?P<n>\\d+)$'
    types: { n: int64! }
    keep: [seq, ts, small]
  counts:
    kind: sql
    from: { e: parsed }
    query: |
      SELECT key, count(*) AS count, sum(n) AS sum, sum(seq) AS seqs
      FROM tumble(e, ts, INTERVAL '2 seconds') GROUP BY key, window_start, window_end
  counted: { kind: file_sink, from: counts, path: out/counts, format: ndjson }
  passed: { kind: file_sink, from: parsed, path: out/rows, format: ndjson }
";

const ROWS: u64 = 3_000;
/// One line in so many has a number that is too large, and one in so many a key with capitals.
const LARGE: u64 = 29;
const CAPITALS: u64 = 17;
const SYNTAX: u64 = 1_000;

fn mended() -> String {
    BROKEN.replace("int8", "int16").replace("[a-z]+", "[A-Za-z]+")
}

/// Reads to the end, so that all windows close.
fn to_the_end() -> String {
    mended().replace("read: watch", "read: once")
}

fn input(scene: &Scene) {
    let mut text = String::new();
    for seq in 0..ROWS {
        if seq % SYNTAX == 500 {
            text.push_str("{\"seq\":\n");
            continue;
        }
        let small = if seq % LARGE == 3 { 1_000 } else { 1 };
        let key = if seq % CAPITALS == 5 { "Key" } else { "key" };
        let ts = 1_700_000_000_000 + seq * 10;
        writeln!(text, "{{\"seq\":{seq},\"small\":{small},\"text\":\"{key} {}\",\"ts\":{ts}}}", seq % 100)
            .expect("a string");
    }
    scene.write("in/a.ndjson", text);
}

/// The pipeline as it was first, run over all there is.
fn broken() -> Scene {
    let scene = Scene::new(BROKEN);
    input(&scene);
    scene.run(&How::workers(1).argument("--until-done")).fine();
    scene.write("pipeline.yaml", mended());
    scene
}

/// What a pipeline that was right from the beginning gives.
fn expected() -> (Vec<String>, Vec<String>) {
    let scene = Scene::new(&to_the_end());
    input(&scene);
    scene.run(&How::workers(1)).fine();
    let (counts, rows) = (scene.lines("out/counts"), scene.lines("out/rows"));
    assert_eq!(rows.len() as u64, ROWS - ROWS / SYNTAX);
    (counts, rows)
}

/// Ends it, and compares.
fn judge(what: &str, scene: &Scene, workers: usize, (counts, rows): &(Vec<String>, Vec<String>)) {
    scene.write("pipeline.yaml", to_the_end());
    scene.run(&How::workers(workers)).fine();
    same(what, &scene.lines("out/rows"), rows).unwrap_or_else(|e| panic!("{e}"));
    same(what, &scene.lines("out/counts"), counts).unwrap_or_else(|e| panic!("{e}"));
    let codes: Vec<String> = scene.dead().iter().map(|l| l["code"].to_string()).collect();
    assert_eq!(codes, vec!["\"JSON-SYNTAX\""; (ROWS / SYNTAX) as usize], "{what}");
}

fn replay(scene: &Scene, more: &[&str]) -> Ended {
    scene.command(&["dead", "replay"], more)
}

#[test]
fn mended_letters_give_what_they_would_have_given_at_once() {
    let expected = expected();
    for (first, second) in [("1", 2), ("3", 1)] {
        let scene = broken();
        let before = scene.dead().len();
        let dry = replay(&scene, &["--dry-run"]).fine();
        assert!(dry.stderr.contains(&format!("{before} dead letters would be replayed")), "{}", dry.stderr);
        assert_eq!(scene.dead().len(), before);
        let done = replay(&scene, &["--workers", first]).fine();
        // What is no JSON is none now either.
        let line = format!("{before} dead letters replayed, {} new;", ROWS / SYNTAX);
        assert!(done.stdout.contains(&line), "{}", done.stdout);
        judge(first, &scene, second, &expected);
    }
}

#[test]
fn killed_at_any_failpoint_it_happens_once() {
    let expected = expected();
    let mut struck = 0;
    for (i, name) in failpoint::names().iter().enumerate() {
        let scene = broken();
        let workers = ["1", "2", "3"][i % 3];
        let environment = [("MILLSTREAM_FAILPOINT", format!("{name}:1"))];
        let ended = scene.command_with(&["dead", "replay"], &["--workers", workers], &environment);
        if !ended.struck() {
            ended.fine();
            continue;
        }
        struck += 1;
        replay(&scene, &[]).fine();
        judge(name, &scene, 1 + i % 2, &expected);
    }
    assert!(struck > 10, "only {struck} failpoints were passed");
}

#[test]
fn only_what_was_chosen_is_taken() {
    let scene = broken();
    let count = |code: &str| scene.dead().iter().filter(|l| l["code"] == code).count();
    let (range, parse, syntax) = (count("JSON-RANGE"), count("PARSE-NO-MATCH"), count("JSON-SYNTAX"));
    assert!(range > 50 && parse > 50 && syntax == 3, "{range} {parse} {syntax}");
    replay(&scene, &["--node", "nobody"]).fine();
    replay(&scene, &["--code", "PARSE-NO-MATCH", "--to", "2020-01-01"]).fine();
    assert_eq!(scene.dead().len(), range + parse + syntax);
    let first = scene.dead().iter().position(|l| l["code"] == "PARSE-NO-MATCH").expect("counted").to_string();
    replay(&scene, &["--node", "parsed", "--from", &first, "--to", &first]).fine();
    assert_eq!((count("JSON-RANGE"), count("PARSE-NO-MATCH")), (range, parse - 1));
    replay(&scene, &["--code", "PARSE-NO-MATCH", "--from", "2020-01-01T00:00:00Z"]).fine();
    assert_eq!((count("JSON-RANGE"), count("PARSE-NO-MATCH"), count("JSON-SYNTAX")), (range, 0, syntax));
    replay(&scene, &["--code", "JSON-RANGE"]).fine();
    judge("by and by", &scene, 1, &expected());
}

#[test]
fn what_cannot_be_replayed_stays_and_says_why() {
    let scene = broken();
    let before = scene.dead();
    // The parser is gone, and the source has another name.
    let without = "
version: 1
name: mended
nodes:
  lines: { kind: file_source, path: in/*.ndjson, format: text, read: watch }
  passed: { kind: file_sink, from: lines, path: out/rows, format: ndjson }
";
    scene.write("pipeline.yaml", without);
    let said = replay(&scene, &[]).fine();
    assert!(said.stdout.contains("there is no such node any more"), "{}", said.stdout);
    assert!(said.stdout.contains("there is no source of this name any more"), "{}", said.stdout);
    assert_eq!(scene.dead(), before);
}

#[test]
fn a_pipeline_that_runs_is_left_alone() {
    let scene = broken();
    let before = newest_record(&scene);
    let mut running = scene.start(&How::workers(1));
    running.until("it has opened its state", || newest_record(&scene) > before);
    let refused = replay(&scene, &[]).refused(&["STATE-IN-USE"]);
    assert!(refused.stderr.contains(&format!("process {}", running.pid())), "{}", refused.stderr);
    running.kill();
    assert!(!scene.dead().is_empty());
}
