//! A source that a program feeds: rows sent from code, through a bounded queue.
//!
//! What has been sent cannot be read again, so a pipeline that reads a channel is at-most-once: rows
//! that had reached no checkpoint are lost when the job is killed, and a drained stop still loses those
//! that had been read ahead and not yet entered the dataflow. Nothing is lost when the feed is closed
//! and the job then ends by itself. What still waits in the queue is there for the next job of the same
//! process.

use super::row::Row;
use crate::batch::{BATCH_ROWS, Batch};
use crate::connect::{Body, Decoded, Decoder, PartitionId, Payload, Polled, Position, Reader, Source};
use crate::{Problem, Result};
use arrow::array::UInt64Array;
use arrow::datatypes::SchemaRef;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a reader waits before it says that nothing comes.
const QUIET: Duration = Duration::from_millis(50);

/// The sending end of a [`channel`]; clones send into the same one. The source ends when the last of
/// them is dropped or closed.
pub struct Feed<T>(SyncSender<T>);

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Feed(self.0.clone())
    }
}

/// A row that could not be sent, since the pipeline that read the channel is gone.
pub struct Closed<T>(pub T);

/// Without the row, so that `?` works for rows of any type.
impl<T> std::fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> std::fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the pipeline that read this channel is gone")
    }
}

impl<T> std::error::Error for Closed<T> {}

impl<T: Row> Feed<T> {
    /// Sends a row; waits for as long as the queue is full, also while no job reads it.
    ///
    /// # Errors
    /// Gives the row back once the [`Channel`] and every pipeline made of it have been dropped.
    pub fn send(&self, row: T) -> Result<(), Closed<T>> {
        self.0.send(row).map_err(|e| Closed(e.0))
    }

    /// Gives up this end, as dropping it does.
    pub fn close(self) {}
}

/// The reading end of a [`channel`], for [`Flow::channel`](super::Flow::channel). One job at a time: two
/// would share the rows between them.
pub struct Channel<T>(Arc<Mutex<Receiver<T>>>);

/// A source from code: what goes into the [`Feed`] comes out of the [`Channel`], in order.
///
/// At most `capacity` rows (at least 1) wait unread. Not replayable: at-most-once across a crash and a
/// stop. To lose nothing, close every feed and wait for the job to end.
pub fn channel<T: Row>(capacity: usize) -> (Feed<T>, Channel<T>) {
    let (send, receive) = sync_channel(capacity.max(1));
    (Feed(send), Channel(Arc::new(Mutex::new(receive))))
}

impl<T: Row> Source for Channel<T> {
    fn partitions(&self) -> Result<Vec<PartitionId>> {
        Ok(vec!["channel".into()])
    }
    fn open(&self, partition: &PartitionId, from: Option<&Position>) -> Result<Box<dyn Reader>> {
        let next = from.map_or(Some(0), |p| p.0.as_u64()).ok_or_else(|| {
            Problem::error("CHANNEL-POSITION", "the checkpoint holds a position that is not a channel's")
                .expected("the number of rows read")
        })?;
        Ok(Box::new(ChannelReader { rows: Arc::clone(&self.0), partition: Arc::clone(partition), next }))
    }
    fn decoder(&self, schema: &SchemaRef) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Project(schema.fields().iter().map(|f| f.name().clone()).collect())))
    }
    fn bounded(&self) -> bool {
        true
    }
    fn replayable(&self) -> bool {
        false
    }
}

struct ChannelReader<T> {
    rows: Arc<Mutex<Receiver<T>>>,
    partition: PartitionId,
    /// How many rows have been read, over all runs.
    next: u64,
}

impl<T: Row> Reader for ChannelReader<T> {
    fn next(&mut self, _budget: usize) -> Result<Polled> {
        let queue = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = match queue.recv_timeout(QUIET) {
            Ok(row) => vec![row],
            Err(RecvTimeoutError::Timeout) => return Ok(Polled::Idle),
            Err(RecvTimeoutError::Disconnected) => return Ok(Polled::End(Position(self.next.into()))),
        };
        rows.extend(queue.try_iter().take(BATCH_ROWS - 1));
        drop(queue);
        let body = Body::Rows { start: self.next, rows: T::to_batch(&rows) };
        self.next += rows.len() as u64;
        let payload = Payload::new(&self.partition, body);
        Ok(Polled::Data(payload, Position(self.next.into())))
    }
}

/// Keeps the columns that the plan wants.
struct Project(Vec<String>);

impl Decoder for Project {
    fn decode(&mut self, payload: Payload, out: &mut Decoded) -> Result<()> {
        let Body::Rows { start, rows } = payload.body else {
            return Err(Problem::internal("a channel was handed a payload that is not rows"));
        };
        let names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let positions = UInt64Array::from_iter_values(start..start + rows.num_rows() as u64);
        out.rows(Batch::new(rows).project(&names).rows, positions);
        Ok(())
    }
}
