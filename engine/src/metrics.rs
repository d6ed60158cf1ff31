//! What a running job counts, per node; read at any time, updated once per batch.

use crate::time::{Micros, Watermark};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Counters of one node of the graph, summed over all workers.
///
/// They obey `rows_in = rows_out + filtered + dead_lettered + dropped + in flight` for stages with one
/// output per row; for sources `records_in` takes the place of `rows_in`.
#[derive(Debug)]
pub struct NodeMetrics {
    /// The node's name in the file.
    pub node: Arc<str>,
    /// Its role within that name.
    pub role: String,
    /// Rows taken from inputs (sources: records decoded or refused).
    pub rows_in: AtomicU64,
    /// Rows sent, over all ports but `errors`.
    pub rows_out: AtomicU64,
    /// Rows left out on purpose.
    pub filtered: AtomicU64,
    /// Rows refused that became dead letters.
    pub dead_lettered: AtomicU64,
    /// Rows refused and dropped by policy.
    pub dropped: AtomicU64,
    /// Payload bytes read (sources).
    pub bytes_in: AtomicU64,
    /// Nanoseconds spent in the node, on the worker or the sink's thread.
    pub busy_ns: AtomicU64,
    /// Keys held (operators).
    pub state_keys: AtomicU64,
    /// Bytes of state held (operators).
    pub state_bytes: AtomicU64,
    /// Watermark at the last close; `i64::MIN` while unknown.
    pub watermark: AtomicI64,
    /// What is still to be read, in the source's own unit; `u64::MAX` while unknown.
    pub lag: AtomicU64,
}

impl NodeMetrics {
    pub(crate) fn new(node: &Arc<str>, role: &str) -> NodeMetrics {
        let zero = || AtomicU64::new(0);
        NodeMetrics {
            node: Arc::clone(node),
            role: role.to_string(),
            rows_in: zero(),
            rows_out: zero(),
            filtered: zero(),
            dead_lettered: zero(),
            dropped: zero(),
            bytes_in: zero(),
            busy_ns: zero(),
            state_keys: zero(),
            state_bytes: zero(),
            watermark: AtomicI64::new(Watermark::UNKNOWN.0),
            lag: AtomicU64::new(u64::MAX),
        }
    }
    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Relaxed);
    }
    pub(crate) fn busy(&self, since: std::time::Instant) {
        self.busy_ns.fetch_add(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
    pub(crate) fn at(&self, watermark: Watermark) {
        self.watermark.store(watermark.0, Relaxed);
    }
}

/// A reading of the counters of one named node, its roles taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct NodeReading {
    /// The node's name.
    pub node: String,
    /// Rows taken from other nodes (sources: from outside).
    pub rows_in: u64,
    /// Rows handed to other nodes (sinks: rows written).
    pub rows_out: u64,
    /// Rows left out on purpose.
    pub filtered: u64,
    /// Rows that became dead letters.
    pub dead_lettered: u64,
    /// Rows dropped by policy.
    pub dropped: u64,
    /// Payload bytes read.
    pub bytes_in: u64,
    /// Nanoseconds of work.
    pub busy_ns: u64,
    /// Keys held.
    pub state_keys: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// Watermark, where there is one.
    pub watermark: Option<Micros>,
    /// What is still to be read, where known.
    pub lag: Option<u64>,
}

/// The checkpoints of a job so far.
#[derive(Debug, Default)]
pub struct CheckpointMetrics {
    /// The newest durable checkpoint; 0 = none.
    pub newest: AtomicU64,
    /// Wall clock of its commit, microseconds.
    pub at: AtomicI64,
    /// How long it took, from its mark to its record, in microseconds.
    pub took_us: AtomicU64,
    /// Bytes it wrote.
    pub bytes: AtomicU64,
    /// Checkpoints made durable by this run.
    pub total: AtomicU64,
}

/// All counters of a job.
#[derive(Debug, Default)]
pub struct Metrics {
    /// One per node of the graph, in its order.
    pub nodes: Vec<Arc<NodeMetrics>>,
    /// Checkpoints.
    pub checkpoints: CheckpointMetrics,
}

impl Metrics {
    /// Reads the counters, one entry per named node, in the order of the graph.
    pub fn read(&self) -> Vec<NodeReading> {
        let mut out: Vec<NodeReading> = Vec::new();
        for m in &self.nodes {
            let first = out.iter().position(|r| *r.node == *m.node);
            let reading = match first {
                Some(i) => &mut out[i],
                None => {
                    out.push(NodeReading {
                        node: m.node.to_string(),
                        rows_in: m.rows_in.load(Relaxed),
                        ..NodeReading::default()
                    });
                    out.last_mut().expect("just pushed")
                }
            };
            // Of a node that is several in the graph, rows enter by the first and leave by the last.
            reading.rows_out = m.rows_out.load(Relaxed);
            reading.filtered += m.filtered.load(Relaxed);
            reading.dead_lettered += m.dead_lettered.load(Relaxed);
            reading.dropped += m.dropped.load(Relaxed);
            reading.bytes_in += m.bytes_in.load(Relaxed);
            reading.busy_ns += m.busy_ns.load(Relaxed);
            reading.state_keys += m.state_keys.load(Relaxed);
            reading.state_bytes += m.state_bytes.load(Relaxed);
            let watermark = m.watermark.load(Relaxed);
            if watermark != Watermark::UNKNOWN.0 {
                reading.watermark = Some(watermark);
            }
            let lag = m.lag.load(Relaxed);
            if lag != u64::MAX {
                reading.lag = Some(lag);
            }
        }
        out
    }
}
