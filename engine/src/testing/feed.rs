//! A source that gives what a test feeds it, through the decoder of the source that it stands in for.

use crate::batch::record_batch;
use crate::connect::{Body, Decoded, Decoder, PartitionId, Payload, Polled, Position, Reader, Source};
use crate::{Problem, Result};
use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt64Array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long a reader first waits before it says that nothing comes, and at the longest.
const QUIET: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// What is still to be read of one source.
#[derive(Default)]
pub(super) struct Feed {
    state: Mutex<State>,
    more: Condvar,
    decoded: AtomicU64,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Body>,
    /// The position of the next record: of its first byte, or its number.
    next: u64,
    pushed: u64,
    closed: bool,
}

impl Feed {
    /// Feeds one payload; where its body begins is found here.
    pub fn push(&self, body: Body) {
        let mut state = self.lock();
        let start = state.next;
        let (len, body) = match body {
            Body::Bytes { data, .. } => (data.len() as u64, Body::Bytes { start, data }),
            Body::Rows { rows, .. } => (rows.num_rows() as u64, Body::Rows { start, rows }),
            Body::Messages(mut messages) => {
                (start..).zip(&mut messages).for_each(|(n, m)| m.position = n);
                (messages.len() as u64, Body::Messages(messages))
            }
        };
        state.next += len;
        state.pushed += 1;
        state.queue.push_back(body);
        drop(state);
        self.more.notify_all();
    }
    /// Nothing more will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
    }
    /// True once everything that was pushed has been decoded.
    pub fn is_taken(&self) -> bool {
        self.decoded.load(Ordering::Acquire) >= self.lock().pushed
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands in for a source.
pub(super) struct Fed {
    pub feed: Arc<Feed>,
    pub source: Arc<dyn Source>,
}

impl Source for Fed {
    fn partitions(&self) -> Result<Vec<PartitionId>> {
        Ok(vec!["test".into()])
    }
    fn open(&self, partition: &PartitionId, _from: Option<&Position>) -> Result<Box<dyn Reader>> {
        Ok(Box::new(FeedReader {
            feed: Arc::clone(&self.feed),
            partition: Arc::clone(partition),
            read: 0,
            quiet: QUIET.0,
        }))
    }
    fn decoder(&self, schema: &SchemaRef) -> Result<Box<dyn Decoder>> {
        let (feed, source) = (Arc::clone(&self.feed), Arc::clone(&self.source));
        Ok(Box::new(FeedDecoder { feed, source, schema: Arc::clone(schema), decoder: None }))
    }
    fn bounded(&self) -> bool {
        true
    }
}

struct FeedReader {
    feed: Arc<Feed>,
    partition: PartitionId,
    read: u64,
    quiet: Duration,
}

impl Reader for FeedReader {
    fn next(&mut self, _budget: usize) -> Result<Polled> {
        let state = self.feed.lock();
        let waiting = |s: &mut State| s.queue.is_empty() && !s.closed;
        let waited = self.feed.more.wait_timeout_while(state, self.quiet, waiting);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(body) = state.queue.pop_front() {
            (self.read, self.quiet) = (self.read + 1, QUIET.0);
            return Ok(Polled::Data(Payload::new(&self.partition, body), Position(self.read.into())));
        }
        if state.closed {
            return Ok(Polled::End(Position(self.read.into())));
        }
        self.quiet = (self.quiet * 2).min(QUIET.1);
        Ok(Polled::Idle)
    }
}

struct FeedDecoder {
    feed: Arc<Feed>,
    source: Arc<dyn Source>,
    schema: SchemaRef,
    /// The source's own, made once it is needed: one that only gets rows may have none.
    decoder: Option<Box<dyn Decoder>>,
}

impl Decoder for FeedDecoder {
    fn decode(&mut self, payload: Payload, out: &mut Decoded) -> Result<()> {
        let outcome = match &payload.body {
            Body::Rows { start, rows } => self.columns(*start, rows, payload.received, out),
            _ => self.own(payload, out),
        };
        // After the rows are out: from here on a close of the present epoch holds them.
        self.feed.decoded.fetch_add(1, Ordering::Release);
        outcome
    }
}

impl FeedDecoder {
    fn own(&mut self, payload: Payload, out: &mut Decoded) -> Result<()> {
        if self.decoder.is_none() {
            self.decoder = Some(self.source.decoder(&self.schema)?);
        }
        let decoder = self.decoder.as_mut().expect("made above");
        decoder.decode(payload, out)
    }

    /// Rows as they are; columns that the test does not give are NULL, `_timestamp` is the clock.
    fn columns(&self, start: u64, rows: &RecordBatch, received: i64, out: &mut Decoded) -> Result<()> {
        let len = rows.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for field in self.schema.fields() {
            let unfit = |e: &str| {
                Problem::error("TEST-ROW", format!("a row that is fed does not fit the column `{}`: {e}", field.name()))
                    .expected(field.data_type().to_string())
            };
            columns.push(match rows.column_by_name(field.name()) {
                Some(column) => cast(column, field.data_type()).map_err(|e| unfit(&e.to_string()))?,
                None if field.name() == "_timestamp" => {
                    let now: ArrayRef =
                        Arc::new(TimestampMicrosecondArray::from(vec![received; len]).with_timezone("UTC"));
                    cast(&now, field.data_type()).map_err(|e| unfit(&e.to_string()))?
                }
                None if field.is_nullable() => new_null_array(field.data_type(), len),
                None => return Err(unfit("it is missing, and may not be NULL")),
            });
        }
        let rows = record_batch(Arc::clone(&self.schema), columns, len);
        out.rows(rows, UInt64Array::from_iter_values(start..start + len as u64));
        Ok(())
    }
}
