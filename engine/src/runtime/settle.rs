//! Waiting until a job on a [manual clock](crate::time::ManualClock) has nothing left to do, for test runs.
//!
//! With one worker this is exact: an operator asks for its next epoch in the same activation in which it
//! closes one, before a sink can learn that the epoch is closed.

use super::job::Job;
use crate::time::Watermark;
use std::time::{Duration, Instant};

/// How often the counters of the sinks are looked at.
const LOOK: Duration = Duration::from_micros(100);
/// Epochs after which a job that still wants more will not come to rest.
const EPOCHS: usize = 1_000;

/// How a wait came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Everything read has gone through, and nothing is due at the present time.
    Quiet,
    /// The job has ended.
    Ended,
    /// Not within the limit.
    TooLong,
    /// Something asks for one epoch after the other.
    Restless,
}

impl Job {
    /// Says of all watermarks of the job what they are from now on.
    pub(crate) fn hold_watermarks(&self, at: Watermark) {
        self.shared().hold_watermarks(Some(at));
    }

    /// Waits until `done` holds; looks again and again.
    pub(crate) fn wait_for(&self, limit: Duration, done: impl Fn() -> bool) -> Settled {
        let began = Instant::now();
        while !done() {
            if self.has_ended() {
                return Settled::Ended;
            }
            if began.elapsed() > limit {
                return Settled::TooLong;
            }
            std::thread::park_timeout(LOOK);
        }
        Settled::Quiet
    }

    /// Waits until all that has been read has gone through and nothing is due at the present time.
    pub(crate) fn settle(&self, limit: Duration) -> Settled {
        let (shared, began) = (self.shared(), Instant::now());
        let mut epochs = 0;
        while epochs < EPOCHS {
            let epoch = shared.target();
            shared.wake_at(Duration::ZERO);
            match self.wait_for(limit, || shared.slowest_sink() > epoch && shared.caught_up()) {
                Settled::Quiet => {}
                other => return other,
            }
            if !shared.all_quiet(epoch) {
                // Calls are under way, in real time.
                if began.elapsed() > limit {
                    return Settled::TooLong;
                }
                std::thread::park_timeout(LOOK);
                continue;
            }
            if shared.is_quiet() {
                return Settled::Quiet;
            }
            epochs += 1;
        }
        Settled::Restless
    }
}
