//! `discard` in the registry.

use super::Discard;
use super::config::DiscardConfig;
use crate::kind::{Build, Kind, entry};
use millstream::Problem;
use millstream_pipelines::catalogue::{Inputs, KindInfo, Role};
use std::sync::Arc;

/// `discard`.
pub struct DiscardKind;

const EXAMPLE: &str = "version: 1
name: how-fast
nodes:
  bids: { kind: generator, dataset: bids, rows: 1000000 }
  nowhere: { kind: discard, from: bids }
";

impl Kind for DiscardKind {
    fn info(&self) -> KindInfo {
        entry::<DiscardConfig>("discard", Role::Sink, Inputs::One, EXAMPLE)
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        build.sink(Arc::new(Discard::new()))
    }
}
