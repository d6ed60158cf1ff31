//! A job that ends anywhere and is started again, with another number of workers: as if it had never ended.

use super::world::{Gate, Script, World, counting, expected_counts};
use crate::runtime::{JobState, Resume, Runtime, Stop};
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn killed_at_random_moments_it_publishes_the_same() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let (mut kills, mut resumed) = (0, 0);
    let gate = Gate::at(0);
    for round in 0.. {
        let workers = 1 + round % 3;
        let script = Script { gate: Arc::clone(&gate), ..Script::bounded(3, 3_000, 41) };
        let runtime = Runtime::builder().workers(workers).state_dir(dir.path()).build().unwrap();
        let job = runtime.start(&counting(script, &world, None), Resume::OrFresh).unwrap();
        resumed += usize::from(job.resumed().is_some());
        if round >= 25 {
            gate.open(i64::MAX);
            assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
            break;
        }
        gate.open(i64::from(rng.u32(..)) % 40 + i64::try_from(round).unwrap() * 100);
        // Some kills fall in the middle of things, some behind a checkpoint.
        if rng.bool() {
            job.wait_checkpoint(job.status().checkpoint + 1, Duration::from_millis(200));
        } else {
            job.wait_timeout(Duration::from_micros(rng.u64(..8_000)));
        }
        job.request_stop(Stop::Kill);
        assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
        kills += 1;
    }
    println!("{kills} kills, {resumed} resumed");
    assert!(resumed > 5, "most runs must go on from a checkpoint, or the test shows nothing");
    assert_eq!(world.published(), expected_counts(3, 3_000, 41), "seed {seed}");
}

#[test]
fn a_drained_job_has_published_everything_it_read() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let runtime = Runtime::builder().workers(2).state_dir(dir.path()).build().unwrap();
    let gate = Gate::at(100);
    let script = |gate: &Arc<Gate>| Script { partitions: 2, rows: 300, keys: 7, bounded: true, gate: Arc::clone(gate) };
    let job = runtime.start(&counting(script(&gate), &world, None), Resume::OrFresh).unwrap();
    assert!(world.wait(LIMIT, |rows| rows.len() == 200));
    job.request_stop(Stop::Drain);
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
    assert_eq!(world.published(), expected_counts(2, 100, 7));
    gate.open(i64::MAX);
    let job = runtime.start(&counting(script(&gate), &world, None), Resume::Required).unwrap();
    assert!(job.resumed().is_some());
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
    assert_eq!(world.published(), expected_counts(2, 300, 7));
}

#[test]
fn a_run_with_nothing_to_do_makes_no_checkpoint() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let runtime = Runtime::builder().state_dir(dir.path()).build().unwrap();
    let run = || {
        let job = runtime.start(&counting(Script::bounded(2, 50, 3), &world, None), Resume::OrFresh).unwrap();
        assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
        job.status().checkpoints
    };
    assert!(run() > 0);
    assert_eq!(run(), 0);
    assert_eq!(world.published(), expected_counts(2, 50, 3));
}

#[test]
fn long_rows_of_deltas_are_compacted_and_restore_the_same() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let runtime = Runtime::builder().workers(2).state_dir(dir.path()).build().unwrap();
    let gate = Gate::at(0);
    let script =
        |gate: &Arc<Gate>| Script { partitions: 1, rows: 2_000, keys: 11, bounded: true, gate: Arc::clone(gate) };
    let job = runtime.start(&counting(script(&gate), &world, None), Resume::OrFresh).unwrap();
    for n in 1..=150 {
        gate.open(n * 10);
        assert!(job.wait_checkpoint(u64::try_from(n).unwrap(), LIMIT), "checkpoint {n}");
        assert_eq!(job.state(), JobState::Running, "checkpoint {n}");
    }
    job.request_stop(Stop::Kill);
    job.wait_timeout(LIMIT);
    let store: Arc<dyn crate::state::Store> =
        crate::state::LocalStore::open_read_only(dir.path().join("counting"), Arc::new(crate::state::fs::RealFs))
            .unwrap();
    let tail = crate::state::Committed::newest(&store).unwrap().unwrap();
    let (base, _) = tail.bytes("count/count.0");
    assert!(base > 0, "there must be a base after {} checkpoints", tail.body.checkpoint);
    gate.open(i64::MAX);
    let job = runtime.start(&counting(script(&gate), &world, None), Resume::Required).unwrap();
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
    assert_eq!(world.published(), expected_counts(1, 2_000, 11));
}

#[test]
fn state_that_has_changed_is_refused_until_it_is_given_up() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let gate = Gate::at(100);
    let script = || Script { partitions: 1, rows: 200, keys: 1, bounded: true, gate: Arc::clone(&gate) };
    let start = |fingerprint: &str, drop: &[&str]| {
        let mut pipeline = counting(script(), &world, None);
        let crate::plan::Work::Operator { fingerprint: now, .. } = &mut pipeline.nodes[1].work else { unreachable!() };
        *now = fingerprint.to_string();
        let dropped = drop.iter().map(|d| d.to_string());
        let runtime = Runtime::builder().state_dir(dir.path()).drop_state(dropped).build().unwrap();
        runtime.start(&pipeline, Resume::OrFresh).map_err(|mut problems| problems.remove(0).code.to_string())
    };
    let job = start("one", &[]).ok().unwrap();
    assert!(world.wait(LIMIT, |rows| rows.len() == 100));
    job.request_stop(Stop::Drain);
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
    gate.open(i64::MAX);
    assert_eq!(start("two", &[]).err().as_deref(), Some("STATE-CHANGED"));
    assert_eq!(start("two", &["nobody"]).err().as_deref(), Some("STATE-NO-SUCH-NODE"));
    let job = start("two", &["count"]).ok().unwrap();
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
    // The positions stayed, the counts began again.
    let twice: Vec<Vec<i64>> = (1..=100).flat_map(|n| [vec![0, n], vec![0, n]]).collect();
    assert_eq!(world.published(), twice);
    assert_eq!(start("two", &[]).ok().unwrap().wait_timeout(LIMIT), Some(JobState::Stopped));
}
