//! A sink on one worker: the operator hands over rows, a thread of its own writes them.
//!
//! The mailbox between them holds batches that are charged to the job's memory budget, so a slow sink
//! stops the sources. A write that fails for want of something outside (a full disk) is tried again
//! with backoff: the pipeline waits, it loses nothing.

use super::checkpoint::{Part, Participant};
use super::shared::{Shared, lock};
use super::turns;
use super::worker::AroundSpec;
use crate::batch::Batch;
use crate::connect::{Handle, Sink};
use crate::metrics::NodeMetrics;
use crate::problem::Retry;
use crate::time::Epoch;
use crate::{Problem, Result};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// What the sink's thread is told.
pub(crate) enum Command {
    /// Rows of an epoch.
    Write(Epoch, Box<Batch>),
    /// Every epoch below has been handed over whole.
    Closed(Epoch),
    /// Make everything so far durable for this checkpoint.
    Prepare(Epoch),
    /// The checkpoint's record is durable.
    Commit(Epoch, Handle),
    /// The job is over.
    Stop,
}

/// The queue between a sink's operator (and the committer) and its thread.
#[derive(Default)]
pub(crate) struct Mailbox {
    queue: Mutex<VecDeque<Command>>,
    arrived: Condvar,
}

impl Mailbox {
    pub fn push(&self, command: Command) {
        lock(&self.queue).push_back(command);
        self.arrived.notify_one();
    }
    /// Everything that has arrived; waits for something, at most for `limit`.
    fn take(&self, limit: Option<Duration>) -> VecDeque<Command> {
        std::mem::take(&mut *turns::wait(&self.queue, &self.arrived, limit, |q| q.is_empty()))
    }
    fn is_empty(&self) -> bool {
        lock(&self.queue).is_empty()
    }
}

/// Builds the sink's operator.
pub(crate) fn build(input: Stream<'_, Epoch, Batch>, around: &AroundSpec, mailbox: Arc<Mailbox>) {
    let shared = Arc::clone(&around.shared);
    let metrics = Arc::clone(&around.metrics);
    let mut builder = OperatorBuilder::new(format!("sink {}", metrics.node), input.scope());
    let mut pull = builder.new_input(input, Pipeline);
    builder.build(move |_| {
        let mut stash: std::collections::BTreeMap<Epoch, Vec<Batch>> = std::collections::BTreeMap::new();
        let mut closed: Epoch = 0;
        move |frontiers| {
            if shared.poisoned() {
                return;
            }
            let low = super::worker::low(frontiers);
            pull.for_each(|capability, batch| {
                let epoch = *capability.least().expect("a message carries its epoch");
                NodeMetrics::add(&metrics.rows_in, batch.len());
                stash.entry(epoch).or_default().push(std::mem::take(batch));
            });
            // Rows of a later epoch must not slip in front of a checkpoint: they wait until theirs is the lowest.
            for checkpoint in shared.marked(closed, low).into_iter().map(Some).chain([None]) {
                let until = checkpoint.map_or(low, |c| c);
                while let Some(entry) = stash.first_entry().filter(|e| *e.key() <= until) {
                    let (epoch, batches) = entry.remove_entry();
                    batches.into_iter().for_each(|b| mailbox.push(Command::Write(epoch, Box::new(b))));
                }
                if let Some(checkpoint) = checkpoint {
                    mailbox.push(Command::Prepare(checkpoint));
                }
            }
            if low > closed {
                closed = low;
                mailbox.push(Command::Closed(low));
            }
        }
    });
}

/// The sink's thread.
pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    pub metrics: Arc<NodeMetrics>,
    pub sink: Box<dyn Sink>,
    pub mailbox: Arc<Mailbox>,
    pub worker: usize,
    pub participant: Participant,
    /// The last epoch written whole.
    pub done: Arc<AtomicU64>,
    /// Where it says why it waits.
    pub waiting: Arc<Mutex<Option<Problem>>>,
}

/// Backoff between two tries: doubles from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

impl Writer {
    pub fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve()));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => shared.fail(problem.node(&*self.metrics.node)),
            Err(panic) => shared.fail(super::worker::panic_problem("a sink", &*panic)),
        }
    }

    fn serve(&mut self) -> Result<()> {
        // A checkpoint has been asked for and has not come yet.
        let mut asked = false;
        loop {
            let due = if asked { None } else { self.sink.due() };
            let commands = self.mailbox.take(due);
            if commands.is_empty() {
                asked = true;
                self.shared.request_checkpoint();
                continue;
            }
            for command in commands {
                match command {
                    Command::Stop => return Ok(()),
                    Command::Write(epoch, batch) => self.write(epoch, &batch)?,
                    Command::Closed(low) => {
                        self.done.store(low, Ordering::Release);
                    }
                    Command::Prepare(checkpoint) => {
                        asked = false;
                        self.prepare(checkpoint)?;
                    }
                    Command::Commit(checkpoint, handle) => self.persist(|sink| sink.commit(checkpoint, &handle))?,
                }
            }
            if self.mailbox.is_empty() {
                self.persist(|sink| sink.flush())?;
            }
        }
    }

    fn write(&mut self, epoch: Epoch, batch: &Batch) -> Result<()> {
        let began = Instant::now();
        self.persist(|sink| sink.write(epoch, batch.clone()))?;
        self.metrics.busy(began);
        NodeMetrics::add(&self.metrics.rows_out, batch.len());
        Ok(())
    }

    fn prepare(&mut self, checkpoint: Epoch) -> Result<()> {
        if self.shared.is_last(checkpoint) {
            self.persist(|sink| sink.finish())?;
        }
        let handle = self.persist(|sink| sink.prepare(checkpoint))?;
        self.participant
            .contribute(checkpoint, Part::Sink { node: Arc::clone(&self.metrics.node), worker: self.worker, handle });
        Ok(())
    }

    /// Tries until it works, or fails for good, or the job is over.
    fn persist<T>(&mut self, mut attempt: impl FnMut(&mut dyn Sink) -> Result<T>) -> Result<T> {
        let mut pause = BACKOFF.0;
        loop {
            match attempt(&mut *self.sink) {
                Ok(value) => {
                    lock(&self.waiting).take();
                    return Ok(value);
                }
                Err(problem) if problem.retry == Retry::Backoff && !self.shared.poisoned() => {
                    *lock(&self.waiting) = Some(problem);
                    turns::pause(pause);
                    pause = (pause * 2).min(BACKOFF.1);
                }
                Err(problem) => return Err(problem),
            }
        }
    }
}
