//! A chain of stages as one timely operator: one pass per batch, no queue in between.

use super::isolate::Guarded;
use super::ports::{Outlet, Surround};
use crate::batch::Batch;
use crate::metrics::NodeMetrics;
use crate::operator::Emit;
use crate::time::Epoch;
use std::time::Instant;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// One stage of a chain on one worker.
pub(crate) struct Link {
    pub stage: Guarded,
    pub around: super::worker::AroundSpec,
}

/// The streams that a chain puts out.
pub(crate) struct ChainStreams<'s> {
    /// The last stage's ports.
    pub ports: Vec<Stream<'s, Epoch, Batch>>,
    /// Each stage's `errors` port, in order.
    pub errors: Vec<Stream<'s, Epoch, Batch>>,
}

/// Builds the operator; `ports` is the number of outputs of the last stage.
pub(crate) fn build<'s>(
    name: &str,
    input: Stream<'s, Epoch, Batch>,
    links: Vec<Link>,
    ports: usize,
) -> ChainStreams<'s> {
    let shared = links[0].around.shared.clone();
    let mut builder = OperatorBuilder::new(name.to_string(), input.scope());
    let mut pull = builder.new_input(input, Pipeline);
    let mut outputs = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..ports + links.len() {
        let (output, stream) = builder.new_output::<Batch>();
        outputs.push(output);
        streams.push(stream);
    }
    let errors = streams.split_off(ports);
    builder.build(move |capabilities| {
        let mut outlets: Vec<Outlet> = outputs.into_iter().zip(capabilities).map(|(o, c)| Outlet::new(o, c)).collect();
        let around = outlets.split_off(ports);
        let mut links: Vec<(Guarded, Surround)> =
            links.into_iter().zip(around).map(|(l, errors)| (l.stage, l.around.with(errors))).collect();
        let mut emit = Emit::default();
        move |frontiers| {
            pull.for_each(|capability, batch| {
                if !shared.poisoned() {
                    run(
                        &mut links,
                        0,
                        *capability.least().expect("a message carries its epoch"),
                        std::mem::take(batch),
                        &mut emit,
                        &mut outlets,
                    );
                }
            });
            let low = super::worker::low(frontiers);
            outlets.iter_mut().for_each(|o| o.downgrade(low));
            links.iter_mut().for_each(|(_, around)| around.errors.downgrade(low));
        }
    });
    ChainStreams { ports: streams, errors }
}

/// Runs one batch through the chain from link `at` on.
fn run(
    links: &mut [(Guarded, Surround)],
    at: usize,
    epoch: Epoch,
    batch: Batch,
    emit: &mut Emit,
    outlets: &mut [Outlet],
) {
    let (stage, around) = &mut links[at];
    let began = Instant::now();
    NodeMetrics::add(&around.metrics.rows_in, batch.len());
    emit.now = around.now(epoch);
    if let Err(problem) = stage.apply(batch, emit) {
        return around.shared.fail(problem.node(&*around.metrics.node));
    }
    around.metrics.busy(began);
    for (port, batch) in around.settle(epoch, emit) {
        if at + 1 < links.len() {
            run(links, at + 1, epoch, batch, emit, outlets);
        } else {
            outlets[port].send(epoch, batch);
        }
    }
}
