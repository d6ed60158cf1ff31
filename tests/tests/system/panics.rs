//! Records that make a node panic each time: the output is that of a run without them, and each is one dead
//! letter, whether the node keeps state or not, undisturbed and killed in between.

use super::harness::{How, Scene, same};
use super::kill::newest_record;
use std::fmt::Write;

const PIPELINE: &str = "
version: 1
name: panics
guarantee: exactly_once
checkpoint: { every: 20ms }
nodes:
  events:
    kind: file_source
    path: in/*.ndjson
    format: ndjson
    schema: { seq: int64!, key: string!, text: string! }
  some: { kind: planted_filter, from: events, where: seq >= 0 }
  once: { kind: planted_dedupe, from: some, by: [key], max_keys: 1000000 }
  counts:
    kind: sql
    from: { e: once }
    query: SELECT seq, key, text FROM e
  out: { kind: file_sink, from: counts, path: out, format: ndjson, roll: { rows: 5000 } }
";

const ROWS: u64 = 60_000;
/// The rows that nobody can bear: close to each other, at the ends, and equal but for their number.
const POISON: [u64; 5] = [0, 20_001, 20_002, 41_000, ROWS - 1];

/// The input; without the poison where it is to be as if it had not been.
fn scene(pipeline: &str, poison: bool) -> Scene {
    let scene = Scene::new(pipeline);
    let mut files = [String::new(), String::new(), String::new()];
    for seq in (0..ROWS).filter(|seq| poison || !POISON.contains(seq)) {
        let text = if POISON.contains(&seq) { "BOOM" } else { "fine" };
        let key = if POISON.contains(&seq) { seq + ROWS } else { seq / 2 * 2 };
        writeln!(files[(seq / 2 % 3) as usize], "{{\"seq\":{seq},\"key\":\"{key}\",\"text\":\"{text}\"}}")
            .expect("a string");
    }
    for (i, text) in files.iter().enumerate() {
        scene.write(&format!("in/{i}.ndjson"), text);
    }
    scene
}

fn judge(scene: &Scene, node: &str, expected: &[String]) {
    same(node, &scene.lines("out"), expected).unwrap_or_else(|e| panic!("{e}"));
    let dead = scene.dead();
    let mut seqs: Vec<u64> = Vec::new();
    for letter in &dead {
        assert_eq!((letter["node"].as_str(), letter["code"].as_str()), (Some(node), Some("NODE-PANIC")), "{letter}");
        assert!(letter["message"].as_str().is_some_and(|m| m.contains("BOOM")), "{letter}");
        let row: serde_json::Value = serde_json::from_str(letter["input"].as_str().expect("a row")).expect("JSON");
        seqs.push(row["seq"].as_u64().expect("a number"));
    }
    seqs.sort_unstable();
    assert_eq!(seqs, POISON);
}

fn expected() -> Vec<String> {
    let scene = scene(PIPELINE, false);
    scene.run(&How::workers(1)).fine();
    let lines = scene.lines("out");
    assert!(lines.len() as u64 > ROWS / 2 - 10, "{} lines", lines.len());
    lines
}

#[test]
fn a_step_without_state_goes_on_at_once() {
    let scene = scene(&PIPELINE.replace("planted_dedupe", "dedupe"), true);
    let expected = expected();
    for workers in [1, 2] {
        scene.reset();
        let ended = scene.run(&How::workers(workers)).fine();
        assert!(!ended.stderr.contains("starting again"), "{}", ended.stderr);
        judge(&scene, "some", &expected);
    }
}

#[test]
fn a_step_with_state_finds_the_records_by_starting_again() {
    let scene = scene(&PIPELINE.replace("planted_filter", "filter"), true);
    let expected = expected();
    for workers in [1, 3] {
        scene.reset();
        let ended = scene.run(&How::workers(workers)).fine();
        assert!(ended.stderr.contains("starting again from the last checkpoint"), "{}", ended.stderr);
        judge(&scene, "once", &expected);
    }
}

#[test]
fn killed_in_between_it_is_the_same() {
    let scene = scene(&PIPELINE.replace("planted_filter", "filter"), true);
    let expected = expected();
    for (n, last) in ["state.commit.files_done:1", "state.commit.record_put:1"].iter().enumerate() {
        scene.reset();
        // In the middle of its second, third and fifth start, and then around the commit of the letters.
        let points =
            ["state.open.generation_put:2", "state.open.generation_put:3", "state.open.generation_put:5", last];
        let mut kills = 0;
        for (i, point) in points.iter().enumerate() {
            let ended = scene.run(&How::workers(1 + (n + i) % 3).with("MILLSTREAM_FAILPOINT", *point));
            kills += usize::from(ended.struck());
        }
        assert!(kills > 1 && newest_record(&scene) > 1, "{kills} kills");
        scene.run(&How::workers(2)).fine();
        judge(&scene, "once", &expected);
    }
}
