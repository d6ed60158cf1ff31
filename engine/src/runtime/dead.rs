//! Dead letters on one worker: gathered until the checkpoint, then part of it.

use super::checkpoint::{Part, Participant};
use super::shared::Shared;
use crate::batch::Batch;
use crate::dead::guard::Counter;
use crate::metrics::NodeMetrics;
use crate::time::Epoch;
use arrow::array::{AsArray, RecordBatch};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

/// Bytes gathered before a checkpoint is asked for ahead of its time.
const EARLY: usize = 16 << 20;

/// What watches the rate of dead letters on all workers.
#[derive(Clone)]
pub(crate) struct Guarded {
    pub counter: Arc<Counter>,
    pub sources: Vec<Arc<NodeMetrics>>,
    /// All sources end by themselves: instead of waiting, the run ends.
    pub bounded: bool,
}

impl Guarded {
    fn watch(&self, shared: &Shared, letters: &Batch) {
        if shared.alarm().is_some() {
            return;
        }
        let read = self.sources.iter().map(|m| m.rows_in.load(Relaxed)).sum();
        let Some(problem) = self.counter.count(letters.len() as u64, read, shared.clock.monotonic()) else { return };
        let text = |name| letters.column(name).map_or("", |c| c.as_string::<i32>().value(letters.len() - 1));
        let last = format!("the last: {} {}: {}", text("node"), text("code"), text("message"));
        let found = problem.found.clone().unwrap_or_default();
        shared.raise_alarm(problem.node(text("node")).found(format!("{found}; {last}")));
        if self.bounded {
            shared.request_stop();
        }
    }
}

/// `inputs`: the role of a step, and what it refuses.
pub(crate) fn build<'s>(
    scope: Scope<'s, Epoch>,
    inputs: Vec<(String, Stream<'s, Epoch, Batch>)>,
    shared: Arc<Shared>,
    guard: Option<Guarded>,
    participant: Participant,
) {
    let mut builder = OperatorBuilder::new("dead letters".to_string(), scope);
    let mut pulls: Vec<_> = inputs.into_iter().map(|(role, s)| (role, builder.new_input(s, Pipeline))).collect();
    builder.build(move |_| {
        let mut gathered: BTreeMap<Epoch, Vec<RecordBatch>> = BTreeMap::new();
        let mut closed: Epoch = 0;
        let mut bytes = 0;
        move |frontiers| {
            if shared.poisoned() {
                return;
            }
            for (role, pull) in &mut pulls {
                pull.for_each(|capability, batch| {
                    bytes += batch.rows.get_array_memory_size();
                    if let Some(guard) = &guard {
                        guard.watch(&shared, batch);
                    }
                    let epoch = *capability.least().expect("a message carries its epoch");
                    let letters = crate::dead::with_role(&std::mem::take(batch).rows, role);
                    gathered.entry(epoch).or_default().push(letters);
                });
            }
            let low = super::worker::low(frontiers);
            for checkpoint in shared.marked(closed, low) {
                let later = gathered.split_off(&(checkpoint + 1));
                let letters = std::mem::replace(&mut gathered, later);
                participant.contribute(checkpoint, Part::Dead(letters.into_values().flatten().collect()));
                bytes = 0;
            }
            closed = closed.max(low);
            if bytes > EARLY {
                shared.request_checkpoint();
                bytes = 0;
            }
        }
    });
}
