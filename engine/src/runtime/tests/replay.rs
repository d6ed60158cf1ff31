//! Dead letters fed again: all of them or none, once, whatever stops it.

use super::world::{RunningCount, Script, ToWorld, World, count_schema, counting, expected_counts, schema};
use crate::batch::{Batch, record_batch};
use crate::dead::replay::{ReadRow, ReadRows};
use crate::dead::stored::{Selection, Stored};
use crate::operator::{Emit, Operator, Reads, Stage};
use crate::plan::{Input, Pipeline, Work};
use crate::runtime::{JobState, Resume, Runtime, Stop};
use crate::state::{Committed, LocalStore, Store};
use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Refuses odd keys, until it is mended.
struct Even {
    mended: bool,
}

impl Stage for Even {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> crate::Result<()> {
        let keys = batch.column("key").expect("it was asked for").as_primitive::<Int64Type>().clone();
        for (row, key) in keys.values().iter().enumerate() {
            match self.mended || key % 2 == 0 {
                true => out.send(batch.slice(row, 1)),
                false => out.reject(&batch, row, "TEST-ODD", "odd"),
            }
        }
        Ok(())
    }
}

fn pipeline(world: &Arc<World>, mended: bool) -> Pipeline {
    let whole = counting(Script::bounded(3, 400, 11), world, None);
    let mut pipeline = Pipeline::new("counting");
    pipeline.settings = whole.settings.clone();
    pipeline.settings.memory = 32 << 10;
    pipeline.settings.dead_letters.guard = None;
    let source = pipeline.add(whole.nodes[0].clone());
    let factory = Arc::new(move |_: &SchemaRef| Ok(Box::new(Even { mended }) as Box<dyn Stage>));
    let even = pipeline.stage("even", Input::from(source), schema(), Reads::Extra(vec!["key".into()]), factory);
    let factory = Arc::new(|_: &[SchemaRef]| Ok(Box::<RunningCount>::default() as Box<dyn Operator>));
    let reads = vec![Reads::Only(vec!["key".into()])];
    let work = Work::Operator { factory, reads, fingerprint: "count".into() };
    let inputs = vec![Input::from(even).by(vec!["key".into()])];
    let count = pipeline.operator("count", "count", inputs, vec![count_schema()], work);
    pipeline.sink("out", Input::from(count), Arc::new(ToWorld(Arc::clone(world))));
    pipeline
}

/// Reads `{"key":1}`.
fn read() -> ReadRows {
    Arc::new(|schema: &SchemaRef| {
        let schema = Arc::clone(schema);
        let read: ReadRow = Box::new(move |json| {
            let row: serde_json::Value = serde_json::from_str(json).expect("the engine writes JSON");
            let key = row["key"].as_i64().expect("a key");
            Ok(record_batch(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![key]))], 1))
        });
        Ok(read)
    })
}

fn letters(dir: &Path) -> usize {
    let store: Arc<dyn Store> =
        LocalStore::open_read_only(dir.join("counting"), Arc::new(crate::state::fs::RealFs)).unwrap();
    Stored::read(&Committed::newest(&store).unwrap().unwrap()).unwrap().letters().count()
}

#[test]
fn stopped_in_the_middle_nothing_has_happened() {
    for (workers, stop) in [(1, Stop::Drain), (2, Stop::Drain), (3, Stop::Kill)] {
        let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
        let runtime = Runtime::builder().workers(workers).state_dir(dir.path()).build().unwrap();
        let job = runtime.start(&pipeline(&world, false), Resume::OrFresh).unwrap();
        assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
        let (before, refused) = (world.published(), letters(dir.path()));
        assert!(refused > 400, "{refused} letters");

        // Nothing leaves, so memory fills up, and most of the letters still wait when it is stopped.
        world.failures.store(usize::MAX, Ordering::SeqCst);
        let replay = runtime.replay(&pipeline(&world, true), &Selection::default(), &read()).unwrap();
        assert_eq!((replay.plan.taken(), replay.plan.kept()), (refused, 0));
        let began = Instant::now();
        while replay.job.status().nodes.iter().all(|n| n.rows_in == 0) {
            assert!(began.elapsed() < LIMIT, "nothing is fed");
            replay.job.wait_timeout(Duration::from_millis(5));
        }
        replay.job.request_stop(stop);
        assert!(replay.job.wait_timeout(LIMIT).is_some(), "{workers} workers: it has not ended");
        assert_eq!(replay.job.status().checkpoints, 0);
        drop(replay);
        world.failures.store(0, Ordering::SeqCst);
        assert_eq!((world.published(), letters(dir.path())), (before, refused));

        let replay = runtime.replay(&pipeline(&world, true), &Selection::default(), &read()).unwrap();
        assert_eq!(replay.job.wait_timeout(LIMIT), Some(JobState::Stopped));
        assert_eq!(replay.job.status().checkpoints, 1, "a replay is one checkpoint");
        assert_eq!((world.published(), letters(dir.path())), (expected_counts(3, 400, 11), 0), "{workers} workers");

        // The sources go on where they were: at their end.
        let job = runtime.start(&pipeline(&world, true), Resume::Required).unwrap();
        assert_eq!(job.wait_timeout(LIMIT), Some(JobState::Stopped));
        assert_eq!(world.published(), expected_counts(3, 400, 11));
    }
}

#[test]
fn without_a_checkpoint_there_is_nothing_to_replay() {
    let (world, dir) = (Arc::new(World::default()), tempfile::tempdir().unwrap());
    let runtime = Runtime::builder().state_dir(dir.path()).build().unwrap();
    let refused = runtime.replay(&pipeline(&world, true), &Selection::default(), &read()).err().unwrap();
    assert_eq!(refused[0].code, "DEAD-NONE");
}
