//! What the threads of one job share: the epoch, the checkpoint marks, the memory account, the failure.
//!
//! ```text
//!   sources --dirty--> clock thread --target, marks--> sources (close epochs, stamp what they read)
//!   sinks --done--> clock thread (no new epoch while too many are open)
//!   anyone --fail--> poison --> workers leave their step loop
//! ```
//!
//! Ordering that the checkpoints rest on: the clock marks epoch t as a checkpoint *before* it lets the
//! target go beyond t, and nobody closes t before the target is beyond it. So whoever closes t sees the mark.

use super::turns;
use crate::Problem;
use crate::time::{Clock, Epoch, Micros, Moved, Watermark};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// No epoch at all: larger than every real one.
pub(crate) const NEVER: Epoch = Epoch::MAX;

/// Threads that drive asynchronous calls: they wait, they do not compute.
const IO_THREADS: usize = 2;

/// Called to wake something on another thread.
pub(crate) type Waker = Arc<dyn Fn() + Send + Sync>;

/// A mutex whose holder cannot leave broken state behind: a panic elsewhere does not spread.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state that all threads of a job share.
pub(crate) struct Shared {
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Number of dataflow workers.
    pub workers: usize,
    target: AtomicU64,
    /// The clock is about to change `target`, and may have taken back what asked for it.
    advancing: AtomicBool,
    closing: AtomicU64,
    dirty: AtomicBool,
    next_wake: AtomicU64,
    poison: AtomicBool,
    failure: Mutex<Option<Problem>>,
    /// Marked checkpoint epochs that are not yet durable.
    marks: Mutex<BTreeSet<Epoch>>,
    /// Source instances (per worker) that have not yet ended; also those that no worker has built yet.
    sources_open: AtomicUsize,
    /// Source instances in all.
    sources: AtomicUsize,
    /// Bytes of batches alive.
    pub alive: Arc<AtomicU64>,
    /// Limit of `alive` at which sources stop reading.
    pub budget: u64,
    /// The dead-letter store is full and says pause; or the user said so.
    paused: AtomicBool,
    /// What stops the sources until the job ends, and is why it failed then.
    alarm: Mutex<Option<Problem>>,
    alarmed: AtomicBool,
    /// The run is one checkpoint, at its end: nobody else may ask for one.
    whole: AtomicBool,
    signal: Mutex<Signal>,
    wake_clock: Condvar,
    wake_sources: Mutex<Vec<Waker>>,
    /// Per source instance: has it read everything that is there?
    caught_up: Mutex<Vec<Box<dyn Fn() -> bool + Send + Sync>>>,
    /// One counter per sink instance: every epoch below it has written whole.
    sinks_done: Mutex<Vec<Arc<AtomicU64>>>,
    /// What every watermark is, where a test run says so.
    held: Mutex<Option<Watermark>>,
    /// Per operator instance that has work of its own: the epochs at whose close nothing was left to do.
    quiet: Mutex<Vec<Quiet>>,
    /// Runs calls; made when the first operator asks for it.
    io: OnceLock<Io>,
}

/// The unbroken run of epochs, up to the last one closed, at whose close an operator had nothing left.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    /// [`NEVER`] = it had something at the last close.
    from: Epoch,
    to: Epoch,
}

/// A tokio runtime that may be dropped anywhere: what still runs on it is left to itself.
struct Io(Option<tokio::runtime::Runtime>);

impl Drop for Io {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the clock thread is asked to do.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    /// Something changed.
    pub pending: bool,
    /// A checkpoint is wanted now.
    pub checkpoint: bool,
    /// The job is to stop after one more checkpoint.
    pub stop: bool,
}

impl Shared {
    pub fn new(clock: Arc<dyn Clock>, workers: usize, start: Epoch, budget: u64) -> Arc<Shared> {
        let shared = Arc::new(Shared {
            clock,
            workers,
            target: AtomicU64::new(start),
            advancing: AtomicBool::new(false),
            closing: AtomicU64::new(NEVER),
            dirty: AtomicBool::new(false),
            next_wake: AtomicU64::new(u64::MAX),
            poison: AtomicBool::new(false),
            failure: Mutex::new(None),
            marks: Mutex::new(BTreeSet::new()),
            sources_open: AtomicUsize::new(0),
            sources: AtomicUsize::new(0),
            alive: Arc::new(AtomicU64::new(0)),
            budget,
            paused: AtomicBool::new(false),
            alarm: Mutex::new(None),
            alarmed: AtomicBool::new(false),
            whole: AtomicBool::new(false),
            signal: Mutex::new(Signal::default()),
            wake_clock: Condvar::new(),
            wake_sources: Mutex::new(Vec::new()),
            caught_up: Mutex::new(Vec::new()),
            sinks_done: Mutex::new(Vec::new()),
            held: Mutex::new(None),
            quiet: Mutex::new(Vec::new()),
            io: OnceLock::new(),
        });
        if let Some(clock) = shared.clock.manual() {
            let watcher: Weak<Shared> = Arc::downgrade(&shared);
            clock.watch(watcher);
        }
        shared
    }

    /// The epoch in which sources stamp what they read now.
    pub fn target(&self) -> Epoch {
        self.target.load(Ordering::Acquire)
    }
    /// The first epoch that will never be: sources end when the target reaches it.
    pub fn closing(&self) -> Epoch {
        self.closing.load(Ordering::Acquire)
    }
    /// The last epoch of the job's life, once that is known.
    pub fn is_last(&self, epoch: Epoch) -> bool {
        self.closing() == epoch + 1
    }

    // --- the clock thread ---

    /// Marks `epoch` as a checkpoint. Only the clock calls this, for the present target.
    pub fn mark(&self, epoch: Epoch) {
        debug_assert_eq!(epoch, self.target());
        lock(&self.marks).insert(epoch);
    }
    /// Lets the sources go on to `target + 1`; with `last`, tells them to end there. True if the epoch
    /// that ends holds something.
    pub fn advance(&self, last: bool) -> bool {
        let target = self.target();
        if last {
            self.closing.store(target + 1, Ordering::Release);
        }
        self.advancing.store(true, Ordering::SeqCst);
        let dirty = self.dirty.swap(false, Ordering::SeqCst);
        self.target.store(target + 1, Ordering::SeqCst);
        self.advancing.store(false, Ordering::SeqCst);
        for wake in lock(&self.wake_sources).iter() {
            wake();
        }
        dirty
    }
    /// Waits until something asks for the clock, at most for `limit`.
    pub fn wait(&self, limit: Duration) -> Signal {
        let mut guard = turns::wait(&self.signal, &self.wake_clock, Some(limit), |s| !s.pending);
        let stop = guard.stop;
        let taken = std::mem::take(&mut *guard);
        guard.stop = stop;
        taken
    }
    fn signal(&self, change: impl FnOnce(&mut Signal)) {
        let mut signal = lock(&self.signal);
        change(&mut signal);
        signal.pending = true;
        self.wake_clock.notify_all();
    }
    /// Asks for a checkpoint soon.
    pub fn request_checkpoint(&self) {
        if !self.whole.load(Ordering::Relaxed) {
            self.signal(|s| s.checkpoint = true);
        }
    }
    /// Makes no checkpoint but the last. Said before the threads start.
    pub fn one_checkpoint(&self) {
        self.whole.store(true, Ordering::Relaxed);
    }
    /// Asks for an orderly stop: one more checkpoint, then the sources end.
    pub fn request_stop(&self) {
        self.signal(|s| s.stop = true);
    }
    /// Wakes the clock to look again.
    pub fn nudge(&self) {
        self.signal(|_| ());
    }
    /// True if something came in (or a watermark moved) since the last epoch began.
    pub fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Acquire)
    }
    /// When somebody wants an epoch to end even if nothing comes: monotonic time.
    pub fn next_wake(&self) -> Option<Duration> {
        match self.next_wake.load(Ordering::Acquire) {
            u64::MAX => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }
    /// An epoch ends for those who wanted it: whoever still wants another one asks again at its close.
    pub fn clear_wake(&self) {
        self.advancing.store(true, Ordering::SeqCst);
        self.next_wake.store(u64::MAX, Ordering::Release);
    }

    // --- sources ---

    /// Registers how to wake a source operator.
    pub fn on_epoch(&self, wake: Waker) {
        lock(&self.wake_sources).push(wake);
    }
    /// Registers how to ask a source instance whether it has read everything that is there.
    pub fn on_caught_up(&self, ask: impl Fn() -> bool + Send + Sync + 'static) {
        lock(&self.caught_up).push(Box::new(ask));
    }
    /// True once every source has read everything that is there.
    pub fn caught_up(&self) -> bool {
        let asked = lock(&self.caught_up);
        asked.len() == self.sources.load(Ordering::Acquire) && asked.iter().all(|ask| ask())
    }
    /// Says that the present epoch holds something.
    pub fn set_dirty(&self) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.nudge();
        }
    }
    /// Asks for an epoch to end at that monotonic time, at the latest. Holds for one epoch: asked again at
    /// every close for as long as it is wanted.
    pub fn wake_at(&self, at: Duration) {
        let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX - 1);
        if self.next_wake.fetch_min(micros, Ordering::AcqRel) > micros {
            self.nudge();
        }
    }
    /// There will be one instance of a source on every worker. Said before the workers start: a worker
    /// that is quick must not take those that it cannot see yet for ended.
    pub fn expect_source(&self) {
        self.sources.fetch_add(self.workers, Ordering::AcqRel);
        self.sources_open.fetch_add(self.workers, Ordering::AcqRel);
    }
    /// A source instance has ended; the last one wakes the clock.
    pub fn source_ended(&self) {
        if self.sources_open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.nudge();
        }
    }
    /// True once every source has ended by itself.
    pub fn all_ended(&self) -> bool {
        self.sources_open.load(Ordering::Acquire) == 0
    }
    /// True if sources must not read now: memory, a pause, an alarm.
    pub fn must_wait(&self) -> bool {
        self.alive.load(Ordering::Relaxed) > self.budget
            || self.paused.load(Ordering::Relaxed)
            || self.alarmed.load(Ordering::Relaxed)
    }
    /// Holds all sources for the rest of the job's life; the first reason counts.
    pub fn raise_alarm(&self, problem: Problem) {
        lock(&self.alarm).get_or_insert(problem);
        self.alarmed.store(true, Ordering::Relaxed);
    }
    /// Why the sources wait for the rest of the job's life.
    pub fn alarm(&self) -> Option<Problem> {
        lock(&self.alarm).clone()
    }
    /// Holds or releases all sources.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    // --- closing epochs ---

    /// The checkpoint epochs in `from..to`, ascending.
    pub fn marked(&self, from: Epoch, to: Epoch) -> Vec<Epoch> {
        if from >= to {
            return Vec::new();
        }
        lock(&self.marks).range(from..to).copied().collect()
    }
    /// Checkpoints in flight.
    pub fn in_flight(&self) -> usize {
        lock(&self.marks).len()
    }
    /// `epoch` is durable.
    pub fn unmark(&self, epoch: Epoch) {
        lock(&self.marks).remove(&epoch);
        self.nudge();
    }

    // --- sinks ---

    /// Registers a sink instance; the counter holds the last epoch it has written whole.
    pub fn sink_opened(&self, start: Epoch) -> Arc<AtomicU64> {
        let done = Arc::new(AtomicU64::new(start));
        lock(&self.sinks_done).push(Arc::clone(&done));
        done
    }
    /// How many epochs are open at the slowest sink.
    pub fn open_epochs(&self) -> u64 {
        self.target().saturating_sub(self.slowest_sink())
    }
    /// Every epoch below has been written by every sink.
    pub fn slowest_sink(&self) -> Epoch {
        let slowest = lock(&self.sinks_done).iter().map(|d| d.load(Ordering::Acquire)).min();
        slowest.unwrap_or_else(|| self.target())
    }

    // --- test runs ---

    /// True if every epoch but the present one has gone through, and nobody asks for it to end.
    pub fn is_quiet(&self) -> bool {
        let target = self.target();
        let asked =
            self.dirty.load(Ordering::SeqCst) || self.next_wake().is_some_and(|at| at <= self.clock.monotonic());
        // Looked at last: what the clock has taken back before is still to be seen here.
        let still = !self.advancing.load(Ordering::SeqCst) && self.target.load(Ordering::SeqCst) == target;
        still && !asked && self.slowest_sink() >= target
    }
    /// Replaces what the trackers find.
    pub fn hold_watermarks(&self, held: Option<Watermark>) {
        *lock(&self.held) = held;
    }
    /// What every watermark is, where a test run says so.
    pub fn held_watermark(&self) -> Option<Watermark> {
        *lock(&self.held)
    }

    // --- work outside of the dataflow ---

    /// Registers an operator instance that has work of its own; it names itself with the returned number.
    pub fn expect_quiet(&self) -> usize {
        let mut all = lock(&self.quiet);
        all.push(Quiet { from: NEVER, to: 0 });
        all.len() - 1
    }
    /// Instance `who` has closed every epoch up to `epoch`, and has nothing left to do, or has.
    pub fn closed_quiet(&self, who: usize, epoch: Epoch, quiet: bool) {
        let mut all = lock(&self.quiet);
        let own = &mut all[who];
        own.from = if quiet { own.from.min(epoch) } else { NEVER };
        own.to = epoch;
        drop(all);
        if quiet && self.all_ended() {
            self.nudge();
        }
    }
    /// True if there is an epoch, `since` or later, at whose close no operator had anything left to do.
    /// Where no source brings anything behind `since`, nothing will ever come out of any of them again.
    pub fn all_quiet(&self, since: Epoch) -> bool {
        let all = lock(&self.quiet);
        let Some(common) = all.iter().map(|q| q.to).min() else { return true };
        common >= since && all.iter().all(|q| q.from <= common)
    }
    /// Where the job runs what must not run on its workers.
    pub fn tokio(&self) -> crate::Result<tokio::runtime::Handle> {
        if let Some(Io(Some(runtime))) = self.io.get() {
            return Ok(runtime.handle().clone());
        }
        let made = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(IO_THREADS)
            .thread_name("millstream-io")
            .enable_all()
            .build()
            .map_err(|e| Problem::internal(format!("the threads for calls could not start: {e}")))?;
        // Where another worker was first, its runtime stays and this one goes.
        let Io(Some(runtime)) = self.io.get_or_init(|| Io(Some(made))) else { unreachable!("taken only by drop") };
        Ok(runtime.handle().clone())
    }

    // --- failure ---

    /// Fails the job; the first problem counts. Wakes everything.
    pub fn fail(&self, problem: Problem) {
        lock(&self.failure).get_or_insert(problem);
        self.kill();
    }
    /// Ends the job at once, without a checkpoint.
    pub fn kill(&self) {
        self.poison.store(true, Ordering::Release);
        self.nudge();
        for wake in lock(&self.wake_sources).iter() {
            wake();
        }
    }
    /// True once the job must end at once.
    pub fn poisoned(&self) -> bool {
        self.poison.load(Ordering::Acquire)
    }
    /// Why it failed, or would have gone on to fail.
    pub fn failure(&self) -> Option<Problem> {
        lock(&self.failure).clone().or_else(|| self.alarm())
    }
    /// Wall clock.
    pub fn now(&self) -> Micros {
        self.clock.now()
    }
}

impl Moved for Shared {
    fn moved(&self) {
        self.wake_at(Duration::ZERO);
    }
}
