//! Sources that never end: windows close although a worker has no partition, or nothing comes any more.

use super::harness::{How, Scene};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

const PIPELINE: &str = "
version: 1
name: idle
guarantee: exactly_once
checkpoint: { every: 20ms }
nodes:
  events:
    kind: file_source
    path: in/*.ndjson
    format: ndjson
    read: watch
    poll: 10ms
    schema: { ts: timestamp(ms)!, n: int64! }
    event_time: { field: ts, out_of_order: 0s, idle_after: 300ms }
  sums:
    kind: sql
    from: { e: events }
    query: |
      SELECT CAST(window_start AS BIGINT) / 1000 AS start, sum(n) AS sum
      FROM tumble(e, ts, INTERVAL '1 second') GROUP BY window_start, window_end
  out: { kind: file_sink, from: sums, path: out, format: ndjson, roll: { rows: 1 } }
";

#[test]
fn the_last_window_closes_although_nothing_follows() {
    for workers in [1, 2, 3] {
        let scene = Scene::new(PIPELINE);
        scene.write(
            "in/a.ndjson",
            "{\"ts\":1700000000100,\"n\":1}\n{\"ts\":1700000000200,\"n\":2}\n{\"ts\":1700000001000,\"n\":4}\n",
        );
        let mut run = scene.start(&How::workers(workers));
        run.until("the windows close", || scene.lines("out").len() == 2);
        assert_eq!(scene.lines("out"), ["{\"start\":1700000000000,\"sum\":3}", "{\"start\":1700000001000,\"sum\":4}"]);
        // One file for several workers: those without a partition must not hold the others back.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
        let began = Instant::now();
        let mut file = OpenOptions::new().append(true).open(scene.path("in/a.ndjson")).expect("ours");
        writeln!(file, "{{\"ts\":{},\"n\":8}}", now + 2_000).expect("ours");
        run.until("the window of now closes", || scene.lines("out").len() == 3);
        println!("{workers} workers: after {:?}", began.elapsed());
    }
}

/// One partition, and workers that have none: a worker that starts sooner must not end the job for the others.
#[test]
fn workers_without_a_partition_do_not_end_the_job() {
    let scene = Scene::new(
        "
version: 1
name: spare-workers
guarantee: exactly_once
nodes:
  bids: { kind: generator, dataset: bids, rows: 1000 }
  auctions: { kind: sql, from: { b: bids }, query: SELECT auction FROM b }
  out: { kind: file_sink, from: auctions, path: out, format: ndjson }
",
    );
    for attempt in 0..20 {
        scene.reset();
        scene.run(&How::workers(8)).fine();
        assert_eq!(scene.lines("out").len(), 1_000, "attempt {attempt}");
    }
}

/// What has been written is published when its time has come, although nothing follows.
#[test]
fn a_part_is_published_by_its_age_although_nothing_follows() {
    let scene = Scene::new(
        "
version: 1
name: by-age
guarantee: exactly_once
checkpoint: { every: 20ms }
nodes:
  lines: { kind: file_source, path: in/*.log, format: text, read: watch, poll: 10ms }
  out: { kind: file_sink, from: lines, path: out, format: ndjson, roll: { every: 300ms } }
",
    );
    scene.write("in/a.log", "one\ntwo\n");
    let mut run = scene.start(&How::workers(1));
    run.until("the part is published", || scene.lines("out").len() == 2);
    assert_eq!(scene.lines("out"), ["{\"value\":\"one\"}", "{\"value\":\"two\"}"]);
}

/// With several workers rows are aggregated before the exchange, by an operator that one worker does not have:
/// after a restart with more of them it must judge the first rows by the watermark of the others.
#[test]
fn late_rows_are_told_apart_after_a_restart_with_other_workers() {
    let late = "  lates: { kind: file_sink, from: sums.late, path: late, format: ndjson, roll: { rows: 1 } }\n";
    for (before, after) in [(1, 3), (3, 1), (2, 3)] {
        let scene = Scene::new(&format!("{}{late}", PIPELINE.replace("idle_after: 300ms", "idle_after: 1h")));
        let append = |rows: &[(u64, u64)]| {
            let mut file = OpenOptions::new().create(true).append(true).open(scene.path("in/a.ndjson")).expect("ours");
            for (seconds, n) in rows {
                writeln!(file, "{{\"ts\":{},\"n\":{n}}}", 1_700_000_000_000 + seconds * 1_000).expect("ours");
            }
        };
        append(&[(0, 1), (1, 2), (5, 4)]);
        scene.run(&How::workers(before).argument("--until-done")).fine();
        append(&[(2, 8), (5, 16), (3, 32), (7, 64)]);
        scene.run(&How::workers(after).argument("--until-done")).fine();
        assert_eq!(scene.dead(), Vec::<serde_json::Value>::new(), "{before} to {after} workers");
        let lates = super::harness::lines(&scene.path("late"));
        assert_eq!(lates.len(), 2, "{before} to {after} workers: {lates:?}");
        let sums = ["{\"start\":1700000000000,\"sum\":1}", "{\"start\":1700000001000,\"sum\":2}"];
        let last = "{\"start\":1700000005000,\"sum\":20}";
        assert_eq!(scene.lines("out"), [sums[0], sums[1], last], "{before} to {after} workers");
    }
}

/// Everything has been saved by ordinary checkpoints when the run is told to end: what a sink still has open is
/// published all the same.
#[test]
fn a_run_that_ends_publishes_what_its_checkpoints_have_saved() {
    let scene = Scene::new(&PIPELINE.replace("roll: { rows: 1 }", "roll: { every: 1h }"));
    scene.write("in/a.ndjson", "{\"ts\":1700000000100,\"n\":1}\n{\"ts\":1700000001000,\"n\":4}\n");
    let mut run = scene.start(&How::workers(1));
    // Both windows are closed, and a checkpoint has been made since.
    run.until("the rows are saved", || {
        let rows = open_part(&scene).filter(|p| std::fs::read_to_string(p).is_ok_and(|t| t.lines().count() == 2));
        let record = scene.path(&format!("state/log/{:012}", super::kill::newest_record(&scene)));
        matches!((rows.and_then(written), written(record)), (Some(rows), Some(record)) if record > rows)
    });
    assert_eq!(scene.lines("out"), Vec::<String>::new());
    run.drain().fine();
    assert_eq!(scene.lines("out").len(), 2);
}

/// The file that a sink writes under a hidden name.
fn open_part(scene: &Scene) -> Option<PathBuf> {
    let hidden = std::fs::read_dir(scene.path("out")).ok()?.flatten();
    hidden.map(|e| e.path()).find(|p| p.to_string_lossy().ends_with(".open"))
}

fn written(file: PathBuf) -> Option<std::time::SystemTime> {
    std::fs::metadata(file).ok()?.modified().ok()
}
