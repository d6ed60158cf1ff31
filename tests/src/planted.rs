//! Kinds of node that panic on every row with the word [`POISON`] in it: `planted_filter`, a `filter` without
//! state, and `planted_dedupe`, a `dedupe` whose state is broken when it panics.

use millstream::arrow::datatypes::SchemaRef;
use millstream::operator::{Emit, KeyGroups, Operator, Stage, StateBlock};
use millstream::plan::Work;
use millstream::{Batch, Epoch, Problem, Result, Watermark};
use millstream_connectors::transforms::kinds::{Dedupe, Filter};
use millstream_connectors::{Build, Kind};
use millstream_pipelines::catalogue::KindInfo;
use std::sync::Arc;

/// What nobody can bear.
const POISON: &str = "BOOM";

fn has_poison(batch: &Batch) -> bool {
    (0..batch.len()).any(|row| millstream::json::row_json(&batch.rows, row).contains(POISON))
}

/// `planted_filter`.
pub struct PlantedFilter;

/// `planted_dedupe`.
pub struct PlantedDedupe;

impl Kind for PlantedFilter {
    fn info(&self) -> KindInfo {
        KindInfo { name: "planted_filter".into(), ..Filter.info() }
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        Filter.build(build)?;
        if let Some(Work::Stage { factory, .. }) = build.pipeline.nodes.last_mut().map(|n| &mut n.work) {
            let real = Arc::clone(factory);
            *factory = Arc::new(move |schema: &SchemaRef| Ok(Box::new(Planted(real(schema)?)) as Box<dyn Stage>));
        }
        Ok(())
    }
}

impl Kind for PlantedDedupe {
    fn info(&self) -> KindInfo {
        KindInfo { name: "planted_dedupe".into(), ..Dedupe.info() }
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        Dedupe.build(build)?;
        if let Some(Work::Operator { factory, .. }) = build.pipeline.nodes.last_mut().map(|n| &mut n.work) {
            let real = Arc::clone(factory);
            *factory =
                Arc::new(move |schemas: &[SchemaRef]| Ok(Box::new(Planted(real(schemas)?)) as Box<dyn Operator>));
        }
        Ok(())
    }
}

/// The real thing, which has done its work by the time this panics.
struct Planted<T>(T);

impl Stage for Planted<Box<dyn Stage>> {
    fn apply(&mut self, batch: Batch, out: &mut Emit) -> Result<()> {
        let poison = has_poison(&batch);
        self.0.apply(batch, out)?;
        assert!(!poison, "{POISON}");
        Ok(())
    }
}

impl Operator for Planted<Box<dyn Operator>> {
    fn on_batch(&mut self, port: usize, epoch: Epoch, batch: Batch, out: &mut Emit) -> Result<()> {
        let poison = has_poison(&batch);
        self.0.on_batch(port, epoch, batch, out)?;
        assert!(!poison, "{POISON}");
        Ok(())
    }
    fn on_close(&mut self, epoch: Epoch, watermark: Watermark, out: &mut Emit) -> Result<()> {
        self.0.on_close(epoch, watermark, out)
    }
    fn delta(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.0.delta(out)
    }
    fn base(&mut self, out: &mut Vec<StateBlock>) -> Result<()> {
        self.0.base(out)
    }
    fn restore(&mut self, block: StateBlock, groups: &KeyGroups) -> Result<()> {
        self.0.restore(block, groups)
    }
}
