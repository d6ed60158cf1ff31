//! What a connector implements.
//!
//! ```text
//!   Source --open--> Reader (own thread) --Polled--> Decoder (worker) --RecordBatch--> dataflow
//!   dataflow --Batch--> Sink (own thread): write.. prepare(c) | record of c is durable | commit(c)
//! ```
//!
//! A reader returns raw payload; decoding to Arrow happens on the dataflow worker, with the schema
//! projected to the columns that the plan uses. Position and rows travel together: a position is in a
//! checkpoint exactly when its rows are in that epoch or an earlier one.

use crate::Result;
use crate::batch::Batch;
use crate::time::{Epoch, Micros};
use arrow::array::{RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A partition's name, unique and stable within its source: a file's path, a topic's partition.
pub type PartitionId = Arc<str>;

/// Where to go on reading a partition: always the next record to read, never the last one read.
///
/// The content is the connector's own; it must be enough to notice that the partition is no longer
/// the one it was (a file replaced, a topic recreated).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub serde_json::Value);

/// Something outside from which records come.
pub trait Source: Send + Sync + 'static {
    /// The positions of the checkpoint that is resumed from: called once, before anything else, and not
    /// at all on a fresh start. A source whose partitions change their names (a file that is renamed)
    /// needs all of them before it can say which partitions are new; every one of them is opened again,
    /// whether or not [`partitions`](Source::partitions) still lists it.
    fn resume(&self, _positions: &[(PartitionId, Position)]) -> Result<()> {
        Ok(())
    }
    /// The partitions there are now. Called at the start and again every second while the source is not
    /// [bounded](Source::bounded); new ones are read from their beginning.
    fn partitions(&self) -> Result<Vec<PartitionId>>;
    /// Opens one partition at `from`, or where the source's own `start` option says. Called on the
    /// partition's own thread; may block.
    ///
    /// # Errors
    /// Also when `from` no longer fits what is there: a position is never silently skipped.
    fn open(&self, partition: &PartitionId, from: Option<&Position>) -> Result<Box<dyn Reader>>;
    /// A decoder for one worker, for exactly the columns of `schema`, in that order (a projection of
    /// the source's schema; fields that begin with an underscore come from the transport).
    fn decoder(&self, schema: &SchemaRef) -> Result<Box<dyn Decoder>>;
    /// True if the source ends by itself once everything that is there has been read.
    fn bounded(&self) -> bool;
    /// False if a position cannot be read again (stdin): such a source makes a pipeline at-most-once.
    fn replayable(&self) -> bool {
        true
    }
    /// A record that a decoder of this source has refused, as it is given to a decoder again: a dead letter that
    /// is replayed. By default it is a line; a source of messages gives a message.
    fn body(&self, refused: Refused) -> Body {
        Body::Bytes { start: refused.position, data: refused.payload }
    }
    /// The checkpoint with these positions is durable: confirm upstream.
    fn committed(&self, _positions: &[(PartitionId, Position)]) {}
}

/// Reads one partition, in order, on a thread of its own.
pub trait Reader: Send {
    /// The next payload. May block, for at most about 100 ms where nothing comes: then [`Polled::Idle`].
    /// `budget` is the number of bytes after which to stop adding to one payload.
    fn next(&mut self, budget: usize) -> Result<Polled>;
    /// How far the partition is behind its newest known position, in bytes or records; `None` = unknown.
    fn lag(&self) -> Option<u64> {
        None
    }
}

/// What a [`Reader`] found.
#[derive(Debug)]
pub enum Polled {
    /// Something to decode, and the position after it.
    Data(Payload, Position),
    /// Everything that is there has been read; more may come.
    Idle,
    /// The partition has ended; nothing will ever come again. The position says so, for the checkpoint.
    End(Position),
}

/// Raw input on its way from a reader to a decoder.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The partition it came from.
    pub partition: PartitionId,
    /// When it was read: wall clock. The runtime fills it in, by the job's own clock.
    pub received: Micros,
    /// The content.
    pub body: Body,
}

/// The content of a [`Payload`].
#[derive(Clone, Debug)]
pub enum Body {
    /// Whole records, one after the other, each ended by a line end (the last one may lack it).
    /// `start` is the position of the first byte.
    Bytes {
        /// Position of the first byte.
        start: u64,
        /// The bytes.
        data: Bytes,
    },
    /// Separate messages, as a broker delivers them.
    Messages(Vec<Message>),
    /// Rows that are columns already, with all columns of the source's schema; `start` is the
    /// position of the first row, the others count up from it.
    Rows {
        /// Position of the first row.
        start: u64,
        /// The rows.
        rows: RecordBatch,
    },
}

/// One message of a broker.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The offset.
    pub position: u64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order.
    pub headers: Vec<(String, Bytes)>,
    /// The broker's timestamp.
    pub timestamp: Option<Micros>,
}

impl Payload {
    /// What a reader has read.
    pub fn new(partition: &PartitionId, body: Body) -> Payload {
        Payload { partition: Arc::clone(partition), received: 0, body }
    }
    /// Its size for the memory budget, in bytes.
    pub fn size(&self) -> usize {
        match &self.body {
            Body::Bytes { data, .. } => data.len(),
            Body::Messages(m) => m
                .iter()
                .map(|m| 64 + m.key.as_ref().map_or(0, |k| k.len()) + m.value.as_ref().map_or(0, |v| v.len()))
                .sum(),
            Body::Rows { rows, .. } => rows.get_array_memory_size(),
        }
    }
}

/// Turns payloads into record batches, on the worker.
pub trait Decoder: 'static {
    /// Decodes one payload. Rows go to `out` in order, in batches of at most
    /// [`BATCH_ROWS`](crate::batch::BATCH_ROWS); a record that cannot be decoded goes to
    /// [`Decoded::reject`] and does not stop the others.
    fn decode(&mut self, payload: Payload, out: &mut Decoded) -> Result<()>;
}

/// What a [`Decoder`] made of a payload.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Rows in order, each with its position in the partition.
    pub batches: Vec<(RecordBatch, UInt64Array)>,
    /// Records that could not be decoded.
    pub rejects: Vec<Reject>,
}

/// A record that could not be decoded: it becomes a dead letter.
#[derive(Clone, Debug)]
pub struct Reject {
    /// Its position in the partition.
    pub position: u64,
    /// Stable code, such as `JSON-SYNTAX`.
    pub code: &'static str,
    /// What was found and what was expected.
    pub message: String,
    /// Its key, where the transport has one.
    pub key: Option<Bytes>,
    /// The original bytes.
    pub payload: Bytes,
}

/// What a dead letter keeps of a record that could not be decoded.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its position in the partition.
    pub position: u64,
    /// Its key, where the transport has one.
    pub key: Option<Bytes>,
    /// The original bytes.
    pub payload: Bytes,
}

impl Decoded {
    /// Adds rows; `positions` holds one position per row.
    pub fn rows(&mut self, rows: RecordBatch, positions: UInt64Array) {
        debug_assert_eq!(rows.num_rows(), positions.len());
        if rows.num_rows() > 0 {
            self.batches.push((rows, positions));
        }
    }
    /// Sets a record aside.
    pub fn reject(&mut self, position: u64, code: &'static str, message: impl Into<String>, payload: Bytes) {
        self.rejects.push(Reject { position, code, message: message.into(), key: None, payload });
    }
}

/// How a sink delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkMode {
    /// Writes its own hidden bytes before the checkpoint and publishes them after it: exactly once.
    TwoPhase,
    /// Writes as batches come: at least once.
    Direct,
}

/// What a sink made durable for a checkpoint; stands in the commit record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Handle(pub serde_json::Value);

/// Makes one sink per worker.
pub trait SinkFactory: Send + Sync + 'static {
    /// How the sinks it makes deliver.
    fn mode(&self) -> SinkMode;
    /// Brings the outside to what the last commit record says, once, before any sink is opened:
    /// `handles` holds the handle of every worker that stands in it. Must be idempotent.
    fn recover(&self, _handles: Vec<Handle>) -> Result<()> {
        Ok(())
    }
    /// Opens the sink of one worker. `schema` is what every batch will have.
    fn open(&self, worker: usize, schema: &SchemaRef) -> Result<Box<dyn Sink>>;
}

/// Where records leave. Runs on a thread of its own; calls may block.
pub trait Sink: Send {
    /// Rows of epoch `epoch`; epochs never go back.
    fn write(&mut self, epoch: Epoch, batch: Batch) -> Result<()>;
    /// Nothing more is queued for now: let go of what is buffered (write to the file; no sync).
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    /// How long until it wants a checkpoint even if nothing more comes (a file that is due to be closed);
    /// `None` = it does not.
    fn due(&self) -> Option<Duration> {
        None
    }
    /// Everything up to `checkpoint` has been written: make it durable, publish nothing.
    fn prepare(&mut self, _checkpoint: Epoch) -> Result<Handle> {
        Ok(Handle(serde_json::Value::Null))
    }
    /// The record of `checkpoint` is durable: publish. In order; idempotent.
    fn commit(&mut self, _checkpoint: Epoch, _handle: &Handle) -> Result<()> {
        Ok(())
    }
    /// No more rows will come, and the next `prepare` is the last: roll what is open.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
