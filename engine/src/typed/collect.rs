//! A sink for programs: rows in memory, with their weights.

use super::row::Row;
use crate::Result;
use crate::batch::Batch;
use crate::connect::{Sink, SinkFactory, SinkMode};
use crate::time::Epoch;
use arrow::datatypes::SchemaRef;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A row that came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update<T> {
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// How many times it came; below zero, how many times it was taken back.
    pub diff: i64,
    /// The row.
    pub row: T,
}

/// The rows of a batch as updates.
pub(super) fn updates<T: Row>(epoch: Epoch, batch: &Batch) -> Result<Vec<Update<T>>> {
    let diff = |row: usize| batch.diff.as_ref().map_or(1, |d| d.value(row));
    let rows = T::from_batch(&batch.rows)?.into_iter().enumerate();
    Ok(rows.map(|(n, row)| Update { epoch, diff: diff(n), row }).collect())
}

struct Store<T> {
    rows: Mutex<Vec<Update<T>>>,
    more: Condvar,
}

/// The sink of [`collect`], for [`Stream::to`](super::Stream::to).
pub struct Collector<T>(Arc<Store<T>>);

/// What a [`collect`] sink has received.
pub struct Collected<T>(Arc<Store<T>>);

/// A sink into memory, and the handle from which the program takes the rows.
///
/// Rows come as they are written, before the checkpoint that covers them: after a crash and a restart
/// some may come again (at least once). Nothing bounds what has not been taken.
pub fn collect<T: Row>() -> (Collector<T>, Collected<T>) {
    let store = Arc::new(Store { rows: Mutex::default(), more: Condvar::new() });
    (Collector(Arc::clone(&store)), Collected(store))
}

impl<T> Collected<T> {
    /// What has come since the last call. Rows of one worker are in order.
    pub fn take(&self) -> Vec<Update<T>> {
        std::mem::take(&mut self.0.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `done` holds of what is there, at most this long; true if it holds.
    pub fn wait(&self, limit: Duration, done: impl Fn(&[Update<T>]) -> bool) -> bool {
        let guard = self.0.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.more.wait_timeout_while(guard, limit, |rows| !done(rows));
        let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        done(&guard)
    }
}

impl<T: Row> SinkFactory for Collector<T> {
    fn mode(&self) -> SinkMode {
        SinkMode::Direct
    }
    fn open(&self, _worker: usize, _schema: &SchemaRef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(CollectSink(Arc::clone(&self.0))))
    }
}

struct CollectSink<T>(Arc<Store<T>>);

impl<T: Row> Sink for CollectSink<T> {
    fn write(&mut self, epoch: Epoch, batch: Batch) -> Result<()> {
        let rows = updates(epoch, &batch)?;
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner).extend(rows);
        self.0.more.notify_all();
        Ok(())
    }
}
