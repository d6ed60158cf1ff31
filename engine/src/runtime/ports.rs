//! From [`Emit`] to timely: what a node sends goes to its ports, what it refuses to its `errors` port.

use super::shared::Shared;
use crate::batch::{Batch, Charge};
use crate::connect::{PartitionId, Reject};
use crate::metrics::NodeMetrics;
use crate::operator::{Emit, Rejected};
use crate::plan::OnError;
use crate::time::{Epoch, Micros};
use crate::{Place, Problem};
use std::sync::Arc;
use timely::dataflow::channels::pushers::Output;
use timely::dataflow::operators::Capability;

/// One timely output, with the capability that it sends under.
pub(crate) struct Outlet {
    output: Output<Epoch, Batch>,
    held: Option<Capability<Epoch>>,
}

impl Outlet {
    pub fn new(output: Output<Epoch, Batch>, capability: Capability<Epoch>) -> Outlet {
        Outlet { output, held: Some(capability) }
    }
    /// Sends rows at `epoch`; without rows nothing is sent.
    pub fn send(&mut self, epoch: Epoch, mut batch: Batch) {
        if batch.is_empty() {
            return;
        }
        let capability = self.held.as_ref().expect("nothing is sent after the end").delayed(&epoch);
        self.output.activate().give(&capability, &mut batch);
    }
    /// Nothing will be sent before `epoch` any more.
    pub fn downgrade(&mut self, epoch: Epoch) {
        downgrade(&mut self.held, epoch);
    }
}

/// Moves a held capability on to `epoch`, or lets go of it at the end of time.
pub(crate) fn downgrade(held: &mut Option<Capability<Epoch>>, epoch: Epoch) {
    if epoch == super::shared::NEVER {
        *held = None;
    } else if let Some(capability) = held.as_mut()
        && *capability.time() < epoch
    {
        capability.downgrade(&epoch);
    }
}

/// What surrounds one node's code on one worker: its name, counters and error policy, and its `errors` port.
pub(crate) struct Surround {
    /// The wall clock as the node first saw it in an epoch.
    pub time: Option<(Epoch, Micros)>,
    pub shared: Arc<Shared>,
    pub metrics: Arc<NodeMetrics>,
    pub on_error: OnError,
    pub errors: Outlet,
}

impl Surround {
    /// The wall clock for all of `epoch`.
    pub fn now(&mut self, epoch: Epoch) -> Micros {
        match self.time {
            Some((of, now)) if of == epoch => now,
            _ => self.time.insert((epoch, self.shared.now())).1,
        }
    }
    /// Sends what a node refused to its `errors` port, by its policy.
    pub fn refuse(&mut self, epoch: Epoch, rejected: Vec<Rejected>) {
        if rejected.is_empty() {
            return;
        }
        match self.on_error {
            OnError::Drop => NodeMetrics::add(&self.metrics.dropped, rejected.len()),
            OnError::Fail => self.fail(&rejected[0]),
            OnError::DeadLetter => {
                NodeMetrics::add(&self.metrics.dead_lettered, rejected.len());
                let mut letters = crate::dead::from_rows(&self.metrics.node, self.shared.now(), rejected);
                letters.charge = Some(Charge::new(letters.rows.get_array_memory_size() as u64, &self.shared.alive));
                self.errors.send(epoch, letters);
            }
        }
    }

    /// Sends the records that a source's decoder refused to its `errors` port, by its policy.
    pub fn refuse_records(&mut self, epoch: Epoch, partition: &PartitionId, rejects: Vec<Reject>, charge: Arc<Charge>) {
        if rejects.is_empty() {
            return;
        }
        let metrics = &self.metrics;
        NodeMetrics::add(&metrics.rows_in, rejects.len());
        match self.on_error {
            OnError::Drop => NodeMetrics::add(&metrics.dropped, rejects.len()),
            OnError::Fail => self.shared.fail(
                Problem::error(rejects[0].code, rejects[0].message.clone())
                    .node(&*metrics.node)
                    .at(Place::Record {
                        source: metrics.node.to_string(),
                        partition: partition.to_string(),
                        position: rejects[0].position,
                    })
                    .help("the node says `on_error: fail`; mend the record, or choose dead_letter"),
            ),
            OnError::DeadLetter => {
                NodeMetrics::add(&metrics.dead_lettered, rejects.len());
                let mut letters = crate::dead::from_rejects(&metrics.node, partition, self.shared.now(), rejects);
                letters.charge = Some(charge);
                self.errors.send(epoch, letters);
            }
        }
    }

    fn fail(&self, refused: &Rejected) {
        let mut problem = Problem::error(refused.code, refused.message.clone())
            .node(&*self.metrics.node)
            .found(crate::json::row_json(&refused.row.rows, 0))
            .help("the node says `on_error: fail`; mend the record or the node, or choose dead_letter");
        if let Some(origin) = &refused.row.origin {
            problem = problem.at(Place::Record {
                source: origin.source.to_string(),
                partition: origin.partition.to_string(),
                position: origin.positions.value(0),
            });
        }
        self.shared.fail(problem);
    }

    /// Counts what one call put out, refuses what it refused, and returns the batches by port.
    pub fn settle(&mut self, epoch: Epoch, emit: &mut Emit) -> Vec<(usize, Batch)> {
        if emit.filtered > 0 {
            self.metrics.filtered.fetch_add(emit.filtered, std::sync::atomic::Ordering::Relaxed);
            emit.filtered = 0;
        }
        let out = std::mem::take(&mut emit.out);
        NodeMetrics::add(&self.metrics.rows_out, out.iter().map(|(_, b)| b.len()).sum());
        self.refuse(epoch, std::mem::take(&mut emit.rejected));
        out
    }
}
