//! Starting, watching and stopping a job.

use super::evolve;
use super::launch::Launch;
use super::shared::{Shared, lock};
use super::suspects::Suspects;
use super::turns;
use super::watch::Watched;
use super::worker::Letters;
use crate::dead;
use crate::dead::replay::{Plan, ReadRows};
use crate::dead::stored::{Selection, Stored};
use crate::metrics::{Metrics, NodeReading};
use crate::plan::{NodeId, Pipeline, Prepared};
use crate::state::fs::RealFs;
use crate::state::{CommitLog, Committed, LocalStore, OpenOptions, Store};
use crate::time::{Clock, Micros, SystemClock, Watermark};
use crate::{Problem, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

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
    pub(super) workers: usize,
    state: StateDir,
    /// Empty once a checkpoint has been made without them.
    pub(super) drop_state: Arc<Mutex<Vec<String>>>,
    pub(super) clock: Arc<dyn Clock>,
    /// For test runs.
    pub(super) held: Option<Watermark>,
    /// By pipeline: what was learned from panics, for its next start.
    pub(super) suspects: Arc<Mutex<BTreeMap<String, Arc<Suspects>>>>,
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

/// How far a job has come, for those who wait.
#[derive(Default)]
pub(super) struct Progress {
    state: Mutex<(u64, Option<JobState>)>,
    changed: Condvar,
    async_changed: tokio::sync::Notify,
}

impl Progress {
    pub fn set_newest(&self, checkpoint: u64) {
        lock(&self.state).0 = checkpoint;
        self.wake();
    }
    pub fn finish(&self, end: JobState) {
        lock(&self.state).1 = Some(end);
        self.wake();
    }
    fn wake(&self) {
        self.changed.notify_all();
        self.async_changed.notify_waiters();
    }
    pub fn wait_until(&self, limit: Option<Duration>, done: impl Fn(&(u64, Option<JobState>)) -> bool) -> bool {
        done(&turns::wait(&self.state, &self.changed, limit, |s| !done(s)))
    }
    pub async fn until(&self, done: impl Fn(&(u64, Option<JobState>)) -> bool) {
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
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) progress: Arc<Progress>,
    pub(super) resumed: Option<Resumed>,
    pub(super) waiting: Vec<Arc<Mutex<Option<Problem>>>>,
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
