//! A job from its start to its end: results, watermarks, idleness, pressure, failure.

use super::world::{Gate, Script, World, counting, expected_counts, watermarks};
use crate::runtime::{Job, JobState, Resume, Runtime, Stop};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

fn start(pipeline: &crate::plan::Pipeline, workers: usize, dir: &std::path::Path) -> Job {
    let runtime = Runtime::builder().workers(workers).state_dir(dir).build().unwrap();
    runtime.start(pipeline, Resume::OrFresh).unwrap()
}

#[test]
fn every_row_counts_once_on_any_number_of_workers() {
    for workers in 1..=3 {
        let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
        let job = start(&counting(Script::bounded(4, 1_000, 37), &world, None), workers, dir.path());
        assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped), "{workers} workers");
        assert_eq!(world.published(), expected_counts(4, 1_000, 37), "{workers} workers");
    }
}

#[test]
fn counters_add_up() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let job = start(&counting(Script::bounded(2, 500, 5), &world, None), 1, dir.path());
    job.wait_timeout(LIMIT).unwrap();
    let nodes = job.status().nodes;
    let by_name = |name: &str| nodes.iter().find(|n| n.node == name).unwrap().clone();
    assert_eq!((by_name("rows").rows_in, by_name("rows").rows_out), (1_000, 1_000));
    assert_eq!((by_name("count").rows_in, by_name("count").rows_out), (1_000, 1_000));
    assert_eq!((by_name("out").rows_in, by_name("out").rows_out), (1_000, 1_000));
    assert_eq!(job.status().memory, 0, "nothing is left in memory");
}

#[test]
fn the_lag_is_summed_over_partitions_and_ends_at_nothing() {
    for workers in 1..=3 {
        let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
        let gate = Gate::at(20);
        let script = Script { partitions: 3, rows: 50, keys: 2, bounded: true, gate: Arc::clone(&gate) };
        let job = start(&counting(script, &world, None), workers, dir.path());
        assert!(world.wait(LIMIT, |rows| rows.len() == 60));
        // Three times 30 rows are still to come; it is said when the epoch that brought the others closes.
        let began = Instant::now();
        while job.status().nodes[0].lag != Some(90) {
            assert!(began.elapsed() < LIMIT, "{workers} workers: {:?}", job.status().nodes[0].lag);
            job.wait_timeout(Duration::from_millis(5));
        }
        gate.open(i64::MAX);
        assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
        assert_eq!(job.status().nodes[0].lag, Some(0), "{workers} workers");
    }
}

#[test]
fn the_watermark_is_the_least_over_partitions_and_ends_with_them() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let job = start(&watermarks(Script::bounded(3, 100, 1), Duration::from_secs(60), 5_000_000, &world), 2, dir.path());
    job.wait_timeout(LIMIT).unwrap();
    let rows = world.published();
    assert_eq!(rows.last().unwrap()[0], i64::MAX, "the end of all partitions is the greatest watermark");
    assert!(
        rows.iter().all(|r| r[0] == i64::MAX || r[0] <= 94_000_000),
        "the greatest event time minus the bound: {rows:?}"
    );
}

#[test]
fn a_silent_source_lets_the_watermark_follow_the_clock() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let script = Script { partitions: 2, rows: 50, keys: 1, bounded: false, gate: Gate::at(i64::MAX) };
    let idle_after = Duration::from_millis(300);
    let job = start(&watermarks(script, idle_after, 0, &world), 1, dir.path());
    assert!(world.wait(LIMIT, |rows| rows.iter().any(|r| r[0] == 49_000_000)), "first the event time");
    let silent = Instant::now();
    let year_2020 = 1_577_836_800_000_000;
    assert!(world.wait(LIMIT, |rows| rows.iter().any(|r| r[0] > year_2020)), "then the clock");
    assert!(
        silent.elapsed() < idle_after + Duration::from_secs(1),
        "within idle_after plus one second: {:?}",
        silent.elapsed()
    );
    job.request_stop(Stop::Drain);
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
}

#[test]
fn one_partition_that_waits_holds_the_watermark() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let gate = Gate::at(10);
    let script = Script { partitions: 2, rows: 50, keys: 1, bounded: true, gate: Arc::clone(&gate) };
    let job = start(&watermarks(script, Duration::from_secs(600), 0, &world), 2, dir.path());
    assert!(world.wait(LIMIT, |rows| rows.iter().any(|r| r[0] == 9_000_000)));
    assert!(
        !world.wait(Duration::from_millis(200), |rows| rows.iter().any(|r| r[0] > 9_000_000)),
        "it may not move on"
    );
    gate.open(i64::MAX);
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
}

#[test]
fn a_panic_fails_the_job_and_nothing_else() {
    for workers in [1, 3] {
        let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
        let switch = Arc::new(AtomicUsize::new(1));
        let job = start(
            &counting(Script::bounded(2, 1_000, 3), &world, Some((50, Arc::clone(&switch)))),
            workers,
            dir.path(),
        );
        let Some(JobState::Failed(problem)) = job.wait_timeout(LIMIT) else {
            panic!("{workers} workers: the job should have failed")
        };
        assert_eq!((&*problem.code, problem.found.as_deref()), ("NODE-PANIC", Some("planted")));
        // The switch is off now: the next run goes on from the last checkpoint, and nothing is lost or doubled.
        let job = start(&counting(Script::bounded(2, 1_000, 3), &world, Some((50, switch))), workers, dir.path());
        assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
        assert_eq!(world.published(), expected_counts(2, 1_000, 3));
    }
}

#[test]
fn a_sink_without_room_waits_and_loses_nothing() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    world.failures.store(3, Ordering::SeqCst);
    let job = start(&counting(Script::bounded(1, 200, 3), &world, None), 1, dir.path());
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
    assert_eq!(world.published(), expected_counts(1, 200, 3));
}

#[test]
fn a_slow_sink_stops_the_source_before_memory_runs_out() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    world.failures.store(usize::MAX, Ordering::SeqCst);
    let mut pipeline = counting(Script::bounded(1, 1_000_000, 3), &world, None);
    pipeline.settings.memory = 64 << 10;
    let job = start(&pipeline, 1, dir.path());
    // The job holds what fits and no more, for as long as the sink takes nothing.
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < Duration::from_millis(500) {
        most = most.max(job.status().memory);
        job.wait_timeout(Duration::from_millis(5));
    }
    assert!(most > 0 && most < 128 << 10, "at most {most} bytes were alive");
    assert_eq!(job.status().waiting.first().map(|p| p.code.to_string()), Some("TEST-FULL".to_string()));
    assert!(job.status().nodes[0].rows_in < 100_000, "the source has stopped");
}
