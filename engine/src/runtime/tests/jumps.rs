//! The wall clock jumps (row T1): by an hour or a day either way, ten years back, or it stands still. Windows
//! close by arrival time and beside an idle source, and a crash follows the jump. What must hold: epochs go
//! on closing, no window closes that the clock has not passed, nothing is lost or doubled.

use super::world::{Gate, Script, ToWorld, World};
use crate::Result;
use crate::batch::record_batch;
use crate::connect::{Body, Decoded, Decoder, PartitionId, Payload, Position, Reader, Source};
use crate::plan::{EventTime, Input, Pipeline};
use crate::runtime::{Job, JobState, Resume, Runtime, Settled, Stop};
use crate::sql::{QueryInput, attach, plan_query};
use crate::state::MemStore;
use crate::time::{Clock, ManualClock, Micros};
use arrow::array::{ArrayRef, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const SECOND: Micros = 1_000_000;
const MINUTE: Micros = 60 * SECOND;
const HOUR: Micros = 60 * MINUTE;
const DAY: Micros = 24 * HOUR;
/// 2026-01-01T00:00:00Z.
const START: Micros = 1_767_225_600 * SECOND;

/// `n`, and `time`: that of its arrival, or a second later for each row.
struct Timed {
    script: Script,
    by_arrival: bool,
}

fn schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false), Field::new("time", time, false)]))
}

impl Source for Timed {
    fn partitions(&self) -> Result<Vec<PartitionId>> {
        self.script.partitions()
    }
    fn open(&self, partition: &PartitionId, from: Option<&Position>) -> Result<Box<dyn Reader>> {
        self.script.open(partition, from)
    }
    fn decoder(&self, schema: &SchemaRef) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Stamp { schema: Arc::clone(schema), by_arrival: self.by_arrival }))
    }
    fn bounded(&self) -> bool {
        false
    }
}

struct Stamp {
    schema: SchemaRef,
    by_arrival: bool,
}

impl Decoder for Stamp {
    fn decode(&mut self, payload: Payload, out: &mut Decoded) -> Result<()> {
        let Body::Rows { start, rows } = payload.body else { unreachable!("the script gives rows") };
        let at = |n: u64| if self.by_arrival { payload.received } else { START + n as Micros * SECOND };
        let positions = UInt64Array::from_iter_values(start..start + rows.num_rows() as u64);
        let times = TimestampMicrosecondArray::from_iter_values(positions.values().iter().map(|n| at(*n)));
        let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
        let column = |f: &Arc<Field>| match f.name().as_str() {
            "time" => Arc::clone(&times),
            other => Arc::clone(rows.column_by_name(other).expect("the script has it")),
        };
        let columns = self.schema.fields().iter().map(column).collect();
        out.rows(record_batch(Arc::clone(&self.schema), columns, rows.num_rows()), positions);
        Ok(())
    }
}

/// What lies outside of the job, and outlives it.
struct Scene {
    clock: Arc<ManualClock>,
    store: Arc<MemStore>,
    arrivals: Arc<Gate>,
    windows: Arc<World>,
    late: Arc<World>,
    idle: Arc<World>,
    /// The latest time that the clock has shown.
    shown: Micros,
}

impl Scene {
    fn new() -> Scene {
        Scene {
            clock: ManualClock::at(START),
            store: Arc::default(),
            arrivals: Gate::at(10),
            windows: Arc::default(),
            late: Arc::default(),
            idle: Arc::default(),
            shown: START,
        }
    }

    fn pipeline(&self) -> Pipeline {
        let mut pipeline = Pipeline::new("jumps");
        let arrivals = Script { partitions: 1, rows: 1_000, keys: 1, bounded: false, gate: Arc::clone(&self.arrivals) };
        self.windows(&mut pipeline, "arrivals", arrivals, None, &self.windows);
        let idle = Script { partitions: 1, rows: 10, keys: 1, bounded: false, gate: Gate::at(10) };
        let event_time = EventTime { field: "time".into(), out_of_order: 0, idle_after: Duration::from_secs(10) };
        self.windows(&mut pipeline, "idle", idle, Some(event_time), &self.idle);
        pipeline
    }

    /// A source, its rows by minute, and what comes too late.
    fn windows(
        &self,
        pipeline: &mut Pipeline,
        name: &str,
        script: Script,
        event_time: Option<EventTime>,
        world: &Arc<World>,
    ) {
        let field = event_time.as_ref().map(|e| e.field.clone());
        let source = Timed { script, by_arrival: event_time.is_none() };
        let source = pipeline.source(name, Arc::new(source), schema(), event_time);
        let input = QueryInput { name: "a".into(), schema: schema(), event_time: field };
        let query = "SELECT CAST(window_end AS BIGINT) AS ended, count(*) AS arrived, sum(n) AS total \
                     FROM tumble(a, time, INTERVAL '1 minute') GROUP BY window_start, window_end";
        let node = format!("{name}_by_minute");
        let plan = plan_query(&node, &[input], query).unwrap();
        let inputs = BTreeMap::from([("a".to_string(), Input::from(source))]);
        let attached = attach(pipeline, &node, &inputs, &plan, 1).unwrap();
        pipeline.sink(name, Input::from(attached.root), Arc::new(ToWorld(Arc::clone(world))));
        for (n, (node, port)) in attached.late.into_iter().enumerate() {
            // Nothing of the idle source is late: one world is enough for one sink.
            if name == "arrivals" {
                let late = Arc::new(ToWorld(Arc::clone(&self.late)));
                pipeline.sink(&format!("{name}_late_{n}"), Input::from(node).port(port), late);
            }
        }
    }

    fn start(&self) -> Job {
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        let runtime = Runtime::builder().store(Arc::<MemStore>::clone(&self.store)).clock(clock).build().unwrap();
        runtime.start(&self.pipeline(), Resume::OrFresh).unwrap()
    }

    /// All that has been read has gone through: epochs close.
    fn settle(&mut self, job: &Job, what: &str) {
        assert_eq!(job.settle(LIMIT), Settled::Quiet, "{what}: {:?}", job.state());
        self.shown = self.shown.max(self.clock.now());
        for world in [&self.windows, &self.idle] {
            let closed = written(world);
            let early: Vec<_> = closed.iter().filter(|w| w[0] > self.shown).collect();
            assert!(early.is_empty(), "{what}: closed before the clock has shown their end: {early:?}");
        }
    }
}

/// What has been written, published or not.
fn written(world: &World) -> Vec<Vec<i64>> {
    let mut rows = Vec::new();
    let cell = std::cell::RefCell::new(&mut rows);
    world.wait(Duration::ZERO, |now| {
        **cell.borrow_mut() = now.to_vec();
        true
    });
    rows
}

fn checkpoint(job: &Job) {
    let before = job.status().checkpoint;
    job.shared().request_checkpoint();
    assert!(job.wait_checkpoint(before + 1, LIMIT) && job.state() == JobState::Running, "{:?}", job.state());
}

fn play(what: &str, jump: impl Fn(&ManualClock)) {
    let mut scene = Scene::new();
    let job = scene.start();
    scene.settle(&job, what);
    scene.clock.advance(Duration::from_secs(30));
    scene.arrivals.open(20);
    scene.settle(&job, what);
    assert_eq!(written(&scene.windows).len() + written(&scene.idle).len(), 0, "{what}: the minute is not over");
    checkpoint(&job);

    jump(&scene.clock);
    scene.settle(&job, what);
    scene.arrivals.open(30);
    scene.settle(&job, what);
    let over = scene.shown >= START + MINUTE;
    let first = vec![START + MINUTE, 20, (0..20).sum()];
    assert_eq!(written(&scene.windows), if over { vec![first] } else { vec![] }, "{what}");
    let first = vec![START + MINUTE, 10, (0..10).sum()];
    assert_eq!(written(&scene.idle), if over { vec![first] } else { vec![] }, "{what}");
    checkpoint(&job);

    // These reach no checkpoint, and are read again after the crash.
    scene.arrivals.open(35);
    scene.settle(&job, what);
    job.request_stop(Stop::Kill);
    job.wait_timeout(LIMIT).expect("a job that is killed ends");
    let job = scene.start();
    assert!(job.resumed().is_some());
    scene.settle(&job, what);
    scene.arrivals.open(40);
    scene.settle(&job, what);
    scene.clock.move_to(scene.shown + DAY);
    scene.settle(&job, what);
    job.request_stop(Stop::Drain);
    assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped), "{what}");

    let (windows, late, idle) = (scene.windows.published(), scene.late.published(), scene.idle.published());
    let sum = |rows: &[Vec<i64>], column: usize| rows.iter().map(|r| r[column]).sum::<i64>();
    // Late rows carry what the window reads: their number and their time, in the order of the columns.
    let late_n: i64 = late.iter().map(|r| r[0]).sum();
    let found = (sum(&windows, 1) + late.len() as i64, sum(&windows, 2) + late_n);
    assert_eq!(found, (40, (0..40).sum()), "{what}: {windows:?}, late {late:?}");
    assert_eq!((sum(&idle, 1), sum(&idle, 2)), (10, (0..10).sum()), "{what}: {idle:?}");
}

#[test]
fn forward_by_an_hour() {
    play("+1 h", |clock| clock.set(clock.now() + HOUR));
}

#[test]
fn back_by_an_hour() {
    play("-1 h", |clock| clock.set(clock.now() - HOUR));
}

#[test]
fn forward_by_a_day() {
    play("+1 day", |clock| clock.set(clock.now() + DAY));
}

#[test]
fn back_by_a_day() {
    play("-1 day", |clock| clock.set(clock.now() - DAY));
}

#[test]
fn back_by_ten_years() {
    play("-10 years", |clock| clock.set(clock.now() - 3_652 * DAY));
}

#[test]
fn frozen_for_a_minute() {
    play("freeze", |clock| clock.advance_frozen(Duration::from_secs(60)));
}
