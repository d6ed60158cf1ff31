//! A keyed count from files to files, killed at random moments and at every named failpoint, restarted
//! with 1, 2 and 3 workers in turn: output and dead letters are those of an undisturbed run, byte-sorted.
//!
//! `MILLSTREAM_KILLS` says how many random kills there are (30), `MILLSTREAM_SEED` repeats a run.

use super::harness::{How, Running, Scene, number, same};
use millstream::state::failpoint;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Checkpoints and rolls come often, so that kills hit all phases of both.
const PIPELINE: &str = "
version: 1
name: killed
guarantee: exactly_once
checkpoint: { every: 20ms }
nodes:
  events:
    kind: file_source
    path: in/*.ndjson
    format: ndjson
    schema: { seq: int64!, key: string!, ts: timestamp(ms)!, n: int64!, pad: string }
    event_time: { field: ts, out_of_order: 0s, idle_after: 1s }
  counts:
    kind: sql
    from: { e: events }
    query: |
      SELECT key, CAST(window_start AS BIGINT) / 1000 AS start, count(*) AS count, sum(n) AS sum
      FROM tumble(e, ts, INTERVAL '2 seconds') GROUP BY key, window_start, window_end
  rows:
    kind: sql
    from: { e: events }
    query: SELECT seq, key, n FROM e
  # The same counts, from timers.
  timed: { kind: timed_counts, from: events }
  timed_out: { kind: file_sink, from: timed, path: out/timed, format: ndjson, roll: { rows: 2000 } }
  counted: { kind: file_sink, from: counts, path: out/counts, format: ndjson, roll: { rows: 2000 } }
  passed: { kind: file_sink, from: rows, path: out/rows, format: ndjson, roll: { rows: 2000 } }
";

const FILES: u64 = 6;
const ROWS: u64 = 150_000;
const KEYS: u64 = 500;
/// Every so many lines one is broken, in one of several ways, and must become one dead letter.
const BROKEN: u64 = 997;
const FIRST_TS: u64 = 1_700_000_000_000;

/// What must come out, found without the program.
pub struct Expected {
    counts: Vec<String>,
    rows: Vec<String>,
    broken: Vec<String>,
}

/// The scene with its input, and what must come out.
pub fn scene() -> (Scene, Expected) {
    scene_of(PIPELINE)
}

fn scene_of(pipeline: &str) -> (Scene, Expected) {
    let scene = Scene::new(pipeline);
    let mut random = fastrand::Rng::with_seed(42);
    let mut files = vec![String::new(); FILES as usize];
    let (mut rows, mut broken) = (Vec::new(), Vec::new());
    let mut groups: BTreeMap<(String, u64), (u64, u64)> = BTreeMap::new();
    for seq in 0..ROWS {
        let file = &mut files[random.usize(..FILES as usize)];
        if seq % BROKEN == 500 {
            let line = match seq / BROKEN % 4 {
                0 => format!("{{\"seq\":{seq},\"key\":"),
                1 => format!("{{\"seq\":{seq},\"ts\":{FIRST_TS},\"n\":1}}"),
                2 => format!("{{\"seq\":{seq},\"key\":\"k\",\"ts\":\"soon\",\"n\":1}}"),
                _ => format!("{{\"seq\":{seq},\"key\":\"k\",\"ts\":{FIRST_TS},\"n\":99999999999999999999}}"),
            };
            writeln!(file, "{line}").expect("a string");
            broken.push(line);
            continue;
        }
        let (key, n, ts) = (format!("k{}", random.u64(..KEYS)), random.u64(..1000), FIRST_TS + seq / 4);
        writeln!(file, "{{\"seq\":{seq},\"key\":\"{key}\",\"ts\":{ts},\"n\":{n},\"pad\":\"{:0160}\"}}", 0)
            .expect("a string");
        rows.push(format!("{{\"seq\":{seq},\"key\":\"{key}\",\"n\":{n}}}"));
        let group = groups.entry((key, ts / 2_000 * 2_000)).or_default();
        *group = (group.0 + 1, group.1 + n);
    }
    for (i, text) in files.iter().enumerate() {
        scene.write(&format!("in/{i}.ndjson"), text);
    }
    let count = |((key, start), (count, sum)): (&(String, u64), &(u64, u64))| {
        format!("{{\"key\":\"{key}\",\"start\":{start},\"count\":{count},\"sum\":{sum}}}")
    };
    let mut expected = Expected { counts: groups.iter().map(count).collect(), rows, broken };
    expected.counts.sort_unstable();
    expected.rows.sort_unstable();
    expected.broken.sort_unstable();
    (scene, expected)
}

/// Compares all that came out.
pub fn judge(scene: &Scene, expected: &Expected) -> Result<(), String> {
    same("rows", &scene.lines("out/rows"), &expected.rows)?;
    same("counts", &scene.lines("out/counts"), &expected.counts)?;
    same("counts by timers", &scene.lines("out/timed"), &expected.counts)?;
    let payload = |l: &serde_json::Value| l["payload"].as_str().unwrap_or_default().to_owned();
    let mut dead: Vec<String> = scene.dead().iter().map(payload).collect();
    dead.sort_unstable();
    same("dead letters", &dead, &expected.broken)?;
    match hidden(&scene.path("out")) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("hidden files are left: {left:?}")),
    }
}

/// Files in the output that are not published.
fn hidden(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(hidden(&path));
        } else if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')) {
            found.push(path);
        }
    }
    found
}

/// The number of the newest commit record, 0 where there is none.
pub fn newest_record(scene: &Scene) -> u64 {
    let names = std::fs::read_dir(scene.path("state/log")).into_iter().flatten().flatten();
    let number = |name: String| name.split('.').next().and_then(|n| n.parse().ok());
    names.filter_map(|e| number(e.file_name().to_string_lossy().into_owned())).max().unwrap_or(0)
}

/// What the kills have met.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    /// Kills of a run that had made records of its own.
    after_commit: u64,
    /// Runs that went on from a checkpoint.
    resumed: u64,
    /// From input to end, killed again and again.
    cycles: u64,
}

#[test]
fn at_random_moments() {
    kill_at_random_moments(PIPELINE, number("MILLSTREAM_KILLS", 30));
}

/// The same with rows in flight at every moment, in calls ahead of the windows and behind a query.
#[test]
fn at_random_moments_with_rows_in_calls() {
    let called = PIPELINE
        .replace("  counts:\n", "  early: { kind: delay, from: events, in_flight: 16, rows: 500 }\n  counts:\n")
        .replace("from: { e: events }\n    query: |", "from: { e: early }\n    query: |")
        .replace("  counted:", "  later: { kind: delay, from: rows, in_flight: 16, rows: 500 }\n  counted:")
        .replace("from: rows, path", "from: later, path");
    assert_eq!(called.matches("kind: delay").count(), 2);
    assert!(called.contains("e: early") && called.contains("from: later"), "{called}");
    kill_at_random_moments(&called, number("MILLSTREAM_KILLS", 30) / 3);
}

fn kill_at_random_moments(pipeline: &str, kills: u64) {
    let seed = number("MILLSTREAM_SEED", 0x6d69_6c6c);
    println!("seed {seed}, {kills} kills");
    let (scene, expected) = scene_of(pipeline);
    let began = Instant::now();
    scene.run(&How::workers(2)).fine();
    let whole = began.elapsed();
    judge(&scene, &expected).expect("undisturbed");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::default();
    while tally.kills < kills {
        scene.reset();
        cycle(&scene, whole, &mut random, &mut tally);
        judge(&scene, &expected).unwrap_or_else(|e| panic!("seed {seed}, {tally:?}: {e}"));
    }
    println!("{tally:?} in {:.0} s; undisturbed {whole:?}", began.elapsed().as_secs_f64());
    assert!(tally.resumed > 0, "no run has gone on from a checkpoint: the kills come too early");
    assert!(tally.after_commit > 0, "no kill has hit after a commit");
}

/// Runs until it ends by itself.
fn cycle(scene: &Scene, whole: Duration, random: &mut fastrand::Rng, tally: &mut Tally) {
    for attempt in 0.. {
        let before = newest_record(scene);
        let mut run = scene.start(&How::workers(1 + attempt % 3));
        // The later in a cycle, the longer: every cycle comes to an end.
        let moment = whole.mul_f64(random.f64() * (0.7 + attempt as f64 / 20.0));
        let ended = match run.wait(moment) {
            Some(ended) => {
                tally.cycles += 1;
                tally.resumed += u64::from(ended.resumed() > 0);
                ended.fine();
                return;
            }
            None => Running::kill(run),
        };
        tally.kills += 1;
        tally.resumed += u64::from(ended.resumed() > 0);
        // One record says who opened the log; further ones are checkpoints.
        tally.after_commit += u64::from(newest_record(scene) > before + 1);
    }
}

/// Failpoints that need more checkpoints than this pipeline makes: see [`at_every_failpoint_of_a_long_life`].
fn rare(name: &str) -> bool {
    name == "state.commit.base_put" || name.starts_with("state.collect.") || name.starts_with("store.delete.")
}

#[test]
fn at_every_failpoint() {
    let (scene, expected) = scene();
    let mut struck = Vec::new();
    for (i, name) in failpoint::names().iter().filter(|n| !rare(n)).enumerate() {
        scene.reset();
        // A first life, so that there is something to restore and to collect.
        let first = scene.run(&How::workers(1 + i % 3).with("MILLSTREAM_FAILPOINT", "state.commit.record_put:2"));
        assert!(first.struck(), "{}\n{}", first.status, first.stderr);
        let second = scene.run(&How::workers(1 + (i + 1) % 3).with("MILLSTREAM_FAILPOINT", format!("{name}:1")));
        if second.struck() {
            struck.push(*name);
            scene.run(&How::workers(1 + (i + 2) % 3)).fine();
        } else {
            second.fine();
        }
        judge(&scene, &expected).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    println!("struck at {} of {} failpoints", struck.len(), failpoint::names().len());
    // Whether a crash leaves bytes behind the recorded length is a matter of its moment.
    let chance = |n: &str| n == "file_sink.recover.cut";
    let missed: Vec<_> = failpoint::names().iter().filter(|n| !struck.contains(n) && !rare(n) && !chance(n)).collect();
    assert!(missed.is_empty(), "never passed: {missed:?}");
}

/// Three kills in a row while a run opens its state and restores, then one at the first commit.
#[test]
fn again_and_again_while_restarting() {
    let (scene, expected) = scene();
    let points = [
        "state.commit.record_put:2",
        "state.open.begin:1",
        "state.open.tail_read:1",
        "state.open.generation_put:1",
        "state.commit.data_put:1",
        "state.open.verified:1",
        "state.commit.record_put:1",
    ];
    for (i, point) in points.iter().enumerate() {
        let ended = scene.run(&How::workers(1 + i % 3).with("MILLSTREAM_FAILPOINT", *point));
        assert!(ended.struck(), "{point}: {}\n{}", ended.status, ended.stderr);
    }
    scene.run(&How::workers(2)).fine();
    judge(&scene, &expected).expect("as if undisturbed");
}

/// Made up at a steady rate, so that old checkpoints are merged and collected.
const LONG: &str = "
version: 1
name: long
guarantee: exactly_once
checkpoint: { every: 10ms }
nodes:
  bids: { kind: generator, dataset: bids, rows: 40000, rate: 20000, event_time: { field: ts, out_of_order: 0s } }
  counts:
    kind: sql
    from: { b: bids }
    query: |
      SELECT auction, CAST(window_start AS BIGINT) AS start, count(*) AS count
      FROM tumble(b, ts, INTERVAL '10 seconds') GROUP BY auction, window_start, window_end
  out: { kind: file_sink, from: counts, path: out, format: ndjson }
";

#[test]
fn at_every_failpoint_of_a_long_life() {
    let scene = Scene::new(LONG);
    scene.run(&How::workers(1)).fine();
    let expected = scene.lines("out");
    assert!(expected.len() > 100, "{} lines", expected.len());
    let mut struck = 0;
    for (i, name) in failpoint::names().iter().filter(|n| rare(n)).enumerate() {
        scene.reset();
        let first = scene.run(&How::workers(1 + i % 3).with("MILLSTREAM_FAILPOINT", format!("{name}:1")));
        if !first.struck() {
            // A machine that is busy makes too few checkpoints for a state to be merged.
            println!("never passed: {name}");
            first.fine();
            continue;
        }
        struck += 1;
        let second = scene.run(&How::workers(1 + (i + 1) % 3)).fine();
        assert!(second.resumed() > 0, "{}", second.stderr);
        same(name, &scene.lines("out"), &expected).unwrap_or_else(|e| panic!("{e}"));
    }
    assert!(struck > 0, "no failpoint was passed");
}
