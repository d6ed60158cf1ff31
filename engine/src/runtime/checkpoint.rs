//! Checkpoints: every participant hands in its part of an epoch; when all have, one record makes it real.
//!
//! ```text
//!   source   --positions--\
//!   tracker  --watermarks--+--> committer thread: data file, then commit record (put-if-absent)
//!   operator --delta-------|        |-> sinks publish   (commit)
//!   sink     --handle------/        '-> sources confirm (committed)
//! ```
//!
//! Every source, tracker, operator and sink of every worker is one participant and contributes exactly
//! one part to every marked epoch, when it closes that epoch. So the committer knows by counting that a
//! checkpoint is whole; the frontier of each operator has already proved that its part is. (The design
//! had writers and a committer inside the dataflow. Counting needs no capability held back for the
//! length of a disk write, and one thread orders all records.)
//!
//! The only order rules: files before record, record before any external effect. Both are this thread's
//! program order.

use super::shared::{Shared, lock};
use super::sink::{Command, Mailbox};
use super::turns;
use crate::connect::{Handle, PartitionId, Position, Source};
use crate::dead::{self, Keeper};
use crate::metrics::Metrics;
use crate::operator::{KeyGroups, OperatorFactory, StateBlock};
use crate::problem::Retry;
use crate::state::record::AttachedKind;
use crate::state::{Attach, CheckpointBody, CommitLog, CommitOutcome, Compaction, StateBase, StateDelta, sabotage};
use crate::time::Epoch;
use crate::{Problem, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Where a partition stood at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// The next record to read.
    pub at: Position,
    /// Nothing was to come any more.
    pub ended: bool,
}

/// What one participant contributes to one checkpoint.
pub(crate) enum Part {
    /// A source's positions on one worker.
    Positions { node: Arc<str>, positions: Vec<(PartitionId, Saved)> },
    /// A tracker's watermarks on one worker, by partition.
    Watermarks { node: Arc<str>, watermarks: Vec<(Arc<str>, i64)> },
    /// What changed in an operator's state on one worker.
    State { id: String, fingerprint: String, watermark: i64, blocks: Vec<StateBlock> },
    /// What a sink made durable on one worker.
    Sink { node: Arc<str>, worker: usize, handle: Handle },
    /// Dead letters that nobody connected, as they are stored.
    Dead(Vec<RecordBatch>),
}

/// Garbage is collected once in so many checkpoints: it costs two listings of the store.
const COLLECT: u64 = 8;

enum Message {
    /// One worker has built its dataflow: all its participants exist.
    Built,
    Part(Epoch, Part),
    Base {
        id: String,
        base: Result<StateBase>,
    },
    Stop,
}

/// The end of the committer's channel that participants and workers hold.
#[derive(Clone)]
pub(crate) struct Participants {
    sender: Sender<Message>,
    count: Arc<AtomicUsize>,
}

/// One participant.
pub(crate) struct Participant(Sender<Message>);

impl Participants {
    /// Registers one more participant; must happen before [`Participants::built`] of its worker.
    pub fn join(&self) -> Participant {
        self.count.fetch_add(1, Ordering::AcqRel);
        Participant(self.sender.clone())
    }
    /// One worker is complete.
    pub fn built(&self) {
        // The committer is gone only when the job is over.
        let _ = self.sender.send(Message::Built);
    }
    /// No more parts will come.
    pub fn stop(&self) {
        let _ = self.sender.send(Message::Stop);
    }
}

impl Participant {
    /// Hands in the part for a marked epoch.
    pub fn contribute(&self, checkpoint: Epoch, part: Part) {
        // The committer is gone only when the job is over.
        let _ = self.0.send(Message::Part(checkpoint, part));
    }
}

/// Called after each durable checkpoint with its number.
pub(crate) type OnCommit = Box<dyn Fn(u64) + Send>;

/// What the committer needs.
pub(crate) struct Committer {
    pub shared: Arc<Shared>,
    pub log: CommitLog,
    /// The newest durable checkpoint when the job started.
    pub newest: u64,
    pub sinks: Vec<(Arc<str>, usize, Arc<Mailbox>)>,
    pub sources: Vec<(Arc<str>, Arc<dyn Source>)>,
    pub operators: BTreeMap<String, (OperatorFactory, Vec<SchemaRef>)>,
    pub metrics: Arc<Metrics>,
    pub letters: Keeper,
    /// What the sources and sinks are, for whoever reads the checkpoint with a changed pipeline.
    pub kinds: BTreeMap<String, String>,
    /// The run is a replay of dead letters.
    pub replay: Option<Replaying>,
    pub timeout: Duration,
    pub on_commit: OnCommit,
    /// Where it says why it waits.
    pub waiting: Arc<Mutex<Option<Problem>>>,
}

/// What the one checkpoint of a replay takes over from the last, and what it takes out of the store.
pub(crate) struct Replaying {
    pub sources: BTreeMap<String, BTreeMap<String, Position>>,
    pub watermarks: BTreeMap<String, i64>,
    /// The rows taken, by file.
    pub taken: BTreeMap<String, BTreeSet<usize>>,
}

/// Makes the channel; the receiver goes to [`Committer::run`].
pub(crate) fn participants() -> (Participants, Inbox) {
    let (sender, receiver) = channel();
    let participants = Participants { sender, count: Arc::new(AtomicUsize::new(0)) };
    (participants.clone(), Inbox { receiver, participants })
}

/// What the committer receives from.
pub(crate) struct Inbox {
    receiver: Receiver<Message>,
    participants: Participants,
}

/// The parts of one checkpoint so far.
struct Pending {
    parts: Vec<Part>,
    /// Monotonic.
    began: Duration,
}

impl Committer {
    /// Runs until told to stop; every complete checkpoint received before that is committed.
    pub fn run(mut self, inbox: Inbox) {
        let shared = Arc::clone(&self.shared);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve(&inbox)));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => shared.fail(problem),
            Err(panic) => shared.fail(super::worker::panic_problem("the committer", &*panic)),
        }
    }

    fn serve(&mut self, inbox: &Inbox) -> Result<()> {
        let mut built = 0;
        let mut pending: BTreeMap<Epoch, Pending> = BTreeMap::new();
        let mut bases: Vec<StateBase> = Vec::new();
        let mut compacting: BTreeSet<String> = BTreeSet::new();
        self.watch_letters();
        loop {
            match turns::receive(&inbox.receiver, Duration::from_secs(1)) {
                Ok(Message::Built) => built += 1,
                Ok(Message::Part(epoch, part)) => {
                    let began = self.shared.clock.monotonic();
                    let entry = pending.entry(epoch).or_insert_with(|| Pending { parts: Vec::new(), began });
                    entry.parts.push(part);
                }
                Ok(Message::Base { id, base }) => {
                    compacting.remove(&id);
                    bases.push(base?);
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => self.check_timeout(&pending)?,
            }
            let whole = inbox.participants.count.load(Ordering::Acquire);
            while let Some(entry) = pending.first_entry() {
                if built < self.shared.workers || entry.get().parts.len() < whole {
                    break;
                }
                let (epoch, parts) = entry.remove_entry();
                self.commit(epoch, parts, std::mem::take(&mut bases))?;
                self.tidy(&inbox.participants.sender, &mut compacting)?;
            }
        }
    }

    fn check_timeout(&self, pending: &BTreeMap<Epoch, Pending>) -> Result<()> {
        match pending.values().next() {
            Some(oldest) if self.shared.clock.monotonic().saturating_sub(oldest.began) > self.timeout => {
                Err(Problem::outside(
                    "CHECKPOINT-TIMEOUT",
                    format!("a checkpoint did not finish within {:?}", self.timeout),
                )
                .found(format!("{} parts have come in", oldest.parts.len()))
                .help("look for a slow sink or disk; raise `checkpoint: { timeout }` if it is meant to take that long"))
            }
            _ => Ok(()),
        }
    }

    fn commit(&mut self, epoch: Epoch, pending: Pending, bases: Vec<StateBase>) -> Result<()> {
        let number = self.newest + 1;
        let wall = self.shared.now();
        let mut body = CheckpointBody { checkpoint: number, epoch, wall, bases, ..CheckpointBody::default() };
        self.take_letters(&mut body)?;
        let mut handles = Vec::new();
        let mut positions: BTreeMap<Arc<str>, Vec<(PartitionId, Position)>> = BTreeMap::new();
        for part in pending.parts {
            Self::put(part, &mut body, &mut handles, &mut positions)?;
        }
        self.keep_letters(&mut body);
        if sabotage::planted("publish_before_record") {
            self.publish(epoch, std::mem::take(&mut handles));
        }
        let bytes = self.write(&body)?;
        self.newest = number;
        self.record(pending.began, bytes);
        self.publish(epoch, handles);
        for (node, source) in &self.sources {
            if let Some(positions) = positions.get(node) {
                source.committed(positions);
            }
        }
        self.shared.unmark(epoch);
        (self.on_commit)(number);
        Ok(())
    }

    /// Tells every sink that its part of the checkpoint is durable.
    fn publish(&self, epoch: Epoch, handles: Vec<(Arc<str>, usize, Handle)>) {
        for (node, worker, handle) in handles {
            let found = self.sinks.iter().find(|(n, w, _)| *n == node && *w == worker);
            let (_, _, mailbox) = found.expect("a handle comes from a sink of this job");
            mailbox.push(Command::Commit(epoch, handle));
        }
    }

    fn put(
        part: Part,
        body: &mut CheckpointBody,
        handles: &mut Vec<(Arc<str>, usize, Handle)>,
        positions: &mut BTreeMap<Arc<str>, Vec<(PartitionId, Position)>>,
    ) -> Result<()> {
        match part {
            Part::Positions { node, positions: parts } => {
                let saved = body.sources.entry(node.to_string()).or_default();
                let flat = positions.entry(node).or_default();
                for (partition, position) in parts {
                    let json = serde_json::to_value(&position).expect("a position is JSON");
                    saved.insert(partition.to_string(), Position(json));
                    flat.push((partition, position.at));
                }
            }
            Part::Watermarks { node, watermarks } => {
                body.watermarks.extend(watermarks.into_iter().map(|(p, w)| (format!("{node}/{p}"), w)));
            }
            Part::State { id, fingerprint, watermark, blocks } => {
                body.watermarks.insert(id.clone(), watermark);
                if !fingerprint.is_empty() {
                    body.state.push(StateDelta { id, fingerprint, blocks });
                }
            }
            Part::Sink { node, worker, handle } => {
                body.sinks.entry(node.to_string()).or_default().push(handle.clone());
                handles.push((node, worker, handle));
            }
            Part::Dead(batches) if batches.is_empty() => {}
            Part::Dead(batches) => {
                let bytes = dead::encode(batches.into_iter())?;
                body.attach.push(Attach { kind: AttachedKind::DeadLetters, owner: dead::OWNER.into(), bytes });
            }
        }
        Ok(())
    }

    /// A replay: what the sources and the watermarks were stays, the letters that were fed again go. What is left
    /// of their segments is written anew, and its age begins anew.
    fn take_letters(&mut self, body: &mut CheckpointBody) -> Result<()> {
        let Some(replay) = &mut self.replay else { return Ok(()) };
        body.sources.clone_from(&replay.sources);
        body.watermarks.clone_from(&replay.watermarks);
        let taken = std::mem::take(&mut replay.taken);
        let Some(tail) = self.log.tail() else { return Ok(()) };
        for segment in tail.attached(AttachedKind::DeadLetters) {
            let Some(rows) = taken.get(&segment.file.name) else { continue };
            let left = dead::without(dead::decode(&tail.read_attached(segment)?)?, rows);
            if !left.is_empty() {
                let bytes = dead::encode(left.into_iter())?;
                body.attach.push(Attach { kind: AttachedKind::DeadLetters, owner: dead::OWNER.into(), bytes });
            }
            body.release_files.insert(segment.file.name.clone());
            self.letters.forget(segment.file.checkpoint, segment.file.len);
        }
        Ok(())
    }

    /// Applies the limits of the dead-letter store.
    fn keep_letters(&mut self, body: &mut CheckpointBody) {
        let bytes = body.attach.iter().map(|a| a.bytes.len() as u64).sum();
        if let Some(last) = self.letters.add(body.checkpoint, body.wall, bytes) {
            body.release.push((AttachedKind::DeadLetters, dead::OWNER.into(), last));
        }
        body.extra =
            serde_json::json!({ "wall": body.wall, "dead_letters": self.letters.clocks(), "kinds": self.kinds });
        self.watch_letters();
    }

    /// Holds the sources while the dead-letter store is full, and says so.
    fn watch_letters(&self) {
        // A replay makes room.
        self.shared.pause(self.letters.is_full() && self.replay.is_none());
        *lock(&self.waiting) = self.letters.warning();
    }

    /// Writes the record, waiting for room on a full disk.
    fn write(&mut self, body: &CheckpointBody) -> Result<u64> {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.log.commit(body.clone()) {
                Ok(CommitOutcome::Committed(committed)) => {
                    *lock(&self.waiting) = self.letters.warning();
                    return Ok(committed
                        .body
                        .files
                        .iter()
                        .filter(|f| f.checkpoint == body.checkpoint)
                        .map(|f| f.len)
                        .sum());
                }
                Ok(CommitOutcome::Fenced { generation, holder }) => {
                    return Err(Problem::error("STATE-FENCED", "another process has taken over this pipeline")
                        .found(format!("generation {generation}, held by {holder}"))
                        .help("this one stops; nothing it did after the last checkpoint counts"));
                }
                Err(problem) if problem.retry == Retry::Backoff && !self.shared.poisoned() => {
                    *lock(&self.waiting) = Some(problem);
                    turns::pause(pause);
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(problem) => return Err(problem),
            }
        }
    }

    fn record(&self, began: Duration, bytes: u64) {
        let checkpoints = &self.metrics.checkpoints;
        let took = self.shared.clock.monotonic().saturating_sub(began);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        checkpoints.newest.store(self.newest, Ordering::Relaxed);
        checkpoints.at.store(self.shared.now(), Ordering::Relaxed);
        checkpoints.took_us.store(took, Ordering::Relaxed);
        checkpoints.bytes.store(bytes, Ordering::Relaxed);
        checkpoints.total.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts a background merge of every state whose deltas have grown long, and collects garbage.
    fn tidy(&mut self, sender: &Sender<Message>, compacting: &mut BTreeSet<String>) -> Result<()> {
        for (id, (factory, schemas)) in &self.operators {
            if compacting.contains(id) || !self.log.should_compact(id) {
                continue;
            }
            let Some(compaction) = self.log.begin_compaction(id) else { continue };
            compacting.insert(id.clone());
            let (sender, id, factory, schemas) = (sender.clone(), id.clone(), Arc::clone(factory), schemas.clone());
            turns::spawn("compact", move || {
                let base = merge(compaction, &factory, &schemas);
                // The committer is gone only when the job is over.
                let _ = sender.send(Message::Base { id, base });
            });
        }
        if self.newest.is_multiple_of(COLLECT) {
            self.log.collect()?;
        }
        Ok(())
    }
}

/// Restores a throw-away instance from all its blocks and asks it for a base.
fn merge(compaction: Compaction, factory: &OperatorFactory, schemas: &[SchemaRef]) -> Result<StateBase> {
    let mut operator = factory(schemas)?;
    for block in compaction.restore()? {
        operator.restore(block, &KeyGroups::ALL)?;
    }
    let mut blocks = Vec::new();
    operator.base(&mut blocks)?;
    Ok(compaction.finish(blocks))
}
