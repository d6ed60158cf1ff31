//! `file_source` and `file_sink` in the registry.

use super::{FileSinkConfig, FileSinkFactory, FileSource, FileSourceConfig};
use crate::format::Format;
use crate::kind::{Build, Kind, entry, with_formats};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream::Problem;
use millstream_pipelines::catalogue::{Inputs, KindInfo, Role};
use std::sync::Arc;

/// `file_source`.
pub struct FileSourceKind;
/// `file_sink`.
pub struct FileSinkKind;

impl Kind for FileSourceKind {
    fn info(&self) -> KindInfo {
        entry::<FileSourceConfig>("file_source", Role::Source, Inputs::None, include_str!("source.example.yaml"))
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: FileSourceConfig = build.config()?;
        let schema = build.source_schema(own_columns(&config.format))?;
        let source =
            FileSource::new(config, build.access.clone(), Arc::clone(&schema)).with_events(Arc::clone(&build.events));
        build.source(Arc::new(source), schema);
        Ok(())
    }
}

impl Kind for FileSinkKind {
    fn info(&self) -> KindInfo {
        let info = entry::<FileSinkConfig>("file_sink", Role::Sink, Inputs::One, include_str!("sink.example.yaml"));
        with_formats(info, &["text", "ndjson", "csv", "parquet"])
    }
    fn build(&self, build: &mut Build<'_>) -> Result<(), Vec<Problem>> {
        let config: FileSinkConfig = build.config()?;
        let factory = FileSinkFactory::new(config, build.access, &owner(build)).map_err(|p| vec![build.locate(p)])?;
        build.sink(Arc::new(factory))
    }
}

/// Names the sink in its hidden files, so that two sinks of one folder know their own.
fn owner(build: &Build<'_>) -> String {
    format!("{}.{}", build.pipeline.name, build.node.name)
}

/// Lines of text have a column of their own; other formats need theirs declared.
pub(crate) fn own_columns(format: &Format) -> Option<SchemaRef> {
    match format {
        Format::Text => Some(Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, false)]))),
        _ => None,
    }
}
