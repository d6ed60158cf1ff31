//! An operator with state as a timely operator: rows in epoch order, closes in order, deltas at checkpoints.
//!
//! Rows of an epoch are applied only while it is the lowest open one; later epochs are stashed. That
//! is what makes a delta taken at the close of t contain all of t and nothing of t+1.

use super::checkpoint::{Part, Participant};
use super::isolate::caught;
use super::ports::{Outlet, Surround, downgrade};
use super::shared::{NEVER, Waker};
use super::stream::{ByKey, Mark};
use super::suspects::Suspects;
use super::turns::Activation;
use super::worker::AroundSpec;
use crate::batch::{Batch, Charge};
use crate::metrics::NodeMetrics;
use crate::operator::{Context, Emit, Operator};
use crate::time::{Epoch, Watermark};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use timely::communication::Pull;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, Exchange, Pipeline};
use timely::dataflow::channels::pushers::Output;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

/// One data input: the stream, and the key columns of its exchange.
pub(crate) type DataInput<'s> = (Stream<'s, Epoch, Batch>, Option<Vec<String>>);

/// What an operator needs on one worker.
pub(crate) struct StatefulSpec {
    pub around: AroundSpec,
    pub operator: Box<dyn Operator>,
    /// `<node>/<role>.<n>`.
    pub id: String,
    pub fingerprint: String,
    /// The trackers (and workers) whose marks decide the watermark.
    pub trackers: Vec<(usize, usize)>,
    /// The node's index, under which its own marks travel on.
    pub tracker: usize,
    pub worker: usize,
    pub ports: usize,
    /// Watermark of the last checkpoint.
    pub restored: Option<Watermark>,
    pub participant: Participant,
    pub suspects: Arc<Suspects>,
}

/// The streams of an operator.
pub(crate) struct StatefulStreams<'s> {
    pub ports: Vec<Stream<'s, Epoch, Batch>>,
    pub errors: Stream<'s, Epoch, Batch>,
    pub marks: Stream<'s, Epoch, Vec<Mark>>,
}

trait PullBatches {
    fn drain(&mut self, into: &mut BTreeMap<Epoch, VecDeque<Batch>>);
}

impl<P: Pull<Message<Epoch, Batch>>> PullBatches for InputHandleCore<Epoch, Batch, P> {
    fn drain(&mut self, into: &mut BTreeMap<Epoch, VecDeque<Batch>>) {
        self.for_each(|capability, batch| {
            let epoch = *capability.least().expect("a message carries its epoch");
            into.entry(epoch).or_default().push_back(std::mem::take(batch));
        });
    }
}

pub(crate) fn build<'s>(
    scope: Scope<'s, Epoch>,
    inputs: Vec<DataInput<'s>>,
    marks: Stream<'s, Epoch, Vec<Mark>>,
    spec: StatefulSpec,
) -> StatefulStreams<'s> {
    let mut builder = OperatorBuilder::new(format!("operator {}", spec.id), scope);
    let alone = spec.around.shared.workers == 1;
    let mut pulls: Vec<Box<dyn PullBatches>> = Vec::new();
    for (stream, exchange) in inputs {
        pulls.push(match exchange {
            Some(columns) if !alone => {
                Box::new(builder.new_input(stream, DistributorPact(move |_| ByKey::new(columns))))
            }
            _ => Box::new(builder.new_input(stream, Pipeline)),
        });
    }
    let mut marks_in = builder.new_input(marks, Exchange::new(|m: &Mark| m.to as u64));
    let mut outputs = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..=spec.ports {
        let (output, stream) = builder.new_output::<Batch>();
        outputs.push(output);
        streams.push(stream);
    }
    let (marks_out, marks_stream) = builder.new_output::<Vec<Mark>>();
    let errors_stream = streams.pop().expect("ports and errors");
    let again = scope.activator_for(builder.operator_info().address);
    let wake = super::source::waker(scope, builder.operator_info().address.to_vec());
    builder.build(move |mut capabilities| {
        let marks_cap = capabilities.pop();
        let mut outlets: Vec<Outlet> = outputs.into_iter().zip(capabilities).map(|(o, c)| Outlet::new(o, c)).collect();
        let errors = outlets.pop().expect("ports and errors");
        let mut run = Run {
            around: spec.around.with(errors),
            operator: spec.operator,
            id: spec.id,
            fingerprint: spec.fingerprint,
            stash: (0..pulls.len()).map(|_| BTreeMap::new()).collect(),
            marks: BTreeMap::new(),
            latest: spec.trackers.into_iter().map(|t| (t, Some(i64::MIN))).collect(),
            watermark: spec.restored.unwrap_or(Watermark::UNKNOWN),
            outlets,
            marks_out,
            marks_cap,
            tracker: spec.tracker,
            worker: spec.worker,
            participant: spec.participant,
            suspects: spec.suspects,
            closed: 0,
            worked: None,
            passed: Watermark::UNKNOWN,
            quiet: None,
            emit: Emit::default(),
        };
        run.start(wake);
        run.ask();
        move |frontiers| {
            if run.around.shared.poisoned() {
                return;
            }
            for (pull, stash) in pulls.iter_mut().zip(&mut run.stash) {
                pull.drain(stash);
            }
            marks_in.for_each(|capability, list| {
                let epoch = *capability.least().expect("a message carries its epoch");
                run.marks.entry(epoch).or_default().append(list);
            });
            match run.turn(super::worker::low(frontiers)) {
                Ok(true) => again.activate(),
                Ok(false) => {}
                Err(problem) => run.around.shared.fail(problem.node(&*run.around.metrics.node)),
            }
        }
    });
    StatefulStreams { ports: streams, errors: errors_stream, marks: marks_stream }
}

struct Run {
    around: Surround,
    operator: Box<dyn Operator>,
    id: String,
    fingerprint: String,
    /// Rows not yet applied, per input.
    stash: Vec<BTreeMap<Epoch, VecDeque<Batch>>>,
    marks: BTreeMap<Epoch, Vec<Mark>>,
    latest: HashMap<(usize, usize), Option<i64>>,
    watermark: Watermark,
    outlets: Vec<Outlet>,
    marks_out: Output<Epoch, Vec<Mark>>,
    marks_cap: Option<Capability<Epoch>>,
    tracker: usize,
    worker: usize,
    participant: Participant,
    suspects: Arc<Suspects>,
    /// Every epoch below has been closed.
    closed: Epoch,
    /// The open epoch in which the operator last did something by itself: it must close like one with rows.
    worked: Option<Epoch>,
    /// The watermark that was last passed on.
    passed: Watermark,
    /// Where it says that it has nothing left to do, if it is one that can have.
    quiet: Option<usize>,
    emit: Emit,
}

impl Run {
    fn start(&mut self, wake: Waker) {
        let shared = Arc::clone(&self.around.shared);
        self.quiet = self.operator.pending().map(|_| shared.expect_quiet());
        if self.quiet.is_none() {
            return;
        }
        let started = shared.tokio().and_then(|tokio| {
            let (worker, workers, memory) = (self.worker, shared.workers, Arc::clone(&shared.alive));
            self.operator.start(&Context { worker, workers, memory, wake, tokio })
        });
        if let Err(problem) = started {
            shared.fail(problem.node(&*self.around.metrics.node));
        }
    }

    /// Does what can be done with inputs open from `low` on; true if there is more.
    fn turn(&mut self, low: Epoch) -> crate::Result<bool> {
        let activation = Activation::begin();
        for epoch in self.due(low) {
            if !self.apply(epoch, activation)? {
                return Ok(true);
            }
            self.close(epoch)?;
            self.hold(epoch + 1);
        }
        if low > self.closed && low != NEVER && self.wants_close() {
            self.close(low - 1)?;
            self.around.shared.set_dirty();
        }
        // First, since what the operator has left to do at this close is asked before it does more of it.
        self.hold(low);
        if low == NEVER {
            return Ok(false);
        }
        // The lowest open epoch may be applied, but not closed.
        let more = !self.apply(low, activation)?;
        let worked = caught(|| self.operator.work(low, &mut self.emit))
            .unwrap_or_else(|words| Err(self.suspects.blame(&self.id, None, words)))?;
        if worked {
            self.settle(low);
            self.worked = Some(low);
            self.around.shared.set_dirty();
        }
        self.ask();
        Ok(more)
    }

    /// True once the clock is where the operator wants to be called although nothing comes.
    fn wants_close(&self) -> bool {
        self.operator.wake().is_some_and(|at| at <= self.around.shared.now())
    }

    /// Has an epoch end for what the operator waits for. What is due already counts as something that came
    /// in: a job that ends now still saves it.
    fn ask(&self) {
        let shared = &self.around.shared;
        match self.operator.wake().map(|at| at.saturating_sub(shared.now())) {
            None => {}
            Some(..=0) => shared.set_dirty(),
            Some(wait) => shared.wake_at(shared.clock.monotonic() + Duration::from_micros(wait.unsigned_abs())),
        }
    }

    fn hold(&mut self, low: Epoch) {
        if low > self.closed {
            self.closed = low;
            if let Some(who) = self.quiet {
                self.around.shared.closed_quiet(who, low - 1, self.operator.pending() == Some(0));
            }
            self.outlets.iter_mut().for_each(|o| o.downgrade(low));
            self.around.errors.downgrade(low);
            downgrade(&mut self.marks_cap, low);
        }
    }

    /// The epochs below `low` that hold something, and the checkpoints among them.
    fn due(&self, low: Epoch) -> Vec<Epoch> {
        let mut epochs = self.around.shared.marked(self.closed, low);
        for stash in &self.stash {
            epochs.extend(stash.range(..low).map(|(e, _)| *e));
        }
        epochs.extend(self.marks.range(..low).map(|(e, _)| *e));
        epochs.extend(self.worked.filter(|e| *e < low));
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }

    /// Applies the rows of one epoch; false when the turn is over before they are all applied.
    fn apply(&mut self, epoch: Epoch, activation: Activation) -> crate::Result<bool> {
        for port in 0..self.stash.len() {
            while let Some(batch) = self.stash[port].get_mut(&epoch).and_then(VecDeque::pop_front) {
                let since = Instant::now();
                NodeMetrics::add(&self.around.metrics.rows_in, batch.len());
                // Positions end here: behind a stateful operator a row has no single origin. Rows that are
                // refused keep theirs, so the operator still sees it.
                self.emit.now = self.around.now(epoch);
                let (batch, refused) = self.suspects.sift(&self.id, port, epoch, batch);
                self.emit.rejected.extend(refused);
                match self.suspects.watches(&self.id) {
                    true => (0..batch.len()).try_for_each(|row| self.give(port, epoch, batch.slice(row, 1)))?,
                    false if batch.is_empty() => {}
                    false => self.give(port, epoch, batch)?,
                }
                self.around.metrics.busy(since);
                self.settle(epoch);
                if activation.is_over() {
                    return Ok(false);
                }
            }
            self.stash[port].remove(&epoch);
        }
        Ok(true)
    }

    fn give(&mut self, port: usize, epoch: Epoch, batch: Batch) -> crate::Result<()> {
        let kept = batch.clone();
        caught(|| self.operator.on_batch(port, epoch, batch, &mut self.emit))
            .unwrap_or_else(|words| Err(self.suspects.blame(&self.id, Some((port, &kept)), words)))
    }

    fn close(&mut self, epoch: Epoch) -> crate::Result<()> {
        let since = Instant::now();
        for mark in self.marks.remove(&epoch).unwrap_or_default() {
            if let Some(latest) = self.latest.get_mut(&(mark.tracker, mark.worker)) {
                *latest = mark.micros;
            }
        }
        self.worked = self.worked.filter(|e| *e > epoch);
        let least = self.latest.values().flatten().copied().min().unwrap_or(i64::MIN);
        self.watermark = self.watermark.max(Watermark(least));
        self.emit.now = self.around.now(epoch);
        caught(|| self.operator.on_close(epoch, self.watermark, &mut self.emit))
            .unwrap_or_else(|words| Err(self.suspects.blame(&self.id, None, words)))?;
        self.settle(epoch);
        self.pass_on(epoch);
        if !self.around.shared.marked(epoch, epoch + 1).is_empty() {
            let mut blocks = Vec::new();
            if !self.fingerprint.is_empty() {
                self.operator.delta(&mut blocks)?;
            }
            if crate::state::sabotage::planted("skip_delta") && epoch.is_multiple_of(2) {
                blocks.clear();
            }
            let (id, fingerprint) = (self.id.clone(), self.fingerprint.clone());
            self.participant.contribute(epoch, Part::State { id, fingerprint, watermark: self.watermark.0, blocks });
        }
        let (metrics, size) = (&self.around.metrics, self.operator.size());
        metrics.state_keys.store(size.keys, Relaxed);
        metrics.state_bytes.store(size.bytes, Relaxed);
        metrics.busy(since);
        Ok(())
    }

    fn settle(&mut self, epoch: Epoch) {
        for (port, mut batch) in self.around.settle(epoch, &mut self.emit) {
            batch.origin = None;
            batch.charge = Some(Charge::new(batch.rows.get_array_memory_size() as u64, &self.around.shared.alive));
            self.outlets[port].send(epoch, batch);
            // Also where nothing came in: windows that close by the clock are to be saved and published.
            self.around.shared.set_dirty();
        }
    }

    /// Tells those downstream of the watermark, where it has moved: with that of the inputs, or because what
    /// held it back has left.
    fn pass_on(&mut self, epoch: Epoch) {
        let watermark = self.operator.watermark(self.watermark);
        if watermark <= self.passed {
            return;
        }
        self.passed = watermark;
        self.around.metrics.at(watermark);
        // Where every worker derives the same, each tells itself; calls in flight differ, so all hear of all.
        let mark = |worker, to| Mark { tracker: self.tracker, worker, micros: Some(watermark.0), to };
        let mut list: Vec<Mark> = match self.quiet {
            None => vec![mark(0, self.worker)],
            Some(_) => (0..self.around.shared.workers).map(|to| mark(self.worker, to)).collect(),
        };
        if let Some(capability) = &self.marks_cap {
            self.marks_out.activate().give(&capability.delayed(&epoch), &mut list);
        }
    }
}
