//! Faults in single system calls, placed by a tracer: killed at the n-th, EIO from the n-th fsync, no space
//! at the n-th write. Every point of a checkpoint is hit, not only those that somebody thought to name.
//!
//! `MILLSTREAM_SYSCALLS` says how many of each call are hit (12; the full form is 1000: all of them).

use super::harness::{Ended, How, Scene, number, same};
use std::fmt::Write;

/// Files in, files out, state of a few hundred keys, a broken line now and then: every kind of write a checkpoint has.
const PIPELINE: &str = "
version: 1
name: syscalls
guarantee: exactly_once
checkpoint: { every: 10ms }
nodes:
  events:
    kind: file_source
    path: in/*.ndjson
    format: ndjson
    schema: { key: string!, ts: timestamp(ms)!, n: int64! }
    event_time: { field: ts, out_of_order: 0s, idle_after: 1s }
  counts:
    kind: sql
    from: { e: events }
    query: |
      SELECT key, CAST(window_start AS BIGINT) / 1000 AS start, count(*) AS count, sum(n) AS sum
      FROM tumble(e, ts, INTERVAL '2 seconds') GROUP BY key, window_start, window_end
  out: { kind: file_sink, from: counts, path: out, format: ndjson, roll: { rows: 500 } }
";

/// What changes something that must last.
const CALLS: [&str; 9] =
    ["fsync", "fdatasync", "renameat2", "linkat", "unlink", "mkdir", "write", "pwrite64", "ftruncate"];

const BROKEN: usize = 60;

/// The scene with its input, and the output of an undisturbed run.
fn scene() -> (Scene, Vec<String>) {
    let scene = Scene::new(PIPELINE);
    let mut random = fastrand::Rng::with_seed(7);
    for file in 0..3 {
        let mut text = String::new();
        for row in 0..20_000_u64 {
            let (key, n) = (random.u32(..300), random.u32(..100));
            writeln!(text, "{{\"key\":\"k{key}\",\"ts\":{},\"n\":{n}}}", 1_700_000_000_000 + row).expect("a string");
            if row % 1000 == 999 {
                text.push_str("{\"key\":\n");
            }
        }
        scene.write(&format!("in/{file}.ndjson"), text);
    }
    scene.run(&How::workers(1)).fine();
    let expected = scene.lines("out");
    assert!(expected.len() > 1000, "{}", expected.len());
    (scene, expected)
}

/// Runs under a tracer that does something to the `nth` call of that name; true if it came to that.
fn traced(scene: &Scene, workers: usize, call: &str, what: &str, nth: u64) -> (Ended, bool) {
    let log = scene.path("trace.txt");
    let (only, inject) = (format!("trace={call}"), format!("inject={call}:{what}:when={nth}"));
    let log_name = log.to_string_lossy().into_owned();
    let under = ["strace", "-f", "-qq", "-e", &only, "-e", &inject, "-o", &log_name];
    let ended = scene.run(&How::workers(workers).under(&under));
    let injected = ended.killed() || std::fs::read_to_string(&log).is_ok_and(|t| t.contains("(INJECTED)"));
    (ended, injected)
}

/// False where there is no tracer: said, and only where there cannot be one.
fn can_trace() -> bool {
    let there = std::process::Command::new("strace").arg("--version").output().is_ok_and(|o| o.status.success());
    assert!(there || !cfg!(target_os = "linux"), "strace is missing; `cargo xtask test` installs it");
    if !there {
        println!("skipped: system calls cannot be traced here");
    }
    there
}

fn judge(scene: &Scene, expected: &[String], what: &str) {
    same(what, &scene.lines("out"), expected).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(scene.dead().len(), BROKEN, "{what}");
}

#[test]
fn killed_at_each_call_of_a_checkpoint() {
    if !can_trace() {
        return;
    }
    let most = number("MILLSTREAM_SYSCALLS", 12);
    let (scene, expected) = scene();
    let mut kills = 0;
    for call in CALLS {
        for nth in 1..=most {
            scene.reset();
            let what = format!("killed at {call} {nth}");
            let (ended, _) = traced(&scene, 1 + nth as usize % 2, call, "signal=KILL", nth);
            if !ended.killed() {
                ended.fine();
                break; // No thread makes this call so many times.
            }
            kills += 1;
            scene.run(&How::workers(1 + kills % 3)).fine();
            judge(&scene, &expected, &what);
        }
    }
    println!("{kills} kills");
    assert!(kills > 30, "only {kills} kills");
}

#[test]
fn an_fsync_that_fails_is_never_taken_for_done() {
    if !can_trace() {
        return;
    }
    let most = number("MILLSTREAM_SYSCALLS", 12);
    let (scene, expected) = scene();
    let mut failed = 0;
    for call in ["fsync", "fdatasync"] {
        for nth in 1..=most {
            scene.reset();
            let (ended, injected) = traced(&scene, 1, call, "error=EIO", nth);
            if !injected {
                ended.fine();
                break;
            }
            failed += 1;
            ended.refused(&["STATE-IO", "STATE-SYNC", " IO: ", "IO-SYNC"]);
            scene.run(&How::workers(1 + nth as usize % 3)).fine();
            judge(&scene, &expected, &format!("{call} {nth} failed"));
        }
    }
    println!("{failed} failures");
    assert!(failed > 5, "only {failed} failures");
}

#[test]
fn a_disk_that_is_full_for_a_moment_is_waited_out() {
    if !can_trace() {
        return;
    }
    let most = number("MILLSTREAM_SYSCALLS", 12);
    let (scene, expected) = scene();
    let mut waited = 0;
    for call in ["write", "pwrite64", "fsync", "linkat", "mkdir"] {
        for nth in 1..=most {
            scene.reset();
            let (ended, injected) = traced(&scene, 1, call, "error=ENOSPC", nth);
            if !injected {
                ended.fine();
                break;
            }
            waited += 1;
            if !ended.status.success() {
                // Before the first record is read there is nothing to wait with: said, and started again.
                ended.refused(&["STATE-DISK-FULL", "IO-DISK-FULL", "STATE-SYNC"]);
                scene.run(&How::workers(2)).fine();
            }
            judge(&scene, &expected, &format!("{call} {nth} found no space"));
        }
    }
    println!("{waited} waits");
    assert!(waited > 15, "only {waited} waits");
}
