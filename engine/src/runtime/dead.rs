//! Dead letters on one worker: gathered until the checkpoint, then part of it.

use super::checkpoint::{Part, Participant};
use super::shared::Shared;
use crate::batch::Batch;
use crate::time::Epoch;
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// Bytes gathered before a checkpoint is asked for ahead of its time.
const EARLY: usize = 16 << 20;

pub(crate) fn build(input: Stream<'_, Epoch, Batch>, shared: Arc<Shared>, participant: Participant) {
    let mut builder = OperatorBuilder::new("dead letters".to_string(), input.scope());
    let mut pull = builder.new_input(input, Pipeline);
    builder.build(move |_| {
        let mut gathered: BTreeMap<Epoch, Vec<Batch>> = BTreeMap::new();
        let mut closed: Epoch = 0;
        let mut bytes = 0;
        move |frontiers| {
            if shared.poisoned() {
                return;
            }
            pull.for_each(|capability, batch| {
                bytes += batch.rows.get_array_memory_size();
                let epoch = *capability.least().expect("a message carries its epoch");
                gathered.entry(epoch).or_default().push(std::mem::take(batch));
            });
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
