//! The counting sink.

use arrow::datatypes::SchemaRef;
use millstream::connect::{Sink, SinkFactory, SinkMode};
use millstream::{Batch, Epoch, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the rows of all its sinks.
#[derive(Clone, Debug, Default)]
pub struct Discard {
    rows: Arc<AtomicU64>,
}

impl Discard {
    /// A sink that has seen nothing yet.
    pub fn new() -> Discard {
        Discard::default()
    }
    /// Rows since it was made, of all workers.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }
}

impl SinkFactory for Discard {
    fn mode(&self) -> SinkMode {
        SinkMode::Direct
    }
    fn open(&self, _worker: usize, _schema: &SchemaRef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(self.clone()))
    }
}

impl Sink for Discard {
    fn write(&mut self, _epoch: Epoch, batch: Batch) -> Result<()> {
        self.rows.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}
