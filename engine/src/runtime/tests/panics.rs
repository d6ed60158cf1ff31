//! A row that makes its node panic each time: it becomes a dead letter, and the rest is as if it had not been.

use super::world::{RunningCount, Script, World, count_schema, counting, expected_counts, schema};
use crate::batch::Batch;
use crate::connect::{Decoded, Decoder, PartitionId, Payload, Position, Reader, Source};
use crate::dead::stored::Stored;
use crate::operator::{Emit, Operator, Reads, Stage};
use crate::plan::{Input, Pipeline, Work};
use crate::problem::Retry;
use crate::runtime::{JobState, Resume, Runtime};
use crate::state::{Committed, LocalStore, Store};
use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, SchemaRef};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const KEYS: i64 = 301;
/// The key that nobody can bear.
const POISON: i64 = 7;

/// Node, code, and input or payload of every letter, sorted.
fn letters(dir: &Path) -> Vec<(String, String, String)> {
    let fs = Arc::new(crate::state::fs::RealFs);
    let store: Arc<dyn Store> = LocalStore::open_read_only(dir.join("counting"), fs).unwrap();
    let stored = Stored::read(&Committed::newest(&store).unwrap().unwrap()).unwrap();
    let own = |l: &crate::dead::stored::Letter<'_>| l.input().map(String::from).unwrap_or_default();
    let mut letters: Vec<_> = stored.letters().map(|l| (l.node().into(), l.code().into(), own(&l))).collect();
    letters.sort();
    letters
}

fn expected() -> Vec<Vec<i64>> {
    let mut rows = expected_counts(3, 900, KEYS);
    rows.retain(|row| row[0] != POISON);
    rows
}

fn poisoned() -> usize {
    expected_counts(3, 900, KEYS).iter().filter(|row| row[0] == POISON).count()
}

/// Starts again as long as the problem is worth it; how often it was.
fn run(pipeline: impl Fn() -> Pipeline, workers: usize, dir: &Path) -> (JobState, usize) {
    let runtime = Runtime::builder().workers(workers).state_dir(dir).build().unwrap();
    for starts in 1.. {
        let job = runtime.start(&pipeline(), Resume::OrFresh).unwrap();
        match job.wait_timeout(LIMIT).expect("it ends") {
            JobState::Failed(problem) if problem.retry == Retry::Backoff => {
                assert_eq!((&*problem.code, problem.node.as_deref()), ("NODE-PANIC", Some("count")));
            }
            state => return (state, starts),
        }
    }
    unreachable!("it counts on for ever")
}

#[test]
fn an_operator_loses_the_row_and_nothing_else() {
    for workers in 1..=3 {
        let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
        let pipeline = || {
            let mut pipeline = counting(Script::bounded(3, 900, KEYS), &world, None);
            let Work::Operator { factory, .. } = &mut pipeline.nodes[1].work else { unreachable!() };
            *factory =
                Arc::new(|_: &[SchemaRef]| Ok(Box::new(RunningCount::panicking_on(POISON)) as Box<dyn Operator>));
            pipeline
        };
        let (state, starts) = run(pipeline, workers, dir.path());
        assert_eq!(state, JobState::Stopped, "{workers} workers");
        let most = 3 + 2 * poisoned();
        assert!(
            (4..=most).contains(&starts),
            "{workers} workers, {starts} starts: two to find out, one for each row, one to end"
        );
        assert_eq!(world.published(), expected(), "{workers} workers");
        let letter = ("count".to_string(), "NODE-PANIC".to_string(), format!("{{\"key\":{POISON}}}"));
        assert_eq!(letters(dir.path()), vec![letter; poisoned()], "{workers} workers");
    }
}

/// Panics while it closes an epoch: no row is to blame.
struct Never(RunningCount);

impl Operator for Never {
    fn on_batch(&mut self, port: usize, epoch: u64, batch: Batch, out: &mut Emit) -> crate::Result<()> {
        self.0.on_batch(port, epoch, batch, out)
    }
    fn on_close(&mut self, _: u64, _: crate::Watermark, _: &mut Emit) -> crate::Result<()> {
        panic!("poison")
    }
}

#[test]
fn a_panic_without_a_row_fails_the_job_in_the_end() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let pipeline = || {
        let mut pipeline = counting(Script::bounded(1, 10, 3), &world, None);
        let Work::Operator { factory, .. } = &mut pipeline.nodes[1].work else { unreachable!() };
        *factory = Arc::new(|_: &[SchemaRef]| Ok(Box::new(Never(RunningCount::default())) as Box<dyn Operator>));
        pipeline
    };
    let (state, starts) = run(pipeline, 1, dir.path());
    let JobState::Failed(problem) = state else { panic!("{state:?}") };
    assert_eq!((&*problem.code, problem.retry, starts), ("NODE-PANIC", Retry::No, 4));
    assert!(world.published().is_empty());
}

/// Passes rows on, and cannot bear one key; has broken itself by the time it panics.
struct Pass {
    broken: bool,
}

impl Stage for Pass {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> crate::Result<()> {
        assert!(!self.broken, "a stage that has panicked is not used again");
        let keys = batch.column("key").unwrap().as_primitive::<Int64Type>().clone();
        out.send(batch.slice(0, 1));
        self.broken = true;
        assert!(!keys.values().contains(&POISON), "poison");
        self.broken = false;
        out.send(batch.slice(1, batch.len() - 1));
        Ok(())
    }
}

#[test]
fn a_stage_loses_the_row_at_once() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let pipeline = || {
        let whole = counting(Script::bounded(3, 900, KEYS), &world, None);
        let mut pipeline = Pipeline::new("counting");
        pipeline.settings = whole.settings.clone();
        let source = pipeline.add(whole.nodes[0].clone());
        let factory = Arc::new(|_: &SchemaRef| Ok(Box::new(Pass { broken: false }) as Box<dyn Stage>));
        let pass = pipeline.stage("pass", Input::from(source), schema(), Reads::Extra(vec!["key".into()]), factory);
        let inputs = vec![Input::from(pass).by(vec!["key".into()])];
        let count = pipeline.operator("count", "count", inputs, vec![count_schema()], whole.nodes[1].work.clone());
        pipeline.sink("out", Input::from(count), Arc::new(super::world::ToWorld(Arc::clone(&world))));
        pipeline
    };
    let (state, starts) = run(pipeline, 2, dir.path());
    assert_eq!((state, starts), (JobState::Stopped, 1));
    assert_eq!(world.published(), expected());
    let letter = ("pass".to_string(), "NODE-PANIC".to_string(), format!("{{\"key\":{POISON}}}"));
    assert_eq!(letters(dir.path()), vec![letter; poisoned()]);
}

/// A source whose decoder cannot bear one key.
struct Unbearable(Script);

struct Picky(Box<dyn Decoder>);

impl Source for Unbearable {
    fn partitions(&self) -> crate::Result<Vec<PartitionId>> {
        self.0.partitions()
    }
    fn open(&self, partition: &PartitionId, from: Option<&Position>) -> crate::Result<Box<dyn Reader>> {
        self.0.open(partition, from)
    }
    fn decoder(&self, schema: &SchemaRef) -> crate::Result<Box<dyn Decoder>> {
        Ok(Box::new(Picky(self.0.decoder(schema)?)))
    }
    fn bounded(&self) -> bool {
        self.0.bounded()
    }
}

impl Decoder for Picky {
    fn decode(&mut self, payload: Payload, out: &mut Decoded) -> crate::Result<()> {
        self.0.decode(payload, out)?;
        let keys = |rows: &arrow::array::RecordBatch| rows.column(0).as_primitive::<Int64Type>().clone();
        assert!(!out.batches.iter().any(|(rows, _)| keys(rows).values().contains(&POISON)), "poison");
        Ok(())
    }
}

#[test]
fn a_decoder_loses_the_record_at_once() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let pipeline = || {
        let mut pipeline = counting(Script::bounded(3, 900, KEYS), &world, None);
        pipeline.nodes[0].work = Work::Source(Arc::new(Unbearable(Script::bounded(3, 900, KEYS))));
        pipeline
    };
    let (state, starts) = run(pipeline, 2, dir.path());
    assert_eq!((state, starts), (JobState::Stopped, 1));
    assert_eq!(world.published(), expected());
    let found = letters(dir.path());
    assert_eq!(found, vec![("rows".to_string(), "NODE-PANIC".to_string(), String::new()); poisoned()]);
}
