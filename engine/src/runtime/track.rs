//! Event time: follows the greatest event time per partition and says, at the close of every epoch, how
//! far the watermark has come.
//!
//! The watermark of a tracker on one worker is the least over its partitions that still hold it back; a
//! partition drops out when it has ended, or when it has had nothing to read for `idle_after`. When all
//! are idle, the watermark follows the clock minus the bound; when all have ended, it is
//! [`Watermark::END`]. A worker without a partition has no say. Without event time, arrival time counts:
//! the clock at the close.

use super::checkpoint::{Part, Participant};
use super::ports::{Outlet, downgrade};
use super::shared::Shared;
use super::source::Reached;
use super::stream::{Mark, Presence, Status};
use crate::batch::Batch;
use crate::metrics::NodeMetrics;
use crate::plan::EventTime;
use crate::time::{Epoch, Watermark};
use arrow::array::{Array, TimestampMicrosecondArray};
use arrow::compute;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// While the watermark follows the clock, an epoch is wanted this often.
const FOLLOW: Duration = Duration::from_millis(250);

/// What a tracker needs on one worker.
pub(crate) struct TrackSpec {
    pub shared: Arc<Shared>,
    pub metrics: Arc<NodeMetrics>,
    /// The node's index in the graph: names the tracker on all workers.
    pub tracker: usize,
    pub worker: usize,
    pub workers: usize,
    /// `None` = arrival time.
    pub event_time: Option<EventTime>,
    pub reached: Vec<Reached>,
    /// Watermarks of the last checkpoint by partition.
    pub restored: BTreeMap<Arc<str>, i64>,
    pub participant: Participant,
}

/// The rows, unchanged, and the marks.
pub(crate) type TrackStreams<'s> = (Stream<'s, Epoch, Batch>, Stream<'s, Epoch, Vec<Mark>>);

pub(crate) fn build<'s>(
    input: Stream<'s, Epoch, Batch>,
    status: Stream<'s, Epoch, Vec<Status>>,
    spec: TrackSpec,
) -> TrackStreams<'s> {
    let mut builder = OperatorBuilder::new(format!("track {}", spec.metrics.node), input.scope());
    let mut rows = builder.new_input(input, Pipeline);
    let mut statuses = builder.new_input(status, Pipeline);
    let (out, out_stream) = builder.new_output::<Batch>();
    let (mut marks, marks_stream) = builder.new_output::<Vec<Mark>>();
    builder.build(move |mut capabilities| {
        let mut marks_cap = Some(capabilities.pop().expect("two outputs"));
        let mut out = Outlet::new(out, capabilities.pop().expect("two outputs"));
        let mut tracker = Tracker::new(spec);
        let mut closed: Epoch = 0;
        move |frontiers| {
            if tracker.spec.shared.poisoned() {
                return;
            }
            rows.for_each(|capability, batch| {
                let epoch = *capability.least().expect("a message carries its epoch");
                tracker.see(epoch, batch);
                out.send(epoch, std::mem::take(batch));
            });
            statuses.for_each(|capability, list| {
                let epoch = *capability.least().expect("a message carries its epoch");
                tracker.statuses.entry(epoch).or_default().append(list);
            });
            let low = super::worker::low(frontiers);
            for epoch in tracker.due(closed, low) {
                if let Some(watermark) = tracker.close(epoch) {
                    let mut list: Vec<Mark> = tracker.address(watermark);
                    let capability = marks_cap.as_ref().expect("held until the end").delayed(&epoch);
                    marks.activate().give(&capability, &mut list);
                }
                tracker.save(epoch);
            }
            closed = closed.max(low);
            out.downgrade(low);
            downgrade(&mut marks_cap, low);
        }
    });
    (out_stream, marks_stream)
}

struct Tracker {
    spec: TrackSpec,
    /// Greatest event time per partition, minus the bound.
    parts: BTreeMap<Arc<str>, i64>,
    presence: BTreeMap<Arc<str>, Presence>,
    /// Greatest event time per partition, by epochs not yet closed.
    seen: BTreeMap<Epoch, Vec<(Arc<str>, i64)>>,
    statuses: BTreeMap<Epoch, Vec<Status>>,
    watermark: Watermark,
    /// What the operators have been told last.
    said: Option<Watermark>,
}

impl Tracker {
    fn new(spec: TrackSpec) -> Tracker {
        for reached in &spec.reached {
            reached.borrow_mut().extend(spec.restored.iter().map(|(p, w)| (Arc::clone(p), *w)));
        }
        Tracker {
            parts: spec.restored.clone(),
            spec,
            presence: BTreeMap::new(),
            seen: BTreeMap::new(),
            statuses: BTreeMap::new(),
            watermark: Watermark::UNKNOWN,
            said: Some(Watermark::UNKNOWN),
        }
    }

    fn see(&mut self, epoch: Epoch, batch: &Batch) {
        let (Some(event_time), Some(origin)) = (&self.spec.event_time, &batch.origin) else { return };
        let Some(greatest) = batch.column(&event_time.field).and_then(greatest) else { return };
        let watermark = greatest.saturating_sub(event_time.out_of_order);
        for reached in &self.spec.reached {
            let mut reached = reached.borrow_mut();
            let entry = reached.entry(Arc::clone(&origin.partition)).or_insert(i64::MIN);
            *entry = (*entry).max(watermark);
        }
        let list = self.seen.entry(epoch).or_default();
        match list.iter_mut().find(|(p, _)| *p == origin.partition) {
            Some((_, w)) => *w = (*w).max(watermark),
            None => list.push((Arc::clone(&origin.partition), watermark)),
        }
    }

    /// The epochs to close below `low`: those that hold something, and the checkpoints.
    fn due(&self, closed: Epoch, low: Epoch) -> Vec<Epoch> {
        let mut epochs: Vec<Epoch> = self.statuses.range(..low).map(|(e, _)| *e).collect();
        epochs.extend(self.seen.range(..low).map(|(e, _)| *e));
        epochs.extend(self.spec.shared.marked(closed, low));
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }

    /// Takes in what epoch `epoch` brought; the watermark, where it has moved or has gone.
    fn close(&mut self, epoch: Epoch) -> Option<Option<Watermark>> {
        for (partition, watermark) in self.seen.remove(&epoch).unwrap_or_default() {
            let entry = self.parts.entry(partition).or_insert(i64::MIN);
            *entry = (*entry).max(watermark);
        }
        for status in self.statuses.remove(&epoch).unwrap_or_default() {
            self.presence.insert(status.partition, status.state);
        }
        let now = self.compute().map(|now| now.max(self.watermark));
        if now == self.said {
            return None;
        }
        self.said = now;
        if let Some(now) = now {
            self.watermark = now;
            self.spec.metrics.at(now);
        }
        Some(now)
    }

    /// How far the partitions of this worker have come; `None` where it has been given none.
    fn compute(&self) -> Option<Watermark> {
        let shared = &self.spec.shared;
        if let Some(held) = shared.held_watermark() {
            return Some(held);
        }
        if self.presence.is_empty() {
            return Some(Watermark::UNKNOWN);
        }
        let mut there = self.presence.values().filter(|p| **p != Presence::Absent).peekable();
        there.peek()?;
        if there.all(|p| *p == Presence::Ended) {
            return Some(Watermark::END);
        }
        let Some(event_time) = &self.spec.event_time else {
            shared.wake_at(shared.clock.monotonic() + FOLLOW);
            return Some(Watermark(shared.now()));
        };
        let now = shared.clock.monotonic();
        let mut least: Option<i64> = None;
        for (partition, presence) in &self.presence {
            match presence {
                Presence::Ended | Presence::Absent => continue,
                Presence::Idle(since) if *since + event_time.idle_after <= now => continue,
                Presence::Idle(since) => shared.wake_at(*since + event_time.idle_after),
                Presence::Active => {}
            }
            let reached = self.parts.get(partition).copied().unwrap_or(i64::MIN);
            least = Some(least.map_or(reached, |l| l.min(reached)));
        }
        Some(match least {
            Some(least) => Watermark(least),
            None => {
                shared.wake_at(now + FOLLOW);
                Watermark(shared.now().saturating_sub(event_time.out_of_order))
            }
        })
    }

    fn address(&self, watermark: Option<Watermark>) -> Vec<Mark> {
        let micros = watermark.map(|w| w.0);
        let mark = |to| Mark { tracker: self.spec.tracker, worker: self.spec.worker, micros, to };
        (0..self.spec.workers).map(mark).collect()
    }

    fn save(&mut self, epoch: Epoch) {
        if self.spec.shared.marked(epoch, epoch + 1).is_empty() {
            return;
        }
        let own = self
            .parts
            .iter()
            .filter(|(p, _)| self.presence.contains_key(*p))
            .map(|(p, w)| (Arc::clone(p), *w))
            .collect();
        self.spec
            .participant
            .contribute(epoch, Part::Watermarks { node: Arc::clone(&self.spec.metrics.node), watermarks: own });
    }
}

/// The greatest value of a timestamp column, in microseconds.
fn greatest(column: &arrow::array::ArrayRef) -> Option<i64> {
    if column.is_empty() {
        return None;
    }
    match column.as_any().downcast_ref::<TimestampMicrosecondArray>() {
        Some(times) => compute::max(times),
        None => {
            let micros =
                arrow::datatypes::DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
            let cast = compute::cast(column, &micros).ok()?;
            compute::max(cast.as_any().downcast_ref::<TimestampMicrosecondArray>()?)
        }
    }
}
