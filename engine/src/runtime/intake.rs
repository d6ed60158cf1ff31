//! Reading: a thread per open partition, and the queue from which a source operator takes.
//!
//! ```text
//!   reader thread (partition a) --\
//!   reader thread (partition b) ---+--> Intake (bounded per partition) --wake--> source operator
//!   discovery (unbounded sources) /
//! ```
//!
//! Partitions are dealt out to the workers in the order of their discovery. At most [`OPEN`] are open
//! per worker; the others wait and hold the watermark back. Each queue holds at most [`QUEUED`]
//! payloads, so what has been read and not decoded is bounded.

use super::checkpoint::Saved;
use super::shared::{Shared, Waker, lock};
use super::stream::Presence;
use super::turns;
use crate::Problem;
use crate::connect::{PartitionId, Payload, Polled, Position, Source};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Payloads read ahead per partition.
const QUEUED: usize = 2;
/// Bytes that a reader puts into one payload.
const PAYLOAD_BYTES: usize = 1 << 20;
/// Partitions read side by side by one worker.
const OPEN: usize = 16;
/// How often an unbounded source is asked for new partitions.
const DISCOVERY: Duration = Duration::from_secs(1);

/// The partitions of one source, in the order of discovery; the same for all workers.
#[derive(Default)]
pub(crate) struct Partitions {
    found: Mutex<Vec<PartitionId>>,
}

impl Partitions {
    /// Adds those that are new; true if there were any.
    fn add(&self, now: Vec<PartitionId>) -> bool {
        let mut found = lock(&self.found);
        let before = found.len();
        for partition in now {
            if !found.contains(&partition) {
                found.push(partition);
            }
        }
        found.len() > before
    }
    /// Those of one worker, from the `known`th of its own on.
    fn of(&self, worker: usize, workers: usize, known: usize) -> Vec<PartitionId> {
        lock(&self.found).iter().skip(worker).step_by(workers).skip(known).cloned().collect()
    }
}

/// Asks the source for its partitions: once before the workers start, then again and again on a thread of its own.
pub(crate) fn discover(
    shared: &Arc<Shared>,
    source: &Arc<dyn Source>,
    known: &[PartitionId],
) -> Result<Arc<Partitions>, Problem> {
    let partitions = Arc::new(Partitions::default());
    partitions.add(known.to_vec());
    partitions.add(source.partitions()?);
    if !source.bounded() {
        let (shared, source, all) = (Arc::clone(shared), Arc::clone(source), Arc::clone(&partitions));
        turns::spawn("discover", move || {
            while !shared.poisoned() && shared.closing() == super::shared::NEVER {
                match source.partitions() {
                    // Sources take them over when an epoch ends: nothing else may be coming in.
                    Ok(now) => {
                        if all.add(now) {
                            shared.wake_at(shared.clock.monotonic());
                        }
                    }
                    Err(problem) => return shared.fail(problem),
                }
                turns::pause(DISCOVERY);
            }
        });
    }
    Ok(partitions)
}

/// One worker's partitions of one source, and what has been read of them.
pub(crate) struct Intake {
    shared: Arc<Shared>,
    source: Arc<dyn Source>,
    state: Mutex<State>,
    space: Condvar,
    wake: Waker,
}

#[derive(Default)]
struct State {
    parts: BTreeMap<PartitionId, Part>,
    /// Assigned, not yet open.
    waiting: VecDeque<PartitionId>,
    known: usize,
    open: usize,
}

struct Part {
    queue: VecDeque<(Payload, Position)>,
    from: Option<Position>,
    presence: Presence,
    /// How far the reader is behind what is there, where it knows.
    lag: Option<u64>,
    /// The reader has said `End`, but its queue may still hold payloads; the position at the end.
    end: Option<Position>,
}

/// What the operator gets when it asks for work.
pub(crate) enum Taken {
    /// A payload, and the position after it.
    Payload(PartitionId, Payload, Position),
    /// A partition has ended at this position.
    Ended(PartitionId, Position),
    /// Nothing is ready.
    Nothing,
}

impl Intake {
    pub fn new(shared: Arc<Shared>, source: Arc<dyn Source>, wake: Waker) -> Arc<Intake> {
        Arc::new(Intake { shared, source, state: Mutex::new(State::default()), space: Condvar::new(), wake })
    }

    /// Takes over partitions that have been found since the last call, and opens as many as may be open.
    pub fn assign(self: &Arc<Self>, all: &Partitions, worker: usize, from: &BTreeMap<PartitionId, Saved>) {
        let mut state = lock(&self.state);
        let new = all.of(worker, self.shared.workers, state.known);
        for partition in new {
            state.known += 1;
            let part = Part {
                queue: VecDeque::new(),
                from: from.get(&partition).map(|s| s.at.clone()),
                presence: Presence::Active,
                lag: None,
                end: None,
            };
            state.parts.insert(Arc::clone(&partition), part);
            state.waiting.push_back(partition);
        }
        self.open_waiting(&mut state);
    }

    fn open_waiting(self: &Arc<Self>, state: &mut State) {
        while state.open < OPEN {
            let Some(partition) = state.waiting.pop_front() else { return };
            state.open += 1;
            let from = state.parts.get_mut(&partition).and_then(|p| p.from.take());
            let intake = Arc::clone(self);
            turns::spawn("read", move || intake.read(&partition, from.as_ref()));
        }
    }

    /// The body of a reader thread.
    fn read(&self, partition: &PartitionId, from: Option<&Position>) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.read_all(partition, from)));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => self.shared.fail(problem),
            Err(panic) => self.shared.fail(super::worker::panic_problem("a reader", &*panic)),
        }
    }

    fn read_all(&self, partition: &PartitionId, from: Option<&Position>) -> Result<(), Problem> {
        let mut reader = self.source.open(partition, from)?;
        while !self.over() {
            match reader.next(PAYLOAD_BYTES)? {
                Polled::Data(mut payload, position) => {
                    payload.received = self.shared.now();
                    let lag = reader.lag();
                    self.update(partition, |part| part.lag = lag);
                    if !self.offer(partition, payload, position) {
                        return Ok(());
                    }
                }
                Polled::Idle => self.idle(partition),
                Polled::End(position) => {
                    self.update(partition, |part| part.end = Some(position));
                    (self.wake)();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn over(&self) -> bool {
        self.shared.poisoned() || self.shared.target() >= self.shared.closing()
    }

    fn update(&self, partition: &PartitionId, change: impl FnOnce(&mut Part)) {
        let mut state = lock(&self.state);
        change(state.parts.get_mut(partition).expect("a reader is started for a partition that is there"));
    }

    /// Queues a payload, waiting for room; false when the job is over.
    fn offer(&self, partition: &PartitionId, payload: Payload, position: Position) -> bool {
        loop {
            // Bounded, since nobody signals this when the job is killed.
            let limit = Duration::from_millis(100);
            let full = |s: &mut State| s.parts.get(partition).is_some_and(|part| part.queue.len() >= QUEUED);
            let mut state = turns::wait(&self.state, &self.space, Some(limit), full);
            let part = state.parts.get_mut(partition).expect("a reader is started for a partition that is there");
            if part.queue.len() < QUEUED {
                part.queue.push_back((payload, position));
                part.presence = Presence::Active;
                drop(state);
                (self.wake)();
                return true;
            }
            if self.over() {
                return false;
            }
        }
    }

    fn idle(&self, partition: &PartitionId) {
        let now = self.shared.clock.monotonic();
        let mut changed = false;
        self.update(partition, |part| {
            if part.presence == Presence::Active && part.queue.is_empty() {
                part.presence = Presence::Idle(now);
                changed = true;
            }
        });
        if changed {
            // An epoch must end for the watermark to learn of it.
            self.shared.wake_at(now);
            (self.wake)();
        }
    }

    /// The next payload: of the partition for which `rank` is least among those that may be read now.
    /// With `strict`, a partition that is still being read is waited for rather than overtaken, so that
    /// bounded partitions advance side by side in event time.
    pub fn take(self: &Arc<Self>, strict: bool, rank: impl Fn(&PartitionId) -> i64) -> Taken {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let candidates = state.parts.iter().filter(|(id, part)| {
            let ready = !part.queue.is_empty() || part.end.is_some();
            let awaited = strict && part.presence == Presence::Active && !state.waiting.contains(id);
            part.presence != Presence::Ended && (ready || awaited)
        });
        let Some(id) = candidates.min_by_key(|(id, _)| rank(id)).map(|(id, _)| Arc::clone(id)) else {
            return Taken::Nothing;
        };
        let part = state.parts.get_mut(&id).expect("chosen from the same map");
        if let Some((payload, position)) = part.queue.pop_front() {
            self.space.notify_all();
            return Taken::Payload(id, payload, position);
        }
        match part.end.take() {
            None => Taken::Nothing,
            Some(position) => {
                part.presence = Presence::Ended;
                state.open -= 1;
                self.open_waiting(state);
                Taken::Ended(id, position)
            }
        }
    }

    /// How far this worker's partitions are behind together; `None` where no reader knows.
    pub fn lag(&self) -> Option<u64> {
        lock(&self.state).parts.values().filter_map(|part| part.lag).reduce(|a, b| a + b)
    }

    /// What every partition of this worker is doing.
    pub fn presence(&self) -> Vec<(PartitionId, Presence)> {
        lock(&self.state).parts.iter().map(|(id, part)| (Arc::clone(id), part.presence)).collect()
    }

    /// True once every partition of this worker has ended.
    pub fn all_ended(&self) -> bool {
        lock(&self.state).parts.values().all(|p| p.presence == Presence::Ended)
    }

    /// True if every open partition has been read to its present end.
    pub fn caught_up(&self) -> bool {
        let state = lock(&self.state);
        state.waiting.is_empty() && state.parts.values().all(|p| p.queue.is_empty() && p.presence != Presence::Active)
    }
}
