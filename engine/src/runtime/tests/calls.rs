//! Calls: what is slow holds nothing, what is in flight is state, what fails is a dead letter.

use super::world::{Gate, Script, ToWorld, Watermarks, World, count_schema, integers, schema};
use crate::batch::{Batch, record_batch};
use crate::calls::{self, Call, Calls};
use crate::operator::{Emit, Operator, Reads, Stage, StageFactory};
use crate::plan::{ERRORS, EventTime, Input, NodeId, Pipeline, Work};
use crate::runtime::{Job, JobState, Resume, Runtime, Stop};
use crate::time::{Epoch, Watermark};
use crate::{Problem, Result};
use arrow::array::{Array, AsArray, Int64Array};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(60);

/// Where the calls arrive: it keeps some waiting, and remembers all.
struct Desk {
    /// Calls for these rows wait.
    held: watch::Sender<BTreeSet<i64>>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    /// Every call for each row that has been made: the row's number, and whether it was said to be made again.
    calls: Vec<(i64, bool)>,
    now: usize,
    most: usize,
}

impl Desk {
    fn holding(held: impl IntoIterator<Item = i64>) -> Arc<Desk> {
        let held = watch::Sender::new(held.into_iter().collect());
        Arc::new(Desk { held, seen: Mutex::default(), changed: Condvar::new() })
    }
    fn hold(&self, held: impl IntoIterator<Item = i64>) {
        self.held.send_replace(held.into_iter().collect());
    }
    fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }
    fn wait(&self, done: impl Fn(&Seen) -> bool) -> bool {
        let guard = self.seen.lock().unwrap();
        !self.changed.wait_timeout_while(guard, LIMIT, |s| !done(s)).unwrap().1.timed_out()
    }
    fn arrive(self: &Arc<Self>, n: i64, again: bool) -> Here {
        let mut seen = self.seen.lock().unwrap();
        seen.calls.push((n, again));
        seen.now += 1;
        seen.most = seen.most.max(seen.now);
        self.changed.notify_all();
        Here(Arc::clone(self))
    }
    async fn call(self: Arc<Self>, call: Call) -> Result<Emit> {
        let n = number(&call);
        let _here = self.arrive(n, call.again);
        // The sender is ours: it is there for as long as we are.
        let _ = self.held.subscribe().wait_for(|held| !held.contains(&n)).await;
        Ok(passed(call))
    }
}

/// A call at the desk.
struct Here(Arc<Desk>);

impl Drop for Here {
    fn drop(&mut self) {
        self.0.seen.lock().unwrap().now -= 1;
    }
}

/// The row's number in its partition.
fn number(call: &Call) -> i64 {
    assert_eq!(call.batch.len(), 1);
    integers(&call.batch.rows)[0][1]
}

/// `key` and `n` of the rows of a call.
fn passed(call: Call) -> Emit {
    let mut out = Emit::default();
    out.send(Batch::new(record_batch(count_schema(), call.batch.rows.columns()[..2].to_vec(), call.batch.len())));
    out
}

/// source -> calls -> world.
fn calling(script: Script, work: Work, world: &Arc<World>) -> Pipeline {
    let (mut pipeline, called) = called(script, None, work);
    pipeline.sink("out", Input::from(called), Arc::new(ToWorld(Arc::clone(world))));
    pipeline
}

fn called(script: Script, event_time: Option<EventTime>, work: Work) -> (Pipeline, NodeId) {
    let mut pipeline = Pipeline::new("calling");
    pipeline.settings.epoch = Duration::from_millis(1);
    pipeline.settings.checkpoint_every = Duration::from_millis(5);
    let source = pipeline.source("rows", Arc::new(script), schema(), event_time);
    let called = pipeline.operator("call", "calls", vec![Input::from(source)], vec![count_schema()], work);
    (pipeline, called)
}

fn to_desk(calls: Calls, desk: &Arc<Desk>) -> Work {
    let desk = Arc::clone(desk);
    calls::asynchronous(calls, 1, &schema(), move |call| Arc::clone(&desk).call(call))
}

fn start(pipeline: &Pipeline, workers: usize, dir: &Path) -> Job {
    let runtime = Runtime::builder().workers(workers).state_dir(dir).build().unwrap();
    runtime.start(pipeline, Resume::OrFresh).unwrap()
}

fn one_partition(rows: i64, gate: &Arc<Gate>) -> Script {
    Script { partitions: 1, rows, keys: 1, bounded: true, gate: Arc::clone(gate) }
}

fn ended(job: &Job) {
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
}

/// The numbers of rows of one partition, without those.
fn all_but(rows: i64, without: &[i64]) -> Vec<Vec<i64>> {
    (0..rows).filter(|n| !without.contains(n)).map(|n| vec![0, n]).collect()
}

/// Waits until a checkpoint has published this.
fn published(world: &World, expected: &[Vec<i64>]) {
    let began = Instant::now();
    while world.published() != expected {
        assert!(began.elapsed() < LIMIT, "published: {:?}", world.published());
        world.wait(Duration::from_millis(5), |_| false);
    }
}

#[test]
fn a_slow_call_holds_neither_checkpoints_nor_other_rows() {
    for workers in 1..=2 {
        let (world, dir, desk) = (Arc::new(World::default()), tempfile::tempdir().unwrap(), Desk::holding([0]));
        let gate = Gate::at(100);
        let pipeline = calling(one_partition(200, &gate), to_desk(Calls::new(4).unordered(), &desk), &world);
        let job = start(&pipeline, workers, dir.path());
        published(&world, &all_but(100, &[0]));
        let before = job.status().checkpoint;
        gate.open(200);
        published(&world, &all_but(200, &[0]));
        assert!(job.status().checkpoint > before);
        // The source has ended, and the job waits for the one call.
        assert!(job.wait_timeout(Duration::from_millis(50)).is_none());
        desk.hold([]);
        ended(&job);
        assert_eq!(world.published(), all_but(200, &[]), "{workers} workers");
        assert_eq!(job.status().memory, 0, "nothing is left in memory");
    }
}

#[test]
fn answers_leave_in_order_or_as_they_come() {
    let run = |calls: Calls| {
        let (world, dir, desk) = (Arc::new(World::default()), tempfile::tempdir().unwrap(), Desk::holding([5]));
        let job = start(&calling(Script::bounded(1, 100, 1), to_desk(calls, &desk), &world), 1, dir.path());
        // As many as may be in flight, with the slow one among them.
        assert!(desk.wait(|s| s.calls.len() == if calls == Calls::new(8) { 5 + 8 } else { 100 }));
        let early = Mutex::new(Vec::new());
        // In order, a moment in which nothing more may come; otherwise until all others have.
        let limit = if calls == Calls::new(8) { Duration::from_millis(30) } else { LIMIT };
        world.wait(limit, |rows| {
            *early.lock().unwrap() = rows.iter().map(|r| r[1]).collect();
            rows.len() == 99
        });
        desk.hold([]);
        ended(&job);
        assert_eq!(world.published(), all_but(100, &[]));
        (early.into_inner().unwrap(), world.in_order().iter().map(|r| r[1]).collect::<Vec<i64>>())
    };
    let (early, all) = run(Calls::new(8));
    assert!(early.iter().all(|n| *n < 5), "nothing passes the slow one: {early:?}");
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    let (early, all) = run(Calls::new(8).unordered());
    assert!(early.contains(&99) && !early.contains(&5), "they leave as they come: {early:?}");
    assert_eq!(all.last(), Some(&5));
}

#[test]
fn exactly_what_was_in_flight_is_called_again() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let gate = Gate::at(100);
    let calls = Calls::new(64).unordered();
    let held = [3, 14, 15, 92, 65];
    let desk = Desk::holding(held);
    let job = start(&calling(one_partition(100, &gate), to_desk(calls, &desk), &world), 2, dir.path());
    published(&world, &all_but(100, &held));
    job.request_stop(Stop::Kill);
    ended(&job);
    assert_eq!(desk.seen().calls.iter().filter(|c| c.1).count(), 0);
    // Again and again, each time on another number of workers; the last time they are answered.
    for workers in [3, 1, 2, 3] {
        let desk = Desk::holding(held);
        let job = start(&calling(one_partition(100, &gate), to_desk(calls, &desk), &world), workers, dir.path());
        assert!(desk.wait(|s| s.calls.len() == held.len()));
        job.request_stop(if workers == 1 { Stop::Drain } else { Stop::Kill });
        ended(&job);
        let mut seen = desk.seen().calls;
        seen.sort_unstable();
        let mut expected: Vec<_> = held.iter().map(|n| (*n, true)).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected, "{workers} workers");
    }
    let desk = Desk::holding([]);
    let job = start(&calling(one_partition(100, &gate), to_desk(calls, &desk), &world), 2, dir.path());
    ended(&job);
    assert_eq!(world.published(), all_but(100, &[]));
    // Nothing is left in the state.
    let desk = Desk::holding([]);
    ended(&start(&calling(one_partition(100, &gate), to_desk(calls, &desk), &world), 1, dir.path()));
    assert_eq!(desk.seen().calls.len(), 0);
}

#[test]
fn a_drained_stop_leaves_calls_in_the_checkpoint() {
    let (world, dir, desk) = (Arc::new(World::default()), tempfile::tempdir().unwrap(), Desk::holding([7]));
    let gate = Gate::at(40);
    let script = || Script { partitions: 1, rows: 60, keys: 1, bounded: true, gate: Arc::clone(&gate) };
    let job = start(&calling(script(), to_desk(Calls::new(4), &desk), &world), 1, dir.path());
    assert!(desk.wait(|s| s.calls.len() == 7 + 4));
    job.request_stop(Stop::Drain);
    ended(&job);
    assert_eq!(world.published(), all_but(7, &[]));
    // In order across the restart: those that were here before those that come, and each once.
    gate.open(60);
    desk.hold([]);
    ended(&start(&calling(script(), to_desk(Calls::new(4), &desk), &world), 1, dir.path()));
    assert_eq!(world.in_order().iter().map(|r| r[1]).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
}

#[test]
fn killed_at_random_moments_it_publishes_each_row_once() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    for ordered in [true, false] {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
        let (gate, mut resumed, mut again) = (Gate::at(0), 0, 0);
        for round in 0.. {
            let script = Script { gate: Arc::clone(&gate), ..Script::bounded(3, 2_000, 17) };
            let seen = Arc::new(Mutex::new(0));
            let (count, nap) = (Arc::clone(&seen), rng.u64(1..2_000));
            let calls = if ordered { Calls::new(16) } else { Calls::new(16).unordered() };
            let work = calls::asynchronous(calls, 3, &schema(), move |call: Call| {
                *count.lock().unwrap() += usize::from(call.again);
                let first = integers(&call.batch.rows)[0][1].unsigned_abs();
                async move {
                    // Some answers come at once, some late.
                    tokio::time::sleep(Duration::from_micros(first * 7919 % nap)).await;
                    Ok(passed(call))
                }
            });
            let job = start(&calling(script, work, &world), 1 + round % 3, dir.path());
            resumed += usize::from(job.resumed().is_some());
            if round >= 20 {
                gate.open(i64::MAX);
                ended(&job);
                break;
            }
            gate.open(i64::from(rng.u32(..)) % 40 + i64::try_from(round).unwrap() * 80);
            if rng.bool() {
                job.wait_checkpoint(job.status().checkpoint + 1, Duration::from_millis(200));
            } else {
                job.wait_timeout(Duration::from_micros(rng.u64(..8_000)));
            }
            job.request_stop(if rng.u8(..4) == 0 { Stop::Drain } else { Stop::Kill });
            ended(&job);
            again += *seen.lock().unwrap();
        }
        println!("ordered {ordered}: {resumed} resumed, {again} calls again");
        assert!(resumed > 5 && again > 0, "most runs go on from rows in flight, or the test shows nothing");
        let mut expected: Vec<Vec<i64>> =
            (0..3).flat_map(|p| (0..2_000).map(move |n| vec![(n * 7 + p) % 17, n])).collect();
        expected.sort();
        assert_eq!(world.published(), expected, "seed {seed}, ordered {ordered}");
    }
}

/// Dead letters as rows: their code as a number, and the row's number.
struct Letters;

const CODES: [&str; 3] = ["TEST-NO", "CALL-PANIC", "CALL-TIMEOUT"];

impl Stage for Letters {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let text = |name: &str, row: usize| batch.column(name).unwrap().as_string::<i32>().value(row).to_string();
        let code = |row| CODES.iter().position(|c| *c == text("code", row)).unwrap_or_else(|| panic!("{batch:?}"));
        let codes = (0..batch.len()).map(|row| i64::try_from(code(row)).unwrap() - 10);
        let row_of = |row| -> i64 {
            let input: serde_json::Value = serde_json::from_str(&text("input", row)).unwrap();
            input["n"].as_i64().unwrap()
        };
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(codes)),
            Arc::new(Int64Array::from_iter_values((0..batch.len()).map(row_of))),
        ];
        let origin = batch.column("position").unwrap();
        assert_eq!(origin.null_count(), 0, "a letter says where its row came from");
        out.send(Batch::new(record_batch(count_schema(), columns, batch.len())));
        Ok(())
    }
}

#[test]
fn errors_panics_and_timeouts_are_dead_letters_with_their_row() {
    // What a call does with row n: every 10th one fails in some way.
    let fails = |n: i64| (n % 10 == 3).then_some(n / 10 % 3);
    let planted = move |n: i64| -> Result<()> {
        match fails(n) {
            Some(0) => Err(Problem::error("TEST-NO", "no").found(n.to_string())),
            Some(1) => panic!("planted"),
            _ => Ok(()),
        }
    };
    let limit = Duration::from_millis(50);
    let quick = Calls::new(8).timeout(limit);
    let asynchronous = calls::asynchronous(quick, 1, &schema(), move |call| async move {
        let n = number(&call);
        planted(n)?;
        if fails(n) == Some(2) {
            std::future::pending::<()>().await;
        }
        Ok(passed(call))
    });
    let hang = Arc::new(Mutex::new(()));
    let hanging = Arc::clone(&hang);
    let blocked = hang.lock().unwrap();
    let blocking = calls::blocking(Calls::new(8).timeout(limit), 1, &schema(), move |call| {
        let n = number(&call);
        planted(n)?;
        if fails(n) == Some(2) {
            drop(hanging.lock());
        }
        Ok(passed(call))
    });
    for (what, work) in [("asynchronous", asynchronous), ("blocking", blocking)] {
        let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
        let (mut pipeline, called) = called(Script::bounded(1, 100, 1), None, work);
        let make: StageFactory = Arc::new(|_| Ok(Box::new(Letters)));
        let errors = Input::from(called).port(ERRORS);
        let letters = pipeline.stage("letters", errors, count_schema(), Reads::All, make);
        let both = pipeline.union("both", vec![Input::from(called), Input::from(letters)]);
        pipeline.sink("out", Input::from(both), Arc::new(ToWorld(Arc::clone(&world))));
        let job = start(&pipeline, 2, dir.path());
        ended(&job);
        let mut expected: Vec<Vec<i64>> =
            (0..100).map(|n| fails(n).map_or(vec![0, n], |kind| vec![kind - 10, n])).collect();
        expected.sort();
        assert_eq!(world.published(), expected, "{what}");
        let nodes = job.status().nodes;
        let node = nodes.iter().find(|n| n.node == "call").unwrap();
        assert_eq!((node.rows_in, node.rows_out, node.dead_lettered), (100, 90, 10), "{what}");
    }
    drop(blocked);
}

#[test]
fn no_more_calls_than_allowed_in_the_whole_job() {
    for workers in 1..=3 {
        for ordered in [true, false] {
            let (world, dir, desk) = (Arc::new(World::default()), tempfile::tempdir().unwrap(), Desk::holding([]));
            let calls = if ordered { Calls::new(2) } else { Calls::new(2).unordered() };
            let here = Arc::clone(&desk);
            let work = calls::blocking(calls, 1, &schema(), move |call| {
                let _here = here.arrive(number(&call), call.again);
                Ok(passed(call))
            });
            ended(&start(&calling(Script::bounded(3, 200, 5), work, &world), workers, dir.path()));
            assert_eq!(world.published().len(), 600);
            let seen = desk.seen();
            assert!((1..=2).contains(&seen.most), "{workers} workers, ordered {ordered}: {}", seen.most);
        }
    }
}

#[test]
fn rows_that_wait_for_calls_stop_the_source() {
    let (world, dir, desk) = (Arc::new(World::default()), tempfile::tempdir().unwrap(), Desk::holding(0..100_000));
    let mut pipeline = calling(Script::bounded(1, 100_000, 1), to_desk(Calls::new(4), &desk), &world);
    pipeline.settings.memory = 64 << 10;
    let job = start(&pipeline, 1, dir.path());
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < Duration::from_millis(300) {
        most = most.max(job.status().memory);
        job.wait_timeout(Duration::from_millis(5));
    }
    assert!(most > 0 && most < 128 << 10, "at most {most} bytes were alive");
    assert_eq!(desk.seen().most, 4);
    let read = job.status().nodes[0].rows_in;
    assert!(read < 50_000, "the source has stopped");
    // What was restored counts as well: a row of crashes does not fill the memory.
    job.wait_checkpoint(job.status().checkpoint + 1, Duration::from_millis(100));
    job.request_stop(Stop::Kill);
    ended(&job);
    let job = start(&pipeline, 1, dir.path());
    assert!(desk.wait(|s| s.calls.iter().filter(|c| c.1).count() == 4));
    assert!(job.status().memory > 16 << 10, "{}", job.status().memory);
    desk.hold([]);
    ended(&job);
    assert_eq!(world.published().len(), 100_000);
}

/// source with event time -> calls -> an operator -> world.
fn timed(gate: &Arc<Gate>, desk: &Arc<Desk>, world: &Arc<World>, operator: Work) -> Pipeline {
    let event_time = EventTime { field: "at".into(), out_of_order: 0, idle_after: Duration::from_secs(600) };
    let work = to_desk(Calls::new(200).unordered(), desk);
    let (mut pipeline, called) = called(one_partition(100, gate), Some(event_time), work);
    let behind = pipeline.operator("behind", "behind", vec![Input::from(called)], vec![count_schema()], operator);
    pipeline.sink("out", Input::from(behind), Arc::new(ToWorld(Arc::clone(world))));
    pipeline
}

fn operator<T: Operator + Default>() -> Work {
    let make = |_: &[arrow::datatypes::SchemaRef]| Ok(Box::<T>::default() as Box<dyn Operator>);
    Work::Operator { factory: Arc::new(make), reads: vec![Reads::All], fingerprint: String::new() }
}

#[test]
fn the_watermark_waits_for_the_oldest_row_in_flight() {
    for workers in 1..=2 {
        let (world, dir, desk) = (Arc::new(World::default()), tempfile::tempdir().unwrap(), Desk::holding([25]));
        let gate = Gate::at(20);
        let job = start(&timed(&gate, &desk, &world, operator::<Watermarks>()), workers, dir.path());
        let newest = |rows: &[Vec<i64>]| rows.iter().map(|r| r[0]).max();
        assert!(world.wait(LIMIT, |rows| newest(rows) == Some(19_000_000)), "it follows what has left");
        gate.open(100);
        assert!(desk.wait(|s| s.calls.iter().any(|c| c.0 == 25)));
        assert!(
            !world.wait(Duration::from_millis(100), |rows| newest(rows) > Some(24_000_000)),
            "it may not pass the row in flight"
        );
        desk.hold([]);
        ended(&job);
        assert_eq!(newest(&world.published()), Some(i64::MAX), "{workers} workers");
    }
}

/// Puts out the watermark against which each row is judged, and the row's number.
struct Judge(Watermark);

impl Default for Judge {
    fn default() -> Judge {
        Judge(Watermark::UNKNOWN)
    }
}

impl Operator for Judge {
    fn on_batch(&mut self, _: usize, _: Epoch, batch: Batch, out: &mut Emit) -> Result<()> {
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![self.0.0; batch.len()])), Arc::clone(batch.rows.column(1))];
        out.send(Batch::new(record_batch(count_schema(), columns, batch.len())));
        Ok(())
    }
    fn on_close(&mut self, _: Epoch, watermark: Watermark, _: &mut Emit) -> Result<()> {
        self.0 = watermark;
        Ok(())
    }
}

#[test]
fn a_row_in_flight_over_restarts_is_not_late() {
    let (world, dir, desk) = (Arc::new(World::default()), tempfile::tempdir().unwrap(), Desk::holding([25, 70]));
    let gate = Gate::at(20);
    let pipeline = timed(&gate, &desk, &world, operator::<Judge>());
    for workers in [2, 3, 1] {
        let job = start(&pipeline, workers, dir.path());
        gate.open(100);
        assert!(world.wait(LIMIT, |rows| rows.len() == 98));
        job.request_stop(Stop::Drain);
        ended(&job);
    }
    desk.hold([]);
    ended(&start(&pipeline, 2, dir.path()));
    let rows = world.published();
    assert_eq!(rows.len(), 100);
    assert!(rows.iter().all(|r| r[0] < r[1] * 1_000_000), "judged against: {rows:?}");
}

#[test]
fn calls_behind_calls_and_many_rows_per_call() {
    for workers in 1..=3 {
        let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sizes);
        let first = calls::asynchronous(Calls::new(3).unordered(), 4, &schema(), move |call: Call| {
            seen.lock().unwrap().push(call.batch.len());
            async move {
                tokio::task::yield_now().await;
                Ok(passed(call))
            }
        });
        let (mut pipeline, called) = called(Script::bounded(3, 500, 5), None, first);
        // Every second row goes no further: it counts as filtered.
        let second = calls::blocking(Calls::new(2), 1, &count_schema(), |call| {
            Ok(if number(&call) % 2 == 0 { passed(call) } else { Emit::default() })
        });
        let again = pipeline.operator("again", "calls", vec![Input::from(called)], vec![count_schema()], second);
        pipeline.sink("out", Input::from(again), Arc::new(ToWorld(Arc::clone(&world))));
        let job = start(&pipeline, workers, dir.path());
        ended(&job);
        assert_eq!(world.published().len(), 750, "{workers} workers");
        let nodes = job.status().nodes;
        let node = nodes.iter().find(|n| n.node == "again").unwrap();
        assert_eq!((node.rows_in, node.rows_out, node.filtered), (1_500, 750, 750));
        let sizes = sizes.lock().unwrap();
        assert!(sizes.iter().all(|s| (1..=4).contains(s)) && sizes.contains(&4));
    }
}

#[test]
fn changes_are_refused() {
    let (world, dir, desk) = (Arc::new(World::default()), tempfile::tempdir().unwrap(), Desk::holding([]));
    /// Every second row is a retraction.
    struct Weigh;
    impl Stage for Weigh {
        fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
            let diff = Int64Array::from_iter_values((0..batch.len()).map(|n| if n % 2 == 0 { 1 } else { -1 }));
            out.send(Batch { diff: Some(diff), ..batch });
            Ok(())
        }
    }
    let mut pipeline = Pipeline::new("changes");
    let source = pipeline.source("rows", Arc::new(Script::bounded(1, 50, 1)), schema(), None);
    let make: StageFactory = Arc::new(|_| Ok(Box::new(Weigh)));
    let weighed = pipeline.stage("weigh", Input::from(source), schema(), Reads::All, make);
    let work = to_desk(Calls::new(4), &desk);
    let called = pipeline.operator("call", "calls", vec![Input::from(weighed)], vec![count_schema()], work);
    pipeline.sink("out", Input::from(called), Arc::new(ToWorld(Arc::clone(&world))));
    let job = start(&pipeline, 1, dir.path());
    ended(&job);
    assert_eq!(world.published().len(), 25);
    assert_eq!(job.status().nodes.iter().find(|n| n.node == "call").unwrap().dead_lettered, 25);
}

#[test]
fn the_input_may_change_while_rows_are_in_flight() {
    let (world, dir, desk) = (Arc::new(World::default()), tempfile::tempdir().unwrap(), Desk::holding([3, 5]));
    let nullable = |name: &str| schema().field_with_name(name).unwrap().clone().with_nullable(true);
    let key = schema().field_with_name("key").unwrap().clone();
    let inputs = [
        vec![key.clone(), nullable("n")],
        vec![key.clone(), nullable("n"), nullable("at")],
        vec![key.clone(), nullable("n")],
    ];
    let gate = Gate::at(10);
    for (run, fields) in inputs.into_iter().enumerate() {
        let columns = fields.len();
        let (seen, nulls) = (Arc::clone(&desk), Arc::new(Mutex::new(Vec::new())));
        let found = Arc::clone(&nulls);
        let input = Arc::new(arrow::datatypes::Schema::new(fields));
        let work = calls::asynchronous(Calls::new(100).unordered(), 1, &input, move |call| {
            assert_eq!(call.batch.rows.num_columns(), columns);
            found.lock().unwrap().push(call.batch.column("at").is_some_and(|c| c.is_null(0)));
            Arc::clone(&seen).call(call)
        });
        let job = start(&calling(one_partition(10, &gate), work, &world), 1 + run, dir.path());
        published(&world, &all_but(10, &[3, 5]));
        if run == 1 {
            assert!(desk.wait(|s| s.calls.len() == 12));
            assert_eq!(*nulls.lock().unwrap(), [true, true], "a column that came later is NULL");
        }
        if run == 2 {
            desk.hold([]);
            ended(&job);
        }
        job.request_stop(Stop::Kill);
        ended(&job);
    }
    assert_eq!(world.published(), all_but(10, &[]));
}

/// Lets rows pass: what counts is the exchange in front of it.
#[derive(Default)]
struct Pass;

impl Operator for Pass {
    fn on_batch(&mut self, _: usize, _: Epoch, batch: Batch, out: &mut Emit) -> Result<()> {
        out.send(batch);
        Ok(())
    }
}

#[test]
fn rows_that_come_anew_wait_for_restored_rows_of_all_workers() {
    let (world, dir, desk) = (Arc::new(World::default()), tempfile::tempdir().unwrap(), Desk::holding([5]));
    let gate = Gate::at(20);
    let script = || Script { partitions: 2, rows: 40, keys: 7, bounded: true, gate: Arc::clone(&gate) };
    let pipeline = || calling(script(), to_desk(Calls::new(100), &desk), &world);
    let job = start(&pipeline(), 1, dir.path());
    assert!(desk.wait(|s| s.calls.len() == 40));
    job.request_stop(Stop::Drain);
    ended(&job);
    // The second partition is now read by the second worker, and its old rows are with the first.
    gate.open(40);
    let job = start(&pipeline(), 2, dir.path());
    assert!(desk.wait(|s| s.calls.iter().filter(|c| c.0 >= 20).count() == 40));
    assert!(!world.wait(Duration::from_millis(50), |rows| rows.iter().any(|r| r[1] >= 20)), "they may not pass");
    desk.hold([]);
    ended(&job);
    assert_eq!(world.published().len(), 80);
}

#[test]
fn order_outlives_restarts_on_other_workers() {
    const ROWS: i64 = 1_500;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let gate = Gate::at(0);
    for round in 0.. {
        // With seven keys, a row's key is its partition.
        let script = Script { partitions: 3, rows: ROWS, keys: 7, bounded: true, gate: Arc::clone(&gate) };
        let nap = rng.u64(1..4_000);
        let work = calls::asynchronous(Calls::new(12), 1, &schema(), move |call: Call| async move {
            tokio::time::sleep(Duration::from_micros(number(&call).unsigned_abs() * 7919 % nap)).await;
            Ok(passed(call))
        });
        let (mut pipeline, called) = called(script, None, work);
        let input = Input::from(called).by(vec!["key".into()]);
        let pass = pipeline.operator("pass", "pass", vec![input], vec![count_schema()], operator::<Pass>());
        pipeline.sink("out", Input::from(pass), Arc::new(ToWorld(Arc::clone(&world))));
        let job = start(&pipeline, 1 + rng.usize(..3), dir.path());
        if round >= 15 {
            gate.open(i64::MAX);
            ended(&job);
            break;
        }
        gate.open(i64::from(rng.u32(..)) % 40 + (round + 1) * 80);
        job.wait_checkpoint(job.status().checkpoint + 1, Duration::from_millis(200));
        job.wait_timeout(Duration::from_micros(rng.u64(..5_000)));
        job.request_stop(Stop::Kill);
        ended(&job);
    }
    for partition in 0..3 {
        let rows: Vec<i64> = world.in_order().iter().filter(|r| r[0] == partition).map(|r| r[1]).collect();
        let first = rows.iter().zip(0..).position(|(n, expected)| *n != expected);
        assert!(first.is_none() && rows.len() == ROWS as usize, "seed {seed}, partition {partition}, at {first:?}");
    }
}
