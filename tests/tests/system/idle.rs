//! Sources that never end: windows close although a worker has no partition, or nothing comes any more.

use super::harness::{How, Scene};
use std::fs::OpenOptions;
use std::io::Write;
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
