//! A source on one worker: takes payloads, decodes them, stamps rows with the present epoch.
//!
//! When the clock has moved on, the operator first closes its epoch: it says what its partitions are
//! doing (for the watermark), hands its positions to every checkpoint among the epochs it leaves, and
//! only then lets go of them. So a position is in a checkpoint exactly when its rows are in that epoch
//! or an earlier one.

use super::checkpoint::{Part, Participant, Saved};
use super::intake::{Intake, Partitions, Taken};
use super::isolate::Decoding;
use super::ports::{Outlet, Surround, downgrade};
use super::stream::{Presence, Status};
use super::turns;
use super::worker::AroundSpec;
use crate::batch::{Batch, Charge, Origin, Slab};
use crate::connect::{Body, Decoded, PartitionId, Payload, Source};
use crate::metrics::NodeMetrics;
use crate::state::sabotage;
use crate::time::Epoch;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use timely::dataflow::channels::pushers::Output;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

/// How soon a source that must wait for memory looks again.
const WAIT: Duration = Duration::from_millis(1);

/// Event time reached per partition on this worker, shared with the operator that tracks it.
pub(crate) type Reached = Rc<RefCell<HashMap<PartitionId, i64>>>;

/// What a source needs on one worker.
pub(crate) struct SourceSpec {
    pub around: AroundSpec,
    pub source: Arc<dyn Source>,
    pub partitions: Arc<Partitions>,
    pub decoder: Decoding,
    /// Positions of the last checkpoint, of all partitions.
    pub from: BTreeMap<PartitionId, Saved>,
    pub start: Epoch,
    pub worker: usize,
    pub participant: Participant,
    /// `None` where nothing downstream asks for event time.
    pub reached: Option<Reached>,
}

/// The streams of a source: rows, `errors`, and what its partitions are doing.
pub(crate) type SourceStreams<'s> =
    (Stream<'s, Epoch, Batch>, Stream<'s, Epoch, Batch>, Stream<'s, Epoch, Vec<Status>>);

pub(crate) fn build<'s>(scope: Scope<'s, Epoch>, spec: SourceSpec) -> SourceStreams<'s> {
    let mut builder = OperatorBuilder::new(format!("source {}", spec.around.metrics.node), scope);
    let (rows, rows_stream) = builder.new_output::<Batch>();
    let (errors, errors_stream) = builder.new_output::<Batch>();
    let (status, status_stream) = builder.new_output::<Vec<Status>>();
    let again = scope.activator_for(builder.operator_info().address);
    let wake = waker(scope, builder.operator_info().address.to_vec());
    builder.build(move |mut capabilities| {
        let shared = Arc::clone(&spec.around.shared);
        let (status_cap, errors_cap, rows_cap) = (
            capabilities.pop().expect("three outputs"),
            capabilities.pop().expect("three outputs"),
            capabilities.pop().expect("three outputs"),
        );
        shared.on_epoch(Arc::clone(&wake));
        let intake = Intake::new(Arc::clone(&shared), Arc::clone(&spec.source), wake);
        let asked = Arc::clone(&intake);
        let mut operator = SourceOperator {
            positions: spec.from.clone(),
            rows: Outlet::new(rows, rows_cap),
            status: (status, Some(status_cap)),
            around: spec.around.with(Outlet::new(errors, errors_cap)),
            bounded: spec.source.bounded(),
            intake,
            partitions: spec.partitions,
            from: spec.from,
            decoder: spec.decoder,
            epoch: spec.start,
            worker: spec.worker,
            participant: spec.participant,
            reached: spec.reached,
            decoded: Decoded::default(),
            ended: false,
            open: true,
            lag: 0,
        };
        operator.downgrade(spec.start);
        operator.assign();
        shared.on_caught_up(move || asked.caught_up());
        move |_| match operator.turn() {
            Next::Again => again.activate(),
            Next::Later => again.activate_after(WAIT),
            Next::Sleep => {}
        }
    });
    (rows_stream, errors_stream, status_stream)
}

/// Gives the operator at `address` a turn, from any thread.
pub(crate) fn waker(scope: Scope<'_, Epoch>, address: Vec<usize>) -> super::shared::Waker {
    let activator = std::sync::Mutex::new(scope.worker().sync_activator_for(address));
    Arc::new(move || {
        // The worker has ended where this fails; then there is nobody to wake.
        let _ = super::shared::lock(&activator).activate();
    })
}

/// When the operator wants its next turn.
enum Next {
    Again,
    Later,
    Sleep,
}

struct SourceOperator {
    rows: Outlet,
    status: (Output<Epoch, Vec<Status>>, Option<Capability<Epoch>>),
    around: Surround,
    bounded: bool,
    intake: Arc<Intake>,
    partitions: Arc<Partitions>,
    /// Where partitions that have not been opened yet go on.
    from: BTreeMap<PartitionId, Saved>,
    /// Where this worker's partitions would go on now; others' are left out of the checkpoint.
    positions: BTreeMap<PartitionId, Saved>,
    decoder: Decoding,
    epoch: Epoch,
    worker: usize,
    participant: Participant,
    reached: Option<Reached>,
    decoded: Decoded,
    ended: bool,
    open: bool,
    /// This worker's share of the node's lag.
    lag: u64,
}

impl SourceOperator {
    fn assign(&mut self) {
        self.intake.assign(&self.partitions, self.worker, &self.from);
    }

    fn turn(&mut self) -> Next {
        let shared = Arc::clone(&self.around.shared);
        if !self.open || shared.poisoned() {
            return Next::Sleep;
        }
        let target = shared.target();
        if target > self.epoch {
            if sabotage::planted("position_ahead") && target < shared.closing() {
                self.close_ahead(target);
            } else {
                self.close_until(target);
            }
            if !self.bounded {
                self.assign();
            }
        }
        if target >= shared.closing() {
            self.open = false;
            self.downgrade(super::shared::NEVER);
            return Next::Sleep;
        }
        let activation = turns::Activation::begin();
        while !activation.is_over() {
            if shared.must_wait() {
                return Next::Later;
            }
            let reached = self.reached.clone();
            let taken = self.intake.take(self.bounded && reached.is_some(), |partition| {
                reached.as_ref().and_then(|r| r.borrow().get(partition).copied()).unwrap_or(i64::MIN)
            });
            match taken {
                Taken::Payload(partition, payload, position) => {
                    self.decode(&partition, payload);
                    if !(sabotage::planted("position_behind") && self.positions.contains_key(&partition)) {
                        self.positions.insert(partition, Saved { at: position, ended: false });
                    }
                    shared.set_dirty();
                }
                Taken::Ended(partition, at) => {
                    let saved = Saved { at, ended: true };
                    if self.positions.get(&partition) != Some(&saved) {
                        self.positions.insert(partition, saved);
                        shared.set_dirty();
                    }
                }
                Taken::Nothing => {
                    self.rest();
                    return Next::Sleep;
                }
            }
        }
        Next::Again
    }

    /// Nothing to read: perhaps for ever, perhaps the watermark must now follow the clock.
    fn rest(&mut self) {
        if self.bounded && !self.ended && self.intake.all_ended() {
            self.ended = true;
            self.around.shared.source_ended();
        }
    }

    fn decode(&mut self, partition: &PartitionId, payload: Payload) {
        let shared = Arc::clone(&self.around.shared);
        let metrics = Arc::clone(&self.around.metrics);
        let began = Instant::now();
        let size = payload.size();
        metrics.bytes_in.fetch_add(size as u64, Relaxed);
        let charge = Charge::new(size as u64, &shared.alive);
        let slab = match &payload.body {
            Body::Bytes { start, data } => Some(Slab { start: *start, bytes: data.clone() }),
            _ => None,
        };
        if let Err(problem) = self.decoder.decode(payload, &mut self.decoded) {
            return shared.fail(problem.node(&*metrics.node));
        }
        metrics.busy(began);
        for (rows, positions) in std::mem::take(&mut self.decoded.batches) {
            NodeMetrics::add(&metrics.rows_in, rows.num_rows());
            NodeMetrics::add(&metrics.rows_out, rows.num_rows());
            let origin = Origin {
                source: Arc::clone(&metrics.node),
                partition: Arc::clone(partition),
                positions,
                slab: slab.clone(),
            };
            self.rows
                .send(self.epoch, Batch { rows, diff: None, origin: Some(origin), charge: Some(Arc::clone(&charge)) });
        }
        self.around.refuse_records(self.epoch, partition, std::mem::take(&mut self.decoded.rejects), charge);
    }

    /// A planted mistake: a position is saved in the epoch before that of its rows.
    fn close_ahead(&mut self, target: Epoch) {
        let taken = self.intake.take(false, |_| 0);
        if let Taken::Payload(partition, payload, position) = taken {
            self.positions.insert(Arc::clone(&partition), Saved { at: position, ended: false });
            self.close_until(target);
            self.decode(&partition, payload);
            return self.around.shared.set_dirty();
        }
        if let Taken::Ended(partition, at) = taken {
            self.positions.insert(partition, Saved { at, ended: true });
            self.around.shared.set_dirty();
        }
        self.close_until(target);
    }

    /// Leaves the epochs before `target`.
    fn close_until(&mut self, target: Epoch) {
        let shared = Arc::clone(&self.around.shared);
        let presence = self.intake.presence();
        if let Some(lag) = self.intake.lag() {
            // Shared by all workers: each adds what its own share has changed by.
            let metrics = &self.around.metrics;
            // Fails where another worker was first: then it is a number already.
            let _ = metrics.lag.compare_exchange(u64::MAX, 0, Relaxed, Relaxed);
            metrics.lag.fetch_add(lag.wrapping_sub(self.lag), Relaxed);
            self.lag = lag;
        }
        for checkpoint in shared.marked(self.epoch, target) {
            let own =
                presence.iter().filter_map(|(id, _)| Some((Arc::clone(id), self.positions.get(id)?.clone()))).collect();
            self.participant.contribute(
                checkpoint,
                Part::Positions { node: Arc::clone(&self.around.metrics.node), positions: own },
            );
        }
        if self.reached.is_some() {
            let mut statuses: Vec<Status> =
                presence.into_iter().map(|(partition, state)| Status { partition, state }).collect();
            if statuses.is_empty() {
                // No partitions here: say so, or the other workers would wait for this one's watermark.
                let state = if self.bounded { Presence::Ended } else { Presence::Absent };
                statuses.push(Status { partition: "".into(), state });
            }
            let capability = self.status.1.as_ref().expect("held while open").delayed(&self.epoch);
            self.status.0.activate().give(&capability, &mut statuses);
        }
        self.epoch = target;
        self.downgrade(target);
    }

    fn downgrade(&mut self, epoch: Epoch) {
        self.rows.downgrade(epoch);
        self.around.errors.downgrade(epoch);
        downgrade(&mut self.status.1, epoch);
    }
}
