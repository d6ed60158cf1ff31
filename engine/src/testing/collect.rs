//! A sink that keeps what reaches it.

use crate::Result;
use crate::batch::Batch;
use crate::connect::{Sink, SinkFactory, SinkMode};
use crate::time::Epoch;
use arrow::datatypes::SchemaRef;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What has reached a port, in order.
#[derive(Default)]
pub(super) struct Collected(Mutex<Vec<Batch>>);

impl Collected {
    pub fn lock(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the sinks that keep it.
pub(super) struct Collector(pub Arc<Collected>);

impl SinkFactory for Collector {
    fn mode(&self) -> SinkMode {
        SinkMode::Direct
    }
    fn open(&self, _worker: usize, _schema: &SchemaRef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(CollectorSink(Arc::clone(&self.0))))
    }
}

struct CollectorSink(Arc<Collected>);

impl Sink for CollectorSink {
    fn write(&mut self, _epoch: Epoch, mut batch: Batch) -> Result<()> {
        // Kept until the end: it must not count against what may be under way.
        (batch.charge, batch.origin) = (None, None);
        self.0.lock().push(batch);
        Ok(())
    }
}
