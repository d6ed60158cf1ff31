//! `generator` in the registry.

use super::{Generator, GeneratorConfig};
use crate::kind::{Build, Kind, entry};
use millstream::Problem;
use millstream_pipelines::catalogue::{Inputs, KindInfo, Role};
use std::sync::Arc;

/// `generator`.
pub struct GeneratorKind;

const EXAMPLE: &str = "version: 1
name: dearest-bids
nodes:
  bids:
    kind: generator
    dataset: bids
    rows: 100000
    event_time: { field: ts, out_of_order: 0s }
  dearest: { kind: window, from: bids, every: 10s, select: { price: max(price) } }
  out: { kind: stdout, from: dearest, guarantee: at_least_once }
";

impl Kind for GeneratorKind {
    fn info(&self) -> KindInfo {
        entry::<GeneratorConfig>("generator", Role::Source, Inputs::None, EXAMPLE)
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: GeneratorConfig = build.config()?;
        let source = Generator::new(config);
        let schema = build.source_schema(Some(source.schema()))?;
        build.source(Arc::new(source), schema);
        Ok(())
    }
}
