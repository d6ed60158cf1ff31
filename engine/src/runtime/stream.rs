//! How batches travel through timely: the container on data edges, and the exchange.
//!
//! A [`Batch`] is a timely container of as many records as it has rows; empty ones are never sent (timely
//! drops them silently). The exchange splits a batch by key group and hands each part to the peer that
//! owns it; the total number of rows stays the same, as timely demands of a pact.

use crate::batch::Batch;
use crate::key;
use timely::Accountable;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::progress::Stamp;

impl Accountable for Batch {
    fn record_count(&self) -> i64 {
        i64::try_from(self.len()).expect("a batch has at most 8,192 rows")
    }
}

/// Timely asks for a byte form of everything that is exchanged, and uses it between processes only.
impl ContainerBytes for Batch {
    fn from_bytes(_: timely::bytes::arc::Bytes) -> Self {
        unreachable!("the workers of a job share one process: batches are handed over, not serialised")
    }
    fn length_in_bytes(&self) -> usize {
        unreachable!("the workers of a job share one process: batches are handed over, not serialised")
    }
    fn into_bytes<W: std::io::Write>(&self, _: &mut W) {
        unreachable!("the workers of a job share one process: batches are handed over, not serialised")
    }
}

/// Sends every row to the worker that owns its key group.
pub(crate) struct ByKey {
    columns: Vec<String>,
    hashes: Vec<u64>,
}

impl ByKey {
    pub fn new(columns: Vec<String>) -> ByKey {
        ByKey { columns, hashes: Vec::new() }
    }
}

impl Distributor<Batch> for ByKey {
    fn partition<T: Clone, P: Push<Message<T, Batch>>>(
        &mut self,
        batch: &mut Batch,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let batch = std::mem::take(batch);
        let schema = batch.schema();
        let index = |c: &String| schema.index_of(c).expect("the planner exchanges by columns of the input");
        let keys: Vec<usize> = self.columns.iter().map(index).collect();
        key::hash_batch(&batch.rows, &keys, &mut self.hashes).expect("the planner exchanges by hashable columns");
        for (worker, mut part) in key::partition(batch, &self.hashes, pushers.len()) {
            Message::push_at(&mut part, stamp.clone(), &mut pushers[worker]);
        }
    }
    fn flush<T: Clone, P: Push<Message<T, Batch>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}

/// The watermark of one tracker, as of the close of the epoch that it travels at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Mark {
    /// The node that tracks it.
    pub tracker: usize,
    /// The worker that tracks it (0 for one that every worker derives alike).
    pub worker: usize,
    /// Event time in microseconds; `None` while the worker has nothing that could hold it back.
    pub micros: Option<i64>,
    /// The worker to which this copy is addressed.
    pub to: usize,
}

/// What a source says of a partition when it closes an epoch.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// The partition.
    pub partition: std::sync::Arc<str>,
    /// What is known.
    pub state: Presence,
}

/// Whether a partition holds the watermark back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Assigned and not read yet, or being read.
    Active,
    /// Everything there has been read since this monotonic moment.
    Idle(std::time::Duration),
    /// Nothing will come again.
    Ended,
    /// There is none yet: the worker has been given no partition.
    Absent,
}
