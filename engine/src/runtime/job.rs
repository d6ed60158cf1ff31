//! Starting, watching and stopping a job.

use super::checkpoint::{self, Committer, Saved};
use super::clock::Ticker;
use super::dead::Guarded;
use super::evolve;
use super::intake;
use super::shared::{Shared, lock};
use super::sink::{Command, Mailbox, Writer};
use super::suspects::Suspects;
use super::turns;
use super::watch::{Watched, Watches};
use super::worker::{self, Blueprint, Letters, Restored};
use crate::connect::{Handle, PartitionId, Position};
use crate::dead::guard::Counter;
use crate::dead::replay::{DECODER, Plan, ReadRows};
use crate::dead::stored::{Selection, Stored};
use crate::dead::{self, Keeper};
use crate::metrics::{Metrics, NodeMetrics, NodeReading};
use crate::plan::{NodeId, Pipeline, Prepared, Work};
use crate::state::fs::RealFs;
use crate::state::record::AttachedKind;
use crate::state::{CommitLog, Committed, LocalStore, OpenOptions, Store};
use crate::time::{Clock, Epoch, Micros, SystemClock, Watermark};
use crate::{Problem, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a run that makes its only checkpoint at its end waits for the next: for ever.
const NO_CHECKPOINT: Duration = Duration::from_secs(u32::MAX as u64);

/// What a job does about state that is already there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// Go on from the newest checkpoint; begin afresh where there is none.
    #[default]
    OrFresh,
    /// Go on from the newest checkpoint; refuse where there is none.
    Required,
    /// Begin afresh; refuse where there is state already.
    Fresh,
}

/// How a job is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Stop reading, finish what has been read, make a last checkpoint, publish what is due.
    Drain,
    /// At once, as a crash would: the next start goes on from the newest checkpoint.
    Kill,
}

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Records may flow.
    Running,
    /// It has been asked to stop, or its sources have ended.
    Stopping,
    /// It ended in good order.
    Stopped,
    /// It ended with a problem.
    Failed(Problem),
}

/// Where a job went on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The number of the checkpoint.
    pub checkpoint: u64,
    /// Its wall clock.
    pub at: Micros,
}

/// A reading of a job.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where it is in its life.
    pub state: JobState,
    /// What it went on from; `None` = it began afresh.
    pub resumed: Option<Resumed>,
    /// Counters by node.
    pub nodes: Vec<NodeReading>,
    /// The newest durable checkpoint; 0 = none yet.
    pub checkpoint: u64,
    /// Checkpoints made by this run.
    pub checkpoints: u64,
    /// Why something waits (a full disk), while it does.
    pub waiting: Vec<Problem>,
    /// Bytes of batches alive.
    pub memory: u64,
}

/// What jobs run on: how many workers each gets, and where their state is kept.
#[derive(Clone)]
pub struct Runtime {
    workers: usize,
    state: StateDir,
    /// Empty once a checkpoint has been made without them.
    drop_state: Arc<Mutex<Vec<String>>>,
    clock: Arc<dyn Clock>,
    /// For test runs.
    held: Option<Watermark>,
    /// By pipeline: what was learned from panics, for its next start.
    suspects: Arc<Mutex<BTreeMap<String, Arc<Suspects>>>>,
}

#[derive(Clone)]
enum StateDir {
    /// `<dir>/<pipeline>`.
    Under(PathBuf),
    /// Exactly this store.
    Store(Arc<dyn Store>),
}

/// Builds a [`Runtime`].
pub struct RuntimeBuilder {
    workers: usize,
    state: Option<StateDir>,
    drop_state: Vec<String>,
    clock: Arc<dyn Clock>,
    held: Option<Watermark>,
}

impl RuntimeBuilder {
    /// Dataflow workers per job; 1 by default.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }
    /// Keeps the state of each job in a folder of its name under `dir`; `.millstream` by default.
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.state = Some(StateDir::Under(dir.into()));
        self
    }
    /// Keeps the state of the one job to be started in this store.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.state = Some(StateDir::Store(store));
        self
    }
    /// Gives up what the last checkpoint holds for these nodes: they begin empty, or need not exist any more.
    pub fn drop_state(mut self, nodes: impl IntoIterator<Item = String>) -> Self {
        self.drop_state.extend(nodes);
        self
    }
    /// Replaces the machine's clocks.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
    /// Holds every watermark where it is told to be, for test runs.
    pub(crate) fn hold_watermarks(mut self, held: Option<Watermark>) -> Self {
        self.held = held;
        self
    }
    /// The runtime.
    ///
    /// # Errors
    /// When the number of workers is not in 1..=256.
    pub fn build(self) -> Result<Runtime> {
        if !(1..=crate::key::GROUPS).contains(&self.workers) {
            return Err(Problem::error("RUNTIME-WORKERS", "a job cannot have that many workers")
                .found(self.workers.to_string())
                .expected(format!("1 to {}", crate::key::GROUPS)));
        }
        let state = self.state.unwrap_or_else(|| StateDir::Under(".millstream".into()));
        let (workers, drop_state, clock) = (self.workers, Arc::new(Mutex::new(self.drop_state)), self.clock);
        Ok(Runtime { workers, state, drop_state, clock, held: self.held, suspects: Arc::default() })
    }
}

/// A port to watch, and who watches it.
pub(crate) type Watch = (NodeId, usize, Sender<Watched>);

impl Runtime {
    /// One worker, state under `.millstream`, the machine's clocks.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder { workers: 1, state: None, drop_state: Vec::new(), clock: SystemClock::shared(), held: None }
    }

    /// Starts a pipeline and returns once it runs.
    ///
    /// A job that fails with a problem worth a retry ([`Retry::Backoff`](crate::problem::Retry)) may be started
    /// again from this same runtime, as long as all its sources can be read again: it goes on from the last
    /// checkpoint. Of an operator that panics on a row each time, that row becomes a dead letter (`NODE-PANIC`)
    /// by the fourth start.
    ///
    /// # Errors
    /// Every problem found in the graph; or the one that kept it from starting.
    pub fn start(&self, pipeline: &Pipeline, resume: Resume) -> Result<Job, Vec<Problem>> {
        self.start_watched(pipeline, resume, Vec::new())
    }

    pub(crate) fn start_watched(
        &self,
        pipeline: &Pipeline,
        resume: Resume,
        watches: Vec<Watch>,
    ) -> Result<Job, Vec<Problem>> {
        let prepared = pipeline.prepare()?;
        self.launch(prepared, resume, watches)
    }

    /// Feeds dead letters again into the nodes that refused them, and returns once that runs; see
    /// [`dead::replay`](crate::dead::replay). `read` reads the rows back.
    ///
    /// # Errors
    /// As [`Runtime::start`]; `DEAD-NONE` where there is no checkpoint.
    pub fn replay(&self, pipeline: &Pipeline, selection: &Selection, read: &ReadRows) -> Result<Replay, Vec<Problem>> {
        let prepared = pipeline.prepare()?;
        self.launch_replay(prepared, selection, read)
    }

    fn launch_replay(
        &self,
        prepared: Prepared,
        selection: &Selection,
        read: &ReadRows,
    ) -> Result<Replay, Vec<Problem>> {
        let one = |p| vec![p];
        let (log, tail) = self.evolved(&prepared, Resume::OrFresh)?;
        let tail = tail.ok_or_else(|| one(dead::replay::no_letters()))?;
        let plan = Arc::new(Plan::new(&prepared, &Stored::read(&tail).map_err(one)?, selection, read));
        let replay = Some(Letters { plan: Arc::clone(&plan), read: Arc::clone(read) });
        let launch = Launch { runtime: self, prepared, tail: Some(tail), watches: Vec::new(), replay };
        Ok(Replay { job: launch.run(log).map_err(one)?, plan })
    }

    fn store(&self, name: &str) -> Result<Arc<dyn Store>> {
        match &self.state {
            StateDir::Store(store) => Ok(Arc::clone(store)),
            StateDir::Under(dir) => Ok(LocalStore::open(dir.join(name), Arc::new(RealFs))?),
        }
    }

    fn launch(&self, prepared: Prepared, resume: Resume, watches: Vec<Watch>) -> Result<Job, Vec<Problem>> {
        let (log, tail) = self.evolved(&prepared, resume)?;
        Launch { runtime: self, prepared, tail, watches, replay: None }.run(log).map_err(|p| vec![p])
    }

    /// The log, and the checkpoint to go on from as this pipeline sees it.
    fn evolved(
        &self,
        prepared: &Prepared,
        resume: Resume,
    ) -> Result<(CommitLog, Option<Arc<Committed>>), Vec<Problem>> {
        let (mut log, tail) = self.open(&prepared.pipeline.name, resume).map_err(|p| vec![p])?;
        let compared = evolve::compare(prepared, tail.as_ref(), &lock(&self.drop_state));
        if !compared.problems.is_empty() {
            return Err(compared.problems);
        }
        log.evolve(&compared.evolution);
        Ok((log, tail.map(|t| Arc::new(t.evolved(&compared.evolution)))))
    }

    fn open(&self, name: &str, resume: Resume) -> Result<(CommitLog, Option<Committed>)> {
        let opened = CommitLog::open(self.store(name)?, &OpenOptions::new(name, self.clock.now()))?;
        match (resume, &opened.tail) {
            (Resume::Required, None) => {
                return Err(Problem::error("STATE-NONE", "there is no checkpoint to go on from")
                    .help("start afresh, or name the right state directory"));
            }
            (Resume::Fresh, Some(tail)) => {
                return Err(Problem::error("STATE-EXISTS", "there is state already")
                    .found(format!("checkpoint {}", tail.body.checkpoint))
                    .help("resume from it, or remove the state directory"));
            }
            _ => {}
        }
        Ok((opened.log, opened.tail))
    }
}

struct Launch<'a> {
    runtime: &'a Runtime,
    prepared: Prepared,
    /// What it goes on from, under the names of this pipeline.
    tail: Option<Arc<Committed>>,
    watches: Vec<Watch>,
    replay: Option<Letters>,
}

impl Launch<'_> {
    fn run(self, log: CommitLog) -> Result<Job> {
        let settings = self.prepared.pipeline.settings.clone();
        let start: Epoch = self.tail.as_ref().map_or(1, |t| t.body.epoch + 1);
        let workers = self.runtime.workers;
        let shared = Shared::new(Arc::clone(&self.runtime.clock), workers, start, settings.memory);
        shared.hold_watermarks(self.runtime.held);
        let metrics = Arc::new(Metrics {
            nodes: self.prepared.pipeline.nodes.iter().map(|n| Arc::new(NodeMetrics::new(&n.name, &n.role))).collect(),
            checkpoints: Default::default(),
        });
        let (participants, inbox) = checkpoint::participants();
        let waiting: Vec<Arc<Mutex<Option<Problem>>>> = Vec::new();
        let mut parts =
            Parts { shared, metrics, participants, waiting, threads: Vec::new(), mailboxes: BTreeMap::new() };
        let restored = self.restored()?;
        let newest = self.tail.as_ref().map_or((0, 0), |t| (t.body.checkpoint, t.body.epoch));
        self.suspects().restart(newest.0, newest.1);
        let partitions = match &self.replay {
            Some(letters) => {
                self.expect_feeds(&letters.plan, &parts.shared);
                BTreeMap::new()
            }
            None => self.discover(&parts.shared, &restored)?,
        };
        self.open_sinks(&mut parts, start)?;
        let progress = Arc::new(Progress::default());
        self.start_committer(&mut parts, log, inbox, &progress, settings.checkpoint_timeout);
        let guard = self.guard(&parts);
        let suspects = self.suspects();
        let mut watches = Watches::default();
        for (node, port, sender) in self.watches {
            watches.add(node, port, sender);
        }
        let resumed = self
            .tail
            .as_ref()
            .map(|t| Resumed { checkpoint: t.body.checkpoint, at: t.body.extra["wall"].as_i64().unwrap_or(0) });
        let blueprint = Blueprint {
            shared: Arc::clone(&parts.shared),
            prepared: self.prepared,
            metrics: Arc::clone(&parts.metrics),
            participants: parts.participants.clone(),
            partitions,
            mailboxes: parts.mailboxes.clone(),
            start,
            restored,
            watches,
            suspects,
            guard,
            replay: self.replay.clone(),
        };
        let every = if self.replay.is_some() { NO_CHECKPOINT } else { settings.checkpoint_every };
        let ticker = Ticker::new(Arc::clone(&parts.shared), settings.epoch, every);
        parts.start_workers(blueprint, ticker, &progress)?;
        Ok(Job { shared: parts.shared, metrics: parts.metrics, progress, resumed, waiting: parts.waiting })
    }

    fn restored(&self) -> Result<Restored> {
        let Some(tail) = &self.tail else { return Ok(Restored::default()) };
        let mut positions: BTreeMap<String, BTreeMap<PartitionId, Saved>> = BTreeMap::new();
        for (node, partitions) in &tail.body.sources {
            if crate::state::sabotage::planted("forget_positions") {
                continue;
            }
            let saved = positions.entry(node.clone()).or_default();
            for (partition, position) in partitions {
                let position: Saved = serde_json::from_value(position.0.clone()).map_err(|e| {
                    Problem::error(
                        "STATE-POSITION",
                        format!("the checkpoint holds a position that cannot be read: {e}"),
                    )
                    .node(node.clone())
                    .found(position.0.to_string())
                })?;
                saved.insert(partition.as_str().into(), position);
            }
        }
        let watermarks = tail.body.watermarks.clone();
        Ok(Restored { tail: Some(Arc::clone(tail)), positions, watermarks })
    }

    /// A replay makes one checkpoint, at its end, which is when all feeds are through.
    fn expect_feeds(&self, plan: &Plan, shared: &Shared) {
        shared.one_checkpoint();
        let sources = self.prepared.pipeline.nodes.iter().filter(|n| matches!(n.work, Work::Source(_))).count();
        let beside = plan.feeds.keys().filter(|(_, input)| *input != DECODER).count();
        (0..sources + beside).for_each(|_| shared.expect_source());
    }

    /// Finds the partitions of every source; those of the checkpoint that have not ended count as there.
    fn discover(&self, shared: &Arc<Shared>, restored: &Restored) -> Result<BTreeMap<usize, Arc<intake::Partitions>>> {
        let mut all = BTreeMap::new();
        for (index, node) in self.prepared.pipeline.nodes.iter().enumerate() {
            if let Work::Source(source) = &node.work {
                shared.expect_source();
                let saved = restored.positions.get(&*node.name);
                let known: Vec<PartitionId> =
                    saved.into_iter().flatten().filter(|(_, s)| !s.ended).map(|(id, _)| Arc::clone(id)).collect();
                if let Some(saved) = saved.filter(|s| !s.is_empty()) {
                    let positions: Vec<(PartitionId, Position)> =
                        saved.iter().map(|(id, s)| (Arc::clone(id), s.at.clone())).collect();
                    source.resume(&positions).map_err(|p| p.node(&*node.name))?;
                }
                let found = intake::discover(shared, source, &known).map_err(|p| p.node(&*node.name))?;
                all.insert(index, found);
            }
        }
        Ok(all)
    }

    fn open_sinks(&self, parts: &mut Parts, start: Epoch) -> Result<()> {
        for (index, node) in self.prepared.pipeline.nodes.iter().enumerate() {
            let Work::Sink(factory) = &node.work else { continue };
            let named = |p: Problem| p.node(&*node.name);
            let handles: Vec<Handle> =
                self.tail.as_ref().and_then(|t| t.body.sinks.get(&*node.name).cloned()).unwrap_or_default();
            if !crate::state::sabotage::planted("skip_sink_recovery") {
                factory.recover(handles).map_err(named)?;
            }
            let schema = self.prepared.input_schema(&node.inputs[0]);
            for worker in 0..self.runtime.workers {
                let sink = factory.open(worker, &schema).map_err(named)?;
                parts.start_sink(index, worker, sink, start);
            }
        }
        Ok(())
    }

    /// The dead-letter store as the last checkpoint left it.
    fn letters(&self) -> Keeper {
        let limits = self.prepared.pipeline.settings.dead_letters.clone();
        let mut segments = BTreeMap::new();
        if let Some(tail) = &self.tail {
            let clocks = &tail.body.extra["dead_letters"];
            for segment in tail.attached(AttachedKind::DeadLetters) {
                let wall = clocks[segment.file.checkpoint.to_string()].as_i64().unwrap_or(0);
                let entry = segments.entry(segment.file.checkpoint).or_insert((wall, 0));
                entry.1 += segment.file.len;
            }
        }
        Keeper::new(limits, segments)
    }

    fn suspects(&self) -> Arc<Suspects> {
        Arc::clone(lock(&self.runtime.suspects).entry(self.prepared.pipeline.name.clone()).or_default())
    }

    /// A replay feeds only what was refused already: its rate says nothing.
    fn guard(&self, parts: &Parts) -> Option<Guarded> {
        let limits = self.prepared.pipeline.settings.dead_letters.guard.filter(|_| self.replay.is_none())?;
        let nodes = self.prepared.pipeline.nodes.iter().zip(&parts.metrics.nodes);
        let sources: Vec<_> = nodes.filter_map(|(n, m)| Some((n.work.source()?, m))).collect();
        Some(Guarded {
            counter: Arc::new(Counter::new(limits, parts.shared.clock.monotonic())),
            bounded: sources.iter().all(|(source, _)| source.bounded()),
            sources: sources.into_iter().map(|(_, metrics)| Arc::clone(metrics)).collect(),
        })
    }

    fn replaying(&self) -> Option<checkpoint::Replaying> {
        let (letters, tail) = self.replay.as_ref().zip(self.tail.as_ref())?;
        Some(checkpoint::Replaying {
            sources: tail.body.sources.clone(),
            watermarks: tail.body.watermarks.clone(),
            taken: letters.plan.taken.clone(),
        })
    }

    fn start_committer(
        &self,
        parts: &mut Parts,
        log: CommitLog,
        inbox: checkpoint::Inbox,
        progress: &Arc<Progress>,
        timeout: Duration,
    ) {
        let nodes = &self.prepared.pipeline.nodes;
        let newest = self.tail.as_ref().map_or(0, |t| t.body.checkpoint);
        progress.set_newest(newest);
        let (on_commit, suspects, dropped) =
            (Arc::clone(progress), self.suspects(), Arc::clone(&self.runtime.drop_state));
        let waiting = parts.new_waiting();
        let committer = Committer {
            shared: Arc::clone(&parts.shared),
            log,
            newest,
            sinks: parts.mailboxes.iter().map(|((n, w), m)| (Arc::clone(&nodes[*n].name), *w, Arc::clone(m))).collect(),
            sources: nodes
                .iter()
                .filter_map(|n| match &n.work {
                    Work::Source(source) => Some((Arc::clone(&n.name), Arc::clone(source))),
                    _ => None,
                })
                .collect(),
            operators: nodes
                .iter()
                .filter_map(|n| match &n.work {
                    Work::Operator { factory, .. } => {
                        let schemas = n.inputs.iter().map(|i| self.prepared.input_schema(i)).collect();
                        Some((format!("{}/{}", n.name, n.role), (Arc::clone(factory), schemas)))
                    }
                    _ => None,
                })
                .collect(),
            metrics: Arc::clone(&parts.metrics),
            letters: self.letters(),
            kinds: self.prepared.pipeline.kinds.clone(),
            replay: self.replaying(),
            timeout,
            on_commit: Box::new(move |n| {
                lock(&dropped).clear();
                suspects.committed(n);
                on_commit.set_newest(n);
            }),
            waiting,
        };
        parts.thread("commit", move || committer.run(inbox));
    }
}

/// What is put together while a job starts.
struct Parts {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    participants: checkpoint::Participants,
    waiting: Vec<Arc<Mutex<Option<Problem>>>>,
    /// Sinks first, then the committer.
    threads: Vec<(turns::Group, JoinHandle<()>)>,
    mailboxes: BTreeMap<(usize, usize), Arc<Mailbox>>,
}

impl Parts {
    fn thread(&mut self, name: &str, run: impl FnOnce() + Send + 'static) {
        let group = turns::Group::default();
        let handle = group.spawn(name, run);
        self.threads.push((group, handle));
    }

    fn new_waiting(&mut self) -> Arc<Mutex<Option<Problem>>> {
        let waiting = Arc::new(Mutex::new(None));
        self.waiting.push(Arc::clone(&waiting));
        waiting
    }

    fn start_sink(&mut self, index: usize, worker: usize, sink: Box<dyn crate::connect::Sink>, start: Epoch) {
        let mailbox = Arc::new(Mailbox::default());
        self.mailboxes.insert((index, worker), Arc::clone(&mailbox));
        let writer = Writer {
            shared: Arc::clone(&self.shared),
            metrics: Arc::clone(&self.metrics.nodes[index]),
            sink,
            mailbox,
            worker,
            participant: self.participants.join(),
            done: self.shared.sink_opened(start),
            waiting: self.new_waiting(),
        };
        self.thread("sink", move || writer.run());
    }

    fn start_workers(&mut self, blueprint: Blueprint, ticker: Ticker, progress: &Arc<Progress>) -> Result<()> {
        let (shared, workers) = (Arc::clone(&self.shared), self.shared.workers);
        let blueprint = Arc::new(blueprint);
        let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
        let group = turns::Group::default();
        let members = group.of(workers);
        let run = move |w: &mut timely::worker::Worker| {
            let _here = members[w.index()].enter();
            worker::run(w, &blueprint);
        };
        let guards = timely::execute(config, run)
            .map_err(|e| Problem::internal(format!("the dataflow workers could not start: {e}")))?;
        self.clock(ticker);
        let threads = std::mem::take(&mut self.threads);
        let mailboxes: Vec<Arc<Mailbox>> = self.mailboxes.values().cloned().collect();
        let (participants, progress) = (self.participants.clone(), Arc::clone(progress));
        turns::spawn("job", move || {
            group.ended();
            for outcome in guards.join() {
                if let Err(text) = outcome {
                    shared.fail(Problem::internal("a worker thread panicked").found(text));
                }
            }
            // The workers are done. Sinks may still be writing for the last checkpoint; when it is
            // durable the committer ends, and then the sinks publish it.
            while shared.in_flight() > 0 && !shared.poisoned() {
                progress.wait_until(Some(Duration::from_millis(50)), |_| shared.in_flight() == 0);
            }
            participants.stop();
            let join = |(group, thread): (turns::Group, JoinHandle<()>)| {
                group.ended();
                drop(thread.join());
            };
            let mut sinks = threads;
            sinks.pop().into_iter().for_each(join);
            mailboxes.iter().for_each(|m| m.push(Command::Stop));
            sinks.into_iter().for_each(join);
            progress.finish(match shared.failure() {
                Some(problem) => JobState::Failed(problem),
                None => JobState::Stopped,
            });
        });
        Ok(())
    }

    /// The clock begins when the workers have been started; it ends with the job, by itself.
    fn clock(&self, ticker: Ticker) {
        let shared = Arc::clone(&self.shared);
        turns::spawn("clock", move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ticker.run()));
            if let Err(panic) = outcome {
                shared.fail(worker::panic_problem("the clock", &*panic));
            }
        });
    }
}

/// How far a job has come, for those who wait.
#[derive(Default)]
struct Progress {
    state: Mutex<(u64, Option<JobState>)>,
    changed: Condvar,
    async_changed: tokio::sync::Notify,
}

impl Progress {
    fn set_newest(&self, checkpoint: u64) {
        lock(&self.state).0 = checkpoint;
        self.wake();
    }
    fn finish(&self, end: JobState) {
        lock(&self.state).1 = Some(end);
        self.wake();
    }
    fn wake(&self) {
        self.changed.notify_all();
        self.async_changed.notify_waiters();
    }
    fn wait_until(&self, limit: Option<Duration>, done: impl Fn(&(u64, Option<JobState>)) -> bool) -> bool {
        done(&turns::wait(&self.state, &self.changed, limit, |s| !done(s)))
    }
    async fn until(&self, done: impl Fn(&(u64, Option<JobState>)) -> bool) {
        loop {
            let notified = self.async_changed.notified();
            if done(&lock(&self.state)) {
                return;
            }
            notified.await;
        }
    }
}

/// A replay under way: a job that ends by itself.
pub struct Replay {
    /// It has made a checkpoint once the letters have been taken; before that nothing has happened.
    pub job: Job,
    /// What is fed, and what stays.
    pub plan: Arc<Plan>,
}

/// A running pipeline. Dropping it kills the job.
pub struct Job {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    progress: Arc<Progress>,
    resumed: Option<Resumed>,
    waiting: Vec<Arc<Mutex<Option<Problem>>>>,
}

impl Job {
    /// A reading of everything.
    pub fn status(&self) -> Status {
        let checkpoints = &self.metrics.checkpoints;
        Status {
            state: self.state(),
            resumed: self.resumed,
            nodes: self.metrics.read(),
            checkpoint: lock(&self.progress.state).0,
            checkpoints: checkpoints.total.load(Relaxed),
            waiting: self.waiting.iter().filter_map(|w| lock(w).clone()).chain(self.shared.alarm()).collect(),
            memory: self.shared.alive.load(Relaxed),
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.progress.state).1.is_some()
    }

    /// The counters themselves.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Where the job is in its life.
    pub fn state(&self) -> JobState {
        if let Some(end) = &lock(&self.progress.state).1 {
            return end.clone();
        }
        match self.shared.closing() {
            super::shared::NEVER => JobState::Running,
            _ => JobState::Stopping,
        }
    }

    /// Why the sources wait for the rest of the job's life, where they do: too many dead letters. However the
    /// job then ends, it has failed with this.
    pub fn alarm(&self) -> Option<Problem> {
        self.shared.alarm()
    }

    /// What it went on from.
    pub fn resumed(&self) -> Option<Resumed> {
        self.resumed
    }

    /// Makes a checkpoint now and waits until it is durable. Returns its number; the old one where
    /// nothing has come in.
    pub async fn checkpoint(&self) -> u64 {
        let before = lock(&self.progress.state).0;
        self.shared.request_checkpoint();
        self.progress.until(|(newest, end)| *newest > before || end.is_some()).await;
        lock(&self.progress.state).0
    }

    /// Asks the job to stop; does not wait.
    pub fn request_stop(&self, stop: Stop) {
        match stop {
            Stop::Drain => self.shared.request_stop(),
            Stop::Kill => self.shared.kill(),
        }
    }

    /// Stops the job and waits until it has ended.
    pub async fn stop(&self, stop: Stop) -> JobState {
        self.request_stop(stop);
        self.wait().await
    }

    /// Waits until the job has ended, by itself or because it was asked to.
    pub async fn wait(&self) -> JobState {
        self.progress.until(|(_, end)| end.is_some()).await;
        self.state()
    }

    /// [`Job::wait`] for threads without an executor.
    pub fn wait_blocking(&self) -> JobState {
        self.progress.wait_until(None, |(_, end)| end.is_some());
        self.state()
    }

    /// Waits for the end, at most this long; `None` = it has not ended.
    pub fn wait_timeout(&self, limit: Duration) -> Option<JobState> {
        self.progress.wait_until(Some(limit), |(_, end)| end.is_some()).then(|| self.state())
    }

    /// True once every source has read everything that is there now, and every partition that was found
    /// is open.
    pub fn caught_up(&self) -> bool {
        self.shared.caught_up()
    }

    /// Waits until checkpoint `number` is durable, at most this long.
    pub fn wait_checkpoint(&self, number: u64, limit: Duration) -> bool {
        self.progress.wait_until(Some(limit), |(newest, end)| *newest >= number || end.is_some())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if lock(&self.progress.state).1.is_none() {
            self.shared.kill();
            self.progress.wait_until(Some(Duration::from_secs(10)), |(_, end)| end.is_some());
        }
    }
}
