//! A source that a program feeds: rows sent from code, through a bounded queue.
//!
//! ```text
//!   Feed --queue (bounded)--> log: rows read, kept until a checkpoint covers them --> reader of a job
//! ```
//!
//! What has been read stays in the log until a checkpoint that covers it is durable. So whatever `send` has
//! accepted is there for the next job of the same process, wherever the one before was stopped or killed:
//! rows that no checkpoint covers come again, those that had been read ahead come for the first time. The log
//! and the queue end with the process: across a crash a channel is at-most-once.

use super::row::Row;
use crate::batch::{BATCH_ROWS, Batch};
use crate::connect::{Body, Decoded, Decoder, PartitionId, Payload, Polled, Position, Reader, Source};
use crate::{Problem, Result};
use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
pub struct Channel<T>(Arc<Shared<T>>);

struct Shared<T> {
    /// Tells this channel's positions from those of another, or of another process.
    id: u64,
    queue: Mutex<Receiver<T>>,
    log: Mutex<Log>,
}

/// Rows that have been read and that no checkpoint covers yet.
#[derive(Default)]
struct Log {
    /// The number of the first row of each batch, and the batch; without gaps.
    batches: VecDeque<(u64, RecordBatch)>,
    /// The number of the next row to be read from the queue.
    end: u64,
}

impl Log {
    fn append(&mut self, rows: RecordBatch) {
        let start = self.end;
        self.end += rows.num_rows() as u64;
        self.batches.push_back((start, rows));
    }
    /// Rows from `next` on, of one batch; `None` where there are none yet.
    fn from(&self, next: u64) -> Option<(u64, RecordBatch)> {
        let after = self.batches.partition_point(|(start, rows)| start + rows.num_rows() as u64 <= next);
        let (start, rows) = self.batches.get(after)?;
        let skipped = usize::try_from(next.saturating_sub(*start)).expect("rows in memory");
        Some((start + skipped as u64, rows.slice(skipped, rows.num_rows() - skipped)))
    }
    /// Lets go of the rows before `next`.
    fn covered(&mut self, next: u64) {
        while self.batches.front().is_some_and(|(start, rows)| start + rows.num_rows() as u64 <= next) {
            self.batches.pop_front();
        }
    }
}

/// The next row to read, by the channel's own count.
#[derive(Serialize, Deserialize)]
struct Place {
    channel: u64,
    next: u64,
}

impl Place {
    fn of(position: &Position) -> Result<Place> {
        serde_json::from_value(position.0.clone()).map_err(|e| {
            Problem::error("CHANNEL-POSITION", "the checkpoint holds a position that is not a channel's")
                .found(format!("{}: {e}", position.0))
                .expected("the number of a row and the channel that counts")
        })
    }
    fn to_position(&self) -> Position {
        Position(serde_json::to_value(self).expect("two numbers are JSON"))
    }
}

/// A source from code: what goes into the [`Feed`] comes out of the [`Channel`], in order.
///
/// At most `capacity` rows (at least 1) wait unread; what has been read is kept in memory until a checkpoint
/// covers it, and is there for the next job of the same process. Across a crash of the process it is
/// at-most-once.
pub fn channel<T: Row>(capacity: usize) -> (Feed<T>, Channel<T>) {
    let (send, receive) = sync_channel(capacity.max(1));
    let id = RandomState::new().hash_one(capacity);
    (Feed(send), Channel(Arc::new(Shared { id, queue: Mutex::new(receive), log: Mutex::default() })))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Row> Source for Channel<T> {
    fn partitions(&self) -> Result<Vec<PartitionId>> {
        Ok(vec!["channel".into()])
    }
    fn open(&self, partition: &PartitionId, from: Option<&Position>) -> Result<Box<dyn Reader>> {
        // A position of another channel says nothing of what this one holds: all of it is new then.
        let own = from.map(Place::of).transpose()?.filter(|place| place.channel == self.0.id);
        let next = own.map_or(0, |place| place.next);
        Ok(Box::new(ChannelReader { shared: Arc::clone(&self.0), partition: Arc::clone(partition), next }))
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
    fn committed(&self, positions: &[(PartitionId, Position)]) {
        for (_, position) in positions {
            // They are our own: `open` would have refused another.
            if let Ok(place) = Place::of(position)
                && place.channel == self.0.id
            {
                lock(&self.0.log).covered(place.next);
            }
        }
    }
}

struct ChannelReader<T> {
    shared: Arc<Shared<T>>,
    partition: PartitionId,
    /// The number of the next row.
    next: u64,
}

impl<T: Row> ChannelReader<T> {
    fn place(&self) -> Position {
        Place { channel: self.shared.id, next: self.next }.to_position()
    }
    fn give(&mut self, (start, rows): (u64, RecordBatch)) -> Polled {
        self.next = start + rows.num_rows() as u64;
        let body = Body::Rows { start, rows };
        let payload = Payload::new(&self.partition, body);
        Polled::Data(payload, self.place())
    }
}

impl<T: Row> Reader for ChannelReader<T> {
    fn next(&mut self, _budget: usize) -> Result<Polled> {
        let shared = Arc::clone(&self.shared);
        let queue = lock(&shared.queue);
        // Under the queue's lock: the reader of a job that is just ending may have added to the log.
        if let Some(rows) = lock(&shared.log).from(self.next) {
            return Ok(self.give(rows));
        }
        // Never under the log's: the committer needs that one while we wait.
        let mut rows = match queue.recv_timeout(QUIET) {
            Ok(row) => vec![row],
            Err(RecvTimeoutError::Timeout) => return Ok(Polled::Idle),
            Err(RecvTimeoutError::Disconnected) => return Ok(Polled::End(self.place())),
        };
        rows.extend(queue.try_iter().take(BATCH_ROWS - 1));
        let mut log = lock(&shared.log);
        log.append(T::to_batch(&rows));
        let rows = log.from(self.next).expect("what has just been added");
        Ok(self.give(rows))
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
