//! What lies outside of a job in these tests: a source that reads a script, a sink with two phases.

use crate::batch::{Batch, record_batch};
use crate::connect::{
    Body, Decoded, Decoder, Handle, PartitionId, Payload, Polled, Position, Reader, Sink, SinkFactory, SinkMode, Source,
};
use crate::operator::{Change, Emit, KeyGroups, Operator, Reads, StateBlock};
use crate::plan::{EventTime, Input, Pipeline, Work};
use crate::time::{Epoch, Micros, Watermark};
use crate::{Problem, Result};
use arrow::array::{AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt8Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, UInt8Type};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// `key`, `n` (the row's number in its partition) and `at` (event time, `n` seconds).
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, false),
        Field::new("n", DataType::Int64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
    ]))
}

/// Partitions of numbered rows; only as many are given out as the gate allows.
pub struct Script {
    pub partitions: usize,
    pub rows: i64,
    pub keys: i64,
    pub bounded: bool,
    pub gate: Arc<Gate>,
}

/// How many rows of each partition may be read.
pub struct Gate {
    open: Mutex<i64>,
    moved: Condvar,
}

impl Gate {
    pub fn at(rows: i64) -> Arc<Gate> {
        Arc::new(Gate { open: Mutex::new(rows), moved: Condvar::new() })
    }
    pub fn open(&self, rows: i64) {
        *self.open.lock().unwrap() = rows;
        self.moved.notify_all();
    }
    /// Waits a moment for the gate to be beyond `n`.
    fn wait(&self, n: i64) -> i64 {
        let guard = self.open.lock().unwrap();
        *self.moved.wait_timeout_while(guard, Duration::from_millis(20), |open| *open <= n).unwrap().0
    }
}

impl Script {
    /// All rows at once, ending by itself.
    pub fn bounded(partitions: usize, rows: i64, keys: i64) -> Script {
        Script { partitions, rows, keys, bounded: true, gate: Gate::at(i64::MAX) }
    }
}

impl Source for Script {
    fn partitions(&self) -> Result<Vec<PartitionId>> {
        Ok((0..self.partitions).map(|p| PartitionId::from(format!("p{p}"))).collect())
    }
    fn open(&self, partition: &PartitionId, from: Option<&Position>) -> Result<Box<dyn Reader>> {
        let next = from.and_then(|p| p.0.as_i64()).unwrap_or(0);
        let number: i64 = partition[1..].parse().expect("named by partitions()");
        let (rows, keys, bounded) = (self.rows, self.keys, self.bounded);
        Ok(Box::new(ScriptReader {
            partition: Arc::clone(partition),
            number,
            next,
            rows,
            keys,
            bounded,
            gate: Arc::clone(&self.gate),
        }))
    }
    fn decoder(&self, schema: &SchemaRef) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Project(Arc::clone(schema))))
    }
    fn bounded(&self) -> bool {
        self.bounded
    }
}

struct ScriptReader {
    partition: PartitionId,
    number: i64,
    next: i64,
    rows: i64,
    keys: i64,
    bounded: bool,
    gate: Arc<Gate>,
}

impl Reader for ScriptReader {
    fn next(&mut self, _budget: usize) -> Result<Polled> {
        if self.next >= self.rows && self.bounded {
            return Ok(Polled::End(Position(self.next.into())));
        }
        let open = self.gate.wait(self.next).min(self.rows);
        if self.next >= open {
            return Ok(Polled::Idle);
        }
        let from = self.next;
        self.next = open.min(from + 10);
        let ns: Vec<i64> = (from..self.next).collect();
        let key = |n: &i64| (n * 7 + self.number) % self.keys;
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(ns.iter().map(key))),
            Arc::new(Int64Array::from(ns.clone())),
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(ns.iter().map(|n| n * 1_000_000)).with_timezone("UTC"),
            ),
        ];
        let rows = record_batch(schema(), columns, ns.len());
        let start = u64::try_from(from).expect("rows count from 0");
        let payload = Payload::new(&self.partition, Body::Rows { start, rows });
        Ok(Polled::Data(payload, Position(self.next.into())))
    }
    fn lag(&self) -> Option<u64> {
        u64::try_from(self.rows - self.next).ok()
    }
}

struct Project(SchemaRef);

impl Decoder for Project {
    fn decode(&mut self, payload: Payload, out: &mut Decoded) -> Result<()> {
        let Body::Rows { start, rows } = payload.body else { unreachable!("the script gives rows") };
        let names: Vec<&str> = self.0.fields().iter().map(|f| f.name().as_str()).collect();
        let positions = UInt64Array::from_iter_values(start..start + rows.num_rows() as u64);
        out.rows(Batch::new(rows).project(&names).rows, positions);
        Ok(())
    }
}

/// What has been published, and what lies hidden; survives jobs.
#[derive(Default)]
pub struct World {
    state: Mutex<WorldState>,
    changed: Condvar,
    /// Writes fail with a retriable problem while this is above zero, and count it down.
    pub failures: AtomicUsize,
}

#[derive(Clone, Default)]
struct WorldState {
    visible: Vec<Vec<i64>>,
    /// What each sink has written, by incarnation and worker, and how much of it is published.
    parts: BTreeMap<(u64, usize), (Vec<Vec<i64>>, usize)>,
    incarnation: u64,
}

impl WorldState {
    /// Publishes a part up to a number of rows; what has been published stays so.
    fn publish(&mut self, handle: &Handle) {
        let (incarnation, worker, upto): (u64, usize, usize) = serde_json::from_value(handle.0.clone()).unwrap();
        let Some((rows, published)) = self.parts.get_mut(&(incarnation, worker)) else { return };
        self.visible.extend(rows[*published..upto.max(*published)].iter().cloned());
        *published = upto.max(*published);
    }
    fn written(&self) -> Vec<Vec<i64>> {
        let hidden = self.parts.values().flat_map(|(rows, published)| rows[*published..].iter().cloned());
        self.visible.iter().cloned().chain(hidden).collect()
    }
}

impl World {
    /// Another world, as this one is now.
    pub fn fork(&self) -> Arc<World> {
        let state = self.state.lock().unwrap().clone();
        Arc::new(World { state: Mutex::new(state), ..World::default() })
    }
    /// The rows published, in that order.
    pub fn in_order(&self) -> Vec<Vec<i64>> {
        self.state.lock().unwrap().visible.clone()
    }
    /// The rows published, sorted.
    pub fn published(&self) -> Vec<Vec<i64>> {
        let mut rows = self.state.lock().unwrap().visible.clone();
        rows.sort();
        rows
    }
    /// Waits until `done` holds of the rows written, published or not.
    pub fn wait(&self, limit: Duration, done: impl Fn(&[Vec<i64>]) -> bool) -> bool {
        let guard = self.state.lock().unwrap();
        let (guard, _) = self.changed.wait_timeout_while(guard, limit, |s| !done(&s.written())).unwrap();
        done(&guard.written())
    }
}

/// A sink into a [`World`]: every column must be an integer or a timestamp.
pub struct ToWorld(pub Arc<World>);

/// In a simulation: others may have their turn here.
fn others() {
    crate::runtime::turns::sim::seat().inspect(|seat| seat.pass());
}

struct WorldSink {
    world: Arc<World>,
    part: (u64, usize),
}

impl SinkFactory for ToWorld {
    fn mode(&self) -> SinkMode {
        SinkMode::TwoPhase
    }
    fn recover(&self, handles: Vec<Handle>) -> Result<()> {
        let mut state = self.0.state.lock().unwrap();
        handles.iter().for_each(|h| state.publish(h));
        state.parts.clear();
        state.incarnation += 1;
        Ok(())
    }
    fn open(&self, worker: usize, _schema: &SchemaRef) -> Result<Box<dyn Sink>> {
        let incarnation = self.0.state.lock().unwrap().incarnation;
        Ok(Box::new(WorldSink { world: Arc::clone(&self.0), part: (incarnation, worker) }))
    }
}

impl Sink for WorldSink {
    fn write(&mut self, _epoch: Epoch, batch: Batch) -> Result<()> {
        if self.world.failures.load(Ordering::SeqCst) > 0 {
            self.world.failures.fetch_sub(1, Ordering::SeqCst);
            return Err(Problem::outside("TEST-FULL", "no room"));
        }
        others();
        let mut state = self.world.state.lock().unwrap();
        // Of an incarnation that has been given up: as to a file that is no longer linked.
        if self.part.0 == state.incarnation {
            state.parts.entry(self.part).or_default().0.extend(integers(&batch.rows));
        }
        self.world.changed.notify_all();
        Ok(())
    }
    fn prepare(&mut self, _checkpoint: Epoch) -> Result<Handle> {
        let state = self.world.state.lock().unwrap();
        let rows = state.parts.get(&self.part).map_or(0, |(rows, _)| rows.len());
        Ok(Handle(serde_json::json!([self.part.0, self.part.1, rows])))
    }
    fn commit(&mut self, _checkpoint: Epoch, handle: &Handle) -> Result<()> {
        others();
        self.world.state.lock().unwrap().publish(handle);
        self.world.changed.notify_all();
        Ok(())
    }
}

/// The rows of a batch as integers.
pub fn integers(rows: &RecordBatch) -> Vec<Vec<i64>> {
    let cast = |c: &arrow::array::ArrayRef| arrow::compute::cast(c, &DataType::Int64).expect("integers and timestamps");
    let columns: Vec<arrow::array::ArrayRef> = rows.columns().iter().map(cast).collect();
    (0..rows.num_rows()).map(|r| columns.iter().map(|c| c.as_primitive::<Int64Type>().value(r)).collect()).collect()
}

impl RunningCount {
    /// One that cannot bear a key.
    pub fn panicking_on(key: i64) -> RunningCount {
        RunningCount { panic_on: Some(key), ..RunningCount::default() }
    }
}

/// Counts rows per key and puts out `key, count` for every row: a lost or doubled update shows as a gap or a repeat.
#[derive(Default)]
pub struct RunningCount {
    counts: BTreeMap<i64, i64>,
    changed: BTreeMap<i64, i64>,
    /// Panics at this count, while the switch is on.
    pub panic_at: Option<(i64, Arc<AtomicUsize>)>,
    /// Panics on this key, each time.
    panic_on: Option<i64>,
}

pub fn count_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, false), Field::new("count", DataType::Int64, false)]))
}

fn count_rows(rows: &[(i64, i64)]) -> RecordBatch {
    let key = Int64Array::from_iter_values(rows.iter().map(|r| r.0));
    let count = Int64Array::from_iter_values(rows.iter().map(|r| r.1));
    record_batch(count_schema(), vec![Arc::new(key), Arc::new(count)], rows.len())
}

impl Operator for RunningCount {
    fn on_batch(&mut self, _: usize, _: Epoch, batch: Batch, out: &mut Emit) -> Result<()> {
        let keys = batch.column("key").expect("it was asked for").as_primitive::<Int64Type>().clone();
        let mut rows = Vec::new();
        for key in keys.values() {
            assert_ne!(Some(*key), self.panic_on, "poison");
            let count = self.counts.entry(*key).or_default();
            *count += 1;
            self.changed.insert(*key, *count);
            rows.push((*key, *count));
            if let Some((at, on)) = &self.panic_at
                && *count == *at
                && on.swap(0, Ordering::SeqCst) > 0
            {
                panic!("planted");
            }
        }
        out.send(Batch::new(count_rows(&rows)));
        Ok(())
    }
    fn delta(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        let changed = std::mem::take(&mut self.changed);
        if !changed.is_empty() {
            out.push(block(&changed));
        }
        Ok(())
    }
    fn base(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        out.push(block(&self.counts));
        Ok(())
    }
    fn restore(&mut self, block: StateBlock, groups: &KeyGroups) -> Result<()> {
        let Change::Rows(rows) = block.change else { return Ok(()) };
        let group = rows.column(0).as_primitive::<UInt8Type>();
        let (key, count) = (rows.column(1).as_primitive::<Int64Type>(), rows.column(2).as_primitive::<Int64Type>());
        for row in (0..rows.num_rows()).filter(|r| groups.contains(group.value(*r))) {
            self.counts.insert(key.value(row), count.value(row));
        }
        Ok(())
    }
}

fn block(counts: &BTreeMap<i64, i64>) -> StateBlock {
    let rows = count_rows(&counts.iter().map(|(k, c)| (*k, *c)).collect::<Vec<_>>());
    let mut hashes = Vec::new();
    crate::key::hash_rows(&[Arc::clone(rows.column(0))], &mut hashes).expect("integers are keys");
    let group = UInt8Array::from_iter_values(hashes.iter().map(|h| crate::key::group(*h)));
    let schema = Schema::new(vec![
        Field::new("_group", DataType::UInt8, false),
        Field::new("key", DataType::Int64, false),
        Field::new("count", DataType::Int64, false),
    ]);
    let columns = vec![Arc::new(group) as _, Arc::clone(rows.column(0)), Arc::clone(rows.column(1))];
    let rows = record_batch(Arc::new(schema), columns, rows.num_rows());
    StateBlock { table: "counts".into(), segment: 0, change: Change::Rows(rows) }
}

/// Puts out the watermark of every close, once it has moved.
#[derive(Default)]
pub struct Watermarks(Option<Watermark>);

impl Operator for Watermarks {
    fn on_batch(&mut self, _: usize, _: Epoch, _: Batch, _: &mut Emit) -> Result<()> {
        Ok(())
    }
    fn on_close(&mut self, epoch: Epoch, watermark: Watermark, out: &mut Emit) -> Result<()> {
        if self.0 != Some(watermark) {
            self.0 = Some(watermark);
            let epoch = i64::try_from(epoch).expect("tests are short");
            out.send(Batch::new(count_rows(&[(watermark.0, epoch)])));
        }
        Ok(())
    }
}

/// source -> running count by key -> world.
pub fn counting(script: Script, world: &Arc<World>, panic_at: Option<(i64, Arc<AtomicUsize>)>) -> Pipeline {
    let mut pipeline = Pipeline::new("counting");
    pipeline.settings.epoch = Duration::from_millis(1);
    pipeline.settings.checkpoint_every = Duration::from_millis(5);
    let source = pipeline.source("rows", Arc::new(script), schema(), None);
    let make = move |_: &[SchemaRef]| {
        Ok(Box::new(RunningCount { panic_at: panic_at.clone(), ..RunningCount::default() }) as Box<dyn Operator>)
    };
    let work = Work::Operator {
        factory: Arc::new(make),
        reads: vec![Reads::Only(vec!["key".into()])],
        fingerprint: "count".into(),
    };
    let count = pipeline.operator(
        "count",
        "count",
        vec![Input::from(source).by(vec!["key".into()])],
        vec![count_schema()],
        work,
    );
    pipeline.sink("out", Input::from(count), Arc::new(ToWorld(Arc::clone(world))));
    pipeline
}

/// source with event time -> its watermarks -> world.
pub fn watermarks(script: Script, idle_after: Duration, out_of_order: Micros, world: &Arc<World>) -> Pipeline {
    let mut pipeline = Pipeline::new("watermarks");
    pipeline.settings.epoch = Duration::from_millis(1);
    let event_time = EventTime { field: "at".into(), out_of_order, idle_after };
    let source = pipeline.source("rows", Arc::new(script), schema(), Some(event_time));
    let make = |_: &[SchemaRef]| Ok(Box::<Watermarks>::default() as Box<dyn Operator>);
    let work = Work::Operator { factory: Arc::new(make), reads: vec![Reads::Only(vec![])], fingerprint: String::new() };
    let marks = pipeline.operator("marks", "marks", vec![Input::from(source)], vec![count_schema()], work);
    pipeline.sink("out", Input::from(marks), Arc::new(ToWorld(Arc::clone(world))));
    pipeline
}

/// What counting must publish for whole partitions: per key, 1 up to the number of its rows.
pub fn expected_counts(partitions: usize, rows: i64, keys: i64) -> Vec<Vec<i64>> {
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    for partition in 0..i64::try_from(partitions).unwrap() {
        for n in 0..rows {
            *counts.entry((n * 7 + partition) % keys).or_default() += 1;
        }
    }
    counts.into_iter().flat_map(|(key, total)| (1..=total).map(move |c| vec![key, c])).collect()
}
