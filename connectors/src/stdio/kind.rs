//! `stdin` and `stdout` in the registry.

use super::config::{StdinConfig, StdoutConfig};
use super::{Stdin, Stdout};
use crate::kind::{Build, Kind, entry, with_formats};
use millstream::Problem;
use millstream_pipelines::catalogue::{Guarantee, Inputs, KindInfo, Role};
use std::sync::Arc;

/// `stdin`.
pub struct StdinKind;
/// `stdout`.
pub struct StdoutKind;

/// Formats of whole files do not fit a pipe.
const LINES: [&str; 3] = ["text", "ndjson", "csv"];

const EXAMPLE: &str = "version: 1
name: grep-errors
nodes:
  lines: { kind: stdin, format: text }
  errors: { kind: filter, from: lines, where: \"value LIKE '%ERROR%'\" }
  out: { kind: stdout, from: errors, format: text, guarantee: at_most_once }
";

impl Kind for StdinKind {
    fn info(&self) -> KindInfo {
        // What was read from a pipe cannot be read again.
        let info = with_formats(entry::<StdinConfig>("stdin", Role::Source, Inputs::None, EXAMPLE), &LINES);
        KindInfo { guarantee: Guarantee::AtMostOnce, ..info }
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: StdinConfig = build.config()?;
        let schema = build.source_schema(crate::file::kind::own_columns(&config.format))?;
        let source = Stdin::new(config).map_err(|p| vec![build.locate(p)])?;
        build.source(Arc::new(source), schema);
        Ok(())
    }
}

impl Kind for StdoutKind {
    fn info(&self) -> KindInfo {
        let info = with_formats(entry::<StdoutConfig>("stdout", Role::Sink, Inputs::One, EXAMPLE), &LINES);
        KindInfo { guarantee: Guarantee::AtLeastOnce, ..info }
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: StdoutConfig = build.config()?;
        let sink = Stdout::new(config).map_err(|p| vec![build.locate(p)])?;
        build.sink(Arc::new(sink))
    }
}
