//! The clock of a job: one thread that opens epochs and marks checkpoints.
//!
//! An epoch is opened every `epoch` (10 ms) while records come in, and not at all while nothing does:
//! an idle job costs nothing. No epoch is opened while [`OPEN_EPOCHS`] are open at the slowest sink, so
//! under backpressure epochs get longer, not more. On a manual clock time does not pass by itself: there
//! an epoch ends as soon as it holds something. At most [`CHECKPOINTS`] checkpoints are in flight.

use super::shared::Shared;
use crate::time::Epoch;
use std::sync::Arc;
use std::time::Duration;

/// Epochs open at the slowest sink before the clock waits.
const OPEN_EPOCHS: u64 = 16;
/// Checkpoints in flight before the next one is put off.
const CHECKPOINTS: usize = 2;
/// How soon the clock looks again when something holds it up.
const SOON: Duration = Duration::from_millis(1);
/// How long the clock sleeps when nothing asks for it: a safety net, not a mechanism.
const IDLE: Duration = Duration::from_secs(5);

/// What decides when epochs open.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    epoch: Duration,
    every: Duration,
    last_epoch: Duration,
    last_checkpoint: Duration,
    /// Something came in since the last checkpoint was marked.
    unsaved: bool,
    /// Something has come in since the start: sinks may hold what they publish at the end only.
    begun: bool,
    /// The epoch in which all sources were seen to have ended.
    ended: Option<Epoch>,
}

impl Ticker {
    pub fn new(shared: Arc<Shared>, epoch: Duration, every: Duration) -> Ticker {
        let now = shared.clock.monotonic();
        let epoch = if shared.clock.manual().is_some() { Duration::ZERO } else { epoch };
        Ticker {
            shared,
            epoch,
            every,
            last_epoch: now,
            last_checkpoint: now,
            unsaved: false,
            begun: false,
            ended: None,
        }
    }

    /// Runs until the job ends.
    pub fn run(mut self) {
        let (mut checkpoint, mut stop) = (false, false);
        let mut limit = self.epoch;
        while !self.shared.poisoned() {
            let signal = self.shared.wait(limit);
            checkpoint |= signal.checkpoint;
            stop |= signal.stop;
            if stop || self.over() {
                return self.close();
            }
            limit = self.look(&mut checkpoint);
        }
    }

    /// True once all sources have ended, and whatever they left to do is done: what is in calls has come
    /// out and gone through the calls behind it. Until then epochs go on, and checkpoints with them.
    fn over(&mut self) -> bool {
        if !self.shared.all_ended() {
            return false;
        }
        let ended = *self.ended.get_or_insert(self.shared.target());
        self.shared.all_quiet(ended)
    }

    /// Opens an epoch if it is time; returns how long to sleep.
    fn look(&mut self, checkpoint: &mut bool) -> Duration {
        let now = self.shared.clock.monotonic();
        let wake = self.shared.next_wake();
        // The epoch in which the sources ended must close for the others to see that nothing follows.
        let due = wake.is_some_and(|at| at <= now) || self.ended == Some(self.shared.target());
        let dirty = self.shared.is_dirty();
        self.unsaved |= dirty;
        self.begun |= dirty;
        let save = *checkpoint || (self.unsaved && now.saturating_sub(self.last_checkpoint) >= self.every);
        if !(dirty || due || save) {
            let to_wake = wake.map_or(IDLE, |at| at.saturating_sub(now));
            let to_save = if self.unsaved { (self.last_checkpoint + self.every).saturating_sub(now) } else { IDLE };
            return to_wake.min(to_save).max(SOON);
        }
        let next = self.last_epoch + self.epoch;
        if now < next {
            return next - now;
        }
        if self.shared.open_epochs() >= OPEN_EPOCHS {
            return SOON;
        }
        let mark = save && self.shared.in_flight() < CHECKPOINTS;
        if mark {
            self.shared.mark(self.shared.target());
            self.last_checkpoint = now;
            self.unsaved = false;
            *checkpoint = false;
        } else if save && !dirty && !due {
            return self.epoch.max(SOON); // two checkpoints are in flight: look again
        }
        if due {
            self.shared.clear_wake();
        }
        self.last_epoch = now;
        // What came in since we looked is in the epoch that ends here: saved if that is a checkpoint.
        let since = self.shared.advance(false);
        self.unsaved |= since && !mark;
        self.begun |= since;
        self.epoch
    }

    /// The last epoch: a checkpoint if this run brought anything, even if that is saved already, since sinks
    /// close and publish with the last one; then the sources end.
    fn close(&mut self) {
        while self.shared.in_flight() >= CHECKPOINTS && !self.shared.poisoned() {
            self.shared.wait(self.epoch.max(SOON));
        }
        if self.begun || self.shared.is_dirty() {
            self.shared.mark(self.shared.target());
        }
        self.shared.advance(true);
    }
}
