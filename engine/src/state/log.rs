//! The commit log of one pipeline: who may commit, what was committed, what may be deleted.
//!
//! Opening reads the newest record, checks the chain behind it, and puts a *generation record*: from
//! then on every put of an older opener meets a taken number, and it knows that it is fenced. Only then
//! are the files checked, since nobody deletes beneath us any more.
//!
//! # Deleting records
//! A checkpoint record carries everything that is live, and the number of the `oldest` record that must
//! still be there: about [`RECORDS_KEPT`] before it, and never later than the checkpoint record before it.
//! Older ones are deleted by [`CommitLog::collect`]. That is safe for readers, since they never go below
//! `oldest`, and the chain is checked down to it. It is safe for fencing, although a number that was
//! deleted can be put again by an opener that slept through it: after every put the log is listed, and
//! a record with a higher number means that ours does not count. Records are without gaps and only
//! deleted beneath higher ones, so a sleeper always sees one; what it put lies beneath `oldest`.

use super::committed::{self, Committed};
use super::live::{BlockAt, DataFile, Live};
use super::record::{self, AttachedKind, AttachedRef, Checkpoint, FileRef, Record};
use super::store::{PutOutcome, Store};
use super::{block, sabotage};
use crate::connect::{Handle, Position};
use crate::failpoint;
use crate::operator::{Change, StateBlock};
use crate::problem::{Domain, Problem, Result, Retry};
use crate::time::{Epoch, Micros};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

mod open;
pub(crate) use open::read_chain;

/// How many records are kept, at least, where there are as many.
pub const RECORDS_KEPT: u64 = 64;

/// What [`CommitLog::open`] is told.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The pipeline's id; the log of another one is refused.
    pub pipeline: String,
    /// Who we are, for the one who is fenced by us or fences us.
    pub holder: String,
    /// Wall clock now.
    pub wall: Micros,
    /// Go on from an older checkpoint if the newest is damaged. Only to be set where no sink's progress
    /// and no source's confirmation has gone beyond that older checkpoint.
    pub allow_fallback: bool,
}

impl OpenOptions {
    /// For a pipeline, naming this process as the holder; no falling back.
    pub fn new(pipeline: impl Into<String>, wall: Micros) -> OpenOptions {
        let holder = format!("process {}", std::process::id());
        OpenOptions { pipeline: pipeline.into(), holder, wall, allow_fallback: false }
    }
}

/// What [`CommitLog::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The log, ours to commit to.
    pub log: CommitLog,
    /// The checkpoint to go on from; `None` = start from nothing.
    pub tail: Option<Committed>,
    /// Our generation.
    pub generation: u64,
    /// What was given up by falling back.
    pub warnings: Vec<Problem>,
}

/// Everything of one checkpoint.
#[derive(Clone, Debug, Default)]
pub struct CheckpointBody {
    /// Its number E: one more than the last one; the first is 1.
    pub checkpoint: u64,
    /// The epoch c that it closes.
    pub epoch: Epoch,
    /// Per source node and partition, what to read next. All of them, not just what changed.
    pub sources: BTreeMap<String, BTreeMap<String, Position>>,
    /// Per node.
    pub watermarks: BTreeMap<String, i64>,
    /// Per sink node, each worker's handle. All of them.
    pub sinks: BTreeMap<String, Vec<Handle>>,
    /// Attached files of earlier checkpoints that go, by name.
    pub release_files: BTreeSet<String>,
    /// What changed in the states. Several entries may have one id, one per worker.
    pub state: Vec<StateDelta>,
    /// States that begin anew: what they had is dropped before `state` is applied.
    pub drop_state: Vec<String>,
    /// Compacted states, each finished from a [`Compaction`]. One whose compaction was abandoned, or
    /// whose state was dropped since, is ignored.
    pub bases: Vec<StateBase>,
    /// Outboxes and dead letters of this checkpoint.
    pub attach: Vec<Attach>,
    /// Attached files that are no longer needed: kind, owner, last checkpoint.
    pub release: Vec<(AttachedKind, String, u64)>,
    /// Wall clock now.
    pub wall: Micros,
    /// The caller's own.
    pub extra: serde_json::Value,
}

/// What one worker's operator handed over.
///
/// A [`Change::Drop`] removes what earlier checkpoints hold of its table and segment, from whichever
/// worker, and what stands before it in the same entry. So workers that share a segment must drop it
/// at the same checkpoint; those that drop at a watermark do.
#[derive(Clone, Debug)]
pub struct StateDelta {
    /// `<node>/<role>.<n>`.
    pub id: String,
    /// What gives the state its meaning; may only change together with `drop_state`.
    pub fingerprint: String,
    /// The blocks, in order.
    pub blocks: Vec<StateBlock>,
}

/// A compacted state: these blocks stand for all that was handed over up to checkpoint `upto`.
#[derive(Clone, Debug)]
pub struct StateBase {
    /// The state.
    pub id: String,
    /// The last checkpoint that it covers.
    pub upto: u64,
    /// Blocks that alone restore it.
    pub blocks: Vec<StateBlock>,
}

/// A file to be kept with the checkpoint.
#[derive(Clone, Debug)]
pub struct Attach {
    /// What it is.
    pub kind: AttachedKind,
    /// The node it belongs to.
    pub owner: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A compaction that runs: can be sent to another thread. Its files are not deleted while it is held,
/// even if it is abandoned or its state is dropped.
#[derive(Clone, Debug)]
pub struct Compaction {
    id: String,
    from: Committed,
    _pin: Arc<()>,
}

impl Compaction {
    /// The state to compact.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The blocks to compact, in hand-over order.
    pub fn restore(&self) -> Result<Vec<StateBlock>> {
        self.from.restore(&self.id)
    }
    /// The result, for [`CheckpointBody::bases`] of a later checkpoint.
    pub fn finish(self, blocks: Vec<StateBlock>) -> StateBase {
        StateBase { id: self.id, upto: self.from.body.checkpoint, blocks }
    }
}

/// What a commit came to.
#[derive(Clone, Debug)]
pub enum CommitOutcome {
    /// It is decided and durable.
    Committed(Committed),
    /// Another opener has taken over: nothing of ours counts any more. Stop, without touching a sink.
    Fenced {
        /// The newer generation.
        generation: u64,
        /// Who it is.
        holder: String,
    },
}

/// A compaction as the log sees it.
#[derive(Debug)]
struct Running {
    upto: u64,
    /// Segments dropped since `upto`: the base may still have them.
    drops: Vec<(String, i64)>,
}

/// The log, held by the one who may commit.
pub struct CommitLog {
    store: Arc<dyn Store>,
    pipeline: String,
    holder: String,
    generation: u64,
    /// The newest record, its hash, and what it says about others.
    number: u64,
    hash: String,
    oldest: u64,
    abandoned: Vec<u64>,
    data: u64,
    /// The newest checkpoint: its number E, what is live, and what the one before it named.
    checkpoint: u64,
    pub(super) live: Arc<Live>,
    tail: Option<Committed>,
    before: BTreeSet<String>,
    running: BTreeMap<String, Running>,
    /// The files of compactions that are held.
    pins: Vec<(Weak<()>, BTreeSet<String>)>,
    /// How often a commit has failed: makes the names of its files new.
    failures: u64,
    dead: Option<Problem>,
}

impl std::fmt::Debug for CommitLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitLog")
            .field("generation", &self.generation)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// A checkpoint on its way: the files to put, and what is live once the record is there.
struct Draft {
    puts: Vec<(String, Vec<u8>)>,
    live: Live,
    /// States whose compaction is over: its base is here, or the state begins anew.
    ended: Vec<String>,
    /// Segments dropped, for the compactions that run.
    drops: Vec<(String, String, i64)>,
}

impl CommitLog {
    /// Our generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The newest checkpoint.
    pub fn tail(&self) -> Option<&Committed> {
        self.tail.as_ref()
    }

    /// Makes a checkpoint durable: its files first, then its record, whose creation is the decision.
    ///
    /// # Errors
    /// After `STATE-DISK-FULL` nothing has happened, and the same call can be made again. After an error
    /// with [`Retry::Unknown`] or a failed sync the log refuses everything: stop and open anew.
    pub fn commit(&mut self, body: CheckpointBody) -> Result<CommitOutcome> {
        if let Some(problem) = &self.dead {
            return Err(problem.clone());
        }
        failpoint!("state.commit.begin");
        let result = self.try_commit(body);
        if let Err(problem) = &result {
            self.failures += 1;
            if problem.retry != Retry::Backoff {
                self.dead = Some(problem.clone());
            }
        }
        result
    }

    fn try_commit(&mut self, body: CheckpointBody) -> Result<CommitOutcome> {
        if body.checkpoint != self.checkpoint + 1 {
            let (found, expected) = (body.checkpoint, self.checkpoint + 1);
            return Err(Problem::internal(format!("checkpoint {found} was committed where {expected} is next")));
        }
        let draft = self.draft(&body)?;
        let record = self.record(body, &draft.live);
        let bytes = record::encode(&record)?;
        if sabotage::planted("gc_too_early") {
            self.delete_data(&draft.puts.iter().map(|(name, _)| name.clone()).chain(draft.live.names()).collect())?;
        }
        let record_first = sabotage::planted("record_before_files");
        if !record_first {
            self.put_files(&draft.puts)?;
        }
        failpoint!("state.commit.files_done");
        let outcome = self.put_record(record.number, &bytes)?;
        failpoint!("state.commit.record_put");
        if record_first {
            self.put_files(&draft.puts)?;
        }
        match outcome {
            None => Ok(CommitOutcome::Committed(self.advance(record, &bytes, draft))),
            Some(newest) => {
                let outcome = self.fenced_by(newest);
                self.dead = Some(
                    Problem::error("STATE-FENCED", "another process has taken over this pipeline's state")
                        .at(self.store.place(&record::name(newest)))
                        .help("this process stops; the other one goes on"),
                );
                Ok(outcome)
            }
        }
    }

    /// Encodes the files and works out what is live with them.
    fn draft(&self, body: &CheckpointBody) -> Result<Draft> {
        let mut draft =
            Draft { puts: Vec::new(), live: (*self.live).clone(), ended: body.drop_state.clone(), drops: Vec::new() };
        for id in &body.drop_state {
            draft.live.state.remove(id);
        }
        for (n, base) in body.bases.iter().enumerate() {
            self.draft_base(&mut draft, body, n, base)?;
        }
        self.draft_deltas(&mut draft, body)?;
        self.draft_attached(&mut draft, body);
        Ok(draft)
    }

    fn draft_base(&self, draft: &mut Draft, body: &CheckpointBody, n: usize, base: &StateBase) -> Result<()> {
        let running = self.running.get(&base.id).filter(|r| r.upto == base.upto);
        // Given up meanwhile, or the state was dropped.
        let Some((running, live)) = running.zip(draft.live.state.get_mut(&base.id)) else { return Ok(()) };
        let dropped =
            |b: &StateBlock| running.drops.iter().any(|(table, segment)| *table == b.table && *segment == b.segment);
        let mut writer = block::Writer::default();
        for b in remaining(&base.blocks).filter(|(b, _)| !dropped(b)) {
            writer.add(&base.id, &b.0.table, b.0.segment, b.1)?;
        }
        live.deltas.retain(|b| b.file.file.checkpoint > base.upto);
        live.base.clear();
        if !writer.is_empty() {
            let (file, bytes) = self.data_file(writer, body.checkpoint, "base", Some(n))?;
            live.base = all_blocks(&file);
            draft.puts.push((file.file.name.clone(), bytes));
        }
        draft.ended.push(base.id.clone());
        Ok(())
    }

    fn draft_deltas(&self, draft: &mut Draft, body: &CheckpointBody) -> Result<()> {
        let mut writer = block::Writer::default();
        for delta in &body.state {
            let live = draft.live.state.entry(delta.id.clone()).or_default();
            if live.fingerprint.is_empty() {
                live.fingerprint.clone_from(&delta.fingerprint);
            } else if live.fingerprint != delta.fingerprint {
                return Err(Problem::internal(format!("state {} has changed its fingerprint", delta.id))
                    .found(delta.fingerprint.clone())
                    .expected(live.fingerprint.clone()));
            }
            for gone in delta.blocks.iter().filter(|b| matches!(b.change, Change::Drop)) {
                live.drop_segment(&gone.table, gone.segment);
                draft.drops.push((delta.id.clone(), gone.table.clone(), gone.segment));
            }
            for (b, rows) in remaining(&delta.blocks) {
                writer.add(&delta.id, &b.table, b.segment, rows)?;
            }
        }
        if writer.is_empty() {
            return Ok(());
        }
        let (file, bytes) = self.data_file(writer, body.checkpoint, "state", None)?;
        for at in all_blocks(&file) {
            let live = draft.live.state.get_mut(&at.listed().header.id).expect("entered above");
            live.deltas.push(at);
        }
        draft.puts.push((file.file.name.clone(), bytes));
        Ok(())
    }

    fn draft_attached(&self, draft: &mut Draft, body: &CheckpointBody) {
        let released = |a: &AttachedRef| {
            body.release
                .iter()
                .any(|(kind, owner, upto)| *kind == a.kind && *owner == a.owner && a.file.checkpoint <= *upto)
        };
        draft.live.attached.retain(|a| !released(a) && !body.release_files.contains(&a.file.name));
        for (n, attach) in body.attach.iter().enumerate() {
            let class = match attach.kind {
                AttachedKind::Outbox => "outbox",
                AttachedKind::DeadLetters => "dead",
            };
            let file = file_ref(self.file_name(class, body.checkpoint, Some(n)), &attach.bytes, body.checkpoint);
            draft.puts.push((file.name.clone(), attach.bytes.clone()));
            draft.live.attached.push(AttachedRef { kind: attach.kind, owner: attach.owner.clone(), file });
        }
    }

    fn data_file(
        &self,
        writer: block::Writer,
        checkpoint: u64,
        class: &str,
        n: Option<usize>,
    ) -> Result<(Arc<DataFile>, Vec<u8>)> {
        let (bytes, blocks) = writer.finish()?;
        let file = file_ref(self.file_name(class, checkpoint, n), &bytes, checkpoint);
        Ok((Arc::new(DataFile { file, blocks }), bytes))
    }

    /// A name that no other opener and no earlier attempt has used.
    fn file_name(&self, class: &str, checkpoint: u64, n: Option<usize>) -> String {
        let mut name = format!("data/{class}-{}-{checkpoint}", self.generation);
        if let Some(n) = n {
            name += &format!("-{n}");
        }
        if self.failures > 0 {
            name += &format!(".{}", self.failures);
        }
        name
    }

    fn put_files(&self, puts: &[(String, Vec<u8>)]) -> Result<()> {
        for (name, bytes) in puts {
            match self.store.put_if_absent(name, bytes)? {
                PutOutcome::Created => {}
                PutOutcome::Exists => {
                    return Err(
                        Problem::internal("a file of this generation is there already").at(self.store.place(name))
                    );
                }
            }
            match file_class(name) {
                Some("state") => failpoint!("state.commit.data_put"),
                Some("base") => failpoint!("state.commit.base_put"),
                _ => failpoint!("state.commit.attached_put"),
            }
        }
        Ok(())
    }

    fn record(&self, body: CheckpointBody, live: &Live) -> Record {
        let number = self.number + 1;
        let kept = if self.data == 0 { number } else { self.data };
        let oldest = number.saturating_sub(RECORDS_KEPT - 1).min(kept).max(self.oldest);
        let (files, state) = live.describe();
        let checkpoint = Checkpoint {
            checkpoint: body.checkpoint,
            epoch: body.epoch,
            hash: crate::key::HASH_ID.into(),
            groups: crate::key::GROUPS as u32,
            sources: body.sources,
            watermarks: body.watermarks,
            sinks: body.sinks,
            files,
            state,
            attached: live.attached.clone(),
            extra: body.extra,
        };
        Record {
            millstream_log: record::VERSION,
            pipeline: self.pipeline.clone(),
            number,
            generation: self.generation,
            previous: self.hash.clone(),
            oldest,
            abandoned: self.abandoned.iter().copied().filter(|n| *n >= oldest).collect(),
            data: number,
            wall: body.wall,
            holder: self.holder.clone(),
            checkpoint: Some(checkpoint),
        }
    }

    /// Puts a checkpoint record. `Some(newest)` = it does not count.
    fn put_record(&self, number: u64, bytes: &[u8]) -> Result<Option<u64>> {
        match put_record(&*self.store, number, bytes)? {
            // The reply to an earlier attempt may have been lost. Its generation makes a checkpoint
            // record ours alone, so the same bytes are our own.
            Some(newest) if newest == number && is_same(&*self.store, number, bytes)? => Ok(None),
            outcome => Ok(outcome),
        }
    }

    fn fenced_by(&self, newest: u64) -> CommitOutcome {
        let name = record::name(newest);
        let read = self.store.get(&name).ok().flatten();
        match read.and_then(|bytes| record::decode(&bytes, newest, self.store.place(&name)).ok()) {
            Some(record) => CommitOutcome::Fenced { generation: record.generation, holder: record.holder },
            None => CommitOutcome::Fenced { generation: self.generation + 1, holder: "an unknown process".into() },
        }
    }

    /// The record is there: it is the tail now.
    fn advance(&mut self, record: Record, bytes: &[u8], draft: Draft) -> Committed {
        let body = Arc::new(record.checkpoint.expect("a commit writes a checkpoint record"));
        for id in &draft.ended {
            self.running.remove(id);
        }
        for (id, table, segment) in draft.drops {
            if let Some(running) = self.running.get_mut(&id) {
                running.drops.push((table, segment));
            }
        }
        self.before = self.tail.as_ref().map(|t| open::names(&t.body)).unwrap_or_default();
        self.live = Arc::new(draft.live);
        (self.number, self.data, self.oldest) = (record.number, record.number, record.oldest);
        self.abandoned = record.abandoned;
        self.hash = record::hash(bytes);
        self.checkpoint = body.checkpoint;
        let committed = Committed {
            number: self.number,
            generation: self.generation,
            hash: self.hash.clone(),
            body,
            live: self.live.clone(),
            store: self.store.clone(),
        };
        self.tail = Some(committed.clone());
        committed
    }

    /// True if a state should be compacted now: its deltas exceed half of its base and 1 MiB, or lie in
    /// more than 64 files while they are not small beside the base, or in more than 1,024 files.
    pub fn should_compact(&self, id: &str) -> bool {
        let Some(live) = self.live.state.get(id) else { return false };
        if self.running.contains_key(id) {
            return false;
        }
        let ((base, deltas), files) = (live.bytes(), live.delta_files());
        deltas > (base / 2).max(1 << 20) || (files > 64 && deltas > base / 16) || files > 1024
    }

    /// Begins to compact a state as of the newest checkpoint. `None` if there is no such state, or a
    /// compaction of it runs. Ends with the commit of its base, or with
    /// [`abandon_compaction`](CommitLog::abandon_compaction).
    pub fn begin_compaction(&mut self, id: &str) -> Option<Compaction> {
        let (from, live) = (self.tail.clone()?, self.live.state.get(id)?);
        if self.running.contains_key(id) {
            return None;
        }
        let names = live.blocks().map(|b| b.file.file.name.clone()).collect();
        let pin = Arc::new(());
        self.pins.push((Arc::downgrade(&pin), names));
        self.running.insert(id.to_string(), Running { upto: self.checkpoint, drops: Vec::new() });
        Some(Compaction { id: id.to_string(), from, _pin: pin })
    }

    /// Gives a compaction up.
    pub fn abandon_compaction(&mut self, id: &str) {
        self.running.remove(id);
    }

    /// Deletes what nobody can need: files that neither of the last two checkpoints names, and records
    /// before the oldest that is kept. Returns how many were deleted; none if we are fenced. Costs two
    /// listings: call it every few checkpoints.
    ///
    /// Files of a newer generation are never touched. Those of an older one that no record names can
    /// never be named any more, since its next record will be refused.
    pub fn collect(&mut self) -> Result<usize> {
        let records = self.store.list("log/")?;
        let newest = records.iter().filter_map(|e| record::number(&e.name)).max();
        if self.dead.is_some() || newest != Some(self.number) {
            return Ok(0);
        }
        let mut kept = self.live.names();
        kept.extend(self.before.iter().cloned());
        self.pins.retain(|(pin, _)| pin.strong_count() > 0);
        kept.extend(self.pins.iter().flat_map(|(_, names)| names.iter().cloned()));
        let mut deleted = self.delete_data(&kept)?;
        for entry in records {
            if record::number(&entry.name).is_some_and(|n| n < self.oldest) {
                self.store.delete(&entry.name)?;
                failpoint!("state.collect.record_deleted");
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    fn delete_data(&self, kept: &BTreeSet<String>) -> Result<usize> {
        let mut deleted = 0;
        let files = self.store.list("data/")?;
        failpoint!("state.collect.listed");
        for entry in files {
            let ours = file_generation(&entry.name).is_some_and(|g| g <= self.generation);
            if ours && !kept.contains(&entry.name) {
                self.store.delete(&entry.name)?;
                failpoint!("state.collect.deleted");
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

/// Puts a record. `Some(newest)` = it does not count, since another has that number or a higher one.
fn put_record(store: &dyn Store, number: u64, bytes: &[u8]) -> Result<Option<u64>> {
    let name = record::name(number);
    let put = store.put_if_absent(&name, bytes)?;
    // Once it may be there, an error no longer says that nothing has happened.
    let listed = store.list("log/").map_err(|p| p.kind(Domain::Outside, Retry::Unknown))?;
    let newest = listed.iter().filter_map(|e| record::number(&e.name)).max().unwrap_or(number).max(number);
    match put {
        _ if newest > number => Ok(Some(newest)),
        PutOutcome::Created => Ok(None),
        PutOutcome::Exists => Ok(Some(newest)),
    }
}

fn is_same(store: &dyn Store, number: u64, bytes: &[u8]) -> Result<bool> {
    let there = store.get(&record::name(number)).map_err(|p| p.kind(Domain::Outside, Retry::Unknown))?;
    Ok(there.as_deref() == Some(bytes))
}

/// The blocks of rows that no later [`Change::Drop`] of the same list takes away.
fn remaining(blocks: &[StateBlock]) -> impl Iterator<Item = (&StateBlock, &arrow::array::RecordBatch)> {
    blocks.iter().enumerate().filter_map(|(i, b)| {
        let Change::Rows(rows) = &b.change else { return None };
        let gone = |later: &StateBlock| {
            matches!(later.change, Change::Drop) && later.table == b.table && later.segment == b.segment
        };
        (!blocks[i + 1..].iter().any(gone)).then_some((b, rows))
    })
}

fn all_blocks(file: &Arc<DataFile>) -> Vec<BlockAt> {
    (0..file.blocks.len()).map(|index| BlockAt { file: file.clone(), index }).collect()
}

fn file_ref(name: String, bytes: &[u8], checkpoint: u64) -> FileRef {
    FileRef { name, len: bytes.len() as u64, blake3: record::hash(bytes), checkpoint }
}

/// The class in a data file's name.
pub(crate) fn file_class(name: &str) -> Option<&str> {
    let class = name.strip_prefix("data/")?.split('-').next()?;
    ["state", "base", "outbox", "dead"].contains(&class).then_some(class)
}

/// The generation in a data file's name; `None` if it is not a name of ours.
pub(crate) fn file_generation(name: &str) -> Option<u64> {
    file_class(name)?;
    name.split('-').nth(1)?.parse().ok()
}
