//! Dead letters on their way back into a node: in the place of a source, or beside a node's input.
//!
//! Worker 0 feeds all of them, as memory allows; on the others the operator is there and empty. When they
//! are through it says so as a source that has ended does, and the clock makes the run's only checkpoint. A
//! run that is told to stop before that is killed: the letters are taken together or not at all.

use super::isolate::Decoding;
use super::ports::{Outlet, Surround};
use super::shared::NEVER;
use super::turns;
use super::worker::AroundSpec;
use crate::batch::{Batch, Charge, Origin, Slab};
use crate::connect::{Body, Decoded, Payload, Source};
use crate::dead::replay::{Fed, ReadRow};
use crate::time::Epoch;
use crate::{Problem, Result};
use std::sync::Arc;
use std::time::Duration;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

/// How soon it looks again when it must wait for memory.
const WAIT: Duration = Duration::from_millis(1);

/// What takes the letters.
pub(crate) enum Into {
    /// The decoder of a source.
    Decoder(Arc<dyn Source>, Decoding),
    /// An input, whose rows are read from JSON.
    Input(ReadRow),
}

/// What is fed on one worker.
pub(crate) struct ReplaySpec {
    /// Of the node that is fed.
    pub around: AroundSpec,
    pub feeds: Vec<Fed>,
    pub into: Into,
    pub start: Epoch,
}

/// The rows, and what the decoder refuses again.
pub(crate) fn build<'s>(
    scope: Scope<'s, Epoch>,
    spec: ReplaySpec,
) -> (Stream<'s, Epoch, Batch>, Stream<'s, Epoch, Batch>) {
    let mut builder = OperatorBuilder::new(format!("replay {}", spec.around.metrics.node), scope);
    let (rows, rows_stream) = builder.new_output::<Batch>();
    let (errors, errors_stream) = builder.new_output::<Batch>();
    let wake = super::source::waker(scope, builder.operator_info().address.to_vec());
    let again = scope.activator_for(builder.operator_info().address);
    builder.build(move |mut capabilities| {
        let errors = Outlet::new(errors, capabilities.pop().expect("two outputs"));
        let rows = Outlet::new(rows, capabilities.pop().expect("two outputs"));
        spec.around.shared.on_epoch(wake);
        let mut feeder = Feeder {
            rows,
            around: spec.around.with(errors),
            feeds: spec.feeds.into_iter(),
            into: spec.into,
            epoch: spec.start,
            state: State::Feeding,
        };
        feeder.downgrade(spec.start);
        move |_| match feeder.turn() {
            Next::Again => again.activate(),
            Next::Later => again.activate_after(WAIT),
            Next::Sleep => {}
        }
    });
    (rows_stream, errors_stream)
}

enum Next {
    Again,
    Later,
    Sleep,
}

#[derive(PartialEq)]
enum State {
    Feeding,
    /// Everything has been sent.
    Fed,
    /// Nothing can be sent any more.
    Closed,
}

struct Feeder {
    rows: Outlet,
    around: Surround,
    feeds: std::vec::IntoIter<Fed>,
    into: Into,
    epoch: Epoch,
    state: State,
}

impl Feeder {
    fn turn(&mut self) -> Next {
        let shared = Arc::clone(&self.around.shared);
        if self.state == State::Closed || shared.poisoned() {
            return Next::Sleep;
        }
        let target = shared.target();
        if target > self.epoch {
            self.epoch = target;
            self.downgrade(target);
        }
        if target >= shared.closing() {
            if self.feeds.len() > 0 {
                shared.kill();
                return Next::Sleep;
            }
            self.state = State::Closed;
            self.downgrade(NEVER);
            return Next::Sleep;
        }
        let activation = turns::Activation::begin();
        while !activation.is_over() {
            if shared.must_wait() {
                return Next::Later;
            }
            match self.feeds.next() {
                Some(letter) => {
                    if let Err(problem) = self.feed(&letter) {
                        shared.fail(problem.node(&*self.around.metrics.node));
                        return Next::Sleep;
                    }
                }
                None => {
                    if self.state == State::Feeding {
                        self.state = State::Fed;
                        shared.source_ended();
                    }
                    return Next::Sleep;
                }
            }
            shared.set_dirty();
        }
        Next::Again
    }

    fn feed(&mut self, letter: &Fed) -> Result<()> {
        match &mut self.into {
            Into::Input(read) => {
                let batch = letter.batch(read)?;
                self.send(batch);
                Ok(())
            }
            Into::Decoder(source, decoder) => {
                let payload = letter.payload(&**source);
                let payload = payload.ok_or_else(|| Problem::internal("a letter without a payload is fed again"))?;
                let mut decoded = Decoded::default();
                let kept = payload.clone();
                decoder.decode(payload, &mut decoded)?;
                self.decoded(&kept, decoded);
                Ok(())
            }
        }
    }

    fn send(&mut self, batch: Batch) {
        let bytes = batch.rows.get_array_memory_size() as u64;
        let charge = Some(Charge::new(bytes, &self.around.shared.alive));
        self.rows.send(self.epoch, Batch { charge, ..batch });
    }

    fn decoded(&mut self, payload: &Payload, decoded: Decoded) {
        let metrics = Arc::clone(&self.around.metrics);
        let partition = Arc::clone(&payload.partition);
        let slab = match &payload.body {
            Body::Bytes { start, data } => Some(Slab { start: *start, bytes: data.clone() }),
            _ => None,
        };
        let charge = Charge::new(payload.size() as u64, &self.around.shared.alive);
        for (rows, positions) in decoded.batches {
            crate::metrics::NodeMetrics::add(&metrics.rows_in, rows.num_rows());
            crate::metrics::NodeMetrics::add(&metrics.rows_out, rows.num_rows());
            let origin = Origin {
                source: Arc::clone(&metrics.node),
                partition: Arc::clone(&partition),
                positions,
                slab: slab.clone(),
            };
            self.send(Batch { origin: Some(origin), ..Batch::new(rows) });
        }
        self.around.refuse_records(self.epoch, &partition, decoded.rejects, charge);
    }

    fn downgrade(&mut self, epoch: Epoch) {
        self.rows.downgrade(epoch);
        self.around.errors.downgrade(epoch);
    }
}
