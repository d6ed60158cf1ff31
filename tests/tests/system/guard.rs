//! The rate guard on dead letters: a changed format does not bury a topic.

use super::harness::{How, Scene};
use std::fmt::Write;
use std::time::Duration;

const PIPELINE: &str = "
version: 1
name: guarded
checkpoint: { every: 50ms }
nodes:
  events: { kind: file_source, path: in/*.ndjson, format: ndjson, read: once, schema: { seq: int64! } }
  out: { kind: file_sink, from: events, path: out, format: ndjson }
";

const GOOD: u64 = 30_000;
const BAD: u64 = 300_000;

/// A format that changes in the middle; the lines are long, so that they are not all read at once.
fn changed(pipeline: &str) -> Scene {
    let scene = Scene::new(pipeline);
    let mut text = String::new();
    for seq in 0..GOOD + BAD {
        let name = if seq < GOOD { "seq" } else { "number" };
        writeln!(text, "{{\"{name}\":{seq},\"pad\":\"{:0200}\"}}", 0).expect("a string");
    }
    scene.write("in/a.ndjson", text);
    scene
}

#[test]
fn a_run_that_ends_ends_with_the_reason() {
    let scene = changed(PIPELINE);
    let ended = scene.run(&How::workers(1)).refused(&["DEAD-GUARD"]);
    assert!(ended.stderr.contains("JSON-MISSING") && ended.stderr.contains("guard: off"), "{}", ended.stderr);
    // What had been read is safe, and no more of it than fits into memory.
    assert_eq!(scene.lines("out").len() as u64, GOOD);
    let dead = scene.dead().len() as u64;
    assert!(dead > 1_000 && dead < BAD / 2, "{dead} dead letters");
    // Without the guard the rest follows, each record once.
    scene.write("pipeline.yaml", PIPELINE.replace("name: guarded", "name: guarded\ndead_letters: { guard: off }"));
    let again = scene.run(&How::workers(2)).fine();
    assert!(again.resumed() > 0, "{}", again.stderr);
    assert_eq!((scene.lines("out").len() as u64, scene.dead().len() as u64), (GOOD, BAD));
}

#[test]
fn a_run_until_done_does_not_wait_for_ever() {
    let scene = changed(&PIPELINE.replace("read: once", "read: watch"));
    scene.run(&How::workers(1).argument("--until-done")).refused(&["DEAD-GUARD"]);
    assert_eq!(scene.lines("out").len() as u64, GOOD);
}

#[test]
fn a_run_without_an_end_waits_and_says_so() {
    let scene = changed(&PIPELINE.replace("read: once", "read: watch"));
    let mut run = scene.start(&How::workers(1));
    run.until("the alarm", || {
        std::fs::read_to_string(scene.path("run-stderr.txt")).is_ok_and(|text| text.contains("DEAD-GUARD"))
    });
    let dead = scene.dead().len();
    assert!(run.wait(Duration::from_millis(500)).is_none(), "it waits");
    assert_eq!(scene.dead().len(), dead, "nothing more is read");
    run.kill();
}

#[test]
fn letters_that_somebody_reads_are_data() {
    let connected = format!("{PIPELINE}  bad: {{ kind: file_sink, from: events.errors, path: bad, format: ndjson }}\n");
    let scene = changed(&connected);
    scene.run(&How::workers(1)).fine();
    assert_eq!(scene.lines("bad").len() as u64, BAD);
}

#[test]
fn a_limit_of_ones_own_counts() {
    let few = "dead_letters: { guard: { share: 0.1%, rows: 10, every: 10s } }";
    let scene = Scene::new(&PIPELINE.replace("name: guarded", &format!("name: guarded\n{few}")));
    let lines: String =
        (0..10_000).map(|n| if n % 200 == 0 { "{}\n".into() } else { format!("{{\"seq\":{n}}}\n") }).collect();
    scene.write("in/a.ndjson", lines);
    let ended = scene.run(&How::workers(1)).refused(&["DEAD-GUARD"]);
    assert!(ended.stderr.contains("at most 0.1 %"), "{}", ended.stderr);
}
